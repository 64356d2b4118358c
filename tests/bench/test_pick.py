"""The choice is checked against an exhaustive search over random rows, and in the words that a user reads."""

import itertools
import json
import random
from pathlib import Path

import msgspec
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.bench.budget import COSTS, Budget, Objective
from mrl_edge.bench.candidates import candidates, choose_objective
from mrl_edge.bench.front import pareto_front
from mrl_edge.bench.pick import pick
from mrl_edge.bench.results import write_results
from rows import measurement, results

from mrl_edge import devices
from mrl_edge.errors import ResultsError, UsageError

FOLDER = Path(devices.__file__).parent


def random_rows(seed, count=40):
    rng = random.Random(seed)
    grid = itertools.product(("fp32", "int8"), (1, 2), (8, 16, 32, 64, 128, 384, 512, 640, 768, 896))
    rows = [
        # few distinct values, so that ties happen
        measurement(
            precision, dim, threads=threads, encode_ms=rng.randint(1, 6), rss_mb=rng.randint(50, 60) * 2,
            disk_mb=rng.randint(20, 30), ndcg=rng.randint(1, 12) / 20,
        )
        for precision, threads, dim in grid
    ]  # fmt: skip
    return candidates(results(*rows[:count]))


def axes(row):
    return (-row.quality["ndcg_at_10"], row.p50_ms, row.peak_rss_mb, row.disk_mb)


@pytest.mark.parametrize("seed", range(20))
def test_the_choice_is_the_best_of_all_rows_that_fit(seed):
    rows = random_rows(seed)
    rng = random.Random(seed)
    budget = Budget(
        {"p50_ms": rng.randint(2, 6), "peak_rss_mb": rng.randint(104, 118)}, {"ndcg_at_10": rng.random() / 3}
    )
    fitting = [
        row
        for row in rows
        if row.p50_ms <= budget.max["p50_ms"]
        and row.peak_rss_mb <= budget.max["peak_rss_mb"]
        and row.quality["ndcg_at_10"] >= budget.min["ndcg_at_10"]
    ]
    choice = pick(rows, budget)
    assert choice.chosen == min(fitting, key=axes, default=None)
    if choice.next_better:
        assert choice.next_better not in fitting
        assert choice.next_better.quality["ndcg_at_10"] > choice.chosen.quality["ndcg_at_10"]


@pytest.mark.parametrize("seed", range(20))
def test_the_pareto_front_is_every_row_that_nothing_beats(seed):
    rows = random_rows(seed)
    front = pareto_front(rows, Objective("ndcg_at_10", "nDCG@10", {"ndcg_at_10": 1.0}))
    for row in rows:
        beaten = any(
            all(a <= b for a, b in zip(axes(other), axes(row), strict=True)) and axes(other) != axes(row)
            for other in rows
        )
        assert (row in front) == (not beaten)


def test_the_whole_query_counts_encoding_and_searching():
    (row,) = candidates(results(measurement("int8", 64, encode_ms=2, search_ms=1.5)))
    assert row.p50_ms == pytest.approx(3.5)
    assert row.disk_mb == pytest.approx(20)


def test_a_limit_is_met_when_it_is_equalled():
    rows = candidates(results(measurement("int8", 64, encode_ms=2, rss_mb=100)))
    assert pick(rows, Budget(max={"peak_rss_mb": 100})).chosen == rows[0]


def test_a_p99_that_is_not_known_fits_no_limit_on_it():
    row = measurement("int8", 64)
    looped = msgspec.structs.replace(row, encode=msgspec.structs.replace(row.encode, p99_ms=None, loops=4))
    rows = candidates(results(looped))
    assert pick(rows, Budget(max={"p99_ms": 1e9})).chosen is None
    assert pick(rows, Budget(max={"p50_ms": 5})).chosen == rows[0]


def test_failed_rows_and_fixed_lengths_are_never_chosen():
    failed = msgspec.structs.replace(measurement("fp32", 384, ndcg=0.9), status="out_of_memory", encode=None)
    fixed = msgspec.structs.replace(measurement("int8", 384, ndcg=0.9), tokens=8)
    rows = candidates(results(failed, fixed, measurement("int8", 64, ndcg=0.5)))
    assert [row.dim for row in rows] == [64]
    with pytest.raises(ResultsError, match="no successful measurement"):
        candidates(results(failed))


def test_the_objective_follows_what_the_task_has():
    retrieval = candidates(results(measurement("int8", 64)))
    assert choose_objective(retrieval, None) == "ndcg_at_10"
    classes = candidates(results(measurement("int8", 64, ndcg=None, accuracy=0.7)))
    assert choose_objective(classes, None) == "accuracy"
    with pytest.raises(UsageError, match=r"ndcg_at_10: not in these results, which have accuracy"):
        choose_objective(classes, "ndcg_at_10")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "results.json"
    rows = (
        measurement("int8", 64, encode_ms=1.2, rss_mb=110, disk_mb=25, ndcg=0.50, recall=0.60, accuracy=0.70),
        measurement("int8", 384, encode_ms=1.3, rss_mb=114, disk_mb=40, ndcg=0.55, recall=0.66, accuracy=0.68),
        measurement("fp32", 384, encode_ms=3.0, rss_mb=180, disk_mb=110, ndcg=0.56, recall=0.67, accuracy=0.69),
    )
    write_results(path, results(*rows))
    return path


