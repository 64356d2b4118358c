"""`mrl-edge bench --device user@host`, once or often, or `--fleet`: the same sweep on boards, all at once."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from mrl_edge.cli import bench_table, console
from mrl_edge.errors import DataError, MrlEdgeError, ReachError, ResultsError, UsageError

if TYPE_CHECKING:
    from mrl_edge.bench.budget import Budget
    from mrl_edge.bench.jobs import Task
    from mrl_edge.bench.order import Order
    from mrl_edge.bench.preparing import Grid
    from mrl_edge.bench.results import Results
    from mrl_edge.bundle import Bundle
    from mrl_edge.devices.reach.address import Address
    from mrl_edge.progress import Report

_Host = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class _Board(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: _Host


class _Fleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    board: Annotated[tuple[_Board, ...], msgspec.Meta(min_length=1)]


@dataclass(frozen=True)
class Sweep:
    """What is measured on every board."""

    bundle: Bundle
    task: Task
    source: str
    grid: Grid
    budget: Budget | None = None  # measure only what can be the choice within it
    onnxruntime: str | None = None  # the one that boards get, as `read_named` returns it


def read_boards(devices: Sequence[str], fleet: Path | None) -> tuple[Address, ...]:
    """Return the addresses of --device and of a fleet's file; raises for what is none, or is named twice."""
    from mrl_edge.devices.reach.address import read_address

    found = [read_address(host) for host in [*devices, *(_read_fleet(fleet) if fleet else ())]]
    twice = {str(address) for address in found if found.count(address) > 1}
    if twice:
        raise UsageError(f"{', '.join(sorted(twice))} is named twice: each board measures once")
    return tuple(found)


def results_file(out: Path, address: Address, boards: int) -> Path:
    """Return where the results of a board go: `out` itself for one alone, else a file beside it with its name."""
    safe = re.sub(r"[^\w.-]+", "_", str(address))
    return out if boards == 1 else out.with_name(f"{out.stem}-{safe}{out.suffix}")


def measure_on_boards(
    sweep: Sweep, boards: Sequence[Address], out: Path, overwrite: bool, as_json: bool, calls: bench_table.Calls
) -> None:
    """Measure on every board and print what each found; then raise one error for those that failed, if any did."""
    found = sweep_boards(sweep, boards, out, overwrite)
    measured = {str(file): results for _, file, results in found if not isinstance(results, MrlEdgeError)}
    if as_json and measured:
        console.print_json(measured if len(boards) > 1 else next(iter(measured.values())))
    for place, (address, file, results) in enumerate(found):
        if isinstance(results, MrlEdgeError):
            continue
        try:
            if as_json:
                bench_table.refuse_unmeasured(results)
            else:
                console.say(f"\n{address}")
                bench_table.print_answer(results, file, calls)
        except ResultsError as error:
            found[place] = address, file, error
    raise_failures(found)


def sweep_boards(
    sweep: Sweep, boards: Sequence[Address], out: Path, overwrite: bool
) -> list[tuple[Address, Path, Results | MrlEdgeError]]:
    """Measure on every board at once; one that fails stops no other, and its error stands in place of its results."""
    from mrl_edge.bench.agreement import vectors_of

    grid = sweep.grid
    variants = [sweep.bundle.variant(precision, depth) for precision in grid.precisions for depth in grid.depths]
    with console.progress_bar() as report:
        report("vectors to compare with", 0, len(variants))
        with tempfile.TemporaryDirectory() as work:
            expected = vectors_of(sweep.bundle, variants, sweep.task.latency_sample(), Path(work))
        report("vectors to compare with", len(variants), len(variants))
        return asyncio.run(_sweep_all(sweep, expected, boards, out, overwrite, report))


def raise_failures(found: Sequence[tuple[Address, Path, Results | MrlEdgeError]]) -> None:
    """Raise one error for the boards that failed, if any did."""
    errors = [(address, error) for address, _, error in found if isinstance(error, MrlEdgeError)]
    if len(found) == 1 and errors:
        raise errors[0][1]
    if errors:
        raise ReachError("; ".join(f"{address}: {error}" for address, error in errors))


async def _sweep_all(
    sweep: Sweep, expected: dict[str, bytes], boards: Sequence[Address], out: Path, overwrite: bool, report: Report
) -> list[tuple[Address, Path, Results | MrlEdgeError]]:
    files = [results_file(out, address, len(boards)) for address in boards]
    if len(set(files)) < len(files):
        raise UsageError("two boards' names make one results file's name: measure them one by one, each to its --out")

    async def one(address: Address, file: Path) -> Results | MrlEdgeError:
        try:
            return await _sweep_one(sweep, expected, address, file, overwrite, _named(report, address, len(boards)))
        except MrlEdgeError as error:
            console.note(f"  {address}: stopped")
            return error
        except OSError as error:
            return ReachError(f"{error.filename or 'a file here'}: {error.strerror or error}")

    answers = await asyncio.gather(*(one(address, file) for address, file in zip(boards, files, strict=True)))
    return list(zip(boards, files, answers, strict=True))


async def _sweep_one(
    sweep: Sweep, expected: dict[str, bytes], address: Address, out: Path, overwrite: bool, report: Report
) -> Results:
    from mrl_edge.bench.order import Order
    from mrl_edge.bench.remote import sweep_there
    from mrl_edge.cli.deploy import WHEELS
    from mrl_edge.devices.reach.ssh import SshMachine

    order: Order = Order(str(address), "", sweep.task, Path(sweep.source).name, sweep.grid, expected, sweep.budget)
    async with SshMachine(address) as machine:
        cache = WHEELS.expanduser()
        return await sweep_there(machine, sweep.bundle, order, sweep.onnxruntime, cache, out, overwrite, report)


def _named(report: Report, address: Address, boards: int) -> Report:
    """Return a report that says of which board each stage is, where there are several."""
    if boards == 1:
        return report

    def named(stage: str, done: int, total: int, now: str = "") -> None:
        report(f"{address}: {stage}", done, total, now)

    return named


def _read_fleet(path: Path) -> list[str]:
    try:
        return [board.host for board in msgspec.toml.decode(path.read_bytes(), type=_Fleet).board]
    except OSError as error:
        raise UsageError(f"--fleet {path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:
        advice = 'write a table [[board]] with host = "user@host" for each'
        raise DataError(f"--fleet {path}: {str(error)[:200]}; {advice}") from None
