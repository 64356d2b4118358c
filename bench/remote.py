"""A sweep on a board: bring the bundle there, start the run, follow it through cuts and reboots, fetch the results."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import msgspec
from mrl_edge.bench.order import INTERRUPTED, ORDER, RESULTS, Order, Said
from mrl_edge.bench.results import Results, read_results
from mrl_edge.bench.run import settings_of
from mrl_edge.devices.deploy.bring import BUNDLES, FOLDER, bring, name_of
from mrl_edge.devices.deploy.onnxruntime_of import Onnxruntime
from mrl_edge.devices.reach.ssh import SshMachine

from mrl_edge.bundle import Bundle
from mrl_edge.errors import ConnectionLostError, ReachError, ResultsError
from mrl_edge.progress import Report
from mrl_edge.providers import CPU

_FETCH_S = 10.0  # between two copies of the results while they grow
_STOP_S = 30.0
_LONGEST_LINE = 1 << 16
_MOST_BYTES = 1 << 28  # of a results file
_MANY = 10**9
# $1: our folder; what onnxruntime and others keep in a home goes where `mrl-edge deploy --remove` removes it.
_THERE = 'cd -- "$1" && shift && HOME=$PWD/env && export HOME && unset XDG_CACHE_HOME && exec "$@"'


async def sweep_there(
    machine: SshMachine,
    bundle: Bundle,
    order: Order,
    onnxruntime: str | None,
    cache: Path,
    out: Path,
    overwrite: bool,
    report: Report,
) -> Results:
    """Measure an order on a machine and bring the results to `out`, which grows meanwhile.

    `onnxruntime` names the one that is brought (`Onnxruntime.named`).

    Ended here by a cancellation, it ends there too; what was measured stays in both places, and the same call goes on.
    Raises `ResultsError` when `out` holds another run's results, and what reaching and deploying raise.
    """
    name = name_of(bundle.folder)
    wanted = Onnxruntime(onnxruntime, for_gpu=set(order.grid.providers) != {CPU})
    # The same command follows the run that goes on there; another onnxruntime would make its environment anew under it.
    run = f"runs/{name}/{order.identity(bundle.identity(), await asyncio.to_thread(wanted.identity))}"
    order = msgspec.structs.replace(order, bundle=f"{BUNDLES}/{name}")
    mine = _Mine(machine, run, out, order, bundle)
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    if out.exists() and not overwrite:
        mine.check(read_results(out), f"{out} holds the results")
    await bring(machine, bundle, wanted, cache, report, run)
    if overwrite:
        await _board(machine, "stop", run)
        await machine.run(["rm", "-rf", "--", f"{FOLDER}/{run}"])
    await mine.send(resume=not overwrite)
    following = _Following(machine, run, report)
    copier = asyncio.create_task(mine.keep_fetching(following))
    try:
        ended = await following.to_its_end()
    except asyncio.CancelledError:
        await _stop(machine, run, report)
        raise
    finally:
        copier.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await copier
    if ended.error is not None:
        with contextlib.suppress(ReachError, ResultsError):
            await mine.fetch_once()
        raise ReachError(f"{machine.name}: {_printable(ended.error)}")
    results = await machine.through_cuts(mine.fetch_once, lambda: 0)
    await machine.run(["rm", "-rf", "--", f"{FOLDER}/{run}"])  # they are here now: a new run measures anew
    return results


class _Mine:
    """A run's results, there and here."""

    def __init__(self, machine: SshMachine, run: str, out: Path, order: Order, bundle: Bundle) -> None:
        self._machine, self._out, self._order, self._bundle = machine, out, order, bundle
        self._there = f"{FOLDER}/{run}"

    def check(self, results: Results, what: str) -> None:
        """Raise `ResultsError` for the results of another run."""
        wanted = settings_of(self._order.task, self._order.source, self._order.grid)
        for name, ours, theirs in (
            ("bundle", self._bundle.identity(), results.bundle.sha256),
            ("machine", self._order.name, results.device.name),
            ("data or settings", wanted, results.settings),
        ):
            if ours != theirs:
                raise ResultsError(f"{what} of another {name}: choose another --out, or use --overwrite")

    async def send(self, resume: bool) -> None:
        """Send the order, and the results so far where they are not there."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, ORDER)
            path.write_bytes(msgspec.json.encode(self._order))
            files = {f"{self._there}/{ORDER}": path}
            results = f"{self._there}/{RESULTS}"
            if resume and self._out.exists() and (await self._machine.run(["test", "-e", results])).code != 0:
                files[results] = self._out
            await self._machine.put(files)

    async def fetch_once(self) -> Results:
        """Bring the results here; `out` is replaced by them alone, whole and right."""
        with tempfile.TemporaryDirectory(dir=self._out.absolute().parent, prefix=f".{self._out.name}.") as folder:
            path = Path(folder, RESULTS)
            await self._machine.get_once(f"{self._there}/{RESULTS}", path, _MOST_BYTES)
            results = read_results(path)
            self.check(results, f"{self._machine.name} sent the results")
            path.replace(self._out)
        return results

    async def keep_fetching(self, following: _Following) -> None:
        """Copy the results after each row, but not often: a board that never comes back takes little with it."""
        copied = 0
        while True:
            await asyncio.sleep(_FETCH_S)
            if following.rows > copied:
                copied = following.rows
                with contextlib.suppress(ReachError, ResultsError, OSError):  # cut, or changing: the next time
                    await self.fetch_once()


class _Following:
    """What the board says, from one connection after another."""

    def __init__(self, machine: SshMachine, run: str, report: Report) -> None:
        self._machine, self._run, self._report = machine, run, report
        self._rest = b""
        self._left = _MANY  # measurements, as far as is known
        self._ended: Said | None = None
        self.rows = 0  # steps of measuring that were heard of

    async def to_its_end(self) -> Said:
        """Return the last that it says; a run that never gets further raises `ConnectionLostError` in the end."""
        return await self._machine.through_cuts(self._once, lambda: _MANY - self._left)

    async def _once(self) -> Said:
        if self._ended is not None:  # heard just before a cut
            return self._ended
        self._rest = b""
        done = await self._machine.stream(_argv("follow", self._run), _nothing(), self._hear)
        if self._ended is not None:
            return self._ended
        what = f"{self._machine.name}: the run ended there without a word: {_printable(done.reason)}"
        # 128 + n: a signal, of a shutdown or of the kernel short of memory
        raise ConnectionLostError(what) if done.code == INTERRUPTED or done.code > 128 else ReachError(what)

    def _hear(self, block: bytes) -> None:
        *lines, self._rest = (self._rest + block).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            self._refuse(self._rest)
        for line in filter(None, lines):
            try:
                said = msgspec.json.decode(line, type=Said)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._refuse(line)
            if said.ended:
                self._ended = said
                continue
            if said.stage == "measuring":
                self.rows += 1
                self._left = min(self._left, said.total - said.done)
            self._report(_printable(said.stage), said.done, said.total, _printable(said.now))

    def _refuse(self, line: bytes) -> NoReturn:
        raise ReachError(f"{self._machine.name} said what cannot be read: {_printable(line[:100].decode('latin-1'))}")


async def _stop(machine: SshMachine, run: str, report: Report) -> None:
    try:
        await asyncio.wait_for(_board(machine, "stop", run), _STOP_S)
    except (ReachError, TimeoutError):
        report(f"not stopped: {machine.name} does not answer, and measures on", 0, 1)


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
