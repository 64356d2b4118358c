"""What several processes of a configuration come to: coverage on known variances, agreement, doubts, other figures."""

import math

import msgspec
import numpy as np
import pytest
from mrl_edge.bench.figures import overlap
from mrl_edge.bench.measure.intervals import interval_over_processes
from mrl_edge.bench.measure.timing import summarise
from mrl_edge.bench.repeats import processes_of, together
from mrl_edge.bench.results import Encode, Measurement, Memory, Process, Query, SearchResult, System
from scipy.stats import t

MS = 1_000_000
OWN = np.geomspace(2, 8, 64) * MS  # 64 texts; half of their times are below 4 ms


def _run(random, processes, between, within=0.03, passes=6):
    """One row of processes of 64 texts whose speeds differ by `between`, as a standard deviation of logarithms."""
    speeds = random.lognormal(0, between, processes)
    times = [summarise(OWN * speed * random.lognormal(0, within, (passes, 64))) for speed in speeds]
    return together([_row(timing) for timing in times])


def _row(timing, **others):
    given = {"encode": Encode(**_fields(timing), tokenise_p50_ms=0.1), "status": "ok", **others}
    return Measurement("int8", "avx2", 6, 64, "CPUExecutionProvider", 1, 1, None, plan=None, **given)


def _fields(timing):
    fields = dict(vars(timing))
    passes = fields.pop("passes")
    return {**fields, "processes": (Process(timing.p50_ms, (passes.reshape(len(passes), -1) / MS).tolist()),)}


@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize("between", [0.0, 0.01, 0.3])
def test_the_interval_holds_the_truth_whatever_part_of_the_variance_lies_between_processes(processes, between):
    """Of one input, 40 passes a process: the median of each process's time is known to about 1%."""
    random = np.random.default_rng(30)
    held = 0
    for _ in range(200):
        speeds = random.lognormal(0, between, processes)
        low, high = interval_over_processes([speed * random.lognormal(0, 0.05, (40, 1)) for speed in speeds])
        held += low <= 1 <= high
    assert 0.93 <= held / 200 <= (0.98 if between > 0.02 else 1)


@pytest.mark.parametrize("processes", [2, 3, 4, 5, 6, 7, 12, 31])
def test_processes_that_are_known_exactly_give_students_interval(processes):
    speeds = np.random.default_rng(31).lognormal(1, 0.1, processes)
    low, high = np.log(interval_over_processes([np.full((9, 3), speed) for speed in speeds]))
    logarithms = np.log(speeds)
    reach = t.ppf(0.975, processes - 1) * logarithms.std(ddof=1) / math.sqrt(processes)
    assert (high - low) / 2 == pytest.approx(reach, rel=2e-3)
    assert (high + low) / 2 == pytest.approx(logarithms.mean(), rel=1e-9)


@pytest.mark.parametrize("processes", [3, 5])
@pytest.mark.parametrize("between", [0.0, 0.1])
def test_the_row_of_processes_holds_the_median_of_all(processes, between):
    random = np.random.default_rng(32)
    rows = [_run(random, processes, between, passes=4) for _ in range(300)]
    assert np.mean([row.encode.ci95_ms[0] <= 4 <= row.encode.ci95_ms[1] for row in rows]) >= 0.93


@pytest.mark.parametrize("between", [0.0, 0.05, 0.3])
def test_two_runs_agree_and_two_that_differ_are_told_apart(between):
    random = np.random.default_rng(33)
    pairs = [(_run(random, 3, between), _run(random, 3, between)) for _ in range(60)]
    assert np.mean([overlap(a.encode, b.encode) for a, b in pairs]) >= 0.97
    widths = [np.diff(np.log(a.encode.ci95_ms))[0] / 2 for a, _ in pairs]
    assert np.median(widths) < 2.7 * between + 0.012  # of use: 3 processes' t interval is 2.48 deviations
    one = [(_run(random, 1, between), _run(random, 1, between)) for _ in range(60)]
    assert between < 0.02 or np.mean([overlap(a.encode, b.encode) for a, b in one]) < 0.9  # what one would say


def test_a_quiet_machine_has_a_narrow_interval_without_a_doubt():
    row = _run(np.random.default_rng(34), 3, 0.001)
    assert row.encode.stable
    assert row.encode.doubts == ()


def test_processes_that_differ_are_named():
    row = _run(np.random.default_rng(35), 3, 0.2)
    assert row.encode.doubts == ("interval", "processes")
    assert not row.encode.stable


