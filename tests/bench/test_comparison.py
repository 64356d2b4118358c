"""Two results files side by side, on rows with chosen figures."""

import json

import msgspec
import numpy as np
import pytest
from conftest import run_here, the_one_error_line
from mrl_edge.bench.comparison import against_baseline, compare_files
from mrl_edge.bench.results import OneProcess, Process, Server, Throughput, write_results
from rows import measurement, results

from mrl_edge.errors import ResultsError


def _with_interval(row, low, high):
    change = msgspec.structs.replace
    middle = (low + high) / 2
    encode = change(row.encode, p50_ms=middle, ci95_ms=(low, high))
    return change(row, encode=encode)


def _pair(first, second, **options):
    return (_with_interval(measurement("int8", 64, **options), *edges) for edges in (first, second))


@pytest.mark.parametrize(
    ("first", "second", "overlap", "worse"),
    [
        ((1.0, 1.2), (1.1, 1.3), True, False),
        ((1.0, 1.2), (1.2, 1.4), True, False),
        ((1.0, 1.2), (1.3, 1.5), False, True),
        ((1.3, 1.5), (1.0, 1.2), False, False),
    ],
)
def test_a_latency_is_worse_when_its_interval_lies_above(first, second, overlap, worse):
    a, b = _pair(first, second)
    (pair,) = compare_files(results(a), results(b)).pairs
    (latency,) = [figure for figure in pair.figures if figure.name == "encode p50 ms"]
    assert latency.overlap is overlap
    assert latency.ratio == pytest.approx(sum(second) / sum(first))
    found = against_baseline(results(a), results(b))
    assert [one.figure for one in found.regressions] == (["encode p50 ms"] if worse else [])
    assert all("int8 d64" in one.text and "1.10 → 1.40" in one.text for one in found.regressions)
    assert (found.undecided, found.differing) == ((), ())


@pytest.mark.parametrize("which", [0, 1])
def test_a_latency_whose_interval_lies_above_is_worse_though_a_median_is_not_stable_which_stands_beside(which):
    """Three times as slow, on a machine so busy that neither median is known to 2%."""
    pair = list(_pair((0.9, 1.3), (2.9, 3.5)))
    pair[which] = _doubted(pair[which], ("interval", "busy"))
    found = against_baseline(*map(results, pair))
    assert [one.figure for one in found.regressions] == ["encode p50 ms"]
    assert found.regressions[0].text.endswith("its 95% interval lies above (not stable in both: interval, busy)")
    assert found.undecided == ()
    (compared,) = compare_files(*map(results, pair)).pairs
    assert [figure.name for figure in compared.figures if figure.apart] == ["encode p50 ms"]


@pytest.mark.parametrize(("processes", "said"), [(1, True), (3, False)])
def test_that_an_interval_is_of_one_process_stands_beside_a_regression(processes, said):
    a, b = _pair((1.0, 1.2), (1.3, 1.5))
    encode = msgspec.structs.replace(b.encode, processes=(Process(1.4),) * processes)
    (found,) = against_baseline(results(a), results(msgspec.structs.replace(b, encode=encode))).regressions
    assert ("of one process, whose interval is too narrow" in found.text) is said


@pytest.mark.parametrize("edges", [((1.0, 1.2), (1.1, 1.3)), ((1.0, 1.2), None)])
def test_a_doubtful_latency_that_overlaps_or_has_no_interval_is_undecided(edges):
    first, second = edges
    a, b = _pair(first, second or (3.0, 3.2))
    b = _doubted(b, ("busy",)) if second else _doubted(b, ("few samples",), ci95_ms=None)
    found = against_baseline(results(a), results(b))
    assert (found.regressions, found.undecided) == ((), ("int8 d64-L6: encode p50 ms",))


def _doubted(row, doubts, **fields):
    return msgspec.structs.replace(
        row, encode=msgspec.structs.replace(row.encode, stable=False, doubts=doubts, **fields)
    )


