"""Several callers of one thing at once, each waiting for its answer before it asks again."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
from mrl_edge.bench.measure.calls import Stage, one_pass
from mrl_edge.bench.measure.timing import Timing, summarise
from numpy.typing import NDArray


@dataclass(frozen=True)
class Concurrent:
    """The latency that callers saw, all their calls together, and how many calls a second were answered."""

    timing: Timing
    calls_per_s: float


def time_callers(call: Stage, inputs: int, callers: int, seconds: float) -> Concurrent:
    """Let `callers` threads each run passes over `call(0) … call(inputs - 1)` for a time, after one pass to warm up."""
    start, found = threading.Barrier(callers), [_Caller() for _ in range(callers)]
    threads = [threading.Thread(target=_passes, args=(call, inputs, seconds, start, caller)) for caller in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [caller.error for caller in found if caller.error is not None]
    if errors:  # of the others a broken barrier is the consequence
        raise min(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError))
    in_order = sorted(((end, times) for caller in found for end, times in caller.passes), key=lambda one: one[0])
    rate = sum(inputs * len(caller.passes) / caller.seconds for caller in found)
    return Concurrent(summarise(np.stack([times for _, times in in_order])), rate)


class _Caller:
    """What one thread saw: the end of each pass and its times [inputs]."""

    def __init__(self) -> None:
        self.passes: list[tuple[float, NDArray[np.int64]]] = []
        self.seconds = 0.0
        self.error: BaseException | None = None


def _passes(call: Stage, inputs: int, seconds: float, start: threading.Barrier, caller: _Caller) -> None:
    try:
        one_pass([call], inputs)
        start.wait()
        started = time.perf_counter()
        while not caller.passes or time.perf_counter() < started + seconds:
            times = one_pass([call], inputs)[:, 0]
            caller.passes.append((time.perf_counter(), times))
        caller.seconds = time.perf_counter() - started
    except BaseException as error:  # raised again where the threads are joined
        caller.error = error
        start.abort()
