"""What `mrl-edge pick` does for a board that is not at hand: options, the prediction, and how well it foretells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import console
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.bench.budget import Budget
    from mrl_edge.bench.candidates import Candidate
    from mrl_edge.bench.elsewhere import Check
    from mrl_edge.bench.machines import Machine
    from mrl_edge.bench.results import Results

BoardProfile = Annotated[
    str | None,
    typer.Option(help="A board that was not measured, by its profile: predicted from two machines or more."),
]
LeaveOneOut = Annotated[
    bool, typer.Option("--leave-one-out", help="Show how well the other machines foretell each; nothing is picked.")
]
Profiles = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE=PROFILE", help="Profile of the machine that a file is of: its ceilings as a board's. Repeatable."
    ),
]


def check_options(
    board: str | None, leave_one_out: bool, profiles: Sequence[str] | None, corpora: Sequence[int], one_for_all: bool
) -> None:
    """Raise `UsageError` for options that cannot all be meant."""
    asked = "--leave-one-out" if leave_one_out else f"--board {board}"
    if board is not None and leave_one_out:
        raise UsageError(f"--board {board} predicts a board and --leave-one-out the machines measured: give one")
    if board is None and not leave_one_out:
        if profiles:
            raise UsageError("--profile is of machines that a board is predicted from: give --board or --leave-one-out")
        return
    if corpora:
        raise UsageError(f"{asked} predicts what was measured, and --corpus another number of documents: give one")
    if one_for_all:
        raise UsageError(f"{asked} and --one-for-all: the machines measured are what is predicted from, not chosen for")


def machines(paths: Sequence[Path], results: Sequence[Results], profiles: Sequence[str] | None) -> list[Machine]:
    """Return the machines that results are of, with the profiles that were given for some of the files."""
    from mrl_edge.bench.machines import differing_features, machines_of
    from mrl_edge.devices.profiles import resolve

    known = {}
    for given in profiles or ():
        file, equals, name = given.partition("=")
        places = [place for place, path in enumerate(paths) if path == Path(file)]
        if not equals or not places:
            raise UsageError(f"--profile {given}: expected one of the results files, as in {paths[0]}=pi-4-4gb")
        known[places[0]] = resolve(name)
    found = machines_of(results, known)
    for place, profile in known.items():
        if differing := differing_features(profile, results[place].device):
            console.note(
                f"warning: {paths[place]} was measured on {results[place].device.cpu}, which differs from "
                f"{profile.name} in {', '.join(differing)}: its ceilings may be another machine's"
            )
    return found


def predicted(found: Sequence[Machine], board: str, confidence: float | None) -> dict[str, list[Candidate]]:
    """Return a board's configurations under its title, and say what they come from and what is left out.

    Raises `UsageError` for a confidence that so few machines do not support.
    """
    from mrl_edge.bench.elsewhere import board as target_of
    from mrl_edge.bench.elsewhere import predict
    from mrl_edge.devices.profiles import resolve

    profile = resolve(board)
    prediction = predict(found, target_of(profile, found))
    if confidence is not None and confidence > prediction.most_confidence:
        raise UsageError(
            f"--confidence {confidence:g}: the interval of {prediction.machines} machines is good for "
            f"{prediction.most_confidence:.2f} at most: measure on one more, or ask for less"
        )
    console.note(f"  {profile.title} is predicted from {', '.join(one.name for one in found)}; nothing ran on it")
    for alike in _alike(found):
        console.note(
            f"  {' and '.join(alike)} have the same instruction sets: if they are of one microarchitecture they say no "
            "more than one of them, and the intervals are too narrow"
        )
    if profile.gpu is not None:
        console.note("  its processor is predicted, not its GPU")
    for reason, count in prediction.left_out.items():
        console.note(f"  left out: {count} × {reason}")
    return {f"{profile.title}, predicted": prediction.rows}


def _alike(found: Sequence[Machine]) -> list[list[str]]:
    """Return the names of machines that may be one kind of core under several names."""
    groups: dict[object, list[str]] = {}
    for one in found:
        groups.setdefault((one.arch, one.features), []).append(one.name)
    return [names for names in groups.values() if len(names) > 1]


def within_memory(budget: Budget, board: str) -> Budget:
    """Return a budget whose peak RSS is at most what the board leaves an application."""
    import msgspec

    from mrl_edge.devices.profiles import resolve

    memory = resolve(board).memory
    if memory is None:
        return budget
    left_mb = memory.application_bytes / 1e6
    limit_mb = min(left_mb, budget.max.get("peak_rss_mb", left_mb))
    console.note(f"  {board} leaves an application {left_mb:,.0f} MB")
    return msgspec.structs.replace(budget, max={**budget.max, "peak_rss_mb": limit_mb})


def print_checks(found: Sequence[Machine], as_json: bool) -> None:
    """Print each machine's configurations beside what the others say of them, and how many intervals hold them."""
    from mrl_edge.bench.elsewhere import leave_one_out

    checks = leave_one_out(found)
    held = sum(check.held for check in checks)
    alone = len(found) > 2
    if as_json:
        console.print_json(
            {"held": held, "of": len(checks), "left_out": alone, "checks": [_as_object(check) for check in checks]}
        )
        return
    for machine in found:
        ours = [check for check in checks if check.machine == machine.name]
        heads = ["configuration", "measured", "predicted", "from", "to", "held"]
        title = (
            f"\n{machine.name}, {'predicted from the others' if alone else 'itself among what predicts it'}: p50, ms"
        )
        console.print_table(title, heads, [_cells(check) for check in ours])
    console.say(f"\nThe intervals hold {held} of {len(checks)}.")
    if not alone:
        console.say("Of two machines each must be predicted by both: that they are held says nothing. Three say more.")


def _cells(check: Check) -> list[object]:
    row = check.predicted
    low, high = row.p50_ci95_ms or (None, None)
    return [row.name, check.measured_ms, row.p50_ms, low, high, "yes" if check.held else "NO"]


def _as_object(check: Check) -> dict[str, object]:
    row = check.predicted
    return {
        "machine": check.machine,
        "name": row.name,
        "measured_p50_ms": check.measured_ms,
        "predicted_p50_ms": row.p50_ms,
        "predicted_interval_ms": row.p50_ci95_ms,
        "held": check.held,
    }
