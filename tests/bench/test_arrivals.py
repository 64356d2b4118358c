"""Texts that arrive whether or not the one before is answered, on calls that sleep: the least they cost is known."""

import threading
import time

import numpy as np
import pytest
from mrl_edge.bench.measure.arrivals import poisson_gaps, time_arrivals


def test_latency_counts_from_the_arrival_and_not_from_the_call():
    """Ten arrive within 10 ms and take 20 ms each: the last waits for nine."""
    latencies = time_arrivals(lambda _: time.sleep(0.02), np.zeros(10, dtype=np.int64), np.full(10, 0.001), 1)
    assert (latencies >= [20 * (place + 1) - place for place in range(10)]).all()


def test_a_slow_answer_delays_those_who_arrive_meanwhile():
    """Coordinated omission: a caller who waits would have asked for the second and third after the first."""

    def call(number):
        time.sleep(0.2 if number == 0 else 0.001)

    latencies = time_arrivals(call, np.arange(3), np.array([0.0, 0.01, 0.01]), 1)
    assert latencies[0] >= 200
    assert (latencies[1:] >= [190, 180]).all()


def test_two_threads_answer_two_at_once_first_come_first_served():
    order = []
    lock, both = threading.Lock(), threading.Barrier(2, timeout=10)

    def call(number):
        with lock:
            order.append(number)
        both.wait()  # ends only when two are being answered

    latencies = time_arrivals(call, np.arange(8), np.full(8, 0.002), 2)
    assert [set(order[place : place + 2]) for place in range(0, 8, 2)] == [{0, 1}, {2, 3}, {4, 5}, {6, 7}]
    assert len(latencies) == 8


def test_nobody_is_answered_before_arriving():
    started = time.perf_counter()
    latencies = time_arrivals(lambda _: None, np.zeros(5, dtype=np.int64), np.full(5, 0.02), 2)
    assert time.perf_counter() - started >= 0.1
    assert (latencies >= 0).all()


def test_arrivals_are_a_poisson_process():
    gaps = poisson_gaps(np.random.default_rng(3), 50.0, 40_000)
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.02)
    counts = np.bincount(np.cumsum(gaps).astype(int))[:-1]  # a second
    assert counts.var() == pytest.approx(50, rel=0.15)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_ends_all_threads_and_is_raised(threads):
    def call(number):
        if number == 2:
            raise ValueError("no such text")

    with pytest.raises(ValueError, match="no such text"):
        time_arrivals(call, np.arange(1000), np.full(1000, 0.001), threads)
