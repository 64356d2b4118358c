"""Callers at once, on calls that sleep: what they cost is known, and the interpreter is free meanwhile."""

import threading
import time

import pytest
from mrl_edge.bench.measure.callers import time_callers


@pytest.mark.parametrize("callers", [2, 4])
def test_callers_that_do_not_hinder_each_other_are_answered_at_once(callers):
    found = time_callers(lambda _: time.sleep(0.02), 5, callers, seconds=0.5)
    assert found.timing.p50_ms >= 20
    assert found.calls_per_s == pytest.approx(callers / (found.timing.mean_ms / 1e3), rel=0.1)
    assert found.calls_per_s > 1 / 0.02  # more than one caller alone could ask for


def test_callers_of_one_thing_at_a_time_wait_for_each_other():
    lock = threading.Lock()

    def call(_):
        with lock:
            time.sleep(0.005)

    found = time_callers(call, 4, 3, seconds=0.5)
    assert found.calls_per_s <= 1 / 0.005
    assert found.timing.mean_ms >= 2.5 * 5


def test_every_caller_runs_whole_passes():
    seen = []
    found = time_callers(lambda number: seen.append(number) or time.sleep(0.001), 3, 2, seconds=0.1)
    assert found.timing.samples % 3 == 0
    assert len(seen) == found.timing.samples + 2 * 3  # a pass each to warm up
    assert {seen.count(number) for number in range(3)} == {len(seen) // 3}


def test_an_error_in_a_caller_is_the_error():
    def call(number):
        raise ValueError("no such text")

    with pytest.raises(ValueError, match="no such text"):
        time_callers(call, 1, 2, seconds=0.1)
