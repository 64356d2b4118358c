"""A budget held against measured rows: which limits each misses, and by how much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mrl_edge.bench.budget import COSTS, Budget, Cost, lower, upper
from mrl_edge.bench.candidates import OBJECTIVES, Candidate, largest
from mrl_edge.bench.results import Results

from mrl_edge.errors import UsageError
from mrl_edge.metrics import TITLES

NO_ENERGY = "--max-energy-mj: the machine that was measured cannot say what a query takes of energy"


@dataclass(frozen=True)
class Excess:
    """How far a configuration misses one limit."""

    figure: str  # a cost, or a metric with a floor
    limit: float
    value: float
    share: float  # of the limit
    text: str


@dataclass(frozen=True)
class FullModel:
    """What shares are of: fp32, all layers, the largest dimension, its answers the best; no cost of it is known."""

    depth: int
    dim: int
    quality: dict[str, float]

    @property
    def name(self) -> str:
        """Say it in words."""
        return f"fp32 at dimension {self.dim}"


@dataclass(frozen=True)
class Limits:
    """A budget with its shares resolved: what is held against every row."""

    max: dict[str, float]
    min: dict[str, float]
    confidence: float | None
    shares: dict[str, float] = field(default_factory=dict)  # floors that are shares of the full model's metrics
    full: dict[str, float] = field(default_factory=dict)  # the full model's metrics that they are shares of

    def as_share(self, metric: str, floor: float) -> str:
        """Say what share of the full model's a floor is, where shares were asked for: rounded down, so that it fits."""
        if not self.full.get(metric):
            return ""
        return f" (a share of {math.floor(1e4 * floor / self.full[metric]) / 1e4:g})"

    @property
    def floors(self) -> dict[str, float]:
        """The floor of each metric, whichever is higher."""
        names = {**self.min, **self.shares}
        return {name: max(self.min.get(name, 0.0), self.shares.get(name, 0.0)) for name in names}


def resolve(rows: Sequence[Candidate], budget: Budget, full: FullModel | None) -> Limits:
    """Return what a budget holds against each of some rows; raises `UsageError` for figures that they have not."""
    for metric in (*budget.min, *budget.keep):
        if any(metric not in row.quality for row in rows):
            there = [name for name in OBJECTIVES if all(name in row.quality for row in rows)]
            known = ", ".join(there) or "none"
            raise UsageError(f"the results hold no {TITLES[metric]} to set a floor on, {metric}: they have {known}")
    if "energy_mj" in budget.max and all(row.energy_mj is None for row in rows):
        raise UsageError(NO_ENERGY)
    shares = {metric: share * full.quality[metric] for metric, share in budget.keep.items()} if full else {}
    of = {metric: full.quality[metric] for metric in shares} if full else {}
    return Limits(budget.max, dict(budget.min), budget.confidence, shares, of)


def full_models(
    rows: Sequence[Candidate], results: Sequence[Results] = (), documents: int | None = None
) -> list[FullModel]:
    """Return what a share can be of: what a tuning says of the full model, and each row that is it.

    With a number of `documents` only tunings among so many count: the full model's answers differ among others. Of
    files that are taken together one may have looked at fewer depths or dimensions: the largest of its own is not full.
    """
    told = [
        one.narrowing
        for one in results
        if one.narrowing is not None and documents in (None, one.settings.get("documents"))
    ]
    found = [
        *(
            FullModel(said.full_depth, said.full_dim, said.full_quality)
            for said in told
            if said.full_quality and said.full_depth is not None and said.full_dim is not None
        ),
        *(FullModel(row.depth, row.dim, row.quality) for row in rows if row.full),
    ]
    return [one for one in found if not results or (one.depth, one.dim) == largest(results)]


def full_model(rows: Sequence[Candidate], budget: Budget, results: Sequence[Results] = ()) -> FullModel:
    """Return the model that a budget's shares are of; `UsageError` where neither the rows nor the results hold it."""
    return best_full(full_models(rows, results, max(budget.corpora, default=None)), budget)


def best_full(models: Sequence[FullModel], budget: Budget) -> FullModel:
    """Return the model with the best of the first metric that is kept; `UsageError` where none has them all."""
    whole = [one for one in models if all(metric in one.quality for metric in budget.keep)]
    if models and not whole:
        there = ", ".join(dict.fromkeys(name for one in models for name in one.quality))
        raise UsageError(f"a share of the full model's {', '.join(budget.keep)} was asked for, and it has {there}")
    if not whole:
        raise UsageError(
            "a share of the full model was asked for, and the results hold no fp32 at all layers and the largest "
            "dimension that ran: measure it with mrl-edge bench --precision fp32,…, on another machine if need be"
        )
    metric = next(iter(budget.keep))
    return max(whole, key=lambda one: one.quality[metric])


def excesses(row: Candidate, limits: Limits) -> list[Excess]:
    """Return the limits that a row misses.

    A floor that is a share is held against the metric itself, whatever the confidence: the full model answered the
    same queries, and the noise of the two is largely one.
    """
    over = [_over(row, cost, limit, limits) for cost in COSTS if (limit := limits.max.get(cost.name)) is not None]
    below: dict[str, Excess] = {}
    for metric, floor in limits.min.items():
        value = lower(row, metric, limits.confidence)
        if value < floor:
            bound = _at_most(row) or _bounded(row, value, row.quality[metric], limits)
            below[metric] = _below(metric, value, floor, bound)
    for metric, floor in limits.shares.items():
        value = row.quality[metric]
        if value < floor and metric in below:  # both are missed: what meets the one must meet the other
            held = min(value, below[metric].value)
            bound = _at_most(row) or _bounded(row, held, value, limits)
            below[metric] = _below(metric, held, max(floor, below[metric].limit), bound)
        elif value < floor:
            below[metric] = _below(metric, value, floor, _at_most(row))
    return [one for one in (*over, *below.values()) if one is not None]


def _over(row: Candidate, cost: Cost, limit: float, limits: Limits) -> Excess | None:
    value = upper(row, cost, limits.confidence)
    if value == math.inf:
        text = f"{cost.title} is not known{_why_unknown(cost)}, and {cost.option} {limit:g} is a limit on it"
        return Excess(cost.name, limit, value, math.inf, text)
    if value <= limit:
        return None
    bound = _bounded(row, value, cost.read(row), limits) if row.measured else "the least "
    over = f"{value - limit:.2f} {cost.unit} over {cost.option} {limit:g}"
    text = f"{bound}{cost.title} {value:.2f} {cost.unit} is {over}"
    return Excess(cost.name, limit, value, (value - limit) / (limit or 1e-9), text)


def _below(metric: str, value: float, floor: float, bound: str) -> Excess:
    text = f"{bound}{TITLES[metric]} {value:.4f} is {floor - value:.4f} below the floor of {floor:.4g}"
    return Excess(metric, floor, value, (floor - value) / floor, text)


def _bounded(row: Candidate, bound: float, value: float, limits: Limits) -> str:
    """Say which bound is meant where it is not the figure itself."""
    if bound == value or limits.confidence is None:
        return ""
    return "the far end of the predicted " if row.predicted else f"{limits.confidence:.1%} bound of the "


def _at_most(row: Candidate) -> str:
    return "" if row.scored else "the most "


def _why_unknown(cost: Cost) -> str:
    return " to within an interval" if cost.name == "p50_ms" else ""


def titled(name: str) -> tuple[str, str]:
    """Return a figure's title, and its unit after a space."""
    cost = next((cost for cost in COSTS if cost.name == name), None)
    return (cost.title, f" {cost.unit}") if cost else (TITLES[name], "")
