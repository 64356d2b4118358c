"""Timing a callable: warm-up until it settles, then samples until the median is known or the time is up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TIGHT = 0.02  # half width of the median's 95% confidence interval, as a share of the median
_LEAST = 64  # samples below which nothing is called stable: an interval of a few says little
_DRIFT = 0.05  # how far the medians of the first and second half may be apart
_WARM_SHARE = 0.25  # of the time, at most


@dataclass(frozen=True)
class Timing:
    """Milliseconds a call; `stable` is False when the median is not known to within 2% or it drifted."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    ci95_ms: tuple[float, float]
    samples: int
    stable: bool


def time_calls(call: Callable[[int], object], inputs: int, max_seconds: float) -> Timing:
    """Time `call(0) … call(inputs - 1)`, as `time_stages` does."""
    return time_stages([call], inputs, max_seconds)[0]


def time_stages(stages: Sequence[Callable[[int], object]], inputs: int, max_seconds: float) -> list[Timing]:
    """Run all stages for input 0, then for input 1, …, in passes, so that every pass does the same work.

    Returns the timing of the whole, then of each stage (of a single stage: once), all from the same calls: a
    percentile of the whole is no sum of percentiles. Warm-up ends when two passes have medians within 2%, or
    after a quarter of `max_seconds`. The samples are looked at whenever they have grown by a quarter: looking
    after every one would stop at the first lucky interval.
    """
    deadline = time.perf_counter() + max_seconds
    _warm_up(stages, inputs, time.perf_counter() + max_seconds * _WARM_SHARE)
    passes = [_pass(stages, inputs)]
    next_look = float(_LEAST)
    while time.perf_counter() < deadline:
        passes.append(_pass(stages, inputs))
        samples = len(passes) * inputs
        if samples >= next_look:
            if summarise(_whole(passes)).stable:
                break
            next_look = samples * 1.25
    whole = summarise(_whole(passes))
    if len(stages) == 1:
        return [whole]
    by_stage = np.stack(passes)  # [passes, inputs, stages]
    return [whole, *(summarise(by_stage[:, :, number]) for number in range(len(stages)))]


def summarise(passes: NDArray[np.int64]) -> Timing:
    """Return percentiles of [passes, inputs] nanoseconds, in the order of their passes, and whether to trust them."""
    low, high = median_interval(passes)
    nanoseconds = passes.ravel()
    median = float(np.median(nanoseconds))
    half = len(passes) // 2
    drift = abs(float(np.median(passes[:half]) - np.median(passes[half:]))) if half else math.inf
    p90, p99 = np.percentile(nanoseconds, [90, 99])
    return Timing(
        p50_ms=median / 1e6,
        p90_ms=float(p90) / 1e6,
        p99_ms=float(p99) / 1e6,
        mean_ms=float(nanoseconds.mean()) / 1e6,
        ci95_ms=(low / 1e6, high / 1e6),
        samples=len(nanoseconds),
        stable=len(nanoseconds) >= _LEAST and (high - low) / 2 <= TIGHT * median and drift <= _DRIFT * median,
    )


def median_interval(passes: NDArray[np.int64] | NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95% confidence interval of the median of [passes, inputs] samples; [n] is n passes over one input.

    By order statistics, so nothing is assumed about the distributions (Conover, Practical Nonparametric
    Statistics, §3.2), and stratified by input: that a long text takes longer than a short one is no uncertainty.
    The number of samples below the median is a sum of binomials, one an input, with the share p of that input's
    samples that lie below; its variance is passes · Σ p(1 − p), for a single input the textbook's n/4. Shares
    are drawn towards ½ by one sample, so that few passes are not taken for certainty.
    """
    passes = passes.reshape(len(passes), -1)
    ordered = np.sort(passes, axis=None)
    median = np.median(ordered)
    below = (passes < median).sum(axis=0) + (passes == median).sum(axis=0) / 2  # [inputs]
    share = (below + 0.5) / (len(passes) + 1)
    reach = 1.96 * math.sqrt(len(passes) * float(np.sum(share * (1 - share))))
    middle = len(ordered) / 2
    low = max(0, math.floor(middle - reach))
    high = min(len(ordered) - 1, math.ceil(middle + reach))
    return float(ordered[low]), float(ordered[high])


def _whole(passes: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.asarray(np.stack(passes).sum(axis=2), dtype=np.int64)


def _warm_up(stages: Sequence[Callable[[int], object]], inputs: int, deadline: float) -> None:
    before = float(np.median(_pass(stages, inputs).sum(axis=1)))
    while time.perf_counter() < deadline:
        now = float(np.median(_pass(stages, inputs).sum(axis=1)))
        if abs(now - before) <= TIGHT * before:
            return
        before = now


def _pass(stages: Sequence[Callable[[int], object]], inputs: int) -> NDArray[np.int64]:
    """Return the nanoseconds of every stage of every input, [inputs, stages]."""
    marks = np.empty((inputs, len(stages) + 1), dtype=np.int64)
    for number in range(inputs):
        row = marks[number]
        row[0] = time.perf_counter_ns()
        for place, stage in enumerate(stages, 1):
            stage(number)
            row[place] = time.perf_counter_ns()
    return np.diff(marks, axis=1)
