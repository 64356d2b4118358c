"""The Pareto front of measured rows, on whatever axes."""

from __future__ import annotations

from collections.abc import Sequence

from mrl_edge.bench.budget import COSTS, Objective, figure
from mrl_edge.bench.candidates import OBJECTIVES, Candidate

from mrl_edge.errors import UsageError

AXES = ("p50_ms", "peak_rss_mb", "disk_mb")  # beside the objective
_NAMES = (*(cost.name for cost in COSTS), *OBJECTIVES)


def pareto_front(rows: Sequence[Candidate], objective: Objective, axes: Sequence[str] = AXES) -> list[Candidate]:
    """Return the rows that no other is at least as good as in everything and better in something, best last.

    The axes are the objective and the named costs, the less the better, and metrics, the more the better. Raises
    `UsageError` for an axis that is no figure.
    """
    for name in axes:
        if name not in _NAMES:
            raise UsageError(f"--pareto {name}: no such figure; there is {', '.join(_NAMES)}")
    for name in axes:
        if name in OBJECTIVES and any(name not in row.quality for row in rows):
            raise UsageError(f"--pareto {name}: not every row of the results has it")
    keys = [_key(row, objective, axes) for row in rows]
    front = [row for row, ours in zip(rows, keys, strict=True) if not any(_dominates(other, ours) for other in keys)]
    return sorted(front, key=lambda row: (objective.value(row), -row.p50_ms))


def _key(row: Candidate, objective: Objective, axes: Sequence[str]) -> tuple[float, ...]:
    """Return what should be small."""
    return (-objective.value(row), *(-figure(row, name) if name in OBJECTIVES else figure(row, name) for name in axes))


def _dominates(ours: tuple[float, ...], theirs: tuple[float, ...]) -> bool:
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))
