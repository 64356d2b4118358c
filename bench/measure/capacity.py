"""The highest rate of arrivals at which the 99th percentile of the latency keeps a limit."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from mrl_edge.bench.measure.intervals import percentile_interval
from numpy.typing import NDArray

PERCENTILE = 99
_WARM = 0.1  # of a trial's queries do not count: its queue begins empty
_STEP = 1.25  # from rate to rate until one keeps the limit and one exceeds it
_TIGHT = 1.05  # lowest rate that exceeds it ÷ highest that keeps it, at which the search ends

Trial = Callable[[float, int], NDArray[np.float64]]  # arrivals a second, queries → their latencies in ms, as they came


@dataclass(frozen=True)
class Capacity:
    """`kept` arrivals a second were seen to keep the limit and `exceeded` to break it: the limit lies between them.

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


def highest_rate(trial: Trial, limit_ms: float, first: float, seconds: float, trials: int) -> Capacity:
    """Try rates, from `first` on, until the limit is known to lie between two that are 5% apart, or no trial is left.

    A trial's queries arrive in `seconds`. Its rate keeps the limit where the 99% confidence interval of the percentile
    lies below it, and exceeds it where that lies above; around one that does neither the next are tried.
    """
    tried: list[_Rate] = []
    for rate in itertools.islice(_rates(tried, first), trials):
        latencies = trial(rate, max(1, round(rate * seconds)))
        latencies = latencies[round(_WARM * len(latencies)) :]
        tried.append(_Rate(rate, latencies, _keeps(latencies, limit_ms)))
    kept, exceeded = _bracket(tried)
    return Capacity(
        kept.rate if kept else None, exceeded.rate if exceeded else None, kept.latencies if kept else np.empty(0)
    )


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
