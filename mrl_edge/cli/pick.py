"""`mrl-edge pick`: results and a budget → one configuration, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import answers, budgets, console, elsewhere, options
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mrl_edge.bench.budget import Budget
    from mrl_edge.bench.candidates import Candidate
    from mrl_edge.bench.fleet import Board
    from mrl_edge.bench.machines import Machine

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
    given = dict(locals())
    from mrl_edge.bench.fleet import boards_of, in_common
    from mrl_edge.bench.pick import pick as choose
    from mrl_edge.bench.results import read_results

    wanted = budgets.of_options(given, device, corpus=corpus)
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
    full = answers.full_of([*rows.values(), whole], wanted, read) if wanted.keep else None
    if one_for_all:
        rows = {", ".join(rows): in_common(boards, rows)}
    left_out = _left_out(boards, predicted=bool(one_for_all or board or wanted.corpus))
    choices = {name: choose(ours, wanted, axes, full, left_out.get(name, ())) for name, ours in rows.items()}
    objects = {name: answers.as_object(choice, boards[0].bundle) for name, choice in choices.items()}
    found = next(iter(objects.values())) if len(choices) == 1 else {"boards": objects}
    if out is not None:
        answers.write_choice(out, found)
    if as_json:
        console.print_json(found)
    else:
        for name, choice in choices.items():
            if len(boards) > 1:
                console.say(f"\n{name}")
            answers.print_choice(choice)
            answers.print_front(choice, axes)
        if out is not None:
            console.say(f"\nchoice: {out}\nnext:   mrl-edge ship BUNDLE --pick {out} --out app")
    return 0 if all(choice.chosen for choice in choices.values()) else 3


def _left_out(boards: Sequence[Board], predicted: bool) -> dict[str, list[Candidate]]:
    """Return what tunings did not measure on each board, unless rows are no board's own; warn of interrupted ones."""
    for board in boards:
        for line in answers.interrupted(board.results):
            console.note(f"warning: {line}")
    return {} if predicted else {board.name: board.unmeasured() for board in boards}


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
