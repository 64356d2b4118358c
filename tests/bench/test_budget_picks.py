"""What a budget picks, and what uncertainty makes of its limits, against sums done by hand."""

import dataclasses

import msgspec
import pytest
from budgets import random_budget, rows_with_intervals
from mrl_edge.bench.budget import Budget, objective_of
from mrl_edge.bench.candidates import candidates, wilson
from mrl_edge.bench.front import pareto_front
from mrl_edge.bench.limits import excesses, resolve
from mrl_edge.bench.pick import pick
from mrl_edge.bench.results import Narrowing
from rows import measurement, results
from scipy.stats import binomtest, norm

from mrl_edge.cli.answers import full_of
from mrl_edge.errors import UsageError


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


def test_a_share_of_a_full_model_that_finds_nothing_is_kept_by_all():
    rows = candidates(results(measurement("fp32", 384, recall=0.0), measurement("int8", 64, recall=0.1, ndcg=0.6)))
    choice = pick(rows, Budget(keep={"recall_at_10": 0.9}))
    assert choice.chosen == rows[1]
    assert "Of the full model, fp32 at dimension 384, it keeps all of recall@10." in choice.why


def test_the_full_model_is_of_what_was_asked_for_though_it_failed():
    failed = msgspec.structs.replace(measurement("fp32", 384), status="out_of_memory", encode=None)
    rows = candidates(results(failed, measurement("fp32", 64), measurement("int8", 384)))
    with pytest.raises(UsageError, match="on another machine if need be"):
        pick(rows, Budget(keep={"ndcg_at_10": 0.5}))


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


def test_a_tuning_of_fewer_dimensions_than_its_file_holds_is_held_to_the_full_model_that_it_was_asked_for():
    rows = measurement("fp32", 64, ndcg=0.5), measurement("int8", 64, ndcg=0.49), measurement("fp32", 384, ndcg=0.6)
    tuned = msgspec.structs.replace(results(*rows), narrowing=Narrowing({}, 6, 64, {"ndcg_at_10": 0.5}))
    full = full_of([candidates(tuned)], Budget(keep={"ndcg_at_10": 0.9}), [tuned])
    assert (full.dim, full.quality["ndcg_at_10"]) == (64, 0.5)
