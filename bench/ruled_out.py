"""What `mrl-edge tune` found where it measured nothing: every configuration misses a limit, by bounds."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from mrl_edge.bench.budget import Budget
from mrl_edge.bench.candidates import none_measured
from mrl_edge.bench.results import HeldLimits, Results


def said(results: Sequence[Results]) -> list[str]:
    """Say how many configurations were left out and why; nothing of files in which something was measured."""
    if not all(none_measured(one) for one in results):
        return []
    counted: dict[str, int] = {}
    for narrowing in (one.narrowing for one in results if one.narrowing is not None):
        for why, count in (*narrowing.left_out.items(), *narrowing.failed.items()):
            counted[why] = counted.get(why, 0) + count
    head = f"mrl-edge tune measured none of {sum(counted.values())} configurations: by bounds none fits its budget."
    return [head, *(f"  {count} {why}" for why, count in counted.items())]


def own_limits(results: Sequence[Results]) -> HeldLimits | None:
    """Return what a tuning that measured nothing held; None of others, and of files of earlier versions."""
    if not all(none_measured(one) for one in results):
        return None
    return next((one.narrowing.held for one in reversed(results) if one.narrowing and one.narrowing.held), None)


def within(budget: Budget, held: HeldLimits) -> Budget:
    """Return a budget without limits with those of a tuning: what ruled everything out is what there is to say.

    Its objective too, if no other is asked for. Its corpus is what its bounds are of.
    """
    confidence = budget.confidence if budget.confidence is not None else held.confidence
    budget = msgspec.structs.replace(budget, max=held.max, min=held.min, keep=held.keep, confidence=confidence)
    if budget.objective is not None or budget.utility:
        return budget
    return msgspec.structs.replace(budget, objective=held.objective, utility=held.utility)
