"""What a series of times comes to, and the reasons not to trust it, on series made to have one reason."""

import numpy as np
import pytest
from mrl_edge.bench.measure.intervals import median_interval
from mrl_edge.bench.measure.timing import drifts, summarise

MS = 1_000_000
OWN = np.linspace(2, 8, 64) * MS


def _lognormal(random, count):
    return random.lognormal(np.log(5 * MS), 0.5, count)


@pytest.mark.parametrize("count", [1, 2, 9, 1000])
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


@pytest.mark.parametrize("count", [999, 1000, 5000])
def test_a_p999_is_given_of_a_thousand_samples_and_more(count):
    samples = _lognormal(np.random.default_rng(21), count)
    found = summarise(samples).p999_ms
    assert found == (None if count < 1000 else pytest.approx(np.percentile(samples / MS, 99.9)))


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
