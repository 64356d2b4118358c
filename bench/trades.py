"""What a choice leaves open: limits that its intervals straddle, what more would buy, what less would cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mrl_edge.bench.budget import COSTS, Cost, Objective, figure, interval, order_of
from mrl_edge.bench.candidates import OBJECTIVES, Candidate
from mrl_edge.bench.front import AXES
from mrl_edge.bench.limits import Excess, Limits, excesses, titled


@dataclass(frozen=True)
class Trade:
    """What another limit would buy, or another configuration save: `amount` in the cost's unit, `gain` in quality."""

    figure: str
    amount: float
    gain: float
    row: Candidate
    text: str


@dataclass(frozen=True)
class Relaxation:
    """The least that one limit alone would have to give for something to fit; `to` is None where it alone cannot."""

    figure: str
    limit: float
    to: float | None
    row: Candidate | None
    text: str


def trades(
    rows: Sequence[Candidate],
    fitting: Sequence[Candidate],
    chosen: Candidate,
    limits: Limits,
    objective: Objective,
) -> list[Trade]:
    """Return for each cost the least that buys something, and the saving that costs least."""
    found = []
    for cost in COSTS:
        limit = limits.max.get(cost.name)
        buys = [
            (excess.value, row)
            for excess, row in _missing_alone(rows, cost.name, limits)
            if objective.value(row) > objective.value(chosen) and excess.value != math.inf
        ]
        if limit is not None and buys:
            value, row = min(buys, key=lambda one: (one[0], order_of(one[1], objective)))
            amount, gain = value - limit, objective.value(row) - objective.value(chosen)
            more = _that_fits(cost.name, amount)
            least, most = ("", "") if row.measured else ("at least ", " at most")
            text = f"{least}{more:.5g} {cost.unit} more {cost.title} buys {objective.points(gain)}{most}: {row.name}"
            found.append(Trade(cost.name, amount, gain, row, text))
        here = cost.read(chosen)
        less = [row for row in fitting if _saves(row, chosen, cost)]
        if less and (limit is not None or cost.name in AXES):
            row = min(less, key=lambda one: (-objective.value(one), cost.read(one)))
            amount, gain = cost.read(row) - here, objective.value(row) - objective.value(chosen)
            costs = f"costs {objective.points(-gain)}" if gain else f"costs no {objective.title}"
            text = f"{-amount:.3g} {cost.unit} less {cost.title} {costs}: {row.name}"
            found.append(Trade(cost.name, amount, gain, row, text))
    return [*found, *_lower_floors(rows, chosen, limits, objective)]


def _lower_floors(rows: Sequence[Candidate], chosen: Candidate, limits: Limits, objective: Objective) -> list[Trade]:
    """Return for each floor the least that giving way buys."""
    found = []
    for name, floor in limits.floors.items():
        buys = [
            (excess.value, row)
            for excess, row in _missing_alone(rows, name, limits)
            if objective.value(row) > objective.value(chosen)
        ]
        if buys:
            value, row = min(buys, key=lambda one: (-one[0], order_of(one[1], objective)))
            amount, gain = value - floor, objective.value(row) - objective.value(chosen)
            least = _that_fits(name, value)
            lower = f"a floor of {least:.5g}{limits.as_share(name, least)} on {titled(name)[0]}"
            text = f"{lower} buys {objective.points(gain)}{'' if row.measured else ' at most'}: {row.name}"
            found.append(Trade(name, amount, gain, row, text))
    return found


def relaxations(rows: Sequence[Candidate], limits: Limits, objective: Objective) -> list[Relaxation]:
    """Return for each limit the least that it alone would have to give, or that it alone cannot help."""
    return [
        _relaxation(rows, name, limit, limits, objective) for name, limit in {**limits.max, **limits.floors}.items()
    ]


