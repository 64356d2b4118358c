"""Budgets: what is read, what is refused, and what uncertainty makes of a limit, against sums done by hand."""

import dataclasses
import itertools
import json
import math
import random

import msgspec
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.bench.budget import COSTS, Budget, contradictions, figure, interval, objective_of, read_budget
from mrl_edge.bench.candidates import OBJECTIVES, candidates, wilson
from mrl_edge.bench.front import pareto_front
from mrl_edge.bench.limits import FullModel, excesses, full_model, resolve
from mrl_edge.bench.pick import pick
from mrl_edge.bench.results import Narrowing, Quality, write_results
from rows import measurement, results
from scipy.stats import binomtest, norm

from mrl_edge.cli.answers import full_of
from mrl_edge.errors import UsageError

METRICS = ("ndcg_at_10", "recall_at_10")


def rows_with_intervals(seed, count=36):
    rng = random.Random(seed)
    made = []
    for precision, dim in itertools.product(("fp32", "int8"), range(8, 8 * (count // 2 + 1), 8)):
        ms = rng.uniform(1, 8)
        row = measurement(
            precision, dim, encode_ms=ms, rss_mb=rng.uniform(80, 200), disk_mb=rng.uniform(20, 100),
            ndcg=rng.uniform(0.2, 0.7), recall=rng.uniform(0.2, 0.8),
        )  # fmt: skip
        width = rng.uniform(1.01, 1.4)
        made.append(
            msgspec.structs.replace(row, encode=msgspec.structs.replace(row.encode, ci95_ms=(ms / width, ms * width)))
        )
    content = results(*made)
    return candidates(msgspec.structs.replace(content, settings={**content.settings, "queries": 400, "texts": 0}))


def random_budget(seed, **more):
    rng = random.Random(1000 + seed)
    return Budget(max={"p50_ms": rng.uniform(2, 8), "peak_rss_mb": rng.uniform(90, 200)}, **more)


@pytest.mark.parametrize("seed", range(12))
def test_a_confidence_holds_the_limit_by_the_bound_and_the_floor_by_wilsons(seed):
    rows = rows_with_intervals(seed)
    budget = random_budget(seed, min={"recall_at_10": 0.3}, confidence=0.95)
    z = norm.ppf(0.95)
    fitting = [
        row
        for row in rows
        if row.p50_ms * (row.p50_ci95_ms[1] / row.p50_ms) ** (z / norm.ppf(0.975)) <= budget.max["p50_ms"]
        and row.peak_rss_mb <= budget.max["peak_rss_mb"]
        and wilson(row.quality["recall_at_10"], 400, z)[0] >= 0.3
    ]
    best = max(fitting, key=lambda row: row.quality["ndcg_at_10"], default=None)
    assert pick(rows, budget).chosen == best


@pytest.mark.parametrize(("hits", "n"), [(0, 50), (7, 50), (25, 50), (50, 50), (613, 1000)])
def test_wilsons_interval_is_scipys(hits, n):
    theirs = binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert wilson(hits / n, n, norm.ppf(0.975)) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("seed", range(12))
def test_a_share_of_the_full_model_is_a_floor(seed):
    rows = rows_with_intervals(seed)
    budget = random_budget(seed, keep={"recall_at_10": 0.9})
    (full,) = [row for row in rows if row.precision == "fp32" and row.dim == max(row.dim for row in rows)]
    fitting = [
        row
        for row in rows
        if row.p50_ms <= budget.max["p50_ms"]
        and row.peak_rss_mb <= budget.max["peak_rss_mb"]
        and row.quality["recall_at_10"] >= 0.9 * full.quality["recall_at_10"]
    ]
    choice = pick(rows, budget)
    assert (choice.full.dim, choice.full.quality) == (full.dim, full.quality)
    assert choice.chosen == max(fitting, key=lambda row: row.quality["ndcg_at_10"], default=None)


def test_a_share_needs_the_full_model():
    rows = candidates(results(measurement("int8", 64)))
    with pytest.raises(UsageError, match="no fp32 at all layers and the largest dimension"):
        pick(rows, Budget(keep={"ndcg_at_10": 0.9}))


@pytest.mark.parametrize("seed", range(12))
def test_a_utility_is_the_weighted_sum(seed):
    rows = rows_with_intervals(seed)
    budget = random_budget(seed, utility={"recall_at_10": 2.0, "p50_ms": -0.05})
    fitting = [row for row in rows if not excesses(row, resolve(rows, budget, None))]
    best = max(fitting, key=lambda row: 2 * row.quality["recall_at_10"] - 0.05 * row.p50_ms, default=None)
    assert pick(rows, budget).chosen == best


def test_a_share_is_held_by_the_metric_and_the_full_model_keeps_all_of_itself():
    rows = candidates(results(measurement("fp32", 384, recall=0.6), measurement("int8", 384, recall=0.59)))
    rows = [dataclasses.replace(row, samples={"recall_at_10": 100, "ndcg_at_10": 100}) for row in rows]
    choice = pick(rows, Budget(keep={"recall_at_10": 1.0}, confidence=0.95))
    assert choice.chosen.precision == "fp32"
    assert choice.uncertain == []
    assert pick(rows, Budget(min={"recall_at_10": 0.6}, confidence=0.95)).chosen is None


def test_the_full_model_is_of_what_was_asked_for_though_it_failed():
    failed = msgspec.structs.replace(measurement("fp32", 384), status="out_of_memory", encode=None)
    rows = candidates(results(failed, measurement("fp32", 64), measurement("int8", 384)))
    with pytest.raises(UsageError, match="on another machine if need be"):
        pick(rows, Budget(keep={"ndcg_at_10": 0.5}))


def test_a_relaxation_works_as_it_is_printed():
    rows = candidates(results(measurement("int8", 64, encode_ms=3.00004, rss_mb=118.3449)))
    for name, limit in (("peak_rss_mb", 100.0), ("p50_ms", 1.0)):
        (one,) = pick(rows, Budget(max={name: limit})).relaxations
        printed = float(one.text.split()[one.text.split().index("instead") - 2])
        assert pick(rows, Budget(max={name: printed})).chosen
        assert printed == pytest.approx(one.to)


def test_of_rows_that_miss_a_limit_by_the_same_the_one_that_would_be_chosen_is_named():
    """Threads and indexes do not change the disk, so that many rows have the same."""
    rows = candidates(
        results(
            measurement("int8", 8, encode_ms=2, disk_mb=20, ndcg=0.3),
            measurement("int8", 64, threads=2, encode_ms=3, disk_mb=20, ndcg=0.6),
            measurement("int8", 64, encode_ms=2, disk_mb=20, ndcg=0.6),
        )
    )
    choice = pick(rows, Budget(max={"disk_mb": 10}))
    (given,) = choice.relaxations
    assert given.row == choice.nearest == pick(rows, Budget(max={"disk_mb": given.to})).chosen == rows[2]
    small = candidates(results(measurement("int8", 8, disk_mb=5, ndcg=0.2)))
    choice = pick([*small, *rows], Budget(max={"disk_mb": 10}))
    assert choice.next_better == choice.trades[0].row == rows[2]
    floored = pick([*small, *rows], Budget(min={"ndcg_at_10": 0.9}))
    assert floored.relaxations[0].row == rows[2]


def test_a_share_of_a_full_model_that_finds_nothing_is_kept_by_all():
    rows = candidates(results(measurement("fp32", 384, recall=0.0), measurement("int8", 64, recall=0.1, ndcg=0.6)))
    choice = pick(rows, Budget(keep={"recall_at_10": 0.9}))
    assert choice.chosen == rows[1]
    assert "Of the full model, fp32 at dimension 384, it keeps all of recall@10." in choice.why


def test_a_tuning_of_fewer_dimensions_than_its_file_holds_is_held_to_the_full_model_that_it_was_asked_for():
    rows = measurement("fp32", 64, ndcg=0.5), measurement("int8", 64, ndcg=0.49), measurement("fp32", 384, ndcg=0.6)
    tuned = msgspec.structs.replace(results(*rows), narrowing=Narrowing({}, 6, 64, {"ndcg_at_10": 0.5}))
    full = full_of([candidates(tuned)], Budget(keep={"ndcg_at_10": 0.9}), [tuned])
    assert (full.dim, full.quality["ndcg_at_10"]) == (64, 0.5)


def test_every_limit_is_spoken_of_when_nothing_fits():
    rows = candidates(
        results(
            measurement("fp32", 8, encode_ms=1, rss_mb=200, disk_mb=90),
            measurement("fp32", 64, encode_ms=9, rss_mb=100, disk_mb=90),
            measurement("fp32", 384, encode_ms=9, rss_mb=200, disk_mb=20),
        )
    )
    choice = pick(rows, Budget(max={"p50_ms": 5, "peak_rss_mb": 150, "disk_mb": 50}))
    assert [one.to for one in choice.relaxations] == [None] * 3
    assert all("it alone cannot help" in one.text for one in choice.relaxations)


@pytest.mark.parametrize("seed", range(20))
def test_every_trade_and_relaxation_is_what_another_pick_finds(seed):
    rows = rows_with_intervals(seed)
    budget = random_budget(seed, min={"recall_at_10": 0.75} if seed % 2 else {})
    choice = pick(rows, budget)
    for trade in choice.trades:
        if trade.figure in budget.min:
            eased = {trade.figure: budget.min[trade.figure] + trade.amount}
            assert pick(rows, msgspec.structs.replace(budget, min=eased)).chosen == trade.row
        elif trade.amount > 0:
            eased = {**budget.max, trade.figure: budget.max[trade.figure] + trade.amount + 1e-9}
            more = pick(rows, msgspec.structs.replace(budget, max=eased)).chosen
            assert more == trade.row
            tighter = {**budget.max, trade.figure: budget.max[trade.figure] + trade.amount * 0.999}
            assert pick(rows, msgspec.structs.replace(budget, max=tighter)).chosen == choice.chosen
        else:
            assert trade.gain <= 0
            assert figure(trade.row, trade.figure) < figure(choice.chosen, trade.figure)
    for one in choice.relaxations:
        if one.to is not None:
            table = "max" if one.figure in budget.max else "min"
            eased = {**getattr(budget, table), one.figure: one.to}
            assert pick(rows, msgspec.structs.replace(budget, **{table: eased})).chosen is not None
    assert bool(choice.relaxations or choice.chosen)


def test_a_limit_inside_the_interval_is_named_and_the_better_row_that_may_fit():
    def row(dim, ms, low, high, ndcg):
        made = measurement("fp32", dim, encode_ms=ms, ndcg=ndcg)
        return msgspec.structs.replace(made, encode=msgspec.structs.replace(made.encode, ci95_ms=(low, high)))

    rows = candidates(results(row(64, 4.9, 4.7, 5.1, 0.5), row(128, 5.05, 4.95, 5.2, 0.6), row(384, 9, 8, 10, 0.7)))
    choice = pick(rows, Budget(max={"p50_ms": 5}))
    assert choice.chosen.dim == 64
    said = " ".join(choice.uncertain)
    assert "It may not fit: its p50 of a query 4.9 ms has a 95% interval of 4.7 to 5.1 ms" in said
    assert "fp32 at dimension 128 may fit after all" in said
    assert "384" not in said
    sure = pick(rows, Budget(max={"p50_ms": 5}, confidence=0.95))
    assert sure.chosen is None  # 4.9 × (5.1 / 4.9) ** (1.645 / 1.96) > 5
    assert "95.0% bound of the p50 of a query 5.07 ms" in sure.over[0].text


def test_a_p50_without_an_interval_has_no_bound():
    made = measurement("fp32", 64, encode_ms=2)
    short = msgspec.structs.replace(made, encode=msgspec.structs.replace(made.encode, ci95_ms=None))
    rows = candidates(results(short))
    assert pick(rows, Budget(max={"p50_ms": 5})).chosen
    choice = pick(rows, Budget(max={"p50_ms": 5}, confidence=0.9))
    assert "p50 of a query is not known to within an interval" in choice.over[0].text


def test_energy_is_a_cost_where_the_machine_says_it():
    told = [msgspec.structs.replace(measurement("fp32", dim), energy_mj=mj) for dim, mj in ((64, 20.0), (384, 50.0))]
    assert pick(candidates(results(*told)), Budget(max={"energy_mj": 30})).chosen.dim == 64
    with pytest.raises(UsageError, match="cannot say what a query takes of energy"):
        pick(candidates(results(measurement("fp32", 64))), Budget(max={"energy_mj": 30}))


@pytest.mark.parametrize("seed", range(5))
def test_the_front_on_any_axes_is_every_row_that_nothing_beats(seed):
    rows = rows_with_intervals(seed)
    objective = objective_of(rows, Budget())
    front = pareto_front(rows, objective, ("recall_at_10", "disk_mb"))
    for row in rows:
        ours = (row.quality["ndcg_at_10"], row.quality["recall_at_10"], -row.disk_mb)
        beaten = any(
            all(
                a >= b
                for a, b in zip((o.quality["ndcg_at_10"], o.quality["recall_at_10"], -o.disk_mb), ours, strict=True)
            )
            for o in rows
            if o != row
        )
        assert (row in front) == (not beaten)
    with pytest.raises(UsageError, match="--pareto beauty"):
        pareto_front(rows, objective, ("beauty",))


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


@pytest.mark.parametrize("floor", [0.55, 0.59])
@pytest.mark.parametrize("share", [0.9, 0.99])
def test_what_a_floor_and_a_share_of_one_metric_would_have_to_give_then_fits(floor, share):
    full = FullModel(6, 384, {"ndcg_at_10": 0.6})
    rows = [
        dataclasses.replace(row, samples={"ndcg_at_10": 400})
        for row in candidates(results(measurement("int8", 64, ndcg=0.53)))
    ]
    budget = Budget(min={"ndcg_at_10": floor}, keep={"ndcg_at_10": share}, confidence=0.95)
    (eased,) = pick(rows, budget, full=full).relaxations
    assert eased.to is not None
    loose = Budget(min={"ndcg_at_10": eased.to}, keep={"ndcg_at_10": eased.to / 0.6}, confidence=0.95)
    assert pick(rows, loose, full=full).chosen == rows[0]
    assert f"a share of {math.floor(1e4 * eased.to / 0.6) / 1e4:g}" in eased.text


def test_what_a_tuning_says_of_the_full_model_is_no_share_in_another_corpus():
    said = msgspec.structs.replace(
        results(measurement("int8", 64)), narrowing=Narrowing({}, 6, 384, full_quality={"ndcg_at_10": 0.8})
    )
    rows = candidates(said)
    keep = {"ndcg_at_10": 0.9}
    assert full_of([rows], Budget(keep=keep), [said]).quality == {"ndcg_at_10": 0.8}
    with pytest.raises(UsageError, match="measure it with mrl-edge bench"):
        full_of([rows], Budget(keep=keep, corpus=10_000), [said])
    there = msgspec.structs.replace(said, settings={**said.settings, "documents": 10_000})
    assert full_of([rows], Budget(keep=keep, corpus=10_000), [there]).quality == {"ndcg_at_10": 0.8}
