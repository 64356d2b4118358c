"""Why a precision is no faster than fp32 on a processor: what its instructions lack, of those that were measured.

The instructions are those of docs/precisions.md; onnxruntime's MLAS chooses its kernels by them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from mrl_edge.bench.configuration import configuration_of
from mrl_edge.bench.figures import overlap
from mrl_edge.bench.results import Measurement
from mrl_edge.devices.local import Device

from mrl_edge.cpu import target_of
from mrl_edge.providers import ON_GPU


@dataclass(frozen=True)
class Slower:
    """A precision whose encoding takes longer than fp32's, beyond both intervals, at a number of threads."""

    precision: str
    threads: int
    ratio: float  # of the p50s, the median over its slower configurations
    slower: int
    measured: int
    why: str

    def __str__(self) -> str:
        """Say it in one line."""
        threads = f" with {self.threads} threads" if self.threads > 1 else ""
        share = f"{self.ratio:.2f} × the time, {self.slower} of {self.measured} configurations"
        return f"{self.precision} is slower than fp32 on this CPU{threads} ({share}): {self.why}"


def slower_than_fp32(rows: Sequence[Measurement], device: Device) -> list[Slower]:
    """Return the precisions that were slower in most of the configurations that fp32 was measured in too.

    Only medians with intervals count. One that is not stable has a wide interval: where that lies above fp32's all the
    same, it is slower.
    """
    by_configuration = {configuration_of(row): row for row in rows if _counts(row)}
    compared: dict[tuple[str, int], list[float | None]] = defaultdict(list)  # the ratio where it is slower
    for key, row in by_configuration.items():
        fp32 = by_configuration.get(replace(key, precision="fp32"))
        if key.precision == "fp32" or not (row.encode and fp32 and fp32.encode):
            continue
        ratio, overlaps = row.encode.p50_ms / fp32.encode.p50_ms, overlap(row.encode, fp32.encode)
        if overlaps is not None:
            compared[key.precision, key.threads].append(ratio if ratio > 1 and not overlaps else None)
    found = []
    for (precision, threads), ratios in compared.items():
        slower = [ratio for ratio in ratios if ratio is not None]
        if len(slower) > len(ratios) / 2:
            why = why_slower(precision, device)
            found.append(Slower(precision, threads, median(slower), len(slower), len(ratios), why))
    return found


def _counts(row: Measurement) -> bool:
    """Whether it is a median of the processor's: what its instructions lack says nothing of a GPU."""
    return row.encode is not None and row.provider not in ON_GPU


def why_slower(precision: str, device: Device) -> str:
    """Return what this processor lacks for a precision, or what else costs time when it lacks nothing."""
    flags, target = frozenset(device.features), target_of(device.arch, frozenset(device.features))
    if precision == "fp16":
        if flags & {"asimdhp", "avx512_fp16"}:
            return (
                "it has fp16 arithmetic, but onnxruntime uses it for few operators and converts to fp32 for the others"
            )
        return "it has no arithmetic on 16-bit floats: onnxruntime converts to fp32 and back, use fp16 for disk alone"
    reasons = {
        "avx2": "it has no VNNI: 8-bit products are widened to 16 bits before they are summed",
        "avx512": "it has no VNNI: three instructions sum the 8-bit products that one would",
        "any": "it has neither AVX2 nor NEON: 8-bit products are computed one by one",
    }
    if target == "arm64":
        lacking = not flags & {"asimddp", "i8mm"}
        reason = "it has no 8-bit dot product (asimddp): products are widened to 16 bits before they are summed"
        reasons = {"arm64": reason} if lacking else {}
    reason = reasons.get(target, "")
    if precision == "int4":
        unpacking = "4-bit weights are unpacked at every call"
        return f"{reason}; and {unpacking}" if reason else f"it has the 8-bit instructions, but {unpacking}"
    if reason:
        return f"{reason}; quantising the activations comes on top"
    return "it has the 8-bit instructions: quantising the activations costs more here than 8-bit products save"
