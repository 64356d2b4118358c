"""Batches, callers, onnxruntime's levers and cold starts, as the command line sweeps them."""

import json
import shutil

import msgspec
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.bench import child, measuring
from mrl_edge.bench.jobs import FirstJob, MeasureJob
from mrl_edge.bench.page_cache import resident_share
from mrl_edge.bench.results import read_results
from mrl_edge.bench.scenarios import with_scenarios
from rows import measurement, results

from mrl_edge.cli.bench_table import print_results, within
from mrl_edge.errors import UnsupportedError


@pytest.fixture(scope="module")
def arguments(tiny_bundle, dev, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "task.jsonl"
    pairs = zip(dev["query"][:40], dev["positive"][:40], strict=True)
    path.write_text("".join(json.dumps({"q": q, "p": p}) + "\n" for q, p in pairs))
    return (
        "bench", tiny_bundle, "--data", path, "--query", "q", "--positive", "p", "--dims", "16,32", "--index", "scan",
        "--tokens", "0", "--max-seconds", "0.3", "--repeats", "1",
    )  # fmt: skip


@pytest.fixture(scope="module")
def swept(arguments, tmp_path_factory):
    out = tmp_path_factory.mktemp("swept") / "results.json"
    table = mrl_edge_here(
        *arguments, "--precision", "int8,fp32", "--batches", "1,8,16", "--concurrency", "1,2", "--p99-limit-ms", "1e6",
        "--runtime", "default,no-prepack+no-arena", "--pin", "--out", out,
    )  # fmt: skip
    assert "MultiStream" in table
    assert "p99 ≤ 1e+06 ms" in table
    assert table.count("SingleStream") == 4  # --batches 1: one text a call stands beside the others
    return read_results(out).measurements


def test_what_is_swept_is_measured_once_a_variant_and_runtime(swept):
    runtimes = [("pinned",), ("pinned", "no-arena", "no-prepack")]
    there = [(r.precision, r.dim, r.batch, r.callers, r.runtime) for r in swept]
    wanted = [
        (precision, *shape, runtime)
        for precision in ("fp32", "int8")
        for runtime in runtimes
        for shape in [(16, 1, 1), (32, 1, 1), (32, 8, 1), (32, 16, 1), (32, 1, 2)]
    ]
    assert sorted(there) == sorted(wanted)
    assert {row.status for row in swept} == {"ok"}


def test_texts_a_second_follow_from_the_time_of_a_call(swept):
    for row in swept:
        if row.batch > 1:
            assert row.throughput.texts_per_s == pytest.approx(row.batch * 1e3 / row.encode.mean_ms)
            assert row.scenario == ("MultiStream" if row.batch == 8 else "Offline")
        elif row.callers > 1:
            assert row.throughput.texts_per_s == pytest.approx(row.callers * 1e3 / row.encode.mean_ms, rel=0.35)
            assert row.scenario is None
        else:
            assert row.throughput is None
            assert row.scenario == "SingleStream"


def test_the_cold_start_with_files_dropped_is_there_or_says_why_not(swept):
    for row in swept:
        if row.batch == row.callers == 1:
            assert (row.cold_start_dropped_ms is None) == ("cold_start_dropped_ms" in row.null_because)


def test_a_dropped_start_begins_when_its_files_are_out_of_the_page_cache(arguments, tmp_path, monkeypatch):
    """In a copy of the bundle, which no other test has mapped."""
    bundle = shutil.copytree(arguments[1], tmp_path / "bundle")
    real, began = measuring.run_job, []

    def run_job(job, *rest):
        paths = (job.measure if isinstance(job, FirstJob) else job).prepared.index.paths
        began.append((type(job), resident_share([bundle / "int8" / "weights.bin", *paths])))
        return real(job, *rest)

    monkeypatch.setattr(measuring, "run_job", run_job)
    out = tmp_path / "results.json"
    mrl_edge_here("bench", bundle, *arguments[2:], "--dims", "16", "--precision", "int8", "--out", out)
    (row,) = read_results(out).measurements
    if row.cold_start_dropped_ms is None:
        pytest.skip(f"this file system keeps its pages: {row.null_because['cold_start_dropped_ms']}")
    (first, warm), (last, dropped) = began
    assert (first, last) == (MeasureJob, FirstJob)
    assert warm == 1
    assert dropped <= 0.05


def test_only_the_largest_batch_is_offline_and_a_fixed_length_is_no_scenario():
    change = msgspec.structs.replace
    base = measurement("int8", 64)
    rows = [change(base, batch=batch) for batch in (1, 4, 8, 32, 64)]
    rows += [change(base, tokens=128), change(base, callers=2), change(base, batch=128, status="failed")]
    rows += [change(base, callers=callers, p99_limit_ms=20.0) for callers in (1, 2)]
    names = [row.scenario for row in with_scenarios(rows)]
    assert names == ["SingleStream", None, "MultiStream", None, "Offline", None, None, None, "Server", "Server"]
    grown = list(with_scenarios([*with_scenarios(rows[:5]), change(base, batch=256)]))
    assert [row.scenario for row in grown][-2:] == [None, "Offline"]  # a resumption with a larger one


def test_a_tail_is_measured_until_it_is_known_and_makes_another_file(arguments, tmp_path):
    out = tmp_path / "results.json"
    short = ("--dims", "16", "--precision", "int8", "--max-seconds", "0.1", "--out", out)
    mrl_edge_here(*arguments, *short, "--tail", "99")
    (row,) = read_results(out).measurements
    assert row.query.samples >= 2 * 381
    low, high = row.query.p99_ci95_ms
    assert low <= row.query.p99_ms
    if high is None:  # late samples in a row, as beside other work, know less
        assert "query.p99_ci95_ms" in row.null_because
    else:
        assert row.query.p99_ms <= high
    assert row.query.p999_ms is None
    assert "--tail 99.9 measures on" in row.null_because["query.p999_ms"]
    assert "another data or settings" in the_one_error_line(run_here(*arguments, *short))


def test_a_p999_is_printed_where_it_is_known(capsys):
    row = measurement("int8", 64)
    tails = {"p99_ms": 3.0, "p99_ci95_ms": (2.75, 3.25), "p999_ms": 6.5, "p999_ci95_ms": (5.5, 9.25), "samples": 7680}
    known = msgspec.structs.replace(row, encode=msgspec.structs.replace(row.encode, **tails))
    print_results(results(row))
    assert "99.9" not in capsys.readouterr().out
    print_results(results(row, msgspec.structs.replace(known, dim=32)))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "7,680" in line]
    assert "d32" in line
    assert "3.00 (2.75 to 3.25)" in line
    assert "6.50 (5.50 to 9.25)" in line


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((4.0, 5.0), "yes"),
        ((5.1, 6.0), "no"),
        ((5.1, None), "no"),
        ((4.0, 6.0), "undecided"),
        ((1.0, None), "undecided"),
        (None, "undecided"),
    ],
)
def test_a_p99_keeps_a_limit_only_by_all_of_its_interval(interval, said):
    encode = msgspec.structs.replace(measurement("int8", 64).encode, p99_ms=4.5, p99_ci95_ms=interval)
    assert within(encode, 5.0) == said


