"""`mrl-edge bench --baseline`: a real run beside what it is told was saved."""

import json

import msgspec
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.bench.results import write_results
from rows import measurement, results


@pytest.fixture(scope="module")
def bench_of(tiny_bundle, dev, tmp_path_factory):
    """A small run, as arguments without --out."""
    path = tmp_path_factory.mktemp("data") / "task.jsonl"
    pairs = zip(dev["query"][:20], dev["positive"][:20], strict=True)  # a pass is short: six of them have an interval
    path.write_text("".join(json.dumps({"q": q, "p": p}) + "\n" for q, p in pairs))
    return (
        "bench", tiny_bundle, "--data", path, "--query", "q", "--positive", "p", "--precision", "int8", "--dims", "16",
        "--index", "scan", "--tokens", "0", "--max-seconds", "0.3", "--repeats", "1",
    )  # fmt: skip


def _scaled(saved, to, times, memory):
    """The saved file as if everything had taken so many times as long and as much memory."""
    content = json.loads(saved.read_bytes())
    for row in content["measurements"]:
        for timing in (row["encode"], row["query"]):
            timing["p50_ms"] *= times
            timing["ci95_ms"] = [timing["p50_ms"]] * 2
        row["memory"]["peak_rss_bytes"] = round(row["memory"]["peak_rss_bytes"] * memory)
    to.write_text(json.dumps(content))
    return to


def test_a_run_worse_than_its_baseline_exits_4_and_names_what_is(bench_of, tmp_path):
    saved, now = tmp_path / "saved.json", tmp_path / "now.json"
    mrl_edge_here(*bench_of, "--out", saved)
    slower = _scaled(saved, tmp_path / "fast.json", times=0.05, memory=2)
    done = run_here(*bench_of, "--out", now, "--baseline", slower)
    assert done.returncode == 4, done.stderr  # by its latency alone, stable or not
    lines = [line for line in done.stderr.splitlines() if line.startswith(("regression: ", "undecided"))]
    assert all("int8 d16-L2 scan" in line for line in lines)
    assert "of one process, whose interval is too narrow" in lines[0]
    again = run_here(*bench_of, "--out", now, "--baseline", slower, "--json")
    assert again.returncode == 4
    found = json.loads(again.stdout)
    assert sorted(one["figure"] for one in found["regressions"]) == ["encode p50 ms", "query p50 ms"]
    # Of one process nothing tells how far another would differ.
    assert {one.split(": ")[1] for one in found["undecided"]} == {"search p50 ms", "cold start ms"}
    heavier = _scaled(saved, tmp_path / "light.json", times=20, memory=0.8)
    done = run_here(*bench_of, "--out", now, "--baseline", heavier)
    assert done.returncode == 4
    assert "regression: int8 d16-L2 scan" in done.stderr
    assert "peak RSS MB" in done.stderr
    faster = _scaled(saved, tmp_path / "slow.json", times=20, memory=1.2)
    assert run_here(*bench_of, "--out", now, "--baseline", faster).returncode == 0


def test_a_baseline_of_another_machine_or_the_same_file_is_refused(bench_of, tmp_path):
    foreign = results(measurement("int8", 64))
    device = msgspec.structs.replace(foreign.device, cpu="another board")
    write_results(tmp_path / "foreign.json", msgspec.structs.replace(foreign, device=device))
    out = tmp_path / "out.json"
    done = run_here(*bench_of, "--out", out, "--baseline", tmp_path / "foreign.json")
    assert "another machine (another board" in the_one_error_line(done)
    assert "is --out too" in the_one_error_line(run_here(*bench_of, "--out", out, "--baseline", out))
    assert "no such results file" in the_one_error_line(run_here(*bench_of, "--baseline", tmp_path / "none.json"))
    other = results(measurement("int8", 64))
    write_results(tmp_path / "other.json", other)
    done = run_here(*bench_of, "--out", out, "--baseline", tmp_path / "other.json")
    assert "was measured on other data" in the_one_error_line(done)
    assert not out.exists()
