"""What a limit would have to give, and what the next better row costs, against other picks."""

import dataclasses
import math

import msgspec
import pytest
from budgets import random_budget, rows_with_intervals
from mrl_edge.bench.budget import Budget, figure
from mrl_edge.bench.candidates import candidates
from mrl_edge.bench.limits import FullModel
from mrl_edge.bench.pick import pick
from rows import measurement, results


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