@pytest.mark.parametrize(("cores", "held"), [(1, [7]), (3, [5, 6, 7]), (4, [4, 5, 6, 7])])
def test_pinning_holds_to_a_core_for_each_thread_of_each_caller(monkeypatch, cores, held):
    seen = []
    monkeypatch.setattr(child.os, "sched_getaffinity", lambda _: {4, 5, 6, 7}, raising=False)
    monkeypatch.setattr(child.os, "sched_setaffinity", lambda _, cores: seen.append(cores), raising=False)
    child.pin(cores)
    assert seen == [held]
    with pytest.raises(UnsupportedError, match="5: there are 4"):
        child.pin(5)


def test_the_runtimes_own_memory_lies_between_pythons_and_the_models(swept):
    for row in swept:
        assert row.memory.baseline_rss_bytes < row.memory.runtime_rss_bytes < row.memory.rss_bytes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--batches", "0"), "--batches 0"),
        (("--concurrency", "two"), "--concurrency two"),
        (("--runtime", "no-brakes"), "there is default, no-arena"),
        (("--runtime", "no-arena,no-arena"), "name each setting once"),
        (("--p99-limit-ms", "-1"), "--p99-limit-ms"),
        (("--tail", "50"), "--tail 50: expected 99 or 99.9"),
        (("--tail", "99.5"), "--tail 99.5: expected 99 or 99.9"),
        (("--tail", "100"), "--tail 100: expected 99 or 99.9"),
        (("--p99-limit-ms", "5"), "does nothing without --concurrency"),
    ],
)
def test_sweeps_that_make_no_sense(arguments, tmp_path, options, said):
    out = tmp_path / "results.json"
    assert said in the_one_error_line(run_here(*arguments, "--out", out, *options))
    assert not out.exists()
