"""The 95% intervals of measurements that end as soon as they are tight: stopping at a lucky moment would narrow them.

On times whose median is known, by a clock that only they move; each is measured by the loop that measures for real.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from mrl_edge.bench.measure import calls, turns
from mrl_edge.bench.measure.calls import time_calls
from mrl_edge.bench.measure.turns import ratio_of, take_turns_until_known

MS = 1_000_000


class Drawn:
    """A callable that takes the input's own milliseconds times what is drawn, of a clock that only it moves."""

    def __init__(self, own, draw):
        self.now, self._own, self._draw, self._drawn = 0, own * MS, draw, iter(())

    def clock(self):
        return SimpleNamespace(perf_counter=lambda: self.now / 1e9, perf_counter_ns=lambda: self.now)

    def __call__(self, number):
        factor = next(self._drawn, None)
        if factor is None:
            self._drawn = iter(self._draw(1024).tolist())
            factor = next(self._drawn)
        self.now += int(self._own[number] * factor)


def _repeating(random, count):
    """Lognormal noise of 10%, of which each repeats half of the one before."""
    noise = random.normal(size=count)
    series = np.empty(count)
    series[0] = noise[0]
    for i in range(1, count):
        series[i] = 0.5 * series[i - 1] + np.sqrt(0.75) * noise[i]
    return np.exp(0.1 * series)


DRAWS = {
    "one input, 10%": (1, 0.1, 120),
    "unlike inputs, 5%": (64, 0.05, 60),
    "unlike inputs, 20%": (16, 0.2, 40),
}


@pytest.mark.parametrize("name", DRAWS)
def test_an_interval_that_ended_the_measurement_holds_the_true_median(monkeypatch, name):
    inputs, spread, times = DRAWS[name]
    random = np.random.default_rng(40)
    own = np.geomspace(2, 8, inputs) if inputs > 1 else np.array([2.0])
    true = np.median(own * random.lognormal(0, spread, (20_000, inputs)))
    assert _coverage(monkeypatch, own, lambda count: random.lognormal(0, spread, count), true, times) >= 0.9


def test_one_that_samples_like_the_one_before_ended_does_too(monkeypatch):
    random = np.random.default_rng(41)
    assert _coverage(monkeypatch, np.array([2.0]), lambda count: _repeating(random, count), 2.0, 60) >= 0.85


def _coverage(monkeypatch, own, draw, true, times):
    monkeypatch.setattr(calls, "accounts", lambda: None)
    found = []
    for _ in range(times):
        call = Drawn(own, draw)
        monkeypatch.setattr(calls, "time", call.clock())
        found.append(time_calls(call, len(own), max_seconds=30))
    assert all(one.stable for one in found)  # none ended because the time was up
    assert len({one.samples for one in found}) > 1  # the looks decided when
    return np.mean([one.ci95_ms[0] <= true <= one.ci95_ms[1] for one in found])


@pytest.mark.parametrize(("spread", "least"), [(0.02, 10), (0.03, 12)])
def test_an_interval_of_a_ratio_that_ended_the_turns_holds_the_true_one(monkeypatch, spread, least):
    random = np.random.default_rng(42)
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(turns, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def taking(own):
        def one_pass():
            clock.now += own / 1e3
            return own * float(random.lognormal(0, spread))

        return one_pass

    found = []
    for _ in range(150):
        medians = take_turns_until_known([taking(1.3), taking(1.0)], max_seconds=30)
        found.append(ratio_of(medians[:, 0], medians[:, 1]))
    assert all(one.stable for one in found)
    assert np.median([one.rounds for one in found]) > least
    assert np.mean([one.ci95[0] <= 1.3 <= one.ci95[1] for one in found]) >= 0.9
