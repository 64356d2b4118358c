"""What a board's processor and memory can do at most, from its profile alone: nobody has measured there.

Operations a cycle are a core's; rates add up over as many cores as there are threads, the fastest first.
Sources, by their numbers in the comments:

[1] pigirons/cpufp, benchmark_result/: the rates of single instructions as measured on boards; by their clock
[2] WikiChip, "Floating-Point Operations Per Second (FLOPS)": units and operations a cycle by microarchitecture
[3] microsoft/onnxruntime, onnxruntime/core/mlas/lib/platform.cpp: the kernel of 8-bit products for each instruction set
[4] microsoft/onnxruntime, onnxruntime/core/mlas/lib: x86_64/QgemmU8S8KernelAvx2.S, aarch64/QgemmS8S8KernelNeon.S
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from mrl_edge.devices.profiles import Cluster, Cpu, Profile


@dataclass(frozen=True)
class Peak:
    """The most that some cores do: 10^9 multiplications and additions, or bytes read, a second."""

    fp32_gops: float
    int8_gops: float
    bandwidth_gb_s: float  # the memory interface's, whatever the number of cores
    int8_by: str  # the feature of the processor that multiplies 8 bits


# fp32 operations a cycle: a fused multiply-add of each 32-bit lane is two.
_FP32 = {
    "Cortex-A53": 8,  # [1] RK3399: 11.26 GFLOPS at 1.4 GHz
    "Cortex-A55": 8,  # [1] RK3588: 14.59 at 1.8
    "Cortex-A57": 8,  # [2] one unit of 128 bits
    "Cortex-A72": 8,  # [1] BCM2711: 11.96 at 1.5
    "Cortex-A73": 8,  # no source found: estimated from the Cortex-A72, which it followed
    "Cortex-A76": 16,  # [1] BCM2712: 38.37 at 2.4
    "Cortex-A77": 16,  # [2] two units of 128 bits
    "Cortex-A78": 16,  # [2] likewise
    "Cortex-A78AE": 16,  # [2] as the Cortex-A78
    "Neoverse-N1": 16,  # [2] two units of 128 bits
    "Neoverse-N2": 16,  # [2] likewise
    "Neoverse-V1": 16,  # [1] Graviton 3E: 41.55 at 2.6 by NEON, which onnxruntime's products use [3]
    "Haswell": 32,  # [2] two units of 256 bits
    "Broadwell": 32,  # [2] likewise
    "Skylake": 32,  # [2] likewise
    "Ice Lake": 32,  # [2] likewise, without AVX-512
    "Golden Cove": 32,  # [1] Xeon W9-3495X: 92.2 at 2.9
    "Raptor Cove": 32,  # [1] Core i5-1340P: 146.8 at 4.6
    "Gracemont": 16,  # [1] N100: 54.2 at 3.4
    "Zen": 16,  # [2] two units of 128 bits
    "Zen 2": 32,  # [2] two units of 256 bits
    "Zen 3": 32,  # [2] likewise; [1] Ryzen 9 6900HX: 151.8 at 4.75
    "Zen 4": 32,  # [1] Ryzen 7 8845HS: 163.6 at 5.1, with AVX-512 as well
}
# The same where there is AVX-512 and it does more.
_FP32_AVX512 = {
    "Skylake": 64,  # [2] two units of 512 bits in servers
    "Ice Lake": 64,  # [2] likewise
    "Golden Cove": 64,  # [1] Xeon W9-3495X: 158.7 at 2.5
}
# 8-bit operations for each fp32 operation, by the feature whose kernel onnxruntime takes, the first that is there [3].
_INT8 = {
    "amx_int8": 32,  # [1] Xeon W9-3495X: 5,682 GOPS at 2.8, 2,048 a cycle beside 64
    "avx512_vnni": 4,  # [1] Xeon W9-3495X: 711 at 2.8, 256 a cycle; Ryzen 7 8845HS: 648 at 5.1, 128 a cycle
    "avx512bw": 2,  # [4] vpmaddubsw and vpmaddwd: two multiplications for four products of a 32-bit lane
    "avx_vnni": 4,  # [1] Core i5-1340P: 587 at 4.6, 128 a cycle
    "avx2": 2,  # [4] as avx512bw
    "i8mm": 8,  # [1] Graviton 3E: 332 at 2.6, 128 a cycle
    "asimddp": 4,  # [1] BCM2712: 153.5 at 2.4, 64 a cycle; RK3588's Cortex-A55: 58.4 at 1.8, 32 a cycle
    "asimd": 2,  # [4] smull and smlal: two multiplications for 16 products; adding them in 32 bits comes on top
}
_EXCEPTIONS = {("Gracemont", "avx_vnni"): 2}  # [1] N100: 108.5 at 3.4, 32 a cycle


def peak(profile: Profile, threads: int) -> Peak:
    """Return what a board's processor does at most with so many threads, and its memory.

    Raises `UsageError` for a card, and for what the profile does not say or names that are not known here.
    """
    cpu, memory = processor(profile), profile.memory
    if memory is None or memory.bandwidth_gb_s is None:
        raise UsageError(_missing(profile, "memory.bandwidth_gb_s", "how fast its memory is read"))
    by = _int8_by(profile, cpu.features)
    fp32 = int8 = 0.0
    for cluster in _cores(cpu, threads):
        if cluster.max_mhz is None:
            raise UsageError(_missing(profile, "cpu.clusters.max_mhz", f"the clock of its {cluster.core}"))
        rate = cluster.max_mhz / 1000 * _fp32_a_cycle(profile, cluster.core, cpu.features)
        fp32 += rate
        int8 += rate * _EXCEPTIONS.get((cluster.core, by), _INT8[by])
    return Peak(fp32, int8, memory.bandwidth_gb_s, by)


def processor(profile: Profile) -> Cpu:
    """Return a board's processor; raises `UsageError` for a card, which has none."""
    if profile.cpu is None:
        raise UsageError(
            f"{profile.name} is a card: what was measured on processors says nothing of it, and the processor of its "
            "host may be any"
        )
    return profile.cpu


def _cores(cpu: Cpu, threads: int) -> list[Cluster]:
    """Return the cluster of each core that works: two threads of one core share its arithmetic."""
    return [cluster for cluster in cpu.clusters for _ in range(cluster.cores)][:threads]


def _fp32_a_cycle(profile: Profile, core: str, features: Collection[str]) -> int:
    if core not in _FP32:
        raise UsageError(
            f"{profile.name}: what a core of kind {core!r} computes in a cycle is not known: in a copy of its profile "
            f"name its microarchitecture, one of {', '.join(_FP32)}"
        )
    return _FP32_AVX512.get(core, _FP32[core]) if "avx512f" in features else _FP32[core]


def _int8_by(profile: Profile, features: Collection[str]) -> str:
    for feature in _INT8:
        if feature in features:
            return feature
    raise UsageError(_missing(profile, "cpu.features", f"whether it has one of {', '.join(_INT8)}"))


def _missing(profile: Profile, field: str, what: str) -> str:
    return f"{profile.name}: its profile does not say {what}: add {field} to a copy of it, and give the copy's path"