def _in_processes(row, search_ms, cold_ms):
    each = [OneProcess(None, search, cold, None, None) for search, cold in zip(search_ms, cold_ms, strict=True)]
    search = msgspec.structs.replace(row.search, p50_ms=float(np.median(search_ms)))
    return msgspec.structs.replace(row, search=search, cold_start_ms=float(np.median(cold_ms)), by_process=tuple(each))


@pytest.mark.parametrize(
    ("search_ms", "cold_ms", "worse", "undecided"),
    [
        ((1.52, 1.5, 1.48), (301, 300, 299), ["search p50 ms"], []),
        ((1.0, 0.99, 1.02), (601, 600, 599), ["cold start ms"], []),
        ((0.5, 0.51, 0.49), (200, 201, 199), [], []),  # better
        ((0.5, 1.5, 2.5), (301, 300, 299), [], []),  # the processes differ more than the runs
        ((1.5,), (600,), [], ["search p50 ms", "cold start ms"]),  # one process has no interval
    ],
)
def test_searching_and_cold_starts_are_worse_beyond_how_their_processes_differ(search_ms, cold_ms, worse, undecided):
    row = measurement("int8", 64, search_ms=1.0)
    before = _in_processes(row, (1.01, 1.0, 0.99), (300, 301, 299))
    found = against_baseline(results(before), results(_in_processes(row, search_ms, cold_ms)))
    assert [one.figure for one in found.regressions] == worse
    assert [line.split(": ")[1] for line in found.undecided] == undecided


@pytest.mark.parametrize(("disk_mb", "worse"), [(20.1, False), (20.3, True), (10, False)])
def test_a_disk_is_worse_beyond_a_hundredth(disk_mb, worse):
    before, now = measurement("int8", 64, disk_mb=20), measurement("int8", 64, disk_mb=disk_mb)
    found = against_baseline(results(before), results(now)).regressions
    assert [one.figure for one in found] == (["disk MB"] if worse else [])


def test_a_baseline_of_other_configurations_compares_nothing_and_one_of_another_bundle_says_so():
    before = results(measurement("int8", 64))
    with pytest.raises(ResultsError, match="none of these configurations"):
        against_baseline(before, results(measurement("int8", 8)))
    bundle = msgspec.structs.replace(before.bundle, sha256="1" * 64)
    other = msgspec.structs.replace(before, bundle=bundle)
    assert against_baseline(other, results(measurement("int8", 64))).differing == ("bundle",)


@pytest.mark.parametrize(
    ("before", "now", "overlap", "worse"),
    [
        ((100, 120), (110, 130), True, False),
        ((100, None), (90, 99), False, True),
        ((100, 120), (90, 100), False, True),
        ((100, 120), (90, None), True, False),
        ((100, 120), (130, None), False, False),
    ],
)
def test_a_rate_of_arrivals_is_worse_when_it_exceeds_the_limit_below_one_that_was_kept(before, now, overlap, worse):
    rows = [
        msgspec.structs.replace(
            measurement("int8", 64),
            p99_limit_ms=20.0,
            throughput=Throughput(float(kept)),
            server=Server(5.0, 9.0, 18.0, (17.0, 19.0), 1000, exceeded and float(exceeded)),
        )
        for kept, exceeded in (before, now)
    ]
    (pair,) = compare_files(*map(results, rows)).pairs
    (rate,) = [figure for figure in pair.figures if figure.kind == "rate"]
    assert (rate.overlap, rate.ratio) == (overlap, pytest.approx(now[0] / before[0]))
    found = against_baseline(*map(results, rows))
    assert [one.figure for one in found.regressions] == (["texts/s"] if worse else [])


def test_another_allowance_of_memory_is_said():
    before = results(measurement("int8", 64))
    held = msgspec.structs.replace(before.device, capped_to="pi-zero-2w", ram_bytes=400_000_000)
    found = compare_files(before, msgspec.structs.replace(before, device=held))
    assert found.differing == ("memory or cores allowed",)


