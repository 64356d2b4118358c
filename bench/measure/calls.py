"""Timing a callable: warm-up until it settles, then samples until the median is known or the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from mrl_edge.bench.measure.timing import LEAST, TIGHT, Timing, summarise
from mrl_edge.bench.measure.waiting import accounts, waited_share
from numpy.typing import NDArray

_WARM_SHARE = 0.25  # of the time, at most
_CLOCK_SHARE = 0.005  # of a sample, at most, that reading the clock may take
_CLOCK_READS = 101

Stage = Callable[[int], object]


def time_calls(call: Stage, inputs: int, max_seconds: float, least_samples: int = 0) -> Timing:
    """Time `call(0) … call(inputs - 1)` as `sample_stages` does; a call too short for the clock is looped.

    Looped calls have no tail, for which alone `least_samples` would be measured.
    """
    loops = calibrate(call, inputs)
    if loops == 1:
        return sample_stages([call], inputs, max_seconds, least_samples).timing()

    def looped(number: int) -> None:
        for _ in range(loops):
            call(number)

    samples = sample_stages([looped], inputs, max_seconds)
    return summarise(samples.passes[:, :, 0] / loops, samples.waiting, loops)


def calibrate(call: Stage, inputs: int) -> int:
    """Return how often each call is to be repeated so that reading the clock is at most 0.5% of it, a power of two.

    After one pass that does not count: a first call that allocates or compiles would pass for a long one.
    """
    for number in range(inputs):
        call(number)
    marks = [time.perf_counter_ns() for _ in range(_CLOCK_READS)]
    least = float(np.median(np.diff(marks))) / _CLOCK_SHARE
    loops = 1
    while True:
        started = time.perf_counter_ns()
        for number in range(inputs):
            for _ in range(loops):
                call(number)
        if time.perf_counter_ns() - started >= least * inputs:
            return loops
        loops *= 2


@dataclass(frozen=True)
class Samples:
    """Nanoseconds [passes, inputs, stages] of calls that ran one stage after the other, and the share spent waiting."""

    passes: NDArray[np.int64]
    waiting: float

    def timing(self, first: int = 0, end: int | None = None) -> Timing:
        """Return the timing of the stages first:end taken together: a percentile of it is no sum of percentiles."""
        return summarise(self.passes[:, :, first:end].sum(axis=2), self.waiting)


def sample_stages(stages: Sequence[Stage], inputs: int, max_seconds: float, least_samples: int = 0) -> Samples:
    """Run all stages for input 0, then for input 1, …, in passes, so that every pass does the same work.

    Warm-up ends when two passes have medians within 2%, or after a quarter of `max_seconds`. The samples are looked
    at whenever they have grown by a quarter: looking after every one would stop at the first lucky interval. There are
    `least_samples`, however long they take.
    """
    deadline = time.perf_counter() + max_seconds
    _warm_up(stages, inputs, time.perf_counter() + max_seconds * _WARM_SHARE)
    started, before = time.perf_counter_ns(), accounts()
    passes = [one_pass(stages, inputs)]
    next_look = float(LEAST)
    while time.perf_counter() < deadline or len(passes) * inputs < least_samples:
        passes.append(one_pass(stages, inputs))
        samples = len(passes) * inputs
        if samples >= next_look:
            if samples >= least_samples and summarise(np.stack(passes).sum(axis=2)).stable:
                break
            next_look = samples * 1.25 if samples >= least_samples else min(samples * 1.25, least_samples)
    return Samples(np.stack(passes), waited_share(before, accounts(), time.perf_counter_ns() - started))


def _warm_up(stages: Sequence[Stage], inputs: int, deadline: float) -> None:
    before = float(np.median(one_pass(stages, inputs).sum(axis=1)))
    while time.perf_counter() < deadline:
        now = float(np.median(one_pass(stages, inputs).sum(axis=1)))
        if abs(now - before) <= TIGHT * before:
            return
        before = now


def one_pass(stages: Sequence[Stage], inputs: int) -> NDArray[np.int64]:
    """Return the nanoseconds of every stage of every input, [inputs, stages]."""
    return np.diff(clock_marks(stages, inputs), axis=1)


def clock_marks(stages: Sequence[Stage], inputs: int) -> NDArray[np.int64]:
    """Return when each input began, and when each of its stages ended, in nanoseconds, [inputs, 1 + stages]."""
    marks = np.empty((inputs, len(stages) + 1), dtype=np.int64)
    for number in range(inputs):
        row = marks[number]
        row[0] = time.perf_counter_ns()
        for place, stage in enumerate(stages, 1):
            stage(number)
            row[place] = time.perf_counter_ns()
    return marks
