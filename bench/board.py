"""The board's side of a run that goes on while nobody is connected: `python -m mrl_edge.bench.board follow|stop RUN`.

It runs in the folder of all that is ours on the board; RUN is a folder in it that holds the order. `follow` starts the
run, or takes up one that a reboot or a kill interrupted, and says what it does until it ends; a run that goes on
already is followed. A lock lets one run at a time measure on a board.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO

import msgspec
from mrl_edge.bench.order import ORDER, RESULTS, Order, Said
from mrl_edge.bench.place import Place
from mrl_edge.bench.sweep import sweep
from mrl_edge.devices.local import describe

from mrl_edge.bundle import open_bundle
from mrl_edge.errors import MrlEdgeError

_LOCK = Path("bench.lock")
_SAID, _ERRORS = "said.jsonl", "errors.txt"
_LOOK_S = 0.2
_BEAT_S = 5.0  # an empty line this often: a connection that is gone is seen by writing to it
_PATIENCE_S = 20.0


class _Holder(msgspec.Struct):
    """Who holds the lock: the process of a run."""

    run: str
    order: str
    pid: int


def follow(run: Path) -> None:
    """Start the run unless it goes on, and write what it says to standard output until it ends."""
    order = _read_order(run)
    with _LOCK.open("a+b") as lock:
        if _take(lock):
            (run / _SAID).unlink(missing_ok=True)
            pid = _start(run, lock)
            _write_holder(lock, _Holder(str(run), order.identity(), pid))
        else:
            holder = _holder(lock)
            if holder is None or holder.order != order.identity():
                other = holder.run if holder else "another run"
                _say(sys.stdout.buffer, Said(ended=True, error=f"this board is measuring {other}: one at a time"))
                return
    for line in _lines(run):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def stop(run: Path) -> None:
    """End the run if it goes on; what it measured stays, and `follow` takes it up again."""
    with _LOCK.open("a+b") as lock:
        end = time.monotonic() + _PATIENCE_S
        while not _take(lock):
            holder = _holder(lock)
            if holder is None or holder.run != str(run):
                return
            os.kill(holder.pid, signal.SIGTERM if time.monotonic() < end else signal.SIGKILL)
            time.sleep(_LOOK_S)


def work(run: Path) -> None:
    """Measure what the order says; the lock is held by an open file that `follow` has handed down."""
    order = _read_order(run)
    signal.signal(signal.SIGTERM, _interrupt)
    with (run / _SAID).open("wb") as said:

        def report(stage: str, done: int, total: int, now: str = "") -> None:
            _say(said, Said(stage, done, total, now))

        error = None
        try:
            place = Place(msgspec.structs.replace(describe(), name=order.name), expected=order.expected)
            sweep(open_bundle(Path(order.bundle)), order.task, order.source, order.grid, run / RESULTS, report, place)
        except MrlEdgeError as problem:
            error = str(problem)
        except KeyboardInterrupt:
            error = "stopped"
        except Exception as problem:  # the host says it in one line
            error = f"{type(problem).__name__}: {problem}"
        _say(said, Said(ended=True, error=error))


def _start(run: Path, lock: IO[bytes]) -> int:
    command = [sys.executable, "-m", "mrl_edge.bench.board", "work", str(run)]
    with (run / _ERRORS).open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # it outlives the connection
            pass_fds=(lock.fileno(),),
        )
    return process.pid


def _lines(run: Path) -> Iterator[bytes]:
    """Yield whole lines as they are written; the last one says how the run ended."""
    path, begun, rest, beat = run / _SAID, 0, b"", time.monotonic()
    while True:
        alive = _goes_on()  # asked first: what was said before it ended is read below
        if path.is_file():
            with path.open("rb") as said:
                said.seek(begun)
                new = said.read()
            begun += len(new)
            *whole, rest = (rest + new).split(b"\n")
            for line in whole:
                yield line + b"\n"
                if msgspec.json.decode(line, type=Said).ended:
                    return
        if not alive:
            errors = (run / _ERRORS).read_text("utf-8", "replace").strip().splitlines()
            why = errors[-1] if errors else "it was killed, or the board was short of memory"
            yield msgspec.json.encode(Said(ended=True, error=f"the run ended without a word: {why}")) + b"\n"
            return
        if time.monotonic() - beat > _BEAT_S:
            beat = time.monotonic()
            yield b"\n"
        time.sleep(_LOOK_S)


def _goes_on() -> bool:
    with _LOCK.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _take(lock: IO[bytes]) -> bool:
    for _ in range(3):  # `_goes_on` of someone else holds it for a moment
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_LOOK_S)
        else:
            return True
    return False


def _write_holder(lock: IO[bytes], holder: _Holder) -> None:
    lock.truncate(0)
    lock.write(msgspec.json.encode(holder))  # at the end, which is the beginning now
    lock.flush()


def _holder(lock: IO[bytes]) -> _Holder | None:
    lock.seek(0)
    try:
        return msgspec.json.decode(lock.read(), type=_Holder)
    except msgspec.DecodeError:  # it is being written
        return None


def _read_order(run: Path) -> Order:
    return msgspec.json.decode((run / ORDER).read_bytes(), type=Order)


def _say(file: IO[bytes], said: Said) -> None:
    file.write(msgspec.json.encode(said) + b"\n")
    file.flush()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    {"follow": follow, "stop": stop, "work": work}[sys.argv[1]](Path(sys.argv[2]))
