"""A budget held against measured rows: which limits each misses, and by how much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mrl_edge.bench.budget import COSTS, Budget, Cost, lower, upper
from mrl_edge.bench.candidates import Candidate

from mrl_edge.errors import UsageError
from mrl_edge.metrics import TITLES


@dataclass(frozen=True)
class Excess:
    """How far a configuration misses one limit."""

    figure: str  # a cost, or a metric with a floor
    limit: float
    value: float
    share: float  # of the limit
    text: str


@dataclass(frozen=True)
class Limits:
    """A budget with its shares resolved: what is held against every row."""

    max: dict[str, float]
    min: dict[str, float]
    confidence: float | None
    shares: dict[str, float] = field(default_factory=dict)  # the floors that are shares of the full model's


def resolve(rows: Sequence[Candidate], budget: Budget, full: Candidate | None) -> Limits:
    """Return what a budget holds against each of some rows; raises `UsageError` for figures that they have not."""
    for metric in (*budget.min, *budget.keep):
        if any(metric not in row.quality for row in rows):
            raise UsageError(f"the results hold no {TITLES[metric]} to set a floor on")
    if "energy_mj" in budget.max and all(row.energy_mj is None for row in rows):
        raise UsageError("--max-energy-mj: the machine that was measured cannot say what a query takes of energy")
    shares = {metric: share * full.quality[metric] for metric, share in budget.keep.items()} if full else {}
    floors = {name: max(budget.min.get(name, 0.0), shares.get(name, 0.0)) for name in {**budget.min, **shares}}
    return Limits(budget.max, floors, budget.confidence, shares)


def full_model(rows: Sequence[Candidate], budget: Budget) -> Candidate:
    """Return the row that shares are of: the deepest, at the largest dimension, in fp32, its answers the best.

    Raises `UsageError` where there is no such row.
    """
    dim, depth = max(row.dim for row in rows), max(row.depth for row in rows)
    whole = [row for row in rows if (row.dim, row.depth, row.precision) == (dim, depth, "fp32")]
    if not whole:
        raise UsageError(
            f"a share of the full model was asked for, and the results have no fp32 at dimension {dim}: measure it "
            "with mrl-edge bench --precision fp32,…"
        )
    metric = next(iter(budget.keep))
    return max(whole, key=lambda row: row.quality.get(metric, 0.0))


def excesses(row: Candidate, limits: Limits) -> list[Excess]:
    """Return the limits that a row misses."""
    missed = []
    for cost in COSTS:
        limit = limits.max.get(cost.name)
        if limit is None:
            continue
        value = upper(row, cost, limits.confidence)
        if value == math.inf:
            text = f"{cost.title} is not known{_why_unknown(cost)}, and {cost.option} {limit:g} is a limit on it"
            missed.append(Excess(cost.name, limit, value, math.inf, text))
        elif value > limit:
            bound = "" if value == cost.read(row) else f"{limits.confidence:.1%} bound of the "
            text = (
                f"{bound}{cost.title} {value:.2f} {cost.unit} is {value - limit:.2f} {cost.unit} "
                f"over {cost.option} {limit:g}"
            )
            missed.append(Excess(cost.name, limit, value, (value - limit) / (limit or 1e-9), text))
    for metric, floor in limits.min.items():
        value = lower(row, metric, limits.confidence)
        if value < floor:
            bound = "" if value == row.quality[metric] else f"{limits.confidence:.1%} bound of "
            text = f"{bound}{TITLES[metric]} {value:.4f} is {floor - value:.4f} below the floor of {floor:.4g}"
            missed.append(Excess(metric, floor, value, (floor - value) / floor, text))
    return missed


def _why_unknown(cost: Cost) -> str:
    return " to within an interval" if cost.name == "p50_ms" else ""


def titled(name: str) -> tuple[str, str]:
    """Return a figure's title, and its unit after a space."""
    cost = next((cost for cost in COSTS if cost.name == name), None)
    return (cost.title, f" {cost.unit}") if cost else (TITLES[name], "")
