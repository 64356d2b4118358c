"""The precisions: each turns the fp32 trunk into the trunk that is shipped, at least as near to it as its floor.

A new precision is one file and one entry in `PRECISIONS`. Pooling and the heads stay fp32 in every precision:
they cost a thousandth of the trunk, and what they compute is what the user sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrl_edge.export.precisions import fp16, int4, int8, int8_static
from mrl_edge.export.precisions.conversion import Candidate
from mrl_edge.export.precisions.judge import Agreement
from mrl_edge.export.precisions.targets import flags_of

from mrl_edge.cpu import ANY, TARGETS
from mrl_edge.errors import UsageError

CONVOLUTIONAL = ("mobilenet_v1", "mobilenet_v2", "regnet", "resnet")  # families whose weights are convolutions
_CPUS = ("arm64", "avx2", "avx512", "avx512-vnni")


@dataclass(frozen=True)
class Precision:
    """How a trunk is converted, how near to fp32 it must stay, and what its nodes fall back to when it does not."""

    candidates: tuple[Candidate, ...]  # none: the fp32 trunk itself
    floor: Agreement  # mean and least cosine of full-dimension embeddings with fp32's
    fall_back: tuple[str, ...]  # one step after the other; `fp32` is last
    targets: tuple[str, ...] = ()  # that it is made for apart; none: the same bytes suit every processor
    static: bool = False
    convolutions: bool = False  # converts the weights of convolutional nets too


PRECISIONS = {
    "fp32": Precision((), Agreement(1.0, 1.0), (), convolutions=True),
    "fp16": Precision(fp16.CANDIDATES, Agreement(0.9999, 0.999), ("fp32",), convolutions=True),
    "int8": Precision(int8.CANDIDATES, Agreement(0.99, 0.95), ("fp32",), _CPUS),
    "int8-static": Precision(
        int8_static.CANDIDATES, Agreement(0.98, 0.95), ("fp32",), (*_CPUS, "cuda"), static=True, convolutions=True
    ),
    "int4": Precision(int4.CANDIDATES, Agreement(0.96, 0.90), ("int8", "fp32")),
}


def check_precisions(names: Sequence[str]) -> None:
    """Raise `UsageError` for a precision that does not exist, or one that is named twice."""
    for name in names:
        if name not in PRECISIONS:
            raise UsageError(f"--precision {name}: unknown; there is {', '.join(PRECISIONS)}")
    if not names or len(set(names)) < len(names):
        raise UsageError("--precision: name each precision once, as in fp32,int8")


def check_family_precisions(family: str, names: Sequence[str]) -> None:
    """Raise `UsageError` for a precision that has nothing to convert in a convolutional net."""
    for name in names:
        if family in CONVOLUTIONAL and not PRECISIONS[name].convolutions:
            there = ", ".join(other for other, precision in PRECISIONS.items() if precision.convolutions)
            raise UsageError(f"--precision {name} is of products, and a {family} is of convolutions: there is {there}")


def default_precisions(family: str) -> tuple[str, ...]:
    """Return what is exported of a family when nothing is said."""
    return ("fp32", "int8-static") if family in CONVOLUTIONAL else ("fp32", "int8")


def targets_of(name: str, wanted: Sequence[str]) -> list[str]:
    """Return the targets to convert a precision for; those with equal flags share one, as in `arm64,avx512-vnni`.

    A target that the precision does nothing for (int8 on `cuda`) is left out; `UsageError` when none is left.
    """
    for target in wanted:
        if target not in TARGETS:
            raise UsageError(f"--target {target}: unknown; there is {', '.join(TARGETS)}")
    precision = PRECISIONS[name]
    if not precision.targets:
        return [ANY]
    there = sorted(set(wanted) & set(precision.targets))
    if not there:
        raise UsageError(f"--precision {name} is not for --target {','.join(wanted)}: try fp16")
    groups: dict[object, list[str]] = {}
    for target in there:
        groups.setdefault(flags_of(target, precision.static), []).append(target)
    return [",".join(group) for group in groups.values()]
