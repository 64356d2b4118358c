"""Callers at once, on calls that sleep: what they cost is known, and the interpreter is free meanwhile."""

import os
import subprocess
import sys
import threading
import time

import pytest
from mrl_edge.bench.measure.callers import time_callers
from mrl_edge.bench.measure.waiting import accounts


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


def test_callers_start_at_different_inputs_and_times_stay_with_theirs():
    """Only input 3 takes long: in lockstep both callers would ask for it at once."""
    seen = []

    def call(number):
        seen.append((threading.get_ident(), number))
        time.sleep(0.03 if number == 3 else 0.002)

    time_callers(call, 4, 2, seconds=0.1)
    by_caller = {}
    for caller, number in seen:
        by_caller.setdefault(caller, []).append(number)
    assert sorted(numbers[:4] for numbers in by_caller.values()) == [[0, 1, 2, 3], [2, 3, 0, 1]]


def test_what_ends_after_a_caller_stopped_does_not_count_in_the_rate():
    """One caller stops after 0.1 s, the other is in a call of 1 s then: its answer comes too late to count whole."""
    slow = []

    def call(number):
        if threading.get_ident() not in slow and not slow:
            slow.append(threading.get_ident())
        time.sleep(1 if threading.get_ident() in slow else 0.005)

    found = time_callers(call, 1, 2, seconds=0.1)
    assert found.calls_per_s == pytest.approx(1 / 0.005 + 1, rel=0.2)


_ONE_CORE = """
import os, threading, zlib
from concurrent.futures import ThreadPoolExecutor
os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
from mrl_edge.bench.measure.callers import time_callers
from mrl_edge.bench.measure.calls import time_calls
block = bytes(4_000_000)
pool = ThreadPoolExecutor(2)  # zlib lets go of the interpreter: both want the core, the calling thread waits for them
print(time_calls(lambda _: list(pool.map(zlib.crc32, [block] * 8)), 4, 1.0).doubts)
print(time_callers(lambda _: zlib.crc32(block), 4, 2, 1.0).timing.doubts)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="holds both to one core")
@pytest.mark.skipif(accounts() is None, reason="this kernel does not account for waiting")
def test_two_threads_of_one_core_are_seen_waiting_whoever_measures():
    done = subprocess.run([sys.executable, "-c", _ONE_CORE], capture_output=True, text=True, check=True)
    assert [("busy" in line) for line in done.stdout.splitlines()] == [True, True], done.stdout


def test_an_error_in_a_caller_is_the_error():
    def call(number):
        raise ValueError("no such text")

    with pytest.raises(ValueError, match="no such text"):
        time_callers(call, 1, 2, seconds=0.1)
