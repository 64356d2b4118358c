"""`mrl-edge pick`: results and a budget → one configuration, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import answers, budgets, console, elsewhere, options
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mrl_edge.bench.budget import Budget
    from mrl_edge.bench.candidates import Candidate
    from mrl_edge.bench.fleet import Board
    from mrl_edge.bench.machines import Machine
    from mrl_edge.bench.pick import Choice
    from mrl_edge.bench.results import Results

_EPILOG = """Examples:

mrl-edge pick results.json --max-p50-ms 5 --max-rss-mb 120 --max-disk-mb 40 --min-recall 0.5

mrl-edge pick results.json --budget budget.toml --confidence 0.95 --out choice.json

mrl-edge pick results.json --max-rss-mb 64 --keep-recall 0.97 --json || echo "nothing fits"

mrl-edge pick results.json --max-p50-ms 5 --min-quality mrr_at_10=0.3 --keep-quality ndcg_at_10=0.97

mrl-edge pick 1k.json 2k.json 4k.json --corpus-now 4000 --corpus 20000 --max-p50-ms 20

mrl-edge pick pi4.json orin.json --one-for-all --max-p50-ms 20

mrl-edge pick results.json --device pi-zero-2w --pareto p50_ms,peak_rss_mb

mrl-edge pick pc.json pi4.json --board pi-5-8gb --max-p50-ms 20

mrl-edge pick pc.json pi4.json n100.json --leave-one-out

MB are 10^6 bytes, memory is the peak RSS. Exit code 3: nothing fits.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("pick", epilog=_EPILOG)(budgets.with_budget(pick))


