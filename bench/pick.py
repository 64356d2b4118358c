"""The best configuration within a budget, why it, what is not certain, and what more or less would cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mrl_edge.bench.budget import COSTS, Budget, Cost, Objective, objective_of, order_of
from mrl_edge.bench.candidates import Candidate
from mrl_edge.bench.front import AXES, pareto_front
from mrl_edge.bench.limits import Excess, FullModel, Limits, excesses, full_model, resolve
from mrl_edge.bench.trades import Relaxation, Trade, relaxations, trades, uncertain

from mrl_edge.metrics import TITLES


@dataclass(frozen=True)
class Choice:
    """What `pick` answers; `chosen` is None when nothing fits, and `over` says what `nearest` misses."""

    objective: Objective
    chosen: Candidate | None
    nearest: Candidate | None
    over: list[Excess]
    next_better: Candidate | None
    why: list[str]
    uncertain: list[str]
    trades: list[Trade]
    relaxations: list[Relaxation]
    pareto: list[Candidate]
    full: FullModel | None = None  # the model that shares are of
    corpora: tuple[Candidate, ...] = ()  # the chosen at each of a budget's two corpora, the smaller first


def pick(
    rows: Sequence[Candidate],
    budget: Budget,
    axes: Sequence[str] = AXES,
    full: FullModel | None = None,
    unmeasured: Sequence[Candidate] = (),
) -> Choice:
    """Choose the row with the best objective within the budget; equals are decided by time, memory, disk.

    `full` is the model that shares are of, where it is not among the rows; `unmeasured` are what a tuning left out,
    by the least that they cost and the most that they score: none is chosen, but what a limit keeps out is among them.

    Raises `UsageError` for what the rows have no figure of: a floor, a limit on energy, a full model to keep a share
    of.
    """
    everything = [*rows, *unmeasured]
    objective = objective_of(everything, budget)
    full = (full or full_model(rows, budget)) if budget.keep else None
    limits = resolve(everything, budget, full)
    maybe = [row for row in unmeasured if not excesses(row, limits)]
    front = pareto_front(rows, objective, axes)
    fitting = [row for row in rows if not excesses(row, limits)]
    if not fitting:
        nearest = min(
            (row for row in everything if row not in maybe),
            key=lambda row: (_worst_share(row, limits), not row.measured, order_of(row, objective)),
            default=None,
        )
        over = excesses(nearest, limits) if nearest else []
        eased = relaxations(everything, limits, objective)
        why = [f"Nothing {'that was measured ' if maybe else ''}fits."]
        if nearest:
            why = [f"{why[0]} The nearest is {nearest.name}:", *(f"  {one.text}" for one in over)]
        why += [one.text for one in eased]
        doubts = [*uncertain(rows, None, limits, objective), *_may_be_better(maybe, None, objective)]
        return Choice(objective, None, nearest, over, None, why, doubts, [], eased, front, full)
    chosen = min(fitting, key=lambda row: order_of(row, objective))
    largest = max((row.dim for row in unmeasured), default=0)  # of what is not scored it is the likely best
    told = [*rows, *(row for row in unmeasured if row.scored or row.dim == largest)]
    better = [row for row in told if row not in maybe and objective.value(row) > objective.value(chosen)]
    following = min(
        better,
        key=lambda row: (not row.scored, _worst_share(row, limits), not row.measured, order_of(row, objective)),
        default=None,
    )
    why = _why(rows, fitting, chosen, full, budget, objective)
    if unmeasured:
        why.append(f"{len(unmeasured)} more were not measured; what is said of them are bounds.")
    known = "that was measured " if any(objective.value(row) > objective.value(chosen) for row in maybe) else ""
    why.append(_what_follows(chosen, following, limits, objective, known))
    return Choice(
        objective,
        chosen,
        None,
        [],
        following,
        why,
        [*uncertain(rows, chosen, limits, objective), *_may_be_better(maybe, chosen, objective)],
        trades(told, fitting, chosen, limits, objective),
        [],
        front,
        full,
    )


def _why(
    rows: Sequence[Candidate],
    fitting: Sequence[Candidate],
    chosen: Candidate,
    full: FullModel | None,
    budget: Budget,
    objective: Objective,
) -> list[str]:
    lines = [
        f"{chosen.name}: {objective.title} {objective.value(chosen):.4f}, the best of the {len(fitting)} of "
        f"{len(rows)} configurations that fit the budget."
    ]
    if full is not None:
        kept = ", ".join(f"{_share(chosen.quality[m], full.quality[m])} of {TITLES[m]}" for m in budget.keep)
        lines.append(f"Of the full model, {full.name}, it keeps {kept}.")
    if chosen.index:
        lines.append(
            f"A query takes {chosen.encode_p50_ms:.2f} ms to encode and {chosen.search_p50_ms:.2f} ms to search; "
            "the dimension pays in search, index and vectors, the encoder's own time depends on precision and depth."
        )
    if chosen.predicted and chosen.p50_ci95_ms is not None:
        low, high = chosen.p50_ci95_ms
        lines.append(
            f"That is predicted: a query's p50 of {low:.4g} to {high:.4g} ms. Measure it before you rely on it."
        )
    return lines


def _worst_share(row: Candidate, limits: Limits) -> float:
    return max(excess.share for excess in excesses(row, limits))


def _share(value: float, whole: float) -> str:
    """Say a share in percent; of nothing all is kept."""
    return f"{value / whole:.1%}" if whole else "all"


def _may_be_better(maybe: Sequence[Candidate], chosen: Candidate | None, objective: Objective) -> list[str]:
    """Name what was not measured and that by its bounds fits: a tuning with another budget left it out."""
    least = objective.value(chosen) if chosen else -math.inf
    better = [row for row in maybe if objective.value(row) > least]
    if not better:
        return []
    best = max(better, key=objective.value)
    more = f", as may {len(better) - 1} more" if len(better) > 1 else ""
    return [f"{best.name}, may be better within this budget{more}: run mrl-edge tune with it."]


def _what_follows(
    chosen: Candidate, following: Candidate | None, limits: Limits, objective: Objective, known: str
) -> str:
    if following is None:
        return f"No configuration {known}has a better {objective.title}."
    if not following.measured:
        gain = objective.value(following) - objective.value(chosen)
        over = "; ".join(excess.text for excess in excesses(following, limits))
        gains = f"gains {gain:.4f}" if following.scored else f"may gain up to {gain:.4f}"
        return f"The next better one, {following.name}, {gains}; it does not fit: {over}."
    gain = objective.value(following) - objective.value(chosen)
    changes = ", ".join(_change(cost, chosen, following) for cost in COSTS if cost.name in AXES)
    over = "; ".join(excess.text for excess in excesses(following, limits))
    return f"The next better one, {following.name}, gains {gain:.4f} for {changes}; it does not fit: {over}."


def _change(cost: Cost, before: Candidate, after: Candidate) -> str:
    difference = cost.read(after) - cost.read(before)
    return f"{difference:+.2f} {cost.unit} {cost.title}"
