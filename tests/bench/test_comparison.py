"""Two results files side by side, on rows with chosen figures, and on a real run beside what it is told was saved."""

import json

import msgspec
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.bench.comparison import against_baseline, compare_files
from mrl_edge.bench.results import Server, Throughput, read_results, write_results
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
@pytest.mark.parametrize("interval", [(1.3, 1.5), None])
def test_a_latency_that_is_not_stable_in_both_is_undecided_and_not_worse(which, interval):
    pair = list(_pair((1.0, 1.2), (1.3, 1.5)))
    encode = msgspec.structs.replace(pair[which].encode, stable=False, doubts=("busy",))
    if which:
        encode = msgspec.structs.replace(encode, ci95_ms=interval)
    pair[which] = msgspec.structs.replace(pair[which], encode=encode)
    found = against_baseline(*map(results, pair))
    assert found.regressions == ()
    assert found.undecided == ("int8 d64-L6: encode p50 ms",)
    (compared,) = compare_files(*map(results, pair)).pairs
    assert not any(figure.apart for figure in compared.figures)


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
    assert "no configuration in common" in the_one_error_line(
        run_here("compare", tmp_path / "a.json", tmp_path / "b.json")
    )
    assert "no such results file" in the_one_error_line(run_here("compare", tmp_path / "a.json", tmp_path / "c.json"))


@pytest.fixture(scope="module")
def bench_of(tiny_bundle, dev, tmp_path_factory):
    """A small run, as arguments without --out."""
    path = tmp_path_factory.mktemp("data") / "task.jsonl"
    pairs = zip(dev["query"][:60], dev["positive"][:60], strict=True)
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
    slower = _scaled(saved, tmp_path / "fast.json", times=0.05, memory=0.8)
    done = run_here(*bench_of, "--out", now, "--baseline", slower)
    assert done.returncode == 4, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith(("regression: ", "undecided"))]
    assert all("int8 d16-L2 scan" in line for line in lines)
    assert any("peak RSS MB" in line for line in lines)
    again = run_here(*bench_of, "--out", now, "--baseline", slower, "--json")
    assert again.returncode == 4
    found = json.loads(again.stdout)
    said = [one["figure"] for one in found["regressions"]] + [one.split(": ")[1] for one in found["undecided"]]
    assert sorted(said) == ["encode p50 ms", "peak RSS MB", "query p50 ms"]
    stable = {name: found["measurements"][0][name]["stable"] for name in ("encode", "query")}
    saved_row = read_results(saved).measurements[0]
    for name, here in stable.items():  # of a run this short: either is right, if it is the one that was stable
        worse = f"{name} p50 ms" in [one["figure"] for one in found["regressions"]]
        assert worse == (here and getattr(saved_row, name).stable)
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
