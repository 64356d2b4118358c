"""The search of `mrl-edge tune` over tables of made figures, beside `pick` over all of the table."""

import json
import random

import pytest
from conftest import run_here
from mrl_edge.bench.budget import Budget, objective_of
from mrl_edge.bench.candidates import candidates, unmeasured
from mrl_edge.bench.known import Encoding
from mrl_edge.bench.limits import FullModel
from mrl_edge.bench.narrowing import Search
from mrl_edge.bench.pick import pick
from mrl_edge.bench.place import here
from mrl_edge.bench.results import read_results
from table_run import DEPTHS, DIMS, PLANS, QUERIES, Table, TableRun, bundle, grid

SEEDS = range(24)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return bundle(tmp_path_factory.mktemp("made") / "bundle")


@pytest.fixture(scope="module")
def place():
    return here()


def a_budget(rng):
    """Limits in the midst of what the tables hold."""
    limits = {"p50_ms": rng.uniform(1.2, 6)}
    if rng.random() < 0.5:
        limits["peak_rss_mb"] = rng.uniform(105, 190)
    if rng.random() < 0.5:
        limits["disk_mb"] = rng.uniform(23.5, 92)
    if rng.random() < 0.2:
        limits["p99_ms"] = limits["p50_ms"] * 1.2
    floors = {"recall_at_10": rng.uniform(0.2, 0.5)} if rng.random() < 0.3 else {}
    keep = {"ndcg_at_10": rng.uniform(0.5, 0.95)} if rng.random() < 0.3 else {}
    weights = {"ndcg_at_10": 1.0, "p50_ms": -0.01} if rng.random() < 0.25 else {}
    confidence = 0.95 if rng.random() < 0.3 else None
    return Budget(max=limits, min=floors, keep=keep, utility=weights, confidence=confidence)


def search(table, budget, out, place, **options):
    run = TableRun(table, out, place, **options)
    return run, Search(run, budget, lambda *_: None).run()


def full_of(rows, budget):
    if not budget.keep:
        return None
    full = [row for row in rows if (row.precision, row.depth, row.dim) == ("fp32", DEPTHS[-1], DIMS[-1])]
    return FullModel(DEPTHS[-1], DIMS[-1], max((row.quality for row in full), key=lambda q: q["ndcg_at_10"]))


def chosen(results, budget):
    rows = candidates(results) if results.measurements else []
    full = results.narrowing and results.narrowing.full_quality
    full = FullModel(DEPTHS[-1], DIMS[-1], full) if budget.keep else None
    return pick(rows, budget, full=full, unmeasured=unmeasured(results))


def agree(ours, theirs, rows, budget):
    """The same, or equal in the objective and no slower than intervals leave open."""
    assert (ours is None) == (theirs is None), (ours and ours.name, theirs and theirs.name)
    if ours is None:
        return
    objective = objective_of(rows, budget)
    tolerance = 0.002 if budget.utility else 1e-12  # costs in it are measured ones
    assert objective.value(ours) == pytest.approx(objective.value(theirs), abs=tolerance), (ours.name, theirs.name)
    if not budget.utility:
        assert ours.p50_ms <= 1.03 * theirs.p50_ms


@pytest.mark.parametrize("seed", SEEDS)
def test_the_choice_is_that_of_the_whole_table_and_most_is_not_measured(seed, made, place, tmp_path):
    rng = random.Random(seed)
    asked = grid(threads=(1, 2) if seed % 2 else (1,), repeats=rng.choice((1, 3)))
    table, budget = Table(seed, made, asked), a_budget(rng)
    run, results = search(table, budget, tmp_path / "t.json", place)
    whole = candidates(table.sweep(run))
    expected = pick(whole, budget, full=full_of(whole, budget))
    answer = chosen(results, budget)
    agree(answer.chosen, expected.chosen, whole, budget)
    processes = sum(1 for one in run.asked if one[0] == "measured")
    assert processes <= 0.5 * asked.repeats * len(whole)
    if answer.chosen is not None:
        assert answer.chosen.processes is None  # measured in all of them
    else:
        assert answer.relaxations


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_what_is_said_of_better_ones_holds_for_the_whole_table(seed, made, place, tmp_path):
    rng = random.Random(100 + seed)
    table, budget = Table(seed, made, grid()), Budget(max={"p50_ms": rng.uniform(1.5, 4)})
    run, results = search(table, budget, tmp_path / "t.json", place)
    whole = candidates(table.sweep(run))
    answer = chosen(results, budget)
    if answer.chosen is None:
        return
    better = [row for row in whole if row.quality["ndcg_at_10"] > answer.chosen.quality["ndcg_at_10"]]
    if better:
        assert answer.next_better is not None
    elif answer.next_better is not None:
        assert not answer.next_better.scored  # whether it is better is not known
    by_key = {row.key: row for row in whole}
    for row in unmeasured(results):  # bounds hold, but for what chance makes of one process
        true = by_key[row.key]
        assert row.disk_mb <= true.disk_mb + 1e-9
        assert row.peak_rss_mb <= true.peak_rss_mb
        assert row.p50_ms <= 1.05 * true.p50_ms
        assert row.quality["ndcg_at_10"] >= true.quality["ndcg_at_10"] - 1e-12
        if row.scored:
            assert row.quality["ndcg_at_10"] == pytest.approx(true.quality["ndcg_at_10"])