def pick(
    results: Annotated[list[Path], typer.Argument(help="Results files, as mrl-edge bench writes them.")],
    limits: budgets.Given,
    device: options.DeviceProfile = None,
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
    from mrl_edge.bench.answer import answer
    from mrl_edge.bench.fleet import boards_of
    from mrl_edge.bench.results import read_results

    options.refuse_replacing("--out", out, [*results, limits["budget"]])
    wanted = budgets.budget_of(limits, device)
    axes = options.names(pareto) or ()
    elsewhere.check_options(board, leave_one_out, profile, wanted.corpora, one_for_all)
    read = [read_results(path) for path in results]
    if leave_one_out:
        return _leave_one_out(elsewhere.machines(results, read, profile), wanted, out, as_json)
    boards = boards_of(read)
    if out is not None and len(boards) > 1 and not one_for_all and board is None:
        raise UsageError("--out writes one choice: pick for each board alone, or give --one-for-all")
    for line in answers.interrupted(read):
        console.note(f"warning: {line}")
    if board is not None:
        choices = _elsewhere(board, elsewhere.machines(results, read, profile), wanted, axes, read)
    else:
        choices = _measured(boards, wanted, axes, read, one_for_all)
    objects = {name: answer(choice, boards[0].bundle) for name, choice in choices.items()}
    found = next(iter(objects.values())) if len(choices) == 1 else {"boards": objects}
    if out is not None:
        answers.write_choice(out, found)
    code = 0 if all(choice.chosen for choice in choices.values()) else 3
    if as_json:
        console.print_json(found)
        return code
    for name, choice in choices.items():
        if len(boards) > 1:
            console.say(f"\n{name}")
        answers.print_choice(choice)
        answers.print_front(choice, axes)
    if out is not None:
        console.say(f"\nchoice: {out}{_next_step(out) if code == 0 else ''}")
    return code


def _next_step(out: Path) -> str:
    return f"\nnext:   mrl-edge ship BUNDLE --pick {out} --out app"


def _measured(
    boards: Sequence[Board], wanted: Budget, axes: Sequence[str], read: Sequence[Results], one_for_all: bool
) -> dict[str, Choice]:
    """Return a choice for each board by its name, or one for all under all names."""
    from mrl_edge.bench.corpora import at_each
    from mrl_edge.bench.fleet import in_common
    from mrl_edge.bench.pick import pick as choose

    at = {board.name: _rows(board, wanted.corpora) for board in boards}
    rows, smaller = ({name: found[place] for name, found in at.items()} for place in (-1, 0))
    full = answers.full_by_board(boards, rows, wanted) if wanted.keep else {}
    if one_for_all:
        every, small = (in_common(boards, one, wanted.corpora) for one in (rows, smaller))
        choice = choose(every, wanted, axes, next(iter(full.values()), None))
        return {", ".join(rows): at_each(_for_all(choice, boards, rows), wanted, small)}
    choices = {}
    for board in boards:
        left_out = [] if wanted.corpora else board.unmeasured()
        budget, lines = _ruled_out(board, wanted)
        if budget.keep and board.name not in full:
            full |= answers.full_by_board([board], rows, budget)
        if wanted.corpora:
            lines = [*lines, *_not_predicted(board)]
        choice = choose(rows[board.name], budget, axes, full.get(board.name), left_out)
        choice = replace(choice, why=[*lines, *choice.why])
        choices[board.name] = at_each(choice, wanted, smaller[board.name])
    return choices


def _for_all(choice: Choice, boards: Sequence[Board], rows_of: Mapping[str, Sequence[Candidate]]) -> Choice:
    """Say of a choice for all boards what it leaves open: other targets or parameters, and what was not measured."""
    from mrl_edge.bench.fleet import targets_of, tuned_alike

    uncertain = list(choice.uncertain)
    targets = targets_of(choice.chosen, rows_of) if choice.chosen else {}
    if len(set(targets.values())) > 1:
        made = ", ".join(f"{target} on {name}" for name, target in targets.items())
        uncertain.append(
            f"Its precision is made for each processor: {made}. One folder holds one of them: pick and ship for each "
            "board, by its own results file alone."
        )
    if choice.chosen and not tuned_alike(choice.chosen, rows_of):
        uncertain.append(
            "Its index was tuned to other parameters on each board, and its figures are the worst of those: tune it "
            "once, with mrl-edge bench --like on the other boards, or pick and ship for each by its own results file."
        )
    lines = [line for board in boards for line in _not_predicted(board)]
    return replace(choice, uncertain=uncertain, why=[*choice.why, *lines])


def _not_predicted(board: Board) -> list[str]:
    """Say how much a board's tunings left out that is not among the rows to choose from."""
    count = board.left_out()
    return [f"{count} more were not measured on {board.name}, and any of them may be better."] if count else []


def _ruled_out(board: Board, wanted: Budget) -> tuple[Budget, list[str]]:
    """Return what to hold, and to say first, where tune measured nothing: its own limits, if no other is asked for."""
    from mrl_edge.bench.ruled_out import own_limits, said, within

    held, lines = own_limits(board.results), said(board.results)
    if held is None or wanted.max or wanted.min or wanted.keep:
        return wanted, lines
    console.note("  no limit is given: held are those that mrl-edge tune had")
    return within(wanted, held), lines


def _elsewhere(
    board: str, found: Sequence[Machine], wanted: Budget, axes: Sequence[str], read: Sequence[Results]
) -> dict[str, Choice]:
    """Return the choice for a board that was not measured."""
    from mrl_edge.bench.pick import pick as choose

    if "energy_mj" in wanted.max:
        raise UsageError(f"--max-energy-mj: of {board}, which was not measured, nothing foretells the energy")
    rows = elsewhere.predicted(found, board, wanted.confidence)
    wanted = elsewhere.within_memory(wanted, board)
    whole = [row.candidate for one in found for row in one.rows.values()]  # where the full model may be
    full = answers.full_of([*rows.values(), whole], wanted, read) if wanted.keep else None
    return {name: choose(ours, wanted, axes, full) for name, ours in rows.items()}


def _leave_one_out(machines: Sequence[Machine], wanted: Budget, out: Path | None, as_json: bool) -> int:
    if out is not None or wanted.max or wanted.min or wanted.keep:
        raise UsageError("--leave-one-out picks nothing: leave --out and the limits out")
    elsewhere.print_checks(machines, as_json)
    return 0


def _rows(board: Board, corpora: Sequence[int]) -> list[list[Candidate]]:
    """Return what was measured on a board, or what it has at each of a budget's corpora, the smaller first."""
    if not corpora:
        return [board.rows()]
    from mrl_edge.bench.corpora import cautions
    from mrl_edge.bench.forecast import at_size

    sized = [at_size(board.results, items) for items in corpora]
    for line in cautions(sized[-1], corpora[-1]):
        console.note(f"  {line}")
    return [one.rows for one in sized]
