"""Whether times have two modes: a machine that is now in one state and now in another has no one median."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

APART = 0.05  # modes nearer to each other than this share are one
_SHARE = 0.1  # of all samples, that the smaller mode must have
_BINS = 256
_VALLEYS = (1 / 3, 1 / 2, 2 / 3)  # where between the modes samples may be missing
_WINDOW = 1 / 5  # of the distance of the modes
_LEAST_PASSES = 4
_SIGNIFICANCE = 3.3  # standard deviations: one in 1,000, in three valleys


def bimodal(passes: NDArray[np.int64] | NDArray[np.float64]) -> bool:
    """Return whether the times of [passes, inputs] have two modes, each input's seen beside its own (geometric) mean.

    Otsu's threshold (1979) splits the logarithms in two. The density of a distribution with one mode is nowhere
    between two points lower than at the lower of them, so equal windows around the two medians and between them
    are counted: two modes are there when a valley holds significantly fewer samples than the lower peak.
    """
    passes = passes.reshape(len(passes), -1)
    if len(passes) < _LEAST_PASSES:
        return False
    logarithms = np.log(np.maximum(passes, 1e-12))
    # Beside the mean: of an input that spends half its passes in each mode the median may be either.
    times = (logarithms - logarithms.mean(axis=0)).ravel()
    times = np.clip(times, *np.percentile(times, [1, 99]))
    threshold = _otsu(times)
    low, high = times[times <= threshold], times[times > threshold]
    if min(len(low), len(high)) < _SHARE * len(times):
        return False
    left, right = float(np.median(low)), float(np.median(high))
    if right - left < math.log(1 + APART):
        return False
    reach = (right - left) * _WINDOW / 2

    def inside(place: float) -> int:
        return int(np.count_nonzero(np.abs(times - place) <= reach))

    peak = min(inside(left), inside(right))
    valley = min(inside(left + (right - left) * share) for share in _VALLEYS)
    return peak - valley > _SIGNIFICANCE * math.sqrt(peak + valley)


def _otsu(values: NDArray[np.float64]) -> float:
    """Return the edge between bins that leaves the least variance within the two parts."""
    counts, edges = np.histogram(values, _BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = len(values) - below
    sums = np.cumsum(counts * middles)
    apart = (sums[-1] * below / len(values) - sums[:-1]) ** 2 / np.maximum(below * above, 1)
    return float(edges[1:-1][np.argmax(apart)])
