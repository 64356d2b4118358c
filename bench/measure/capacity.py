"""The highest rate of arrivals at which the 99th percentile of the latency keeps a limit."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from mrl_edge.bench.measure.intervals import percentile_interval
from numpy.typing import NDArray

PERCENTILE = 99
LEAST_LIMITS = 20  # that a trial lasts at least: a queue that only grows exceeds the limit within it
_LOOKS = (1, 1, 2, 4)  # parts of the time that a rate gets until it is decided; the last until one has kept it
_PARTS = 16  # of the time
_WARM = 0.1  # of a trial's queries do not count: its queue begins empty
_STEP = 1.25  # from rate to rate until one keeps the limit and one exceeds it
_TIGHT = 1.05  # lowest rate that exceeds it ÷ highest that keeps it, at which the search ends
_SIMULATED, _HALVINGS = 5000, 12  # queries and steps of the guess where to begin
_BELOW = 0.75  # of that guess: near the limit a rate takes longest to be sure of

Trial = Callable[[float, int], NDArray[np.float64]]  # arrivals a second, queries → their latencies in ms, as they came


@dataclass(frozen=True)
class Capacity:
    """`kept` arrivals a second were seen to keep the limit and `exceeded` to break it: the highest lies between them.

    Either is None where none was. `latencies` are the milliseconds at `kept`, in the order of arrival.
    """

    kept: float | None
    exceeded: float | None
    latencies: NDArray[np.float64]


@dataclass(frozen=True)
class _Rate:
    """What was seen at one rate; `keeps` is None where the interval of the percentile holds the limit."""

    rate: float
    latencies: NDArray[np.float64]
    keeps: bool | None


def trial_seconds(max_seconds: float) -> float:
    """Return how long the arrivals of the shortest trial last."""
    return max_seconds / _PARTS


def highest_rate(trial: Trial, limit_ms: float, first: float, max_seconds: float) -> Capacity:
    """Try rates, from `first` on, until the limit is known to lie between two that are 5% apart, or the time is up.

    A rate keeps the limit where the interval of the percentile lies below it, and exceeds it where that lies above.
    One that does neither is tried again, for a quarter of the time or, while none has kept the limit, half of it; then
    it is left undecided, and the rates around it are tried. The time is that from the first arrival to the last answer.
    """
    part, spent = trial_seconds(max_seconds), 0.0
    tried: list[_Rate] = []
    for rate in _rates(tried, first):
        seen, keeps = np.empty(0), None
        for parts in _LOOKS[: -1 if _bracket(tried)[0] else None]:
            if keeps is not None or spent + part * parts > max_seconds:
                break
            latencies = trial(rate, max(1, round(rate * part * parts)))
            spent += part * parts + latencies[-1] / 1e3
            seen = np.append(seen, latencies[round(_WARM * len(latencies)) :])
            keeps = _keeps(seen, limit_ms)
        tried.append(_Rate(rate, seen, keeps))
        if spent + part > max_seconds:
            break
    kept, exceeded = _bracket(tried)
    latencies = kept.latencies if kept else np.empty(0)
    return Capacity(kept.rate if kept else None, exceeded.rate if exceeded else None, latencies)


def where_to_begin(service_ms: NDArray[np.float64], limit_ms: float, threads: int) -> float:
    """Return a rate a second a little below what a simulated queue with these service times would keep."""
    random = np.random.default_rng(0)
    services, gaps = random.choice(service_ms, _SIMULATED), random.exponential(1.0, _SIMULATED)
    low, high = 0.0, threads / float(service_ms.mean())  # a millisecond
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        waits = np.percentile(_simulated(services, gaps / middle, threads), PERCENTILE)
        low, high = (middle, high) if waits <= limit_ms else (low, middle)
    return max(low, high / 2) * _BELOW * 1e3


def _simulated(services: NDArray[np.float64], gaps: NDArray[np.float64], threads: int) -> NDArray[np.float64]:
    """Return the latencies [queries] of a queue, first come first served by whichever thread is free first."""
    free, latencies = [0.0] * threads, np.empty(len(services))
    for place, (arrival, service) in enumerate(zip(np.cumsum(gaps).tolist(), services.tolist(), strict=True)):
        end = max(arrival, free[0]) + service
        heapq.heapreplace(free, end)
        latencies[place] = end - arrival
    return latencies


def _keeps(latencies: NDArray[np.float64], limit_ms: float) -> bool | None:
    low, high = percentile_interval(latencies, PERCENTILE)
    if high <= limit_ms:
        return True
    return False if low > limit_ms else None


def _bracket(tried: list[_Rate]) -> tuple[_Rate | None, _Rate | None]:
    kept = max((one for one in tried if one.keeps is True), key=lambda one: one.rate, default=None)
    exceeded = min((one for one in tried if one.keeps is False), key=lambda one: one.rate, default=None)
    return kept, exceeded


def _rates(tried: list[_Rate], first: float) -> Iterator[float]:
    """Yield the next rate: beyond all that were tried until the limit lies between two, then in the widest gap."""
    yield first
    while True:
        kept, exceeded = _bracket(tried)
        rates = sorted(one.rate for one in tried)
        if kept is None:
            yield rates[0] / _STEP
        elif exceeded is None:
            yield rates[-1] * _STEP
        else:
            between = [rate for rate in rates if kept.rate <= rate <= exceeded.rate]
            low, high = max(itertools.pairwise(between), key=lambda gap: gap[1] / gap[0])
            if high <= low * _TIGHT:
                return
            yield math.sqrt(low * high)
