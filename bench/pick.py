"""The best configuration within a budget, why it, and what the next better one would cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mrl_edge.bench.candidates import Candidate, pareto_front

from mrl_edge.errors import UsageError
from mrl_edge.metrics import TITLES


@dataclass(frozen=True)
class Cost:
    """A figure that a budget can cap."""

    option: str
    title: str
    unit: str
    read: Callable[[Candidate], float]


COSTS = (
    Cost("--max-p50-ms", "p50 of a query", "ms", lambda row: row.p50_ms),
    Cost("--max-p99-ms", "p99 of a query", "ms", lambda row: row.p99_ms),
    Cost("--max-cold-ms", "cold start", "ms", lambda row: row.cold_start_ms),
    Cost("--max-rss-mb", "peak RSS", "MB", lambda row: row.peak_rss_mb),
    Cost("--max-disk-mb", "disk", "MB", lambda row: row.disk_mb),
)
_SHOWN = ("--max-p50-ms", "--max-rss-mb", "--max-disk-mb")


@dataclass(frozen=True)
class Budget:
    """Upper limits by option of `COSTS`, and lower limits by quality metric; what is absent is free."""

    limits: Mapping[str, float]
    floors: Mapping[str, float]


@dataclass(frozen=True)
class Excess:
    """How far a configuration misses one limit."""

    option: str
    limit: float
    value: float
    share: float  # of the limit
    text: str


@dataclass(frozen=True)
class Choice:
    """What `pick` answers; `chosen` is None when nothing fits, and `over` says what `nearest` misses."""

    objective: str
    chosen: Candidate | None
    nearest: Candidate | None
    over: list[Excess]
    next_better: Candidate | None
    why: list[str]
    pareto: list[Candidate]


def pick(rows: Sequence[Candidate], budget: Budget, objective: str) -> Choice:
    """Choose the row with the best objective within the budget; equals are decided by time, memory, disk.

    Raises `UsageError` for a floor on a metric that the results do not hold.
    """
    for metric in budget.floors:
        if any(metric not in row.quality for row in rows):
            raise UsageError(f"the results hold no {TITLES[metric]} to set a floor on")
    front = pareto_front(rows, objective)
    fitting = [row for row in rows if not excesses(row, budget)]
    if not fitting:
        nearest = min(rows, key=lambda row: max(excess.share for excess in excesses(row, budget)))
        over = excesses(nearest, budget)
        return Choice(objective, None, nearest, over, None, _why_not(rows, nearest, over, budget), front)
    chosen = min(fitting, key=lambda row: (-row.quality[objective], row.p50_ms, row.peak_rss_mb, row.disk_mb))
    better = [row for row in rows if row.quality[objective] > chosen.quality[objective]]
    following = min(better, key=lambda row: max(e.share for e in excesses(row, budget)), default=None)
    why = _why(rows, fitting, chosen, following, budget, objective)
    return Choice(objective, chosen, None, [], following, why, front)


def excesses(row: Candidate, budget: Budget) -> list[Excess]:
    """Return the limits that a row misses."""
    missed = []
    for cost in COSTS:
        limit = budget.limits.get(cost.option)
        if limit is not None and cost.read(row) > limit:
            over = cost.read(row) - limit
            text = (
                f"{cost.title} {cost.read(row):.2f} {cost.unit} is {over:.2f} {cost.unit} over {cost.option} {limit:g}"
            )
            missed.append(Excess(cost.option, limit, cost.read(row), over / (limit or 1e-9), text))
    for metric, floor in budget.floors.items():
        value = row.quality[metric]
        if value < floor:
            text = f"{TITLES[metric]} {value:.4f} is {floor - value:.4f} below the floor of {floor:g}"
            missed.append(Excess(f"min {metric}", floor, value, (floor - value) / floor, text))
    return missed


def _why(
    rows: Sequence[Candidate],
    fitting: Sequence[Candidate],
    chosen: Candidate,
    following: Candidate | None,
    budget: Budget,
    objective: str,
) -> list[str]:
    title = TITLES[objective]
    lines = [
        f"{chosen.name}: {title} {chosen.quality[objective]:.4f}, the best of the {len(fitting)} of {len(rows)} "
        "configurations that fit the budget."
    ]
    if chosen.index:
        lines.append(
            f"A query takes {chosen.encode_p50_ms:.2f} ms to encode and {chosen.search_p50_ms:.2f} ms to search; "
            "the dimension pays in search, index and vectors, the encoder's own time depends on precision and depth."
        )
    if not chosen.stable:
        lines.append("Its latency was not measured to within 2%: run mrl-edge bench again on a quiet machine.")
    if following is None:
        lines.append(f"No measured configuration has a better {title}.")
    else:
        gain = following.quality[objective] - chosen.quality[objective]
        changes = ", ".join(_change(cost, chosen, following) for cost in COSTS if cost.option in _SHOWN)
        over = "; ".join(excess.text for excess in excesses(following, budget))
        lines.append(f"The next better one, {following.name}, gains {gain:.4f} for {changes}; it does not fit: {over}.")
    return lines


def _why_not(rows: Sequence[Candidate], nearest: Candidate, over: Sequence[Excess], budget: Budget) -> list[str]:
    lines = [f"Nothing fits. The nearest is {nearest.name}:"]
    lines += [f"  {excess.text}" for excess in over]
    for cost in COSTS:
        limit = budget.limits.get(cost.option)
        least = min(cost.read(row) for row in rows)
        if limit is not None and least > limit:
            lines.append(f"No configuration meets {cost.option} {limit:g}: the least {cost.title} is {least:.2f}.")
    for metric, floor in budget.floors.items():
        best = max(row.quality[metric] for row in rows)
        if best < floor:
            lines.append(f"No configuration reaches {TITLES[metric]} {floor:g}: the best has {best:.4f}.")
    return lines


def _change(cost: Cost, before: Candidate, after: Candidate) -> str:
    difference = cost.read(after) - cost.read(before)
    return f"{difference:+.2f} {cost.unit} {cost.title}"
