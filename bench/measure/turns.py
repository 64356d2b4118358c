"""Two or more that take turns: the ratio of their times, taken within rounds in which the machine was the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from mrl_edge.bench.measure.intervals import median_interval
from mrl_edge.bench.measure.timing import TIGHT, Doubt, drifts
from numpy.typing import NDArray

WARM_ROUNDS = 3
_LEAST_ROUNDS = 10

Pass = Callable[[], float]  # runs one pass and returns its median, ms


@dataclass(frozen=True)
class Ratio:
    """How many times as long one takes as another, with the 95% interval; `doubts` as of a `Timing`."""

    ratio: float
    ci95: tuple[float, float] | None  # None of fewer than 6 rounds
    rounds: int
    stable: bool
    doubts: tuple[Doubt, ...]


def take_turns(passes: Sequence[Pass], rounds: int) -> NDArray[np.float64]:
    """Return the medians [rounds, passes] in ms; the order turns round every time, so that no one is always second."""
    return np.array([_round(passes, number) for number in range(-WARM_ROUNDS, rounds)])[WARM_ROUNDS:]


def take_turns_until_known(passes: Sequence[Pass], max_seconds: float) -> NDArray[np.float64]:
    """Return the same of as many rounds as it takes to know the ratio of the first two to 2%, within the time."""
    deadline = time.perf_counter() + max_seconds
    for number in range(WARM_ROUNDS):
        _round(passes, number)
    medians = [_round(passes, 0)]
    next_look = float(_LEAST_ROUNDS)
    while time.perf_counter() < deadline:
        medians.append(_round(passes, len(medians)))
        if len(medians) >= next_look:
            first, second = np.array(medians).T[:2]
            if ratio_of(first, second).stable:
                break
            next_look = len(medians) * 1.25
    return np.array(medians)


def ratio_of(these: NDArray[np.float64], those: NDArray[np.float64]) -> Ratio:
    """Return the ratio of two series of medians [rounds], paired by their round."""
    ratios = these / those
    interval = median_interval(ratios)
    median = float(np.median(ratios))
    doubts: list[Doubt] = []
    if len(ratios) < _LEAST_ROUNDS:
        doubts.append("few samples")
    if interval is not None and (interval[1] - interval[0]) / 2 > TIGHT * median:
        doubts.append("interval")
    if drifts(ratios):
        doubts.append("drift")
    return Ratio(median, interval, len(ratios), not doubts, tuple(doubts))


def _round(passes: Sequence[Pass], number: int) -> list[float]:
    places = range(len(passes)) if number % 2 == 0 else reversed(range(len(passes)))
    medians = {place: passes[place]() for place in places}
    return [medians[place] for place in range(len(passes))]
