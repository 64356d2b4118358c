"""The board's side of a run that goes on while nobody is connected: `python -m mrl_edge.bench.board follow|stop RUN`.

It runs in the folder of all that is ours on the board; RUN is a folder in it that holds the order. `follow` starts the
run, or takes up one that a reboot or a kill interrupted, and says what it does until it ends; a run that goes on
already is followed, and one that ended well is not begun again. A lock lets one run at a time measure on a board.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO

import msgspec
from mrl_edge.bench.order import INTERRUPTED, ORDER, RESULTS, Order, Said
from mrl_edge.devices.deploy.holder import LOCK, Holder

_LOCK = Path(LOCK)
_SAID, _ERRORS, _STOP = "said.jsonl", "errors.txt", "stop"
_RESERVE, _RESERVE_BYTES = "reserve", 1 << 16  # given back when the disk is full, so that there is room to say so
_FULL = "the disk there is full: free some space and run the same command again, which goes on"
_LOOK_S = 0.5
_BEAT_S = 5.0  # an empty line this often: a connection that is gone is seen by writing to it
_PATIENCE_S = 20.0


def follow(run: Path) -> int:
    """Start the run unless it goes on or has ended well, and write what it says to standard output until it ends.

    Returns `INTERRUPTED` when it ended without a word, which is what a reboot leaves.
    """
    with _LOCK.open("a+b") as lock:
        if _take(lock):
            if not _has_ended_well(run):
                lock.truncate(0)
                for name in (_SAID, _STOP):
                    (run / name).unlink(missing_ok=True)
                lock.write(msgspec.json.encode(Holder(str(run), _start(run, lock))))
                lock.flush()
        else:
            holder = _holder(lock)
            if holder is None or holder.run != str(run):
                other = holder.run if holder else "another run"
                _say(sys.stdout.buffer, Said(ended=True, error=f"this board is measuring {other}: one at a time"))
                return 0
    for line in _lines(run):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        if line.strip() and msgspec.json.decode(line, type=Said).ended:
            return 0
    errors = (run / _ERRORS).read_text("utf-8", "replace").strip().splitlines()
    sys.stderr.write(errors[-1] if errors else "it was killed, or the board started anew or was short of memory")
    return INTERRUPTED


def stop(run: Path) -> int:
    """End the run if it goes on; what it measured stays, and `follow` takes it up again."""
    if not run.is_dir():
        return 0
    with _LOCK.open("a+b") as lock:
        end = time.monotonic() + _PATIENCE_S
        while not _take(lock):
            holder = _holder(lock)
            if holder is not None and holder.run != str(run):
                break
            (run / _STOP).touch()
            with suppress(ProcessLookupError):
                if holder is not None:
                    os.kill(holder.pid, signal.SIGTERM if time.monotonic() < end else signal.SIGKILL)
            time.sleep(_LOOK_S)
    return 0


def work(run: Path) -> int:
    """Measure what the order says; the lock is held by an open file that `follow` has handed down."""
    # Imported here alone: who follows stays beside what is measured, and small.
    from mrl_edge.bench.narrowing import narrow
    from mrl_edge.bench.place import Place
    from mrl_edge.bench.sweep import sweep
    from mrl_edge.devices.local import describe

    from mrl_edge.bundle import open_bundle
    from mrl_edge.errors import MrlEdgeError

    order = msgspec.json.decode((run / ORDER).read_bytes(), type=Order)
    signal.signal(signal.SIGTERM, _interrupt)
    reserve = run / _RESERVE
    with (run / _SAID).open("wb") as said:

        def report(stage: str, done: int, total: int, now: str = "") -> None:
            _say(said, Said(stage, done, total, now))

        error = None
        try:
            reserve.write_bytes(bytes(_RESERVE_BYTES))
            place = Place(msgspec.structs.replace(describe(), name=order.name), expected=order.expected)
            what = open_bundle(Path(order.bundle)), order.task, order.source, order.grid
            if order.budget is None:
                sweep(*what, run / RESULTS, report, place)
            else:
                narrow(*what, order.budget, run / RESULTS, report, place)
        except MrlEdgeError as problem:
            error = str(problem)
        except KeyboardInterrupt:
            if not (run / _STOP).exists():
                return 1  # the board goes down: the run is taken up when it is back
            error = "stopped"
        except Exception as problem:  # the host says it in one line
            error = _FULL if getattr(problem, "errno", None) == errno.ENOSPC else f"{type(problem).__name__}: {problem}"
        reserve.unlink(missing_ok=True)
        _say(said, Said(ended=True, error=error))
    return 0


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


def _has_ended_well(run: Path) -> bool:
    path = run / _SAID
    last = path.read_bytes().strip().rpartition(b"\n")[2] if path.is_file() else b""
    try:
        said = msgspec.json.decode(last, type=Said)
    except msgspec.DecodeError:
        return False
    return said.ended and said.error is None


def _lines(run: Path) -> Iterator[bytes]:
    """Yield whole lines as they are written, until nobody holds the lock and all is read."""
    path, begun, rest, beat = run / _SAID, 0, b"", time.monotonic()
    while True:
        goes_on = _goes_on()  # asked first: what was said before it ended is read below
        if path.is_file():
            with path.open("rb") as said:
                said.seek(begun)
                new = said.read()
            begun += len(new)
            *whole, rest = (rest + new).split(b"\n")
            yield from (line + b"\n" for line in whole)
        if not goes_on:
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


def _holder(lock: IO[bytes]) -> Holder | None:
    lock.seek(0)
    try:
        return msgspec.json.decode(lock.read(), type=Holder)
    except msgspec.DecodeError:  # it is being written
        return None


def _say(file: IO[bytes], said: Said) -> None:
    file.write(msgspec.json.encode(said) + b"\n")
    file.flush()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit({"follow": follow, "stop": stop, "work": work}[sys.argv[1]](Path(sys.argv[2])))
