"""Queries that arrive by chance, whether or not the one before is answered: MLPerf's Server scenario."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from mrl_edge.bench.measure.calls import Stage
from numpy.typing import NDArray

_LEAD_SECONDS = 0.05  # before the first arrival: every thread waits for it then


def poisson_gaps(random: np.random.Generator, rate: float, queries: int) -> NDArray[np.float64]:
    """Return the seconds [queries] from one arrival to the next of a Poisson process of `rate` a second."""
    return random.exponential(1 / rate, queries)


def time_arrivals(
    call: Stage, inputs: NDArray[np.int64], gaps: NDArray[np.float64], threads: int
) -> NDArray[np.float64]:
    """Return the milliseconds [queries] from each arrival to its answer, waiting included.

    Query i asks for `call(inputs[i])` and arrives `gaps[i]` seconds after the one before. `threads` answer, first come
    first served; a query that finds them all busy waits, and the next arrives nevertheless: no latency is left out
    because an earlier one was long.
    """
    due = time.perf_counter_ns() + ((_LEAD_SECONDS + np.cumsum(gaps)) * 1e9).astype(np.int64)
    answered = np.empty(len(gaps), dtype=np.int64)
    queue = deque(range(len(gaps)))

    def answer() -> None:
        while (number := _next(queue)) is not None:
            early = int(due[number]) - time.perf_counter_ns()
            if early > 0:
                time.sleep(early / 1e9)
            try:
                call(int(inputs[number]))
            except BaseException:
                queue.clear()  # the others end too
                raise
            answered[number] = time.perf_counter_ns()

    with ThreadPoolExecutor(threads) as pool:
        answering = [pool.submit(answer) for _ in range(threads)]
    for one in answering:
        one.result()
    return (answered - due) / 1e6


def _next(queue: deque[int]) -> int | None:
    try:
        return queue.popleft()
    except IndexError:
        return None
