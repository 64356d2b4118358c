"""What a profile's processor does at most, beside what pigirons/cpufp measured on the same processors."""

import msgspec
import pytest
from mrl_edge.devices.ceilings import peak
from mrl_edge.devices.profiles import known, resolve

from mrl_edge.errors import UsageError

# pigirons/cpufp, benchmark_result/: GFLOPS of fmla or FMA in fp32, GOPS of 8-bit dot products, with so many threads.
MEASURED = [
    ("pi-4-4gb", 1500, 1, 11.958, None),  # arm64/Broadcom_BCM2711.md, at 1.5 GHz
    ("pi-4-4gb", 1500, 4, 47.883, None),
    ("pi-5-8gb", 2400, 1, 38.369, 153.48),  # arm64/Broadcom_BCM2712.md
    ("pi-3b-plus", 1400, 1, 11.255, None),  # arm64/RockChip_RK3399.md, its Cortex-A53 at 1.4 GHz
    ("intel-n100", 3400, 1, 54.247, 108.51),  # x64/Intel_N100.md
    ("x86-server", 2780, 1, None, 5682),  # x64/Intel_Xeon_W9_3495X.md: AMX
    ("x86-server", 2480, 1, 158.74, None),  # the same: AVX-512
]


def clocked(name, mhz):
    profile = resolve(name)
    clusters = tuple(msgspec.structs.replace(one, max_mhz=float(mhz)) for one in profile.cpu.clusters)
    return msgspec.structs.replace(profile, cpu=msgspec.structs.replace(profile.cpu, clusters=clusters))


@pytest.mark.parametrize(("name", "mhz", "threads", "fp32", "int8"), MEASURED)
def test_rates_are_what_was_measured_of_single_instructions(name, mhz, threads, fp32, int8):
    found = peak(clocked(name, mhz), threads)
    if fp32:
        assert found.fp32_gops == pytest.approx(fp32, rel=0.01)
    if int8:
        assert found.int8_gops == pytest.approx(int8, rel=0.01)


def test_cores_are_taken_the_fastest_first_and_a_core_s_second_thread_adds_nothing():
    rock = resolve("rock-5b")  # 2 + 2 Cortex-A76 at 2.4 GHz, 4 Cortex-A55 at 1.8
    assert peak(rock, 4).fp32_gops == pytest.approx(4 * 2.4 * 16)
    assert peak(rock, 6).fp32_gops == pytest.approx(4 * 2.4 * 16 + 2 * 1.8 * 8)
    assert peak(rock, 100) == peak(rock, 8)
    assert peak(resolve("x86-server"), 112) == peak(resolve("x86-server"), 56)


def test_the_kernel_of_8_bit_products_follows_the_features():
    by = {profile.name: peak(profile, 1) for profile in known() if profile.cpu and profile.memory.bandwidth_gb_s}
    assert {by[name].int8_by for name in ("pi-3b-plus", "pi-4-2gb", "jetson-nano", "odroid-n2-plus")} == {"asimd"}
    assert {by[name].int8_by for name in ("pi-5-4gb", "rock-5b", "jetson-orin-nano")} == {"asimddp"}
    assert (by["intel-n100"].int8_by, by["x86-server"].int8_by) == ("avx_vnni", "amx_int8")
    assert by["pi-4-2gb"].int8_gops == 2 * by["pi-4-2gb"].fp32_gops
    assert by["pi-5-8gb"].bandwidth_gb_s == 17


def test_every_profile_of_ours_is_known_or_told_what_it_lacks():
    for profile in known():
        if profile.cpu and profile.memory.bandwidth_gb_s:
            assert peak(profile, 1).int8_gops > peak(profile, 1).fp32_gops
        else:
            with pytest.raises(UsageError, match=r"is a card|add memory\.bandwidth_gb_s to a copy"):
                peak(profile, 1)


def test_what_a_file_of_ones_own_lacks_is_named():
    profile = resolve("pi-5-8gb")

    def changed(**fields):
        return msgspec.structs.replace(profile, cpu=msgspec.structs.replace(profile.cpu, **fields))

    with pytest.raises(UsageError, match=r"'Warp 9' computes in a cycle is not known.*Cortex-A76"):
        peak(changed(clusters=(msgspec.structs.replace(profile.cpu.clusters[0], core="Warp 9"),)), 1)
    with pytest.raises(UsageError, match=r"the clock of its Cortex-A76: add cpu\.clusters\.max_mhz"):
        peak(changed(clusters=(msgspec.structs.replace(profile.cpu.clusters[0], max_mhz=None),)), 1)
    with pytest.raises(UsageError, match=r"add cpu\.features"):
        peak(changed(features=()), 1)
