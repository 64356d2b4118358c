"""What a series of times comes to, and the reasons not to trust it, on series made to have one reason."""

import math

import numpy as np
import pytest
from mrl_edge.bench.measure.intervals import median_interval, samples_for, tail_interval
from mrl_edge.bench.measure.timing import drifts, summarise, summarise_processes
from scipy.stats import norm, t

MS = 1_000_000
OWN = np.linspace(2, 8, 64) * MS


def _lognormal(random, count):
    return random.lognormal(np.log(5 * MS), 0.5, count)


@pytest.mark.parametrize("count", [1, 2, 9, 99, 100, 1000])
def test_percentiles_are_numpys_in_milliseconds(count):
    samples = _lognormal(np.random.default_rng(12), count).astype(np.int64)
    found = summarise(samples)
    percentiles = np.percentile(samples / MS, [50, 90, 99])
    assert [found.p50_ms, found.p90_ms, found.p99_ms] == pytest.approx(percentiles)
    assert found.mean_ms == pytest.approx(np.mean(samples / MS))
    if count < 6:
        assert found.ci95_ms is None
        assert "few samples" in found.doubts
    else:
        assert found.ci95_ms == pytest.approx(tuple(edge / MS for edge in median_interval(samples)))
        assert found.ci95_ms[0] <= found.p50_ms <= found.ci95_ms[1]
    assert found.samples == count


def test_samples_that_agree_are_stable():
    assert summarise(np.random.default_rng(13).normal(5 * MS, 0.05 * MS, 200).astype(np.int64)).stable


def test_a_drift_is_one_only_in_its_order():
    random = np.random.default_rng(14)
    first, second = ([time] * 70 + [100] * 30 for time in (97, 103))
    samples = np.concatenate([random.permutation(first), random.permutation(second)]) * MS
    assert "drift" in summarise(samples).doubts
    assert "drift" not in summarise(random.permutation(samples)).doubts


@pytest.mark.parametrize(("count", "stable"), [(10, False), (100, False), (5000, True)])
def test_a_median_is_stable_only_once_enough_samples_show_it(count, stable):
    samples = np.random.default_rng(15).uniform(80, 120, count) * MS  # ±20%, evenly
    assert summarise(samples.astype(np.int64)).stable is stable


def test_one_pass_over_many_inputs_is_unstable():
    found = summarise(np.full((1, 200), 5 * MS))
    assert (found.ci95_ms, found.doubts) == (None, ("few samples",))


def test_one_sample_is_unstable():
    assert not summarise(np.array([5 * MS])).stable


@pytest.mark.parametrize(
    ("count", "p99_bounded", "p999_there"),
    [(120, False, False), (1200, True, False), (3000, True, False), (7676, True, True)],
)
def test_a_tail_is_bounded_by_enough_samples_and_a_p999_is_not_there_before(count, p99_bounded, p999_there):
    samples = _lognormal(np.random.default_rng(21), count)
    found = summarise(samples)
    low, high = found.p99_ci95_ms
    assert low <= found.p99_ms == pytest.approx(np.percentile(samples / MS, 99))
    assert (high is not None) is p99_bounded
    assert (found.p999_ms is not None) is p999_there is (found.p999_ci95_ms is not None)
    if p999_there:
        low, high = found.p999_ci95_ms
        assert low <= found.p999_ms <= high
        assert found.p999_ms == pytest.approx(np.percentile(samples / MS, 99.9))


@pytest.mark.parametrize(("percentile", "count"), [(99, 800), (99, 3000), (99.9, 8000)])
@pytest.mark.parametrize("inputs", [1, 64])
def test_the_interval_of_a_tail_holds_the_true_one(percentile, count, inputs):
    """Of one input by the lognormal's own quantile, of 64 that differ by a sample of a million."""
    random = np.random.default_rng(27)
    own = np.geomspace(1, 4, inputs)

    def drawn(passes):
        return (own * random.lognormal(0, 0.2, (passes, inputs))).ravel()

    true = math.exp(0.2 * norm.ppf(percentile / 100)) if inputs == 1 else np.percentile(drawn(16_000), percentile)
    intervals = [tail_interval(drawn(count // inputs), percentile) for _ in range(200)]
    assert np.mean([high < math.inf for _, high in intervals]) >= 0.9
    assert np.mean([low <= true <= high for low, high in intervals]) >= 0.91


def test_so_many_samples_are_needed_as_leave_one_beyond_the_interval():
    for percentile in (90, 99, 99.9):
        share, needed = percentile / 100, samples_for(percentile)
        ends = [n * share + norm.ppf(0.975) * math.sqrt(n * share * (1 - share)) for n in (needed - 1, needed)]
        assert ends[0] > needed - 1
        assert ends[1] <= needed


def test_processes_that_differ_widen_the_interval_of_a_tail_as_that_of_the_median():
    random = np.random.default_rng(28)
    alike = [summarise(random.lognormal(0, 0.1, 1000) * MS) for _ in range(3)]
    apart = [summarise(random.lognormal(0, 0.1, 1000) * MS * speed) for speed in (0.8, 1, 1.25)]
    widths = [np.diff(np.log(summarise_processes(each).p99_ci95_ms))[0] for each in (alike, apart)]
    reach = t.ppf(0.975, 2) * np.std(np.log([0.8, 1, 1.25]), ddof=1) / math.sqrt(3)
    assert widths[0] < 0.2
    assert widths[1] == pytest.approx(2 * reach, rel=0.05)


def test_every_reason_has_its_name():
    random = np.random.default_rng(22)
    quiet = random.lognormal(0, 0.01, (40, 64))
    series = {
        (): OWN * quiet,
        ("few samples",): np.full(20, 5.0),
        ("interval",): random.lognormal(0, 0.8, 400),
        ("drift",): OWN * quiet * np.linspace(1, 1.2, 40)[:, None],
        ("bimodal",): OWN * quiet * np.where(random.random((40, 64)) < 0.3, 1.4, 1),
    }
    for reasons, passes in series.items():
        found = summarise(passes)
        assert set(reasons) <= set(found.doubts) <= {*reasons, "interval"}, reasons
        assert found.stable is not bool(reasons)


@pytest.mark.parametrize(("passes", "rise"), [(16, 1.2), (40, 1.15), (40, 0.8)])
def test_a_ramp_is_a_drift(passes, rise):
    random = np.random.default_rng(23)
    ramp = np.linspace(1, rise, passes)[:, None]
    assert sum(drifts(OWN * ramp * random.lognormal(0, 0.03, (passes, 64))) for _ in range(100)) >= 95


@pytest.mark.parametrize("spread", [0.03, 0.3])
@pytest.mark.parametrize("shape", [(100,), (400,), (8, 64), (40, 64)])
def test_stationary_noise_is_no_drift(shape, spread):
    random = np.random.default_rng(24)
    own = OWN if len(shape) == 2 else MS
    assert sum(drifts(own * random.lognormal(0, spread, shape)) for _ in range(200)) <= 4