def test_a_budget_that_fits_is_answered_with_the_best_and_what_more_would_cost(file):
    text = mrl_edge_here("pick", file, "--max-p50-ms", "5", "--max-rss-mb", "120", "--max-disk-mb", "45")
    assert "int8 at dimension 384" in text.splitlines()[0]
    assert "fp32 at dimension 384" in text
    assert "+66.00 MB peak RSS" in text
    assert "peak RSS 180.00 MB is 60.00 MB over --max-rss-mb 120" in text


def test_json_has_the_chosen_row_at_the_top(file):
    answer = json.loads(mrl_edge_here("pick", file, "--max-disk-mb", "30", "--json"))
    assert (answer["dim"], answer["precision"], answer["depth"]) == (64, "int8", 6)
    assert answer["fits"]
    assert answer["peak_rss_mb"] == pytest.approx(110)
    assert answer["recall_at_10"] == pytest.approx(0.60)
    assert answer["next_better"]["dim"] == 384
    assert [row["dim"] for row in answer["pareto"]] == [64, 384, 384]


def test_another_objective_chooses_another_row(file):
    answer = json.loads(mrl_edge_here("pick", file, "--objective", "accuracy", "--json"))
    assert (answer["dim"], answer["precision"]) == (64, "int8")
    assert answer["next_better"] is None


def test_nothing_fits_exits_3_and_names_the_nearest_limit_and_by_how_much(file):
    done = run_here("pick", file, "--max-rss-mb", "100", "--max-p50-ms", "1.5")
    assert done.returncode == 3
    assert "The nearest is int8 at dimension 64" in done.stdout
    assert "peak RSS 110.00 MB is 10.00 MB over --max-rss-mb 100" in done.stdout
    answer = json.loads(run_here("pick", file, "--max-rss-mb", "100", "--json").stdout)
    assert answer["fits"] is False
    assert "dim" not in answer
    assert answer["over"][0] == {
        "figure": "peak_rss_mb", "limit": 100.0, "value": 110.0, "share": pytest.approx(0.1),
        "text": "peak RSS 110.00 MB is 10.00 MB over --max-rss-mb 100",
    }  # fmt: skip


def test_what_nothing_fits_is_not_to_be_shipped(file, tmp_path):
    out = tmp_path / "choice.json"
    nothing = run_here("pick", file, "--max-p50-ms", "0.1", "--out", out)
    assert nothing.returncode == 3
    assert not json.loads(out.read_bytes())["fits"]
    assert "mrl-edge ship" not in nothing.stdout
    assert "mrl-edge ship" in mrl_edge_here("pick", file, "--out", out)


def test_a_choice_does_not_replace_the_results_that_it_is_made_of(file, tmp_path):
    before = file.read_bytes()
    assert "would replace what it is made of" in the_one_error_line(run_here("pick", file, "--out", file))
    tune = ("tune", "bundle", "--data", "builtin:wordnet_nouns/dev", "--max-p50-ms", "5")
    line = the_one_error_line(run_here(*tune, "--out", file, "--choice", tmp_path / "." / file.name))
    assert "--choice" in line
    assert "would replace what it is made of" in line
    assert file.read_bytes() == before


def test_a_floor_that_nothing_reaches_exits_3(file):
    done = run_here("pick", file, "--min-recall", "0.9")
    assert done.returncode == 3
    assert "recall@10 0.6700 is 0.2300 below the floor of 0.9" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--max-p50-ms", "fast"), "--max-p50-ms"),
        (("--max-rss-mb", "-1"), "--max-rss-mb"),
        (("--min-recall", "50"), "--min-recall"),
        (("--objective", "beauty"), "--objective beauty"),
    ],
)
def test_budgets_that_make_no_sense(file, options, said):
    assert said in the_one_error_line(run_here("pick", file, *options))


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "damaged"), ("{", "damaged"), ('{"schema_version": 1}', "damaged"), ("[]", "damaged")],
)
def test_a_file_that_holds_no_results(tmp_path, content, said):
    path = tmp_path / "results.json"
    path.write_text(content)
    assert said in the_one_error_line(run_here("pick", path))


def test_a_results_file_that_is_not_there(tmp_path):
    assert "no such results file" in the_one_error_line(run_here("pick", tmp_path / "results.json"))


def test_every_cost_is_an_option_of_the_command_line():
    text = mrl_edge_here("pick", "--help")
    assert all(cost.option in text for cost in COSTS)


def test_a_device_caps_the_memory_and_a_tighter_limit_stays(file, tmp_path):
    board = tmp_path / "board.toml"
    small = (FOLDER / "pi-zero-2w.toml").read_text(encoding="utf-8").replace("= 340_000_000", "= 112_000_000")
    board.write_text(small.replace('"pi-zero-2w"', '"half-a-pi"'), encoding="utf-8")
    done = run_here("pick", file, "--device", board, "--json")
    assert "half-a-pi leaves an application 112 MB" in done.stderr
    assert json.loads(done.stdout)["peak_rss_mb"] == pytest.approx(110)
    assert json.loads(done.stdout)["next_better"]["peak_rss_mb"] == pytest.approx(114)
    assert json.loads(run_here("pick", file, "--device", "pi-zero-2w", "--json").stdout)["precision"] == "fp32"
    assert run_here("pick", file, "--device", board, "--max-rss-mb", "100").returncode == 3
    assert json.loads(run_here("pick", file, "--device", board, "--max-rss-mb", "500", "--json").stdout)["dim"] == 64


def test_a_card_says_nothing_of_the_memory_that_a_process_has(file):
    assert "t4 is a card" in the_one_error_line(run_here("pick", file, "--device", "t4"))
    assert "no device is named" in the_one_error_line(run_here("pick", file, "--device", "zero"))
