"""`mrl-edge pick`: results and a budget → one configuration, and why."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrl_edge.cli import budgets, console, elsewhere, options
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mrl_edge.bench.budget import Budget
    from mrl_edge.bench.candidates import Candidate
    from mrl_edge.bench.fleet import Board
    from mrl_edge.bench.limits import FullModel
    from mrl_edge.bench.machines import Machine
    from mrl_edge.bench.pick import Choice
    from mrl_edge.bench.results import BundleRef, Results
    from mrl_edge.choice import Configuration

_HEADS = {
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cold_start_ms": "cold ms",
    "peak_rss_mb": "RSS MB",
    "disk_mb": "disk MB",
    "energy_mj": "mJ",
}
_EPILOG = """Examples:

mrl-edge pick results.json --max-p50-ms 5 --max-rss-mb 120 --max-disk-mb 40 --min-recall 0.5

mrl-edge pick results.json --budget budget.toml --confidence 0.95 --out choice.json

mrl-edge pick results.json --max-rss-mb 64 --keep-recall 0.97 --json || echo "nothing fits"

mrl-edge pick pi4.json orin.json --one-for-all --max-p50-ms 20

mrl-edge pick results.json --device pi-zero-2w --pareto p50_ms,peak_rss_mb

mrl-edge pick pc.json pi4.json --board pi-5-8gb --max-p50-ms 20

mrl-edge pick pc.json pi4.json n100.json --leave-one-out

MB are 10^6 bytes, memory is the peak RSS. Exit code 3: nothing fits.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("pick", epilog=_EPILOG)(pick)