@pytest.mark.parametrize(
    ("settings", "differing"),
    [
        ({"vectors": "int8"}, "--vectors"),
        ({"target_recall": 0.9}, "--recall"),
        ({"like": {"source": "large.json", "sha256": "0" * 64}}, "--like"),
    ],
)
def test_other_settings_of_what_is_searched_are_said(settings, differing):
    before = results(measurement("int8", 64))
    before = msgspec.structs.replace(before, settings={**before.settings, "vectors": "fp32", "target_recall": 0.95})
    other = msgspec.structs.replace(before, settings={**before.settings, **settings})
    assert compare_files(before, other).differing == (differing,)
    assert against_baseline(before, other).differing == (differing,)


@pytest.mark.parametrize(("now", "undecided"), [(50.0, True), (100.0, False), (150.0, False)])
def test_a_rate_without_an_interval_that_falls_is_undecided(now, undecided):
    rows = [msgspec.structs.replace(measurement("int8", 64), batch=8, throughput=Throughput(x)) for x in (100.0, now)]
    found = against_baseline(*map(results, rows))
    assert [line.split(": ")[1] for line in found.undecided] == (["texts/s"] if undecided else [])
    assert found.regressions == ()


@pytest.mark.parametrize(("rss_mb", "worse"), [(104, False), (106, True), (50, False)])
def test_memory_is_worse_beyond_5_percent(rss_mb, worse):
    before, now = measurement("int8", 64, rss_mb=100), measurement("int8", 64, rss_mb=rss_mb)
    found = against_baseline(results(before), results(now)).regressions
    assert [one.figure for one in found] == (["peak RSS MB"] if worse else [])


def test_what_ran_before_and_fails_now_is_worse_and_what_was_not_run_is_not():
    before = results(measurement("int8", 64), measurement("fp32", 64))
    failed = msgspec.structs.replace(measurement("int8", 64), status="out_of_memory", reason="killed", encode=None)
    (found,) = against_baseline(before, results(failed)).regressions
    assert found.figure == "status"
    assert "killed" in found.text


def test_every_kind_of_figure_is_there_and_what_one_file_lacks_is_said():
    a = results(measurement("int8", 64, search_ms=0.5, recall=0.5), measurement("fp32", 64))
    b = results(measurement("int8", 64, search_ms=1.0, recall=0.6, disk_mb=30), measurement("int8", 8))
    found = compare_files(a, b)
    (pair,) = found.pairs
    assert {figure.kind for figure in pair.figures} == {"latency", "memory", "disk", "quality"}
    ratios = {figure.name: figure.ratio for figure in pair.figures}
    assert ratios["search p50 ms"] == 2
    assert ratios["disk MB"] == 1.5
    assert ratios["recall_at_10"] == pytest.approx(1.2)
    assert [name.split()[:2] for name in (*found.only_a, *found.only_b)] == [["fp32", "d64-L6"], ["int8", "d8-L6"]]


def test_the_command_prints_ratios_and_marks_intervals_apart(tmp_path):
    a, b = _pair((1.0, 1.2), (1.3, 1.5))
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, row in zip(paths, (a, b), strict=True):
        write_results(path, results(row))
    done = run_here("compare", *paths)
    assert done.returncode == 0
    assert "int8 d64-L6 1.10 1.40 1.27*" in " ".join(done.stdout.split())
    found = json.loads(run_here("compare", *paths, "--json").stdout)
    assert found["pairs"][0]["configuration"] == "int8 d64-L6"


def test_files_with_nothing_in_common_or_none_at_all_are_one_error(tmp_path):
    write_results(tmp_path / "a.json", results(measurement("int8", 64)))
    write_results(tmp_path / "b.json", results(measurement("int8", 8)))
    for options in ((), ("--json",)):
        done = run_here("compare", tmp_path / "a.json", tmp_path / "b.json", *options)
        assert "no configuration in common" in the_one_error_line(done)
    assert "no such results file" in the_one_error_line(run_here("compare", tmp_path / "a.json", tmp_path / "c.json"))