def test_what_most_processes_doubt_the_row_doubts():
    random = np.random.default_rng(36)
    calm = summarise(OWN * random.lognormal(0, 0.03, (40, 64)))
    busy = summarise(OWN * random.lognormal(0, 0.03, (40, 64)), waiting=0.5)
    assert together([_row(calm), _row(calm), _row(busy)]).encode.doubts == ()
    assert together([_row(busy), _row(calm), _row(busy)]).encode.doubts == ("busy",)
    assert together([_row(busy)]).encode.doubts == ("busy",)


def test_one_pass_a_process_is_enough_when_there_are_several():
    random = np.random.default_rng(37)
    slow = [summarise(OWN * random.lognormal(0, 0.01, (1, 64))) for _ in range(4)]
    assert all(timing.ci95_ms is None for timing in slow)
    assert together([_row(timing) for timing in slow]).encode.stable


def test_percentiles_and_the_other_figures_are_of_all_processes():
    timings = [summarise(np.full(100, time * MS)) for time in (5.0, 9.0, 6.0)]
    memory = [Memory(peak, peak - 1, None, None, 5, 6) for peak in (100, 300, 200)]
    search = [
        SearchResult(
            "scan", 9, 20, 384, p50, 2 * p50, build_s=1.0, recall_at_10=1.0, shortlist_p50_ms=p50 / 4,
            rerank_p50_ms=p50 / 2, same_hits=same,
        )
        for p50, same in ((0.5, 1.0), (0.3, 0.9), (0.4, 1.0))
    ]  # fmt: skip
    rows = [
        _row(
            timing, cold_start_ms=100 * n, memory=memory[n - 1], query=Query(**_fields(timing)), search=search[n - 1],
            energy_mj=float(n), temperature_c=40 + n, throttled=n == 2, system=System(n, 10 - n, 1000 * n, 2000 * n),
        )
        for n, timing in enumerate(timings, 1)
    ]  # fmt: skip
    row = together(rows)
    times = (row.encode.p50_ms, row.encode.p99_ms, row.encode.mean_ms, row.query.p90_ms)
    assert times == pytest.approx((6, 6, 6, 6))
    assert [process.p50_ms for process in row.encode.processes] == [5, 9, 6]
    assert row.query.processes == row.encode.processes
    assert row.encode.samples == 300
    assert (row.search.p50_ms, row.search.p99_ms, row.search.recall_at_10) == (0.4, 0.8, 1)
    assert (row.search.shortlist_p50_ms, row.search.rerank_p50_ms, row.search.same_hits) == (0.1, 0.2, 0.9)
    assert (row.cold_start_ms, row.memory, row.energy_mj) == (200, memory[1], 2)
    assert (row.temperature_c, row.throttled) == (43, True)
    assert row.system == System(3, 9, 1000, 4000)
    assert processes_of(row) == 3
    assert [one.peak_rss_bytes for one in row.by_process] == [100, 300, 200]
    assert [one.search_p50_ms for one in row.by_process] == [0.5, 0.3, 0.4]
    assert [(one.query_p99_ms, one.cold_start_ms, one.energy_mj) for one in row.by_process] == [
        (5, 100, 1), (9, 200, 2), (6, 300, 3)
    ]  # fmt: skip
    unknown = msgspec.structs.replace(rows[1], energy_mj=None, null_because={"energy_mj": "no counter"})
    row = together([rows[0], unknown, rows[2]])
    assert (row.energy_mj, row.null_because["energy_mj"]) == (None, "no counter")


def test_why_a_tail_is_not_known_is_of_all_processes_samples():
    random = np.random.default_rng(38)

    def reasons(processes, passes, loops=1):
        each = [summarise(OWN * random.lognormal(0, 0.03, (passes, 64)), 0, loops) for _ in range(processes)]
        return together([_row(timing) for timing in each])

    some = reasons(3, 1)
    assert some.encode.p99_ms > 0
    assert some.encode.p99_ci95_ms[1] is None
    assert "192 samples do not bound it from above, 381 do" in some.null_because["encode.p99_ci95_ms"]
    enough = reasons(3, 40)
    assert enough.encode.samples == 7680  # none of the three has as many
    assert [name for name in enough.null_because if name.startswith("encode.p99")] == []
    assert enough.encode.p999_ci95_ms[0] <= enough.encode.p999_ms <= enough.encode.p999_ci95_ms[1]
    looped = reasons(1, 10, loops=4)
    assert "the mean of 4 calls" in looped.null_because["encode.p99_ms"]


def test_a_process_that_fails_is_the_row():
    timing = summarise(np.full(100, 5.0))
    killed = _row(timing, encode=None, status="out_of_memory", reason="SIGKILL")
    assert together([_row(timing), killed, _row(timing)]) is killed