def pick(
    results: Annotated[list[Path], typer.Argument(help="Results files, as mrl-edge bench writes them.")],
    budget: budgets.File = None,
    max_p50_ms: budgets.MaxP50 = None,
    max_p99_ms: budgets.MaxP99 = None,
    max_cold_ms: budgets.MaxCold = None,
    max_rss_mb: budgets.MaxRss = None,
    max_disk_mb: budgets.MaxDisk = None,
    max_energy_mj: budgets.MaxEnergy = None,
    min_recall: budgets.Min = None,
    min_ndcg: budgets.Min = None,
    min_accuracy: budgets.Min = None,
    keep_recall: budgets.Keep = None,
    keep_ndcg: budgets.Keep = None,
    keep_accuracy: budgets.Keep = None,
    confidence: budgets.Confidence = None,
    device: options.DeviceProfile = None,
    objective: budgets.Objective = None,
    corpus: Annotated[
        int | None, typer.Option(help="Documents that there will be: costs and quality are predicted at that size.")
    ] = None,
    one_for_all: Annotated[
        bool, typer.Option("--one-for-all", help="One choice for all boards, by the worst figure that any has.")
    ] = False,
    board: elsewhere.BoardProfile = None,
    leave_one_out: elsewhere.LeaveOneOut = False,
    profile: elsewhere.Profiles = None,
    pareto: Annotated[
        str, typer.Option(help="Axes of the Pareto front beside the objective, as in p50_ms,recall_at_10.")
    ] = "p50_ms,peak_rss_mb,disk_mb",
    out: Annotated[
        Path | None, typer.Option(help="Also write the choice as JSON, for mrl-edge ship and serve.")
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Pick the best configuration within a budget, and say what more would buy and less would cost.

    Files of one machine are taken together; of several machines each gets a choice, or all one; or a board that was
    not measured gets one, predicted from them.
    """
    from mrl_edge.bench.fleet import boards_of, in_common
    from mrl_edge.bench.pick import pick as choose
    from mrl_edge.bench.results import read_results

    wanted = budgets.budget_of(
        budget,
        device,
        {
            "p50_ms": max_p50_ms, "p99_ms": max_p99_ms, "cold_start_ms": max_cold_ms, "peak_rss_mb": max_rss_mb,
            "disk_mb": max_disk_mb, "energy_mj": max_energy_mj,
        },
        {"recall_at_10": min_recall, "ndcg_at_10": min_ndcg, "accuracy": min_accuracy},
        {"recall_at_10": keep_recall, "ndcg_at_10": keep_ndcg, "accuracy": keep_accuracy},
        confidence=confidence,
        objective=objective,
        corpus=corpus,
    )  # fmt: skip
    axes = options.names(pareto) or ()
    elsewhere.check_options(board, leave_one_out, profile, wanted.corpus, one_for_all)
    read = [read_results(path) for path in results]
    if leave_one_out:
        return _leave_one_out(elsewhere.machines(results, read, profile), wanted, out, as_json)
    boards = boards_of(read)
    if out is not None and len(boards) > 1 and not one_for_all and board is None:
        raise UsageError("--out writes one choice: pick for each board alone, or give --one-for-all")
    whole: list[Candidate] = []  # where the full model may be that shares are of, and the rows have none
    if board is not None:
        found_machines = elsewhere.machines(results, read, profile)
        rows = elsewhere.predicted(found_machines, board, wanted.confidence)
        whole = [row.candidate for one in found_machines for row in one.rows.values()]
        wanted = elsewhere.within_memory(wanted, board)
    else:
        rows = {one.name: board_rows(one, wanted.corpus) for one in boards}
    full = full_of([*rows.values(), whole], wanted, read) if wanted.keep else None
    if one_for_all:
        rows = {", ".join(rows): in_common(boards, rows)}
    choices = {name: choose(ours, wanted, axes, full) for name, ours in rows.items()}
    objects = {name: as_object(choice, boards[0].bundle) for name, choice in choices.items()}
    found = next(iter(objects.values())) if len(choices) == 1 else {"boards": objects}
    if out is not None:
        write_choice(out, found)
    if as_json:
        console.print_json(found)
    else:
        for name, choice in choices.items():
            if len(boards) > 1:
                console.say(f"\n{name}")
            print_choice(choice)
            print_front(choice, axes)
        if out is not None:
            console.say(f"\nchoice: {out}\nnext:   mrl-edge ship BUNDLE --pick {out} --out app")
    return 0 if all(choice.chosen for choice in choices.values()) else 3


def _leave_one_out(machines: Sequence[Machine], wanted: Budget, out: Path | None, as_json: bool) -> int:
    if out is not None or wanted.max or wanted.min or wanted.keep:
        raise UsageError("--leave-one-out picks nothing: leave --out and the limits out")
    elsewhere.print_checks(machines, as_json)
    return 0


def board_rows(board: Board, corpus: int | None) -> list[Candidate]:
    """Return what was measured on a board, or what is predicted of it for a corpus of another size."""
    if corpus is None:
        return board.rows()
    from mrl_edge.bench.forecast import FAR, at_size

    sized = at_size(board.results, corpus)
    if corpus > FAR * sized.largest:
        console.note(f"warning: {corpus:,} is more than {FAR} times the {sized.largest:,} documents that were measured")
    if sized.left_out:
        console.note(f"  left out: {sized.left_out} configurations that were measured at one size alone")
    if sized.retuned:
        console.note(
            f"  {sized.retuned} configurations name no parameters of their index, which was tuned to others at each "
            "size: mrl-edge ship takes those that mrl-edge index chose over all documents"
        )
    return sized.rows


def full_of(rows_of: Iterable[Sequence[Candidate]], budget: Budget, results: Sequence[Results]) -> FullModel:
    """Return the model that shares are of: of what was measured, on whichever board could, or of what a tuning says.

    Raises `UsageError` where there is none.
    """
    from mrl_edge.bench.limits import full_model

    return full_model([row for rows in rows_of for row in rows], budget, results)


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
    """Print the Pareto front on its axes, the chosen row marked and the predicted ones too."""
    from mrl_edge.bench.budget import figure
    from mrl_edge.bench.limits import titled

    varying: dict[str, list[object]] = {
        "depth": [row.depth if row.shallow else None for row in choice.pareto],
        "threads": [row.threads if row.threads > 1 else None for row in choice.pareto],
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
            *(figure(row, name) for name in axes),
            choice.objective.value(row),
        ]
        for place, row in enumerate(choice.pareto)
    ]
    heads = ["", "precision", "dim", "index", *shown, *(_HEADS.get(name) or titled(name)[0] for name in axes)]
    console.print_table("\nPareto front: nothing is better in everything", [*heads, choice.objective.title], rows)


def as_object(choice: Choice, bundle: BundleRef) -> dict[str, object]:
    """Return the chosen row's figures at the top, the rest beside them."""
    chosen = choice.chosen
    return {
        "fits": chosen is not None,
        "bundle": {"name": bundle.name, "sha256": bundle.sha256},
        "configuration": _configuration(chosen) if chosen else None,
        **(_figures(chosen) if chosen else {}),
        "objective": choice.objective.name,
        "value": choice.objective.value(chosen) if chosen else None,
        "why": choice.why,
        "uncertain": choice.uncertain,
        "trades": [_with_row(trade) for trade in choice.trades],
        "relaxations": [_with_row(one) for one in choice.relaxations],
        "next_better": _figures(choice.next_better) if choice.next_better else None,
        "nearest": _figures(choice.nearest) if choice.nearest else None,
        "full": {"name": choice.full.name, **asdict(choice.full)} if choice.full else None,
        "over": [asdict(excess) for excess in choice.over],
        "pareto": [_figures(row) for row in choice.pareto],
    }


def _configuration(row: Candidate) -> Configuration:
    """Return what a device runs, as `ship` and `serve` read it."""
    from mrl_edge.choice import Configuration

    return Configuration(**{name: getattr(row, name) for name in Configuration.__struct_fields__})


def _with_row(one: Any) -> dict[str, object]:
    found = asdict(replace(one, row=None))
    return {**found, "row": _figures(one.row) if one.row else None}


def _figures(row: Candidate) -> dict[str, object]:
    figures = asdict(row)
    quality: dict[str, float] = figures.pop("quality")
    return {"name": row.name, **figures, **quality}


def write_choice(out: Path, found: object) -> None:
    """Write a choice as JSON, so that the file is either the old one or the new one."""
    import msgspec

    from mrl_edge.atomic import write_file

    write_file(out, msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