def _relaxation(rows: Sequence[Candidate], name: str, limit: float, limits: Limits, objective: Objective) -> Relaxation:
    title, unit = titled(name)
    alone = [one for one in _missing_alone(rows, name, limits) if one[0].value != math.inf]
    if alone:
        excess, row = min(alone, key=lambda one: (one[0].share, not one[1].measured, order_of(one[1], objective)))
        to = _that_fits(name, excess.value)
        bound, would = ("", "would") if row.measured else (_bound_of(name), "may")
        share = limits.as_share(name, to)
        text = f"With {title} {bound}{to:.5g}{unit}{share} instead of {limit:.4g} it {would} be {row.name}."
        return Relaxation(name, limit, to, row, text)
    missed = [(one, row) for row in rows for one in excesses(row, limits) if one.figure == name]
    if len(missed) < len(rows):
        text = f"{title} {limit:.4g}{unit} is met by some, which miss other limits: it alone cannot help."
    elif known := [(one.value, row) for one, row in missed if one.value != math.inf]:
        least, row = (max if name in limits.floors else min)(known, key=lambda one: one[0])
        bound = "" if row.measured else _bound_of(name)
        text = f"No configuration meets {title} {limit:.4g}{unit}, whatever the rest: the best has {bound}{least:.4g}."
    else:
        text = f"{title} is known of no configuration."
    return Relaxation(name, limit, None, None, text)


def _bound_of(name: str) -> str:
    return "at most " if name in OBJECTIVES else "at least "


def _that_fits(name: str, value: float) -> float:
    """Return a limit of five figures that a value meets: a cost's above it, a floor below it."""
    unit = 10.0 ** (math.floor(math.log10(abs(value) or 1.0)) - 4)
    steps = value / unit
    return round((math.floor(steps) if name in OBJECTIVES else math.ceil(steps)) * unit, 12)


def uncertain(rows: Sequence[Candidate], chosen: Candidate | None, limits: Limits, objective: Objective) -> list[str]:
    """Say which limits the intervals of the choice straddle, and which better row only the uncertainty decides of."""
    said = []
    if chosen is not None:
        if not chosen.stable:
            said.append("Its latency was not measured to within 2%: run mrl-edge bench again on a quiet machine.")
        said += [f"It may not fit: its {text}." for text in straddled(chosen, limits)]
    least = objective.value(chosen) if chosen is not None else float("-inf")
    close = [
        row
        for row in rows
        if objective.value(row) > least
        and (missed := excesses(row, limits))
        and all(_within(row, excess) for excess in missed)
    ]
    if close:
        best = max(close, key=objective.value)
        texts = "; ".join(straddled(best, limits) or [excess.text for excess in excesses(best, limits)])
        more = f", as may {len(close) - 1} more" if len(close) > 1 else ""
        said.append(f"{best.name} may fit after all{more}: its {texts}.")
    return said


def straddled(row: Candidate, limits: Limits) -> list[str]:
    """Name the limits that lie inside a row's intervals."""
    said = []
    for name, limit in {**limits.max, **limits.min}.items():
        found = interval(row, name)
        if found is not None and found[0] <= limit <= found[1]:
            title, unit = titled(name)
            kind = "predicted" if row.predicted and (name == "p50_ms" or name in row.bounds) else "95%"
            said.append(
                f"{title} {figure(row, name):.4g}{unit} has a {kind} interval of {found[0]:.4g} to "
                f"{found[1]:.4g}{unit}, which straddles {limit:.4g}"
            )
    return said


def _saves(row: Candidate, chosen: Candidate, cost: Cost) -> bool:
    """Whether a row costs less, by more than its measurement leaves open, or by a hundredth where that is not known."""
    ours, theirs = interval(row, cost.name), interval(chosen, cost.name)
    if ours is not None and theirs is not None:
        return ours[1] < theirs[0]
    return cost.read(row) < 0.99 * cost.read(chosen)


def _within(row: Candidate, excess: Excess) -> bool:
    found = interval(row, excess.figure)
    return found is not None and found[0] <= excess.limit <= found[1]


def _missing_alone(rows: Sequence[Candidate], name: str, limits: Limits) -> list[tuple[Excess, Candidate]]:
    """Return the rows that miss this one limit and no other, with how they do."""
    missed = [(excesses(row, limits), row) for row in rows]
    return [(over[0], row) for over, row in missed if [one.figure for one in over] == [name]]