def test_what_ruled_everything_out_is_found_again_by_pick(made, place, tmp_path):
    """Every limit of the budget is spoken of, by the least that the file holds of its figure."""
    limits = {"p50_ms": 1000.0, "disk_mb": 0.01}  # of disk the least is known before anything runs
    budget = Budget(max=limits, keep={"ndcg_at_10": 0.5})
    out = tmp_path / "t.json"
    _, results = search(Table(6, made, grid(threads=(1,))), budget, out, place)
    assert results.measurements == ()
    done = run_here("pick", out, "--json")
    assert done.returncode == 3
    answer = json.loads(done.stdout)
    counted = [line.strip() for line in answer["why"] if line.startswith("  ") and "beyond the budget's" in line]
    assert counted == [f"{count} {why}" for why, count in results.narrowing.left_out.items()]
    assert sum(int(line.split()[0]) for line in counted) == len(results.narrowing.unmeasured)
    told = {one["figure"]: one for one in answer["relaxations"]}
    assert told.keys() == {*limits, "ndcg_at_10"}
    floor = 0.5 * results.narrowing.full_quality["ndcg_at_10"]
    assert told["ndcg_at_10"]["limit"] == pytest.approx(floor)
    least = min(row.disk_mb for row in results.narrowing.unmeasured if row.quality["ndcg_at_10"] >= floor)
    assert least <= told["disk_mb"]["to"] == pytest.approx(least, rel=1e-3)
    assert "it alone cannot help" in told["p50_ms"]["text"]  # all have it


@pytest.mark.parametrize("stop_after", [3, 9, 14, 20])
def test_killed_and_run_again_it_ends_where_it_would_have(stop_after, made, place, tmp_path):
    table, budget = Table(3, made, grid(threads=(1,))), Budget(max={"p50_ms": 3.0}, keep={"ndcg_at_10": 0.6})
    _, unbroken = search(table, budget, tmp_path / "a.json", place)
    out = tmp_path / "b.json"
    with pytest.raises(KeyboardInterrupt):
        search(table, budget, out, place, stop_after=stop_after)
    said = read_results(out).narrowing
    assert not said.finished
    assert (said.full_depth, said.full_dim) == (DEPTHS[-1], DIMS[-1])
    _, results = search(table, budget, out, place)
    assert results.narrowing.finished
    assert chosen(results, budget).chosen == chosen(unbroken, budget).chosen
    run, again = search(table, budget, out, place)
    assert run.asked == []  # nothing is left to find out
    assert again == results


@pytest.mark.parametrize("stage", ["glimpse", "embedding", "measuring"])
def test_a_variant_that_fails_is_left_and_the_rest_is_chosen_from(stage, made, place, tmp_path):
    table = Table(5, made, grid(threads=(1,)), failing=[("int8", 6, stage)])
    budget = Budget(max={"disk_mb": 30})
    run, results = search(table, budget, tmp_path / "t.json", place)
    answer = chosen(results, budget)
    assert (answer.chosen.precision, answer.chosen.depth) == ("int8", 3)
    assert sum(results.narrowing.failed.values()) > 0
    del run


