"""The 95% confidence interval of a median: of samples that may depend on each other, and of several processes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Passes = NDArray[np.int64] | NDArray[np.float64]  # [passes, inputs]

_LAGS = 4  # autocovariances are summed up to this part of the passes
LEAST_PASSES = 6  # the least and the greatest of 5 hold the median in 94% of the draws, of 6 in 97%
_TELLING = 8  # passes below which nothing is said of how one depends on the one before
_DRAWS = 200  # of a bootstrap
_AT_ONCE = 1 << 17  # samples of it, a megabyte
_NORMAL = 1.959964
_NORMAL_975 = 2.241403
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571)  # 97.5% of Student's t with 1 … 5 degrees of freedom


def median_interval(passes: Passes) -> tuple[float, float] | None:
    """Return the 95% confidence interval of the median of [passes, inputs] samples; [n] is n passes over one input.

    None of fewer than 6 passes, which have none: a pass that was slow as a whole is one observation, however many
    inputs it has.
    """
    return likely_median(passes) if len(passes) >= LEAST_PASSES else None


def speeds_of(processes: Sequence[Passes]) -> NDArray[np.float64]:
    """Return how much longer than their mean each process of one configuration took, in logarithms that sum to 0.

    All timed the same inputs ([passes, inputs] each), so they are compared input by input: that is surer than by
    their medians, which jump between inputs that take about as long.
    """
    inputs = np.log([np.median(passes.reshape(len(passes), -1), axis=0) for passes in processes])
    speeds: NDArray[np.float64] = np.median(inputs - inputs.mean(axis=0), axis=1)
    speeds -= speeds.mean()
    return speeds


def interval_over_processes(processes: Sequence[Passes]) -> tuple[float, float]:
    """Return the 95% confidence interval of the median that processes come to, [passes, inputs] each, 2 or more.

    A process has a speed of its own (where its memory lies, what else ran just then), which no number of samples
    within it shows: at that level the processes are the observations, and Student's t makes the interval (Kalibera
    and Jones 2013, Rigorous Benchmarking in Reasonable Time; Georges, Buytaert and Eeckhout 2007, Statistically
    Rigorous Java Performance Evaluation). To it is added, as variances are, what the samples of all processes leave
    uncertain once they are brought to one speed, by a bootstrap stratified by input (Davison and Hinkley 1997,
    Bootstrap Methods and their Application). That passes differ as a whole is in the speeds: so it can do with fewer
    of them than `median_interval`.
    """
    speeds = speeds_of(processes)
    between = reach_of_speeds(speeds)
    alike = at_one_speed(processes, speeds)
    reach = math.hypot(between, 1.96 * _bootstrapped_deviation(alike))
    median = float(np.median(alike))
    return median * math.exp(-reach), median * math.exp(reach)


def reach_of_speeds(speeds: NDArray[np.float64]) -> float:
    """Return how far the mean of processes' speeds, logarithms, may be off to either side: Student's t, 95%."""
    return _student(len(speeds) - 1) * float(speeds.std(ddof=1)) / math.sqrt(len(speeds))


def interval_of_processes(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95% interval of a figure that each process has one of, by Student's t on logarithms.

    How well each knows its own is a part of how they differ, so that nothing is to be added. None of fewer than two.
    """
    if len(values) < 2 or min(values) <= 0:
        return None
    logarithms = np.log(values)
    middle, reach = float(logarithms.mean()), reach_of_speeds(logarithms)
    return math.exp(middle - reach), math.exp(middle + reach)


