"""A sweep on a board: bring the bundle there, start the run, follow it through cuts and reboots, fetch the results."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import msgspec
from mrl_edge.bench.order import ORDER, RESULTS, Order, Said
from mrl_edge.bench.results import Results, read_results
from mrl_edge.devices.deploy.bring import FOLDER, bring
from mrl_edge.devices.reach.ssh import SshMachine

from mrl_edge.bundle import Bundle
from mrl_edge.errors import ReachError, ResultsError
from mrl_edge.progress import Report

_FETCH_S = 10.0  # between two copies of the results while they grow
_STOP_S = 30.0
_LONGEST_LINE = 1 << 16
# $1: our folder; what onnxruntime and others keep in a home goes where `mrl-edge deploy --remove` removes it.
_THERE = 'cd -- "$1" && shift && HOME=$PWD/env && export HOME && unset XDG_CACHE_HOME && exec "$@"'


async def sweep_there(
    machine: SshMachine, bundle: Bundle, order: Order, cache: Path, out: Path, overwrite: bool, report: Report
) -> Results:
    """Measure an order on a machine and bring the results to `out`, which grows meanwhile.

    Ended here by a cancellation, it ends there too; what was measured stays in both places, and the same call goes on.
    Raises `ResultsError` when `out` or the board holds another run's results, and what reaching and deploying raise.
    """
    if out.exists() and not overwrite:
        _refuse_other(read_results(out), order, bundle, f"{out} holds")
    deployed = await bring(machine, bundle, cache, report)
    run = deployed.bundle.replace("bundles/", "runs/", 1)
    order = msgspec.structs.replace(order, bundle=deployed.bundle)
    if overwrite:
        await _board(machine, "stop", run)
        await machine.run(["rm", "-rf", "--", f"{FOLDER}/{run}"])
    await _send(machine, order, run, out if not overwrite else None)
    copier = asyncio.create_task(_copy(machine, run, out, bundle))
    try:
        ended = await _Following(machine, run, report).to_its_end()
    except asyncio.CancelledError:
        with contextlib.suppress(ReachError, TimeoutError):
            await asyncio.wait_for(_board(machine, "stop", run), _STOP_S)
        raise
    finally:
        copier.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await copier
    if ended.error is not None:
        with contextlib.suppress(ReachError, ResultsError):
            await _fetch(machine, run, out, bundle)
        raise ReachError(f"{machine.name}: {_printable(ended.error)}")
    return await _fetch(machine, run, out, bundle)


class _Following:
    """What the board says, from one connection after another."""

    def __init__(self, machine: SshMachine, run: str, report: Report) -> None:
        self._machine, self._run, self._report = machine, run, report
        self._heard, self._rest = 0, b""
        self._ended: Said | None = None

    async def to_its_end(self) -> Said:
        return await self._machine.through_cuts(self._once, lambda: self._heard)

    async def _once(self) -> Said:
        self._rest = b""
        argv = _argv("follow", self._run)
        done = await self._machine.stream(argv, _nothing(), self._hear)
        if self._ended is None:
            raise ReachError(f"{self._machine.name}: the run could not be followed: {_printable(done.reason)}")
        return self._ended

    def _hear(self, block: bytes) -> None:
        *lines, self._rest = (self._rest + block).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            self._refuse(self._rest)
        for line in filter(None, lines):
            try:
                said = msgspec.json.decode(line, type=Said)
            except msgspec.DecodeError:
                self._refuse(line)
            self._heard += 1
            if said.ended:
                self._ended = said
            else:
                self._report(_printable(said.stage), said.done, said.total, _printable(said.now))

    def _refuse(self, line: bytes) -> NoReturn:
        raise ReachError(f"{self._machine.name} said what cannot be read: {_printable(line[:100].decode('latin-1'))}")


async def _send(machine: SshMachine, order: Order, run: str, results: Path | None) -> None:
    """Send the order, and the results so far where the board has lost them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, ORDER)
        path.write_bytes(msgspec.json.encode(order))
        files = {f"{FOLDER}/{run}/{ORDER}": path}
        there = f"{FOLDER}/{run}/{RESULTS}"
        if results is not None and results.exists() and (await machine.run(["test", "-e", there])).code != 0:
            files[there] = results
        await machine.put(files)


async def _copy(machine: SshMachine, run: str, out: Path, bundle: Bundle) -> None:
    """Keep a copy of the growing results here, so that a board that never comes back takes little with it."""
    while True:
        await asyncio.sleep(_FETCH_S)
        with contextlib.suppress(ReachError, ResultsError):  # not there yet, or the connection is cut: the next time
            await _fetch(machine, run, out, bundle, through_cuts=False)


async def _fetch(machine: SshMachine, run: str, out: Path, bundle: Bundle, through_cuts: bool = True) -> Results:
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}.") as folder:
        path = Path(folder, RESULTS)
        if through_cuts:
            await machine.get(f"{FOLDER}/{run}/{RESULTS}", path)
        else:
            await machine.get_once(f"{FOLDER}/{run}/{RESULTS}", path)
        results = read_results(path)
        if results.bundle.sha256 != bundle.identity():
            raise ResultsError(f"{machine.name} sent results of another bundle")
        path.replace(out)
    return results


def _refuse_other(there: Results, order: Order, bundle: Bundle, what: str) -> None:
    if there.bundle.sha256 != bundle.identity() or there.device.name != order.name:
        raise ResultsError(f"{what} another bundle's or machine's results: choose another --out, or use --overwrite")


async def _board(machine: SshMachine, action: str, run: str) -> None:
    done = await machine.run(_argv(action, run))
    if done.code != 0:
        raise ReachError(f"{machine.name}: {action} failed: {_printable(done.reason)}")


def _argv(action: str, run: str) -> list[str]:
    python = ["env/bin/python", "-m", "mrl_edge.bench.board", action, run]
    return ["sh", "-c", _THERE, "sh", FOLDER, *python]


def _printable(text: str) -> str:
    """What a board says reaches a terminal without escapes."""
    return "".join(sign if sign.isprintable() else " " for sign in text)[:500]


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
