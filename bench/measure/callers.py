"""Several callers of one thing at once, each waiting for its answer before it asks again."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mrl_edge.bench.measure.calls import Stage, clock_marks
from mrl_edge.bench.measure.timing import Timing, summarise
from mrl_edge.bench.measure.waiting import Accounts, accounts, waited_share
from numpy.typing import NDArray


@dataclass(frozen=True)
class Concurrent:
    """The latency that callers saw, all their calls together, and how many calls a second were answered."""

    timing: Timing
    calls_per_s: float


def time_callers(call: Stage, inputs: int, callers: int, seconds: float, least_samples: int = 0) -> Concurrent:
    """Let `callers` threads each run passes over `call(0) … call(inputs - 1)` for a time, after one pass to warm up.

    Each starts at another input, so that they do not all ask for the longest text at once. The rate is of the time in
    which all of them called: what one did after another had stopped does not count in it. All together make
    `least_samples` calls, however long they take.
    """
    found = [_Caller(number * inputs // callers) for number in range(callers)]
    before: list[tuple[int, Accounts | None]] = []
    start = threading.Barrier(callers, lambda: before.append((time.perf_counter_ns(), accounts())))
    after: list[tuple[int, Accounts | None]] = []
    end = threading.Barrier(callers, lambda: after.append((time.perf_counter_ns(), accounts())))
    least = -(-least_samples // (callers * inputs))
    threads = [
        threading.Thread(target=_passes, args=(call, inputs, seconds, least, start, end, caller)) for caller in found
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [caller.error for caller in found if caller.error is not None]
    if errors:  # of the others a broken barrier is the consequence
        raise min(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError))
    in_order = sorted((marks for caller in found for marks in caller.passes), key=lambda marks: int(marks[:, 1].max()))
    passes = np.stack(in_order)
    (started, first), (stopped, last) = before[0], after[0]
    timing = summarise(passes[:, :, 1] - passes[:, :, 0], waited_share(first, last, stopped - started))
    return Concurrent(timing, _rate([np.concatenate(caller.passes) for caller in found]))


class _Caller:
    """What one thread saw: when it asked and was answered, in passes [inputs, 2] of nanoseconds, by input."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.passes: list[NDArray[np.int64]] = []
        self.error: BaseException | None = None


def _passes(
    call: Stage,
    inputs: int,
    seconds: float,
    least: int,
    start: threading.Barrier,
    end: threading.Barrier,
    caller: _Caller,
) -> None:
    """Call for so long, and `least` passes and one at least, between the two barriers."""

    def shifted(number: int) -> object:
        return call((number + caller.offset) % inputs)

    try:
        clock_marks([shifted], inputs)
        start.wait()
        started = time.perf_counter()
        while len(caller.passes) < max(1, least) or time.perf_counter() < started + seconds:
            caller.passes.append(np.roll(clock_marks([shifted], inputs), caller.offset, axis=0))
        end.wait()  # a thread's account ends with it
    except BaseException as error:  # raised again where the threads are joined
        caller.error = error
        start.abort()
        end.abort()


def _rate(calls: Sequence[NDArray[np.int64]]) -> float:
    """Return the calls a second of callers' [calls, 2] while none had stopped; of one under way then, its part."""
    began = min(int(marks[:, 0].min()) for marks in calls)
    stopped = min(int(marks[:, 1].max()) for marks in calls)
    asked, answered = np.concatenate(calls).T
    done = np.clip((stopped - asked) / np.maximum(answered - asked, 1), 0, 1).sum()
    return float(done) / max(stopped - began, 1) * 1e9