def _bootstrapped_deviation(passes: Passes) -> float:
    """Return the standard deviation of the median's logarithm; the same at every call."""
    passes = passes.reshape(len(passes), -1)
    random = np.random.default_rng(0)
    at_once = max(1, _AT_ONCE // passes.size)
    medians: list[float] = []
    while len(medians) < _DRAWS:
        draws = random.integers(len(passes), size=(min(at_once, _DRAWS - len(medians)), *passes.shape))
        medians += np.median(np.take_along_axis(passes[None], draws, axis=1), axis=(1, 2)).tolist()
    return float(np.log(medians).std()) * math.sqrt(len(passes) / (len(passes) - 1))


def at_one_speed(processes: Sequence[Passes], speeds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return all passes, one process after the other, each divided by what its process's speed makes of it."""
    return np.concatenate([passes / math.exp(speed) for passes, speed in zip(processes, speeds, strict=True)])


def _student(freedom: int) -> float:
    """Return the 97.5% quantile of Student's t; above 5 degrees by Abramowitz and Stegun 26.7.5, good to 0.1%."""
    if freedom <= len(_STUDENT):
        return _STUDENT[freedom - 1]
    z, n = _NORMAL, 4.0 * freedom
    return (
        z
        + (z**3 + z) / n
        + (5 * z**5 + 16 * z**3 + 3 * z) / (6 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (6 * n**3)
    )


def in_words(interval: tuple[float, float] | None, decimals: int = 2) -> str:
    """Write an interval for a table; one that there is not decides nothing."""
    return f"{interval[0]:.{decimals}f} to {interval[1]:.{decimals}f}" if interval else "undecided"


def likely_median(passes: Passes) -> tuple[float, float]:
    """Return where the median is likely to be: of 6 passes and more its 95% interval, of fewer less than that.

    By order statistics, so nothing is assumed about the distributions (Conover, Practical Nonparametric
    Statistics, §3.2), and stratified by input: that a long text takes longer than a short one is no uncertainty.
    The number of samples below the median is a sum of binomials, one an input, with the share p of that input's
    samples that lie below; its variance is passes · Σ p(1 − p), for a single input the textbook's n/4. Shares
    are drawn towards ½ by one sample, so that few passes are not taken for certainty.

    A machine is slow for a while, so samples near in time are alike, and n of them tell less than n: where the
    number below the median varies more from pass to pass than those binomials, the larger variance counts; and
    where whole passes were slow, the interval is at least that of the passes' level (the median of their times,
    each as a share of its input's own median).
    """
    passes = passes.reshape(len(passes), -1)
    ordered = np.sort(passes, axis=None)
    median = float(np.median(ordered))
    below = (passes < median) + (passes == median) / 2  # [passes, inputs]
    share = (below.sum(axis=0) + 0.5) / (len(passes) + 1)  # [inputs]
    variance = max(float(np.sum(share * (1 - share))), long_run_variance(below.sum(axis=1)))
    reach = 1.96 * math.sqrt(len(passes) * variance)
    middle = len(ordered) / 2
    low = max(0, math.floor(middle - reach))
    high = min(len(ordered) - 1, math.ceil(middle + reach))
    level = _level_reach(passes) * median
    return min(float(ordered[low]), median - level), max(float(ordered[high]), median + level)


def _level_reach(passes: Passes) -> float:
    """Return the half width of the mean level's interval, as a share; 0 of one input, whose level is its samples."""
    if passes.shape[1] == 1 or len(passes) < 2:
        return 0.0
    own = np.median(passes, axis=0)
    if not own.all():
        return 0.0
    levels = np.median(passes / own, axis=1)
    return 1.96 * math.sqrt(long_run_variance(levels) / len(levels))


def long_run_variance(series: NDArray[np.float64]) -> float:
    """Return n times the variance of the mean of n values in the order of time, their dependence included.

    The sum of all autocovariances, ended where two neighbours of it are no longer positive together (Geyer 1992,
    Practical Markov Chain Monte Carlo, §3.3). Too few values show no dependence: then it is their variance.
    """
    if len(series) < 2:
        return 0.0
    if len(series) < _TELLING:
        return float(series.var(ddof=1))
    centred = series - series.mean()

    def covariance(lag: int) -> float:
        return float(centred[: len(centred) - lag] @ centred[lag:]) / len(centred)

    total = -covariance(0)
    for lag in range(0, max(2, len(series) // _LAGS), 2):
        pair = covariance(lag) + covariance(lag + 1)
        if pair <= 0:
            break
        total += 2 * pair
    return max(total, 0.0)


def percentile_interval(
    samples: NDArray[np.float64] | NDArray[np.int64], percentile: float, z: float = _NORMAL_975
) -> tuple[float, float]:
    """Return the confidence interval of a percentile of [n] samples, in the order of time, that may be alike.

    By order statistics, the variance that of how the samples above the percentile follow each other: a queue that is
    long for a while makes many late. `z` standard deviations to each side: 2.241 are 97.5%, 1.96 are 95%. The upper end
    is infinite where n is too few to know it: fewer than 498 of a 99th at 97.5%, than 381 at 95%.
    """
    share = percentile / 100
    above = (samples > np.percentile(samples, percentile)).astype(np.float64)
    variance = max(share * (1 - share), long_run_variance(above))
    reach = z * math.sqrt(len(samples) * variance)
    ordered = np.sort(samples)
    low, high = math.floor(len(samples) * share - reach), math.ceil(len(samples) * share + reach) - 1
    return float(ordered[max(0, low)]), float(ordered[high]) if high < len(samples) else math.inf


def tail_interval(samples: NDArray[np.float64] | NDArray[np.int64], percentile: float) -> tuple[float, float]:
    """Return the 95% interval of a percentile, as `percentile_interval` does."""
    return percentile_interval(samples, percentile, _NORMAL)


def samples_for(percentile: float) -> int:
    """Return the least number of samples, none alike, that can bound a percentile from above: 3,838 a 99.9th.

    As `tail_interval` judges how alike samples are by the samples, it needs up to twice as many.
    """
    share = percentile / 100
    count = math.ceil(_NORMAL**2 * share / (1 - share))  # what lies above the upper end is a sample, or nearly one
    while math.ceil(count * share + _NORMAL * math.sqrt(count * share * (1 - share))) > count:
        count += 1
    return count
