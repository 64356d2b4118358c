"""How often the interval holds the median of distributions whose median is known."""

import numpy as np
import pytest
from mrl_edge.bench.measure.intervals import in_words, interval_of_processes, long_run_variance, median_interval
from scipy.stats import binom, t

MS = 1_000_000


def _lognormal(random, count):
    return random.lognormal(np.log(5 * MS), 0.5, count)


def _bimodal(random, count):
    """70% uniform in 10..12 ms, 30% in 20..21 ms: half of all are below 10 + 2 · 0.5 / 0.7 ms."""
    return np.where(random.random(count) < 0.7, random.uniform(10, 12, count), random.uniform(20, 21, count)) * MS


@pytest.mark.parametrize("count", [20, 101, 600])
@pytest.mark.parametrize(("draw", "median"), [(_lognormal, 5 * MS), (_bimodal, (10 + 1 / 0.7) * MS)])
def test_the_interval_holds_the_true_median(draw, median, count):
    random = np.random.default_rng(11)
    intervals = [median_interval(draw(random, count).astype(np.int64)) for _ in range(400)]
    assert np.mean([low <= median <= high for low, high in intervals]) >= 0.93


def _unlike_inputs(random, passes):
    """64 inputs whose own times spread from 2 to 8 ms, each with 3% noise, as texts of unlike length have."""
    own = np.linspace(2, 8, 64)
    return own * random.lognormal(0, 0.03, (passes, 64)) * MS


@pytest.mark.parametrize("passes", [6, 8, 40])
def test_the_interval_is_of_the_noise_and_not_of_the_unlikeness_of_the_inputs(passes):
    random = np.random.default_rng(16)
    median = np.median(_unlike_inputs(random, 20_000))
    drawn = [_unlike_inputs(random, passes) for _ in range(400)]
    intervals = [median_interval(samples) for samples in drawn]
    assert np.mean([low <= median <= high for low, high in intervals]) >= 0.93
    pooled = [median_interval(samples.ravel()) for samples in drawn]
    assert np.mean(np.diff(intervals)) < 0.7 * np.mean(np.diff(pooled))


@pytest.mark.parametrize("count", [6, 7, 10, 31, 100, 1001, 20_000])
def test_the_interval_is_of_95_percent_and_hardly_more_by_the_exact_binomial(count):
    samples = np.random.default_rng(0).permutation(count)
    low, high = median_interval(samples)  # each sample is its own rank
    coverage = binom.cdf(high, count, 0.5) - binom.cdf(low, count, 0.5)
    assert 0.949 <= coverage <= 0.99  # 0.9499 for 31: ours is the normal approximation


@pytest.mark.parametrize("shape", [(1,), (5,), (1, 64), (5, 64)])
def test_fewer_than_6_passes_have_no_interval(shape):
    assert median_interval(np.random.default_rng(25).normal(5, 1, shape)) is None
    assert in_words(None) == "undecided"


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_a_figure_of_each_process_has_students_interval(count):
    values = np.random.default_rng(26).lognormal(1, 0.2, count)
    logs = np.log(values)
    expected = t.interval(0.95, count - 1, logs.mean(), logs.std(ddof=1) / np.sqrt(count))
    assert np.log(interval_of_processes(values.tolist())) == pytest.approx(expected, rel=2e-3)
    assert interval_of_processes(values[:1].tolist()) is None
    assert interval_of_processes([0.0, *values.tolist()]) is None


def test_the_interval_leaves_the_samples_in_their_order():
    samples = np.array([5, 1, 4, 2, 3, 9, 7])
    median_interval(samples)
    assert samples.tolist() == [5, 1, 4, 2, 3, 9, 7]


@pytest.mark.parametrize("repeated", [0.3, 0.6, 0.8])
def test_samples_that_repeat_the_one_before_give_a_wider_interval(repeated):
    """Skewed samples e^z of an autoregressive z: their median is 1, and n of them tell less than n."""
    random = np.random.default_rng(18)
    drawn = [np.exp(0.3 * autoregressive(random, repeated, 400)) for _ in range(300)]
    intervals = [median_interval(samples) for samples in drawn]
    assert np.mean([low <= 1 <= high for low, high in intervals]) >= 0.9
    shuffled = [median_interval(random.permutation(samples)) for samples in drawn]
    covered = np.mean([low <= 1 <= high for low, high in shuffled])
    assert repeated < 0.5 or covered < 0.85  # what taking them for independent would give


def test_passes_that_are_slow_as_a_whole_widen_the_interval_of_many_inputs():
    random = np.random.default_rng(19)
    own = np.linspace(2, 8, 64)
    held = 0
    for _ in range(300):
        slow = np.exp(0.05 * autoregressive(random, 0.5, 40))[:, None]
        low, high = median_interval(own * slow * random.lognormal(0, 0.02, (40, 64)))
        held += low <= 5 <= high
    assert held / 300 >= 0.88


@pytest.mark.parametrize("repeated", [0, 0.5, 0.8])
def test_the_long_run_variance_is_that_of_an_autoregressive_series(repeated):
    """Of variance 1, n times the variance of its mean is (1 + φ) / (1 − φ)."""
    random = np.random.default_rng(20)
    found = [long_run_variance(autoregressive(random, repeated, 2000)) for _ in range(100)]
    assert np.mean(found) == pytest.approx((1 + repeated) / (1 - repeated), rel=0.15)


def autoregressive(random, repeated, count):
    """z with variance 1, of which each repeats a share of the one before."""
    noise = random.normal(size=count)
    series = np.empty(count)
    series[0] = noise[0]
    for i in range(1, count):
        series[i] = repeated * series[i - 1] + np.sqrt(1 - repeated**2) * noise[i]
    return series