def test_the_best_is_kept_though_its_first_process_is_disturbed(made, place, tmp_path):
    """One process of the best, in which the machine was busy, is far over the limit."""
    budget = Budget(max={"p50_ms": 50.0})
    plain = Table(1, made, grid(threads=(1,)))
    _, results = search(plain, budget, tmp_path / "a.json", place)
    best = chosen(results, budget).chosen

    class Disturbed(Table):
        def process(self, configuration, number, row):
            seen = super().process(configuration, number, row)
            if number == 0 and str(configuration) == wanted and seen.query:
                import msgspec
                from mrl_edge.bench.results import Query
                from table_run import timed

                slow = Query(**timed(90.0, ("busy",)))
                return msgspec.structs.replace(seen, query=slow)
            return seen

    wanted = next(
        str(c) for v in plain.bundle.manifest.variants for c in TableRun(plain, tmp_path / "x.json", place).all(v)
        if (c.precision, c.depth, c.dim, str(c.plan)) == (best.precision, best.depth, best.dim, best.plan)
    )  # fmt: skip
    _, results = search(Disturbed(1, made, grid(threads=(1,))), budget, tmp_path / "b.json", place)
    found = chosen(results, budget).chosen
    assert (found.precision, found.depth, found.dim, found.plan) == (best.precision, best.depth, best.dim, best.plan)


def test_with_a_share_to_keep_fp32_is_indexed_first_and_at_its_dimension_alone(made, place, tmp_path):
    table = Table(2, made, grid(threads=(1,)))
    budget = Budget(max={"disk_mb": 30}, keep={"ndcg_at_10": 0.5})
    run, results = search(table, budget, tmp_path / "t.json", place)
    of_fp32 = [one for one in run.asked if one[0] in ("embedded", "indexed") and one[1] == "fp32"]
    assert of_fp32 == [("indexed", "fp32", 6, ((64, PLANS[0]), (64, PLANS[1])))]
    full = full_of(candidates(table.sweep(run)), budget)
    assert results.narrowing.full_quality["ndcg_at_10"] == pytest.approx(full.quality["ndcg_at_10"])


def test_indexes_are_built_for_what_the_search_reaches(made, place, tmp_path):
    run, _ = search(Table(4, made, grid(threads=(1,))), Budget(max={"p50_ms": 100}), tmp_path / "t.json", place)
    indexed = [pair for one in run.asked if one[0] == "indexed" for pair in one[3]]
    assert indexed
    assert not [pair for pair in indexed if pair == (8, PLANS[0])]  # its exact search is far below the best


def test_other_work_on_the_machine_rules_nothing_out():
    """Two glimpses of a busy machine say nothing of the time; two of a quiet one do."""
    from mrl_edge.bench.limits import Excess
    from mrl_edge.bench.results import Encode
    from table_run import timed

    far = Excess("p50_ms", 1.0, 2.0, 1.0, "")
    busy, calm = (Encode(**timed(2.0, doubts), tokenise_p50_ms=0.1) for doubts in (("busy",), ()))
    assert not Encoding().timed(busy).timed(busy).beyond(far)
    assert not Encoding().timed(calm).beyond(far)
    assert Encoding().timed(calm).timed(calm).beyond(far)
    assert not Encoding().timed(calm).timed(calm).beyond(Excess("p50_ms", 1.0, 1.2, 0.2, ""))
    assert Encoding().timed(busy).beyond(Excess("disk_mb", 1.0, 1.01, 0.01, ""))


def test_the_margin_holds_for_a_search_that_misses_hits_at_random():
    """Hits dropped independently at a recall of 0.95: the mean over the queries stays below exact search's and it."""
    import numpy as np
    from mrl_edge.bench.known import Margin

    from mrl_edge.metrics import retrieval_quality

    rng = np.random.default_rng(0)
    ranks = rng.permuted(np.tile(np.arange(30), (QUERIES, 1)), axis=1)  # [queries, 30], the answer is document 0
    relevant = [frozenset([0])] * QUERIES
    exact = retrieval_quality(ranks[:, :10], relevant)["ndcg_at_10"]
    margin = Margin(0.95, QUERIES, "fp32").of(PLANS[1])
    for _ in range(20):
        kept = [[doc for doc in line if rng.random() < 0.95][:10] for line in ranks]
        assert retrieval_quality(kept, relevant)["ndcg_at_10"] <= exact + margin


def test_where_nothing_can_be_run_it_is_no_budgets_fault(made, place, tmp_path):
    from mrl_edge.cli.tune import _answer
    from mrl_edge.errors import ResultsError

    every = [(precision, depth, "glimpse") for precision in ("fp32", "int8") for depth in DEPTHS]
    budget = Budget(max={"disk_mb": 200})
    _, results = search(Table(5, made, grid(), failing=every), budget, tmp_path / "t.json", place)
    with pytest.raises(ResultsError, match="nothing could be measured: no kernel for it"):
        _answer(results, budget, tmp_path / "t.json", True)
