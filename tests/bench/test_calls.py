"""The loop, on callables whose cost is known because only they move the clock."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import run_here, the_one_error_line
from mrl_edge.bench.measure import calls
from mrl_edge.bench.measure.calls import calibrate, time_calls
from mrl_edge.bench.measure.waiting import accounts, waited_share

MS = 1_000_000


class Costs:
    """A callable whose n-th call takes `cost(n)` milliseconds of a clock that only it moves."""

    def __init__(self, monkeypatch, cost):
        self.now = 1000 * MS
        self.inputs = []
        self._cost = cost
        clock = SimpleNamespace(perf_counter=lambda: self.now / 1e9, perf_counter_ns=lambda: self.now)
        monkeypatch.setattr(calls, "time", clock)
        monkeypatch.setattr(calls, "accounts", lambda: None)

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
    assert (found.p50_ms, found.p90_ms, found.mean_ms, found.ci95_ms) == (2, 2, 2, (2, 2))
    assert found.stable
    assert calls.now - start < 6_000 * MS


@pytest.mark.parametrize(("least", "max_seconds"), [(1000, 60), (1000, 0.1), (0, 60)])
def test_it_goes_on_for_a_tail_when_the_median_is_known_and_when_the_time_is_up(monkeypatch, least, max_seconds):
    found = time_calls(Costs(monkeypatch, lambda n: 2), 8, max_seconds, least)
    assert (least or 64) <= found.samples < (least or 64) + 8
    assert (found.p99_ci95_ms[1] is not None) == bool(least)


def test_slow_first_passes_are_warm_up_and_not_counted(monkeypatch):
    passes = [90, 50, 20, 5]
    calls = Costs(monkeypatch, lambda n: passes[n // 8] if n // 8 < len(passes) else 2)
    found = time_calls(calls, 8, max_seconds=60)
    assert (found.p50_ms, found.p90_ms) == (2, 2)
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
    before = 4 * 10 + 4 * 20  # a pass that is thrown away, and one that calibrates
    assert sum([10, 20][n // 4 % 2] for n in range(warm_up)) <= before + 2500 + 4 * 20


def test_a_call_slower_than_the_whole_time_is_still_timed(monkeypatch):
    found = time_calls(Costs(monkeypatch, lambda n: 7000), 1, max_seconds=2)
    assert (found.p50_ms, found.samples, found.stable) == (7000, 1, False)


class ShortCalls:
    """A clock that takes 50 ns to read, and calls of a known number of nanoseconds."""

    def __init__(self, monkeypatch, call_ns):
        self.now = self.made = 0
        self._call_ns = call_ns
        clock = SimpleNamespace(perf_counter=lambda: self._read() / 1e9, perf_counter_ns=self._read)
        monkeypatch.setattr(calls, "time", clock)
        monkeypatch.setattr(calls, "accounts", lambda: None)

    def _read(self):
        self.now += 50
        return self.now

    def __call__(self, number):
        self.now += self._call_ns
        self.made += 1


@pytest.mark.parametrize(("call_ns", "loops"), [(20_000, 1), (9_000, 2), (1_000, 16), (100, 128)])
def test_a_call_is_looped_until_the_clock_is_half_a_percent_of_it(monkeypatch, call_ns, loops):
    assert calibrate(ShortCalls(monkeypatch, call_ns), 4) == loops


@pytest.mark.parametrize("call_ns", [70, 1_000, 30_000])
def test_looped_calls_give_the_time_of_one(monkeypatch, call_ns):
    call = ShortCalls(monkeypatch, call_ns)
    found = time_calls(call, 8, max_seconds=1)
    assert found.p50_ms == pytest.approx(call_ns / MS, rel=0.0051)
    assert call.made >= found.samples
    single = found.loops == 1
    assert single == (call_ns >= 20_000)
    tails = time_calls(call, 8, max_seconds=1, least_samples=200)
    assert [value is None for value in (tails.p90_ms, tails.p99_ms)] == [not single] * 2  # of means they say nothing


def test_a_slow_first_call_does_not_pass_for_a_long_one(monkeypatch):
    costs = Costs(monkeypatch, lambda n: 50 if n < 4 else 0.0)
    ticks = iter(range(1, 10**9))
    clock = SimpleNamespace(perf_counter_ns=lambda: costs.now + 50 * next(ticks))
    monkeypatch.setattr(calls, "time", clock)
    costs._cost = lambda n: 50 if n < 4 else 0.001
    assert calibrate(costs, 4) == 16


def test_threads_that_sleep_make_a_busy_machine_look_no_quieter():
    asleep = {str(number): (5, 5) for number in range(2, 20)}
    before = {"1": (100, 100), **asleep}
    after = {"1": (600, 600), **asleep}
    assert waited_share(before, after, 1000) == 0.5
    assert waited_share(before, {**after, "99": (500, 500)}, 1000) == 0.5  # two of them, of twice the time
    assert waited_share(before, {**before, "1": (110, 110)}, 1000) == 0.01  # asleep itself, most of the time
    assert waited_share(None, after, 1000) == waited_share(before, None, 1000) == 0


@pytest.mark.parametrize(("waits", "doubts"), [(0.01, ()), (0.2, ("busy",)), (None, ())])
def test_a_thread_that_had_to_wait_for_its_core_was_busy(monkeypatch, waits, doubts):
    call = Costs(monkeypatch, lambda n: 2)
    account = lambda: None if waits is None else {"1": (round(call.now * (1 - waits)), round(call.now * waits))}  # noqa: E731
    monkeypatch.setattr(calls, "accounts", account)
    assert time_calls(call, 8, max_seconds=60).doubts == doubts


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="holds both to one core")
@pytest.mark.skipif(accounts() is None, reason="this kernel does not account for waiting")
def test_a_busy_loop_on_the_same_core_is_seen():
    """In a process of its own, so that this one keeps its cores."""
    script = """
import os, subprocess, sys, time
os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
from mrl_edge.bench.measure.calls import time_calls
beside = subprocess.Popen([sys.executable, "-c", "while True: pass"])
try:
    print(time_calls(lambda _: sum(range(50_000)), 8, 2.0).doubts)
finally:
    beside.kill()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "busy" in done.stdout


@pytest.mark.parametrize("command", ["bench", "tune"])
@pytest.mark.parametrize("seconds", ["inf", "nan", "0", "1e9"])
def test_a_time_that_no_measurement_can_be_told_is_one_line(tmp_path, command, seconds):
    """JSON, in which a process is told, has no infinity: each row would have failed."""
    done = run_here(command, tmp_path, "--data", "x", "--max-seconds", seconds)
    assert "'--max-seconds'" in the_one_error_line(done)
