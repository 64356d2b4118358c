"""The highest rate within a limit, on simulated queues whose answer is known in closed form."""

import math

import numpy as np
import pytest
from mrl_edge.bench.measure.capacity import highest_rate, where_to_begin
from mrl_edge.bench.measure.intervals import percentile_interval
from scipy.optimize import brentq

SERVICE_MS = 5.0


def constant(random, count):
    return np.full(count, SERVICE_MS)


def exponential(random, count):
    return random.exponential(SERVICE_MS, count)


def queue(random, service):
    """Trials of a queue with one server, by Lindley's recursion."""

    def trial(rate, queries):
        gaps, services = random.exponential(1e3 / rate, queries), service(random, queries)
        steps = np.cumsum(np.append(0, services[:-1] - gaps[1:]))
        return steps - np.minimum.accumulate(steps) + services

    return trial


def md1_rate(limit_ms):
    """Arrivals a second of M/D/1 with 1% above the limit (Erlang 1909; Tijms, A First Course in Stochastic Models)."""

    def above(rate):
        wait, busy = limit_ms - SERVICE_MS, rate * SERVICE_MS
        terms = [
            (rate * (k * SERVICE_MS - wait)) ** k / math.factorial(k) * math.exp(-rate * (k * SERVICE_MS - wait))
            for k in range(int(wait // SERVICE_MS) + 1)
        ]
        return 1 - (1 - busy) * sum(terms) - 0.01

    return 1e3 * brentq(above, 1e-9, 0.999 / SERVICE_MS)


def mm1_rate(limit_ms):
    """Of M/M/1, whose time in the system is exponential with the rate μ − λ."""
    return 1e3 * (1 / SERVICE_MS - math.log(100) / limit_ms)


QUEUES = [(constant, md1_rate, 15.0), (constant, md1_rate, 30.0), (exponential, mm1_rate, 60.0)]


@pytest.mark.parametrize(("service", "known", "limit_ms"), QUEUES)
@pytest.mark.parametrize("max_seconds", [120, 480])
def test_the_known_rate_lies_between_what_kept_the_limit_and_what_exceeded_it(service, known, limit_ms, max_seconds):
    found = []
    for seed in range(60):
        trial = queue(np.random.default_rng(seed), service)
        found.append(highest_rate(trial, limit_ms, known(limit_ms) * 0.75, max_seconds))
    held = [(one.kept or 0) <= known(limit_ms) <= (one.exceeded or math.inf) for one in found]
    assert np.mean(held) >= 0.9
    assert np.mean([one.kept is not None for one in found]) >= (1 if max_seconds == 480 else 0.5)


@pytest.mark.parametrize(("service", "known", "limit_ms"), QUEUES)
def test_more_time_brings_the_two_nearer(service, known, limit_ms):
    """From a first guess that is far off, too."""

    def apart(max_seconds):
        runs = [
            highest_rate(queue(np.random.default_rng(seed), service), limit_ms, known(limit_ms) * 0.4, max_seconds)
            for seed in range(20)
        ]
        return np.median([(one.exceeded or math.inf) / (one.kept or 1e-9) for one in runs])

    assert apart(2000) < min(apart(200), 1.35)


def test_a_limit_below_the_service_time_is_kept_by_no_rate():
    found = highest_rate(queue(np.random.default_rng(0), constant), 4.0, 50, 60)
    assert found.kept is None
    assert found.exceeded is not None
    assert not len(found.latencies)


def test_the_latencies_are_those_of_the_rate_that_kept():
    found = highest_rate(queue(np.random.default_rng(0), constant), 30.0, 100, 480)
    assert percentile_interval(found.latencies, 99)[1] <= 30.0
    assert found.latencies.min() >= SERVICE_MS


@pytest.mark.parametrize(("service", "known", "limit_ms"), QUEUES)
def test_the_search_begins_a_little_below_the_known_rate(service, known, limit_ms):
    guess = where_to_begin(service(np.random.default_rng(1), 4000), limit_ms, 1)
    assert guess == pytest.approx(0.75 * known(limit_ms), rel=0.12)


def test_two_threads_begin_at_more_than_twice_the_rate_of_one():
    """Erlang: at the same load a queue for two waits less than two queues."""
    one, two = (where_to_begin(np.full(10, SERVICE_MS), 15.0, threads) for threads in (1, 2))
    assert 2 * one < two < 0.75 * 2e3 / SERVICE_MS


def test_a_percentiles_interval_holds_it_when_samples_depend_on_each_other():
    """M/M/1 at 70% load: what is late comes in crowds."""
    rate = 0.7 / SERVICE_MS
    p99 = math.log(100) / (1 / SERVICE_MS - rate)
    runs = [queue(np.random.default_rng(seed), exponential)(rate * 1e3, 20_000)[1000:] for seed in range(200)]
    held = [low <= p99 <= high for low, high in (percentile_interval(run, 99) for run in runs)]
    assert np.mean(held) >= 0.93
    independent = [
        percentile_interval(np.random.default_rng(seed).permutation(run), 99) for seed, run in enumerate(runs)
    ]
    assert np.mean([low <= p99 <= high for low, high in independent]) < np.mean(held)


def test_too_few_samples_leave_the_upper_end_open():
    """Of independent samples 498 are the first with an upper end: their greatest."""
    spread = np.random.default_rng(0).permutation(np.arange(498.0))
    assert percentile_interval(spread, 99)[1] == 497
    assert percentile_interval(spread[spread < 497], 99)[1] == math.inf


def test_each_end_of_a_percentiles_interval_misses_it_about_as_seldom_as_it_says():
    """1.25% of the draws an end, of independent samples; order statistics are whole numbers, so some more below."""
    random = np.random.default_rng(0)
    ends = np.array([percentile_interval(random.random(4000), 99) for _ in range(3000)])
    assert 0.003 < np.mean(ends[:, 1] < 0.99) < 0.0175
    assert 0.003 < np.mean(ends[:, 0] > 0.99) < 0.0225
