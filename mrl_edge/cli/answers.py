"""A choice as a person reads it, in words and as a table; and its file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mrl_edge.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mrl_edge.bench.budget import Budget
    from mrl_edge.bench.candidates import Candidate
    from mrl_edge.bench.fleet import Board
    from mrl_edge.bench.limits import FullModel
    from mrl_edge.bench.pick import Choice
    from mrl_edge.bench.results import Results

_HEADS = {
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cold_start_ms": "cold ms",
    "peak_rss_mb": "RSS MB",
    "disk_mb": "disk MB",
    "energy_mj": "mJ",
}


def full_of(rows_of: Iterable[Sequence[Candidate]], budget: Budget, results: Sequence[Results]) -> FullModel:
    """Return the model that shares are of: of what was measured, on whichever board could, or of what a tuning says.

    Raises `UsageError` where there is none, as where a tuning for another budget did not look at it.
    """
    from mrl_edge.bench.limits import full_model

    return full_model([row for rows in rows_of for row in rows], budget, results)


def full_by_board(
    boards: Sequence[Board], rows_of: Mapping[str, Sequence[Candidate]], budget: Budget
) -> dict[str, FullModel]:
    """Return for each board the model that its shares are of: its own, else another board's of the same data."""
    from mrl_edge.bench.fleet import data_of
    from mrl_edge.bench.limits import full_models

    found = {}
    for board in boards:
        alike = [one for one in boards if data_of(one, budget.corpora) == data_of(board, budget.corpora)]
        has_own = full_models(rows_of[board.name], board.results, max(budget.corpora, default=None))
        of = [board] if has_own else alike
        results = [one for each in of for one in each.results]
        found[board.name] = full_of([rows_of[each.name] for each in of], budget, results)
    return found


def interrupted(results: Iterable[Results]) -> Iterator[str]:
    """Yield a line for each file of a tuning that was interrupted: what is best in it need not be the best."""
    for one in results:
        if one.narrowing is not None and not one.narrowing.finished:
            there = f"{len(one.measurements)} configurations measured"
            yield f"the tuning of {one.device.name} was interrupted with {there}: run the same mrl-edge tune again"


def print_choice(choice: Choice) -> None:
    """Print the answer in words."""
    for line in choice.why:
        console.say(line)
    for line in choice.uncertain:
        console.say(f"Not certain: {line}")
    if choice.trades:
        console.say("")
    for trade in choice.trades:
        console.say(f"  {trade.text}")


def print_front(choice: Choice, axes: Sequence[str]) -> None:
    """Print the Pareto front on its axes, the chosen row marked and the predicted ones too; nothing of no rows."""
    if not choice.pareto:
        return
    from mrl_edge.bench.budget import figure
    from mrl_edge.bench.limits import titled

    varying: dict[str, list[object]] = {
        "depth": [row.depth if row.shallow else None for row in choice.pareto],
        "threads": [row.threads if row.threads > 1 else None for row in choice.pareto],
        "provider": [row.provider for row in choice.pareto],
        "runtime": ["+".join(row.runtime) or None for row in choice.pareto],
        "vectors": [row.vectors for row in choice.pareto],
    }
    shown = {name: values for name, values in varying.items() if len(set(values)) > 1}
    rows: list[list[object]] = [
        [
            "→" if row == choice.chosen else "",
            f"{row.precision}{' (predicted)' if row.predicted else ''}",
            row.dim,
            row.index if row.rerank_dim is None else f"{row.index} → {row.rerank_dim}",
            *(values[place] for values in shown.values()),
            *(value if math.isfinite(value := figure(row, name)) else None for name in axes),
            choice.objective.value(row),
        ]
        for place, row in enumerate(choice.pareto)
    ]
    heads = ["", "precision", "dim", "index", *shown, *(_HEADS.get(name) or titled(name)[0] for name in axes)]
    console.print_table("\nPareto front: nothing is better in everything", [*heads, choice.objective.title], rows)


def write_choice(out: Path, found: object) -> None:
    """Write a choice as JSON, so that the file is either the old one or the new one."""
    import msgspec

    from mrl_edge.atomic import write_file

    write_file(out, msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
