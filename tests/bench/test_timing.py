from types import SimpleNamespace

import numpy as np
import pytest
from mrl_edge.bench import timing
from mrl_edge.bench.timing import median_interval, summarise, time_calls
from scipy.stats import binom

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


@pytest.mark.parametrize("passes", [4, 8, 40])
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


def test_the_interval_leaves_the_samples_in_their_order():
    samples = np.array([5, 1, 4, 2, 3, 9, 7])
    median_interval(samples)
    assert samples.tolist() == [5, 1, 4, 2, 3, 9, 7]


@pytest.mark.parametrize("count", [1, 2, 9, 1000])
def test_percentiles_are_numpys_in_milliseconds(count):
    samples = _lognormal(np.random.default_rng(12), count).astype(np.int64)
    found = summarise(samples)
    percentiles = np.percentile(samples / MS, [50, 90, 99])
    assert [found.p50_ms, found.p90_ms, found.p99_ms] == pytest.approx(percentiles)
    assert found.mean_ms == pytest.approx(np.mean(samples / MS))
    assert found.ci95_ms == pytest.approx(tuple(edge / MS for edge in median_interval(samples)))
    assert found.ci95_ms[0] <= found.p50_ms <= found.ci95_ms[1]
    assert found.samples == count


def test_samples_that_agree_are_stable():
    assert summarise(np.random.default_rng(13).normal(5 * MS, 0.05 * MS, 200).astype(np.int64)).stable


def test_a_drift_is_unstable_though_the_median_is_known():
    first = [97] * 51 + [100] * 49
    second = [103] * 51 + [100] * 49
    samples = np.array(first + second) * MS
    drifting = summarise(samples)
    assert drifting.ci95_ms == (100, 100)
    assert not drifting.stable
    assert summarise(np.random.default_rng(14).permutation(samples)).stable


@pytest.mark.parametrize(("count", "stable"), [(10, False), (100, False), (5000, True)])
def test_a_median_is_stable_only_once_enough_samples_show_it(count, stable):
    samples = np.random.default_rng(15).uniform(80, 120, count) * MS  # ±20%, evenly
    assert summarise(samples.astype(np.int64)).stable is stable


def test_one_sample_is_unstable():
    assert not summarise(np.array([5 * MS])).stable


class Costs:
    """A callable whose n-th call takes `cost(n)` milliseconds of a clock that only it moves."""

    def __init__(self, monkeypatch, cost):
        self.now = 1000 * MS
        self.inputs = []
        self._cost = cost
        clock = SimpleNamespace(perf_counter=lambda: self.now / 1e9, perf_counter_ns=lambda: self.now)
        monkeypatch.setattr(timing, "time", clock)

    def __call__(self, number):
        self.now += round(self._cost(len(self.inputs)) * MS)
        self.inputs.append(number)


@pytest.mark.parametrize("inputs", [1, 3, 8])
def test_every_pass_calls_every_input_once_in_order(monkeypatch, inputs):
    calls = Costs(monkeypatch, lambda n: 2)
    found = time_calls(calls, inputs, max_seconds=1)
    assert calls.inputs == list(range(inputs)) * (len(calls.inputs) // inputs)
    assert found.samples % inputs == 0


def test_a_steady_call_is_timed_exactly_and_long_before_the_time_is_up(monkeypatch):
    calls = Costs(monkeypatch, lambda n: 2)
    start = calls.now
    found = time_calls(calls, 8, max_seconds=60)
    assert (found.p50_ms, found.p99_ms, found.mean_ms, found.ci95_ms) == (2, 2, 2, (2, 2))
    assert found.stable
    assert calls.now - start < 6_000 * MS


def test_slow_first_passes_are_warm_up_and_not_counted(monkeypatch):
    passes = [90, 50, 20, 5]
    calls = Costs(monkeypatch, lambda n: passes[n // 8] if n // 8 < len(passes) else 2)
    found = time_calls(calls, 8, max_seconds=60)
    assert (found.p50_ms, found.p99_ms) == (2, 2)
    assert len(calls.inputs) - found.samples == 8 * (len(passes) + 2)  # until two passes agreed


def test_inputs_of_unlike_cost_are_stable_when_every_pass_agrees(monkeypatch):
    calls = Costs(monkeypatch, lambda n: [1, 9, 10, 10, 10, 11, 30][n % 7])
    found = time_calls(calls, 7, max_seconds=60)
    assert found.p50_ms == 10
    assert found.stable


def test_calls_that_never_settle_end_when_the_time_is_up(monkeypatch):
    calls = Costs(monkeypatch, lambda n: 1.3 ** (n // 4))  # every pass slower than the one before
    start = calls.now
    found = time_calls(calls, 4, max_seconds=10)
    longest_pass = 4 * 1.3 ** (len(calls.inputs) // 4) * MS
    assert not found.stable
    assert 10_000 * MS <= calls.now - start <= 10_000 * MS + longest_pass


def test_warm_up_takes_a_quarter_of_the_time_at_most(monkeypatch):
    calls = Costs(monkeypatch, lambda n: [10, 20][n // 4 % 2])  # no two passes alike
    found = time_calls(calls, 4, max_seconds=10)
    warm_up = len(calls.inputs) - found.samples
    assert sum([10, 20][n // 4 % 2] for n in range(warm_up)) <= 2500 + 4 * 20


def test_a_call_slower_than_the_whole_time_is_still_timed(monkeypatch):
    found = time_calls(Costs(monkeypatch, lambda n: 7000), 1, max_seconds=2)
    assert (found.p50_ms, found.samples, found.stable) == (7000, 1, False)
