"""What a series of times comes to: percentiles, an interval, and every reason not to trust the median."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from mrl_edge.bench.measure.intervals import (
    Passes,
    at_one_speed,
    interval_over_processes,
    likely_median,
    median_interval,
    reach_of_speeds,
    speeds_of,
    tail_interval,
)
from mrl_edge.bench.measure.modes import bimodal
from numpy.typing import NDArray

TailInterval = tuple[float, float | None] | None  # no upper end where the samples are too few to know it

Doubt = Literal["few samples", "interval", "drift", "bimodal", "busy", "processes"]

TIGHT = 0.02  # half width of the median's 95% confidence interval, as a share of the median
LEAST = 64  # samples below which nothing is called stable: an interval of a few says little; nor of passes without one
_DRIFT = 0.05  # how far the medians of the first and second half may be apart, or those of two processes
_WAITING = 0.05  # of the time, that the thread may wait for its core


@dataclass(frozen=True)
class Timing:
    """Milliseconds a call; `doubts` says why the median is not to be trusted, and `stable` that nothing does.

    A call too short for the clock is repeated: then a sample is the mean of `loops` calls, in which a slow one
    vanishes, so there are no upper percentiles. A p99 stands beside its 95% interval, whose upper end is None where the
    samples are too few to know it; a p99.9 there would be the slowest call or nearly so, and is None itself.
    """

    p50_ms: float
    p90_ms: float | None  # None where samples are means
    p99_ms: float | None  # likewise
    mean_ms: float
    ci95_ms: tuple[float, float] | None  # None of fewer than 6 passes
    samples: int
    stable: bool
    p999_ms: float | None  # likewise, and where its interval has no upper end
    doubts: tuple[Doubt, ...]
    passes: Passes = field(repr=False, compare=False)  # [passes, inputs] nanoseconds, what it is of
    loops: int = 1  # calls a sample
    p99_ci95_ms: TailInterval = None
    p999_ci95_ms: TailInterval = None


def summarise(passes: Passes, waiting: float = 0.0, loops: int = 1) -> Timing:
    """Return percentiles of [passes, inputs] nanoseconds, in the order of their passes, and whether to trust them.

    `waiting` is the share of the time that the process waited for cores that others had; each sample is the mean
    of `loops` calls.
    """
    interval = median_interval(passes)
    nanoseconds = passes.ravel()
    p50, p90 = np.percentile(nanoseconds, [50, 90])
    doubts = _doubts(passes, float(p50), interval, waiting)
    single = loops == 1
    p99, p99_interval = _tail(nanoseconds, 99) if single else (None, None)
    p999, p999_interval = _tail(nanoseconds, 99.9) if p99_interval and p99_interval[1] else (None, None)
    p999_known = p999_interval is not None and p999_interval[1] is not None
    return Timing(
        p50_ms=float(p50) / 1e6,
        p90_ms=float(p90) / 1e6 if single else None,
        p99_ms=p99,
        mean_ms=float(nanoseconds.mean()) / 1e6,
        ci95_ms=(interval[0] / 1e6, interval[1] / 1e6) if interval else None,
        samples=len(nanoseconds),
        stable=not doubts,
        p999_ms=p999 if p999_known else None,
        doubts=doubts,
        passes=passes,
        loops=loops,
        p99_ci95_ms=p99_interval,
        p999_ci95_ms=p999_interval if p999_known else None,
    )


def _tail(nanoseconds: Passes, percentile: float) -> tuple[float, tuple[float, float | None]]:
    """Return a percentile with its 95% interval, milliseconds."""
    low, high = tail_interval(nanoseconds, percentile)
    return float(np.percentile(nanoseconds, percentile)) / 1e6, (low / 1e6, high / 1e6 if high < math.inf else None)


def summarise_processes(processes: Sequence[Timing]) -> Timing:
    """Return one timing of processes of one configuration that timed the same inputs, in the order of time.

    Percentiles are of all samples, each process's brought to the speed of the middle one: neither one that was
    disturbed nor one that ran for longer shifts them. That the processes differ is in the interval. What was
    doubted within processes is doubted when half of them or more did.
    """
    if len(processes) == 1:
        return processes[0]
    passes = [one.passes for one in processes]
    speeds = speeds_of(passes)
    interval = interval_over_processes(passes)
    found = summarise(at_one_speed(passes, speeds - np.median(speeds)), 0, max(one.loops for one in processes))
    low, high = min(interval[0] / 1e6, found.p50_ms), max(interval[1] / 1e6, found.p50_ms)
    doubts: list[Doubt] = ["few samples"] if found.samples < LEAST else []
    if (high - low) / 2 > TIGHT * found.p50_ms:
        doubts.append("interval")
    within: tuple[Doubt, ...] = ("drift", "bimodal", "busy")
    doubts += [doubt for doubt in within if 2 * sum(doubt in one.doubts for one in processes) >= len(processes)]
    if _differ(passes, speeds):
        doubts.append("processes")
    between = reach_of_speeds(speeds)
    return replace(
        found,
        ci95_ms=(low, high),
        doubts=tuple(doubts),
        stable=not doubts,
        p99_ci95_ms=_wider(found.p99_ms, found.p99_ci95_ms, between),
        p999_ci95_ms=_wider(found.p999_ms, found.p999_ci95_ms, between),
    )


def _wider(value: float | None, interval: TailInterval, between: float) -> TailInterval:
    """Add to a percentile's interval how far processes differ, as variances are added; `between` is of logarithms."""
    if value is None or interval is None or min(value, interval[0]) <= 0:
        return interval
    low, high = interval
    least = value * math.exp(-math.hypot(between, math.log(value / low)))
    return least, None if high is None else value * math.exp(math.hypot(between, math.log(high / value)))


def _differ(processes: Sequence[Passes], speeds: NDArray[np.float64]) -> bool:
    """Whether the fastest and the slowest process are further apart than 5%, and than chance would have it."""
    fastest, slowest = processes[int(speeds.argmin())], processes[int(speeds.argmax())]
    apart = float(speeds.max() - speeds.min())
    return apart > _DRIFT and likely_median(fastest)[1] < likely_median(slowest)[0]


def _doubts(
    passes: Passes,
    median: float,
    interval: tuple[float, float] | None,
    waiting: float,
) -> tuple[Doubt, ...]:
    found: list[Doubt] = []
    if passes.size < LEAST or interval is None:
        found.append("few samples")
    if interval is not None and (interval[1] - interval[0]) / 2 > TIGHT * median:
        found.append("interval")
    if drifts(passes):
        found.append("drift")
    if bimodal(passes):
        found.append("bimodal")
    if waiting > _WAITING:
        found.append("busy")
    return tuple(found)


def drifts(passes: Passes) -> bool:
    """Return whether the second half's median is further from the first's than 5%, and than chance would have it."""
    half = len(passes) // 2
    if not half:
        return False
    first, second = passes[:half], passes[half:]
    if abs(np.median(first) - np.median(second)) <= _DRIFT * np.median(passes):
        return False
    (low_1, high_1), (low_2, high_2) = likely_median(first), likely_median(second)
    return high_1 < low_2 or high_2 < low_1
