"""MLPerf's Server, as the command line measures it: the highest rate of texts arriving by chance within a limit."""

import json

import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.bench.results import read_results


@pytest.fixture(scope="module")
def arguments(tiny_bundle, tmp_path_factory, dev):
    folder = tmp_path_factory.mktemp("server")
    path = folder / "task.jsonl"
    pairs = zip(dev["query"][:40], dev["positive"][:40], strict=True)
    path.write_text("".join(json.dumps({"q": q, "p": p}) + "\n" for q, p in pairs))
    return (
        "bench", tiny_bundle, "--precision", "fp32", "--data", path, "--query", "q", "--positive", "p", "--dims", "32",
        "--index", "scan", "--tokens", "0", "--max-seconds", "0.2", "--repeats", "1", "--server",
    )  # fmt: skip


def test_server_finds_a_rate_that_keeps_the_limit_for_each_number_of_threads(arguments, tmp_path):
    out = tmp_path / "results.json"
    table = mrl_edge_here(*arguments, "--p99-limit-ms", "16", "--concurrency", "1,2", "--out", out)
    rows = read_results(out).measurements
    served = [row for row in rows if row.p99_limit_ms is not None]
    assert [row.callers for row in served] == [1, 2]
    assert {row.p99_limit_ms for row in served} == {16.0}
    assert [row.scenario for row in rows if row not in served] == ["SingleStream", None]  # two callers who wait
    for row in served:
        if row.status != "ok":  # a machine so busy that 1% of all texts wait for 16 ms, at any rate
            assert "no rate was seen to keep p99 ≤ 16 ms" in row.reason
            continue
        assert row.scenario == "Server"
        assert row.server.p50_ms <= row.server.p90_ms <= row.server.p99_ms <= row.server.p99_ci975_ms[1] <= 16
        assert row.server.p50_ms >= row.encode.p50_ms / 2  # waiting included
        assert row.throughput.texts_per_s < (row.server.exceeded_texts_per_s or float("inf"))
        assert row.server.samples >= 498  # fewer say nothing of a 99th percentile
        assert f"{row.throughput.texts_per_s:,.1f} to" in table
    before = out.read_bytes()
    mrl_edge_here(*arguments, "--p99-limit-ms", "16", "--concurrency", "1,2", "--out", out)
    if all(row.status == "ok" for row in rows):
        assert out.read_bytes() == before  # nothing is missing


def test_a_limit_below_one_texts_time_is_a_row_that_says_so(arguments, tmp_path):
    out = tmp_path / "results.json"
    mrl_edge_here(*arguments, "--p99-limit-ms", "0.001", "--out", out)
    (row,) = (row for row in read_results(out).measurements if row.p99_limit_ms is not None)
    assert row.status == "unsupported"
    assert "a text alone takes" in row.reason
    assert row.throughput is row.server is row.scenario is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--server needs --p99-limit-ms"),
        (("--p99-limit-ms", "100"), "needs --max-seconds 1.1 or more"),
        (("--p99-limit-ms", "-1"), "--p99-limit-ms"),
        (("--p99-limit-ms", "nan"), "--p99-limit-ms"),
        (("--p99-limit-ms", "inf"), "every rate keeps it"),
    ],
)
def test_servers_that_make_no_sense(arguments, tmp_path, options, said):
    assert said in the_one_error_line(run_here(*arguments, "--out", tmp_path / "results.json", *options))
