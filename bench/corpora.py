"""A budget's corpus, now and later: limits are held at the larger number of documents, and the other is told beside it.

No cost falls and no retrieval metric rises with the number of documents, so that what fits at the larger fits at both,
but for the noise of what was measured; where that shows, it is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mrl_edge.bench.budget import COSTS, Budget, Objective
from mrl_edge.bench.candidates import Candidate
from mrl_edge.bench.forecast import FAR, Sized
from mrl_edge.bench.front import AXES
from mrl_edge.bench.limits import Limits, excesses
from mrl_edge.bench.pick import Choice

from mrl_edge.metrics import TITLES


def at_each(choice: Choice, budget: Budget, other: Sequence[Candidate]) -> Choice:
    """Return a choice with what the chosen is at both of a budget's corpora; `other` are rows at the smaller one."""
    chosen = choice.chosen
    if chosen is None or len(budget.corpora) < 2:
        return choice
    small, large = budget.corpora
    there = next((row for row in other if row.key == chosen.key), None)
    lines = [_line(row, size, budget, choice.objective) for row, size in ((there, small), (chosen, large))]
    missed = excesses(there, Limits(budget.max, budget.min, budget.confidence)) if there else []
    doubts = [f"With {small:,} documents it misses a limit, by the noise of a size: its {one.text}." for one in missed]
    return replace(
        choice,
        why=[*choice.why, *lines],
        uncertain=[*choice.uncertain, *doubts],
        corpora=tuple(row for row in (there, chosen) if row is not None),
    )


def when(size: int, budget: Budget) -> str:
    """Say which of a budget's corpora has so many documents."""
    return "now" if size == budget.corpus_now else "later"


def cautions(sized: Sized, items: int) -> list[str]:
    """Say what to know of rows at a size before they are relied on."""
    said = []
    if items > FAR * sized.largest:
        said.append(f"{items:,} is more than {FAR} times the {sized.largest:,} documents that were measured")
    if sized.left_out:
        said.append(f"left out: {sized.left_out} configurations that were measured at one size alone")
    if sized.retuned:
        said.append(
            f"{sized.retuned} configurations name no parameters of their index, which was tuned to others at each "
            "size: mrl-edge ship takes those that mrl-edge index chose over all documents"
        )
    return said


def _line(row: Candidate | None, size: int, budget: Budget, objective: Objective) -> str:
    head = f"{when(size, budget).capitalize()}, with {size:,} documents"
    if row is None:
        return f"{head}, its figures are not known: it was measured at one size alone."
    shown = [cost for cost in COSTS if cost.name in (*AXES, *budget.max)]
    figures = [f"{cost.title} {cost.read(row):.2f} {cost.unit}" for cost in shown]
    metrics = dict.fromkeys(name for name in (*objective.weights, *budget.min, *budget.keep) if name in row.quality)
    figures += [f"{TITLES[name]} {row.quality[name]:.4f}" for name in metrics]
    return f"{head}: {', '.join(figures)} ({'predicted' if row.predicted else 'measured'})."
