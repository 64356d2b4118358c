"""Budgets in files and options: what is read, what is refused and what is pointed out."""

import dataclasses
import json
import math

import msgspec
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.bench.budget import COSTS, Budget, contradictions, interval, read_budget
from mrl_edge.bench.candidates import OBJECTIVES, candidates
from mrl_edge.bench.limits import full_model
from mrl_edge.bench.results import Quality, write_results
from rows import measurement, results

from mrl_edge.errors import UsageError


def test_a_file_is_read_and_options_replace_what_it_says(tmp_path):
    file = tmp_path / "budget.toml"
    file.write_text("confidence = 0.9\n[max]\np50_ms = 20\npeak_rss_mb = 512\n[keep]\nrecall_at_10 = 0.97\n")
    assert read_budget(file) == Budget(
        max={"p50_ms": 20.0, "peak_rss_mb": 512.0}, keep={"recall_at_10": 0.97}, confidence=0.9
    )
    write_results(tmp_path / "r.json", results(measurement("fp32", 64, encode_ms=3, recall=0.5)))
    assert run_here("pick", tmp_path / "r.json", "--budget", file).returncode == 0
    assert run_here("pick", tmp_path / "r.json", "--budget", file, "--max-p50-ms", "2").returncode == 3


METRICS_AND_OTHERS = [(name, next(other for other in OBJECTIVES if other != name)) for name in OBJECTIVES]


@pytest.mark.parametrize(("metric", "other"), METRICS_AND_OTHERS)
def test_any_metric_has_a_floor_and_a_share_to_keep(tmp_path, metric, other):
    """The better a row is in the one that is maximised, the worse it is in the one that has a floor."""
    rows = [
        msgspec.structs.replace(measurement(precision, dim), quality=Quality(**{metric: floored, other: maximised}))
        for precision, dim, floored, maximised in (
            ("fp32", 384, 0.8, 0.5),
            ("int8", 384, 0.7, 0.6),
            ("int8", 8, 0.5, 0.9),
        )
    ]
    write_results(tmp_path / "r.json", results(*rows))

    def picked(*floor):
        answer = json.loads(mrl_edge_here("pick", tmp_path / "r.json", "--objective", other, *floor, "--json"))
        return answer["precision"], answer["dim"]

    assert picked() == ("int8", 8)
    assert picked("--min-quality", f"{metric}=0.6") == ("int8", 384)
    assert picked("--keep-quality", f"{metric}=0.87") == ("int8", 384)  # 0.7 / 0.8 = 0.875
    assert picked("--keep-quality", f"{metric}=0.88") == ("fp32", 384)
    assert picked(
        "--min-quality", f"{metric}=0.6", "--keep-quality", f"{other}=1", "--min-quality", f"{other}=0.6"
    ) == (
        "int8",
        384,
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--min-quality", "mrr=0.3"), "--min-quality mrr=0.3: no such metric; there is ndcg_at_10, recall_at_10"),
        (("--min-quality", "mrr_at_10"), "expected a metric and its share, as in mrr_at_10=0.3"),
        (("--keep-quality", "mrr_at_10=high"), "--keep-quality mrr_at_10=high: expected a metric and its share"),
        (("--min-quality", "mrr_at_10=30"), "--min-quality mrr_at_10=30: expected a share from 0 to 1"),
        (("--min-quality", "mrr_at_10=nan"), "expected a share from 0 to 1"),
        (("--min-recall", "0.2", "--min-quality", "recall_at_10=0.3"), "recall_at_10 has a floor of 0.2 already"),
        (("--min-quality", "mrr_at_10=0.3"), "no MRR@10 to set a floor on, mrr_at_10: they have ndcg_at_10, accuracy"),
        (
            ("--keep-quality", "knn_top1=0.9"),
            "the full model's knn_top1 was asked for, and it has ndcg_at_10, accuracy",
        ),
    ],
)
def test_floors_that_cannot_be_held_are_one_line(tmp_path, options, said):
    write_results(tmp_path / "r.json", results(measurement("fp32", 64, accuracy=0.6)))
    assert said in the_one_error_line(run_here("pick", tmp_path / "r.json", *options))


