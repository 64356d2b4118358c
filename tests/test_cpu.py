import pytest

from mrl_edge.cpu import fitness, target_of


@pytest.mark.parametrize(
    ("machine", "flags", "target"),
    [
        ("x86_64", {"avx2", "avx512f", "avx512bw", "avx512_vnni"}, "avx512-vnni"),
        ("x86_64", {"avx2", "avx_vnni"}, "avx512-vnni"),
        ("x86_64", {"avx2", "avx512f", "avx512bw"}, "avx512"),
        ("x86_64", {"avx2"}, "avx2"),
        ("aarch64", {"asimd", "asimddp"}, "arm64"),
        ("arm64", set(), "arm64"),
        ("riscv64", {"v"}, "any"),
    ],
)
def test_a_processor_is_known_by_its_instructions(machine, flags, target):
    assert target_of(machine, flags) == target


def test_only_signed_8_bit_weights_without_vnni_are_unfit():
    assert fitness("arm64,avx512-vnni", "avx2") == fitness("avx512-vnni", "avx512") == 0
    assert fitness("avx2", "avx512-vnni") == fitness("avx512", "avx2") == fitness("avx512-vnni", "arm64") == 1
    assert fitness("any", "avx2") == fitness("arm64,avx512-vnni", "arm64") == fitness("avx2", "avx2") == 2
