"""A precision slower than fp32 is explained by the features of the processor that it was measured on."""

import msgspec
import pytest
from mrl_edge.bench.slower import slower_than_fp32, why_slower
from mrl_edge.devices.local import describe
from rows import measurement


def device(arch, *features):
    return msgspec.structs.replace(describe(), arch=arch, features=features)


@pytest.mark.parametrize(
    ("precision", "arch", "features", "said"),
    [
        ("int8", "x86_64", ("avx2",), "no VNNI: 8-bit products are widened"),
        ("int8", "x86_64", ("avx2", "avx512f", "avx512bw"), "no VNNI: three instructions"),
        ("int8-static", "x86_64", ("avx2", "avx_vnni"), "has the 8-bit instructions"),
        ("int8", "aarch64", ("asimd",), "no 8-bit dot product"),
        ("int8", "aarch64", ("asimd", "asimddp"), "has the 8-bit instructions"),
        ("fp16", "x86_64", ("avx2", "avx512f", "avx512_vnni"), "no arithmetic on 16-bit floats"),
        ("fp16", "aarch64", ("asimd", "asimdhp"), "has fp16 arithmetic"),
        ("int4", "x86_64", ("avx2",), "widened to 16 bits before they are summed; and 4-bit weights are unpacked"),
        ("int4", "x86_64", ("avx2", "avx512_vnni"), "4-bit weights are unpacked"),
    ],
)
def test_the_reason_is_what_the_processor_lacks(precision, arch, features, said):
    assert said in why_slower(precision, device(arch, *features))


def test_only_what_is_slower_beyond_the_intervals_in_most_configurations_is_explained():
    here = device("x86_64", "avx2")
    fp32 = [measurement("fp32", dim, encode_ms=2) for dim in (8, 64)]
    slow = [measurement("fp16", dim, encode_ms=2.5) for dim in (8, 64)]
    fast = [measurement("int8", dim, encode_ms=1) for dim in (8, 64)]
    (found,) = slower_than_fp32([*fp32, *slow, *fast], here)
    assert (found.precision, found.ratio, found.slower, found.measured) == ("fp16", 1.25, 2, 2)
    assert "fp16 is slower than fp32 on this CPU (1.25 × the time, 2 of 2 configurations): " in str(found)
    unsure = [
        msgspec.structs.replace(row, encode=msgspec.structs.replace(row.encode, ci95_ms=(1.9, 3.1))) for row in slow
    ]
    assert slower_than_fp32([*fp32, *unsure], here) == []
    doubted = [msgspec.structs.replace(row, encode=msgspec.structs.replace(row.encode, stable=False)) for row in slow]
    assert slower_than_fp32([*fp32, *doubted], here) == [found]  # its interval lies above nevertheless
    unknown = [msgspec.structs.replace(row, encode=msgspec.structs.replace(row.encode, ci95_ms=None)) for row in slow]
    assert slower_than_fp32([*fp32, *unknown], here) == []
    other_threads = [measurement("fp16", 8, threads=2, encode_ms=9)]
    assert slower_than_fp32([*fp32, *other_threads], here) == []  # fp32 was not measured so