def test_pick_tune_and_report_take_the_same_budget():
    helps = [mrl_edge_here(command, "--help") for command in ("pick", "tune", "report")]
    for name in ("budget", *(cost.option[2:] for cost in COSTS), "min-recall", "min-quality", "keep-recall",
                 "keep-quality", "corpus", "corpus-now", "confidence", "objective"):  # fmt: skip
        assert all(f"--{name} " in text for text in helps), name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[max]\nspeed = 3", "max.speed: no such figure; there is p50_ms"),
        ("[max]\np50_ms = -3", "--max-p50-ms -3"),
        ("[max]\np50_ms = nan", "expected a number from 0"),
        ("[min]\nrecall_at_10 = 50", "min.recall_at_10 = 50: expected a share"),
        ("[keep]\nbeauty = 0.5", "keep.beauty"),
        ("confidence = 0.99", "--confidence 0.99: expected more than 0.5 and at most 0.975"),
        ('objective = "accuracy"\n[utility]\naccuracy = 1', "not both"),
        ("[utility]\np50_ms = 0.1", "utility.p50_ms = 0.1: expected 0 or less"),
        ("[limits]\np50_ms = 3", "unknown field `limits`"),
        ("corpus = 0", "--corpus 0: expected a number of documents"),
        ("corpus_now = -5", "--corpus-now -5: expected a number of documents"),
        ("p50", "is no budget"),
    ],
)
def test_files_that_are_no_budget_are_one_line(tmp_path, content, said):
    file = tmp_path / "budget.toml"
    file.write_text(content)
    write_results(tmp_path / "r.json", results(measurement("fp32", 64)))
    line = the_one_error_line(run_here("pick", tmp_path / "r.json", "--budget", file))
    assert said in line
    assert "budget.toml" in line


def test_limits_that_do_nothing_beside_others_are_pointed_out():
    (line,) = contradictions(Budget(max={"p50_ms": 50, "p99_ms": 20}))
    assert "--max-p50-ms 50 does nothing beside --max-p99-ms 20" in line
    (line,) = contradictions(Budget(max={"p50_ms": 50, "cold_start_ms": 20}))
    assert "--max-cold-ms 20 is below --max-p50-ms 50" in line
    (line,) = contradictions(Budget(min={"ndcg_at_10": 0.5}, keep={"ndcg_at_10": 0.9}))
    assert "the higher one decides" in line
    (line,) = contradictions(Budget(max={"p50_ms": 50}, utility={"p50_ms": -1.0, "ndcg_at_10": 1.0}))
    assert "both hold" in line
    (line,) = contradictions(Budget(max={"p50_ms": 50, "peak_rss_mb": 100}, confidence=0.95))
    assert "what was measured of peak RSS is held by its value" in line
    (line,) = contradictions(Budget(corpus=100, corpus_now=200))
    assert "--corpus 100 is below --corpus-now 200" in line
    assert (
        contradictions(Budget(max={"p50_ms": 5, "p99_ms": 20, "cold_start_ms": 300}, corpus=200, corpus_now=100)) == []
    )


def test_every_cost_is_read_from_a_row():
    (row,) = candidates(results(measurement("fp32", 64)))
    known = {cost.name: cost.read(row) for cost in COSTS}
    assert known["energy_mj"] == math.inf
    assert all(math.isfinite(value) for name, value in known.items() if name != "energy_mj")
    assert interval(dataclasses.replace(row, samples={}), "ndcg_at_10") is None
    full = full_model([row], Budget(keep={"ndcg_at_10": 1}))
    assert (full.dim, full.quality) == (64, row.quality)


def test_a_utility_of_nothing_is_refused():
    with pytest.raises(UsageError, match="every weight is 0"):
        Budget(utility={"p50_ms": 0.0, "ndcg_at_10": 0.0})
