"""`mrl-edge tune` beside the whole sweep: the same choice from fewer measurements."""

import json

import pytest
from conftest import run_here, the_one_error_line
from mrl_edge.bench.budget import Budget
from mrl_edge.bench.candidates import candidates
from mrl_edge.bench.pick import pick
from mrl_edge.bench.results import read_results

QUERIES = 60


@pytest.fixture(scope="module")
def arguments(tiny_bundle, dev, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "task.jsonl"
    rows = zip(dev["query"][:QUERIES], dev["positive"][:QUERIES], strict=True)
    path.write_text("".join(json.dumps({"q": q, "p": p}) + "\n" for q, p in rows))
    return (
        tiny_bundle, "--data", path, "--query", "q", "--positive", "p", "--dims", "8,16,32", "--index", "scan",
        "--max-seconds", "0.3", "--repeats", "1",
    )  # fmt: skip


@pytest.fixture(scope="module")
def swept(arguments, tmp_path_factory):
    """Every row."""
    out = tmp_path_factory.mktemp("swept") / "all.json"
    done = run_here("bench", *arguments, "--tokens", "0", "--out", out)
    assert done.returncode == 0, done.stderr
    return candidates(read_results(out))


def tune(arguments, out, *options):
    done = run_here("tune", *arguments, "--out", out, *options, "--json")
    return done, json.loads(done.stdout) if done.stdout else {}


def test_the_choice_is_the_sweeps_and_less_is_measured(arguments, swept, tmp_path):
    int8 = max(row.disk_mb for row in swept if row.precision == "int8")
    done, answer = tune(arguments, tmp_path / "t.json", "--max-disk-mb", str(int8), "--max-p50-ms", "1000")
    assert done.returncode == 0, done.stderr
    wanted = pick(swept, Budget(max={"disk_mb": int8, "p50_ms": 1000})).chosen
    assert (answer["precision"], answer["dim"], answer["index"]) == (wanted.precision, wanted.dim, wanted.index)
    assert answer["ndcg_at_10"] == pytest.approx(wanted.quality["ndcg_at_10"])
    rows = read_results(tmp_path / "t.json").measurements
    assert {row.precision for row in rows} == {"int8"}
    assert len(rows) < len(swept) / 2


def test_a_share_is_of_the_full_model_though_it_is_not_measured(arguments, swept, tmp_path):
    int8 = max(row.disk_mb for row in swept if row.precision == "int8")
    limits = ("--max-disk-mb", str(int8), "--keep-ndcg", "0.5")
    done, answer = tune(arguments, tmp_path / "t.json", *limits)
    assert done.returncode == 0, done.stderr
    (full,) = [row for row in swept if (row.precision, row.dim) == ("fp32", 32)]
    assert answer["full"]["quality"]["ndcg_at_10"] == pytest.approx(full.quality["ndcg_at_10"])
    assert answer["ndcg_at_10"] >= 0.5 * full.quality["ndcg_at_10"]


def test_what_encodes_too_slowly_is_not_even_prepared(arguments, tmp_path):
    done, answer = tune(arguments, tmp_path / "t.json", "--max-p50-ms", "0.01")
    assert done.returncode == 3
    assert answer["fits"] is False
    assert "preparing" not in done.stderr
    assert read_results(tmp_path / "t.json").measurements == ()


def test_tuning_needs_a_limit(arguments, tmp_path):
    assert "tune needs a limit" in the_one_error_line(run_here("tune", *arguments, "--out", tmp_path / "t.json"))
