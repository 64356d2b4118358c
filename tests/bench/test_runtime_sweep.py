"""Batches, callers, onnxruntime's levers and cold starts, as the command line sweeps them."""

import json

import pytest
from conftest import mrl_edge, run_here, the_one_error_line
from mrl_edge.bench.results import read_results


@pytest.fixture(scope="module")
def arguments(bundle, dev, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "task.jsonl"
    pairs = zip(dev["query"][:40], dev["positive"][:40], strict=True)
    path.write_text("".join(json.dumps({"q": q, "p": p}) + "\n" for q, p in pairs))
    return (
        "bench", bundle, "--data", path, "--query", "q", "--positive", "p", "--dims", "16,64", "--index", "exact",
        "--tokens", "0", "--max-seconds", "0.3",
    )  # fmt: skip


@pytest.fixture(scope="module")
def swept(arguments, tmp_path_factory):
    out = tmp_path_factory.mktemp("swept") / "results.json"
    table = mrl_edge(
        *arguments, "--precision", "int8,fp32", "--batches", "1,8,16", "--concurrency", "1,2", "--p99-limit-ms", "1e6",
        "--runtime", "default,no-prepack+no-arena", "--pin", "--out", out,
    )  # fmt: skip
    assert "MultiStream" in table
    return read_results(out).measurements


def test_what_is_swept_is_measured_once_a_variant_and_runtime(swept):
    runtimes = [("pinned",), ("pinned", "no-arena", "no-prepack")]
    there = [(r.precision, r.dim, r.batch, r.callers, r.runtime) for r in swept]
    wanted = [
        (precision, *shape, runtime)
        for precision in ("fp32", "int8")
        for runtime in runtimes
        for shape in [(16, 1, 1), (64, 1, 1), (64, 8, 1), (64, 16, 1), (64, 1, 2)]
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
            assert row.throughput.within_limit is True
        else:
            assert row.throughput is None
            assert row.scenario == "SingleStream"


def test_the_cold_start_with_files_dropped_is_there_or_says_why_not(swept):
    for row in swept:
        if row.batch == row.callers == 1:
            assert (row.cold_start_dropped_ms is None) == ("cold_start_dropped_ms" in row.null_because)


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
        (("--p99-limit-ms", "-1"), "-1"),
        (("--p99-limit-ms", "5"), "does nothing without --concurrency"),
    ],
)
def test_sweeps_that_make_no_sense(arguments, tmp_path, options, said):
    out = tmp_path / "results.json"
    assert said in the_one_error_line(run_here(*arguments, "--out", out, *options))
    assert not out.exists()
