"""Eleven held budgets on one real sweep: `mrl-edge pick` says what trying every row says, and explains it truly."""

import json
import re
from pathlib import Path

import pytest
from brute_force import (
    COSTS,
    Held,
    alone,
    best,
    figure,
    fitting,
    floors,
    front,
    full_model,
    held_value,
    identity,
    misses,
    nearest,
    purchases,
    read_rows,
    relaxations,
    said,
    savings,
    worth,
)
from conftest import run_mrl_edge

FILE = Path(__file__).parents[1] / "data" / "quickstart.json"
ROWS = read_rows(FILE)
OPTIONS = {
    "p50_ms": "--max-p50-ms",
    "p99_ms": "--max-p99-ms",
    "cold_start_ms": "--max-cold-ms",
    "peak_rss_mb": "--max-rss-mb",
    "disk_mb": "--max-disk-mb",
}
TITLES = {
    "p50 of a query": "p50_ms",
    "p99 of a query": "p99_ms",
    "cold start": "cold_start_ms",
    "peak RSS": "peak_rss_mb",
    "disk": "disk_mb",
    "nDCG@10": "ndcg_at_10",
    "recall@10": "recall_at_10",
    "MRR@10": "mrr_at_10",
    "1-NN accuracy": "knn_top1",
}
TITLE, NUMBER = "|".join(map(re.escape, TITLES)), r"\d+(?:\.\d+)?"
BUDGETS = {
    "p50 and p99": Held(max={"p50_ms": 2.9, "p99_ms": 4.5}),
    "p50, memory and disk": Held(max={"p50_ms": 5, "peak_rss_mb": 106, "disk_mb": 26.5}),
    "cold start": Held(max={"cold_start_ms": 270}),
    "floors": Held(max={"p50_ms": 3, "peak_rss_mb": 109}, min={"recall_at_10": 0.5, "knn_top1": 0.594}),
    "a share of the full model": Held(max={"disk_mb": 28.5}, keep={"recall_at_10": 0.97}),
    "p50 by its bound": Held(max={"p50_ms": 4}, confident=True),
    "a utility": Held(max={"cold_start_ms": 295}, utility={"ndcg_at_10": 1.0, "p50_ms": -0.01, "disk_mb": -0.005}),
    "another objective, four equal": Held(max={"peak_rss_mb": 106}, objective="knn_top1"),
    "a p50 that can be saved": Held(max={"p50_ms": 6}, objective="accuracy"),
    "nothing fits, two limits could give": Held(max={"disk_mb": 24.3, "p50_ms": 2.6}, min={"recall_at_10": 0.3}),
    "nothing fits, no limit alone helps": Held(max={"cold_start_ms": 100, "p99_ms": 4.5}, keep={"ndcg_at_10": 0.99}),
}
FITS = [name for name, held in BUDGETS.items() if best(ROWS, held)]
FITS_NOT = [name for name in BUDGETS if name not in FITS]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What the command said to each budget, its exit code and its JSON."""
    done = {name: run_mrl_edge(*command(held, tmp_path_factory.mktemp("budget"))) for name, held in BUDGETS.items()}
    return {name: (one.returncode, json.loads(one.stdout)) for name, one in done.items()}


def command(held, folder):
    words = [word for name, limit in held.max.items() for word in (OPTIONS[name], limit)]
    for table in ("min", "keep"):
        words += [word for name, of in getattr(held, table).items() for word in (f"--{table}-quality", f"{name}={of}")]
    if held.utility:
        lines = [f"{name} = {weight}" for name, weight in held.utility.items()]
        (folder / "budget.toml").write_text("\n".join(["[utility]", *lines]))
        words += ["--budget", folder / "budget.toml"]
    elif held.objective != "ndcg_at_10":
        words += ["--objective", held.objective]
    words += ["--confidence", 0.975] if held.confident else []
    return ["pick", FILE, *words, "--json"]


def missed(text):
    """Read back what a sentence says of limits: by figure its value, how far it lies beyond, and the limit."""
    found = {}
    for one in re.finditer(rf"({TITLE}) ({NUMBER}) (?:ms|MB) is ({NUMBER}) (?:ms|MB) over (--\S+) ({NUMBER})", text):
        assert one[4] == OPTIONS[TITLES[one[1]]]
        found[TITLES[one[1]]] = float(one[2]), float(one[3]), float(one[5])
    for one in re.finditer(rf"({TITLE}) ({NUMBER}) is ({NUMBER}) below the floor of ({NUMBER})", text):
        found[TITLES[one[1]]] = float(one[2]), float(one[3]), float(one[4])
    return found


def expected_misses(row, held):
    return {
        name: pytest.approx((value, abs(value - limit), limit), abs=0.0051 if name in COSTS else 5.1e-5)
        for name, (value, limit, _) in misses(row, ROWS, held).items()
    }


def test_the_budgets_ask_for_what_they_are_held_for():
    """Else the rest of this file could pass for want of anything to decide."""
    assert len(BUDGETS) == 11
    assert all(0 < len(fitting(ROWS, BUDGETS[name])) < len(ROWS) for name in FITS)
    assert len({identity(best(ROWS, BUDGETS[name])) for name in FITS}) >= 4
    tied = BUDGETS["another objective, four equal"]
    equal = [row for row in fitting(ROWS, tied) if worth(row, tied) == worth(best(ROWS, tied), tied)]
    assert len(equal) == 4
    assert identity(best(ROWS, BUDGETS["p50 by its bound"])) != identity(best(ROWS, Held(max={"p50_ms": 4})))
    saved = BUDGETS["a p50 that can be saved"]
    assert "p50_ms" in savings(ROWS, best(ROWS, saved), saved)
    given = [relaxations(ROWS, BUDGETS[name]) for name in FITS_NOT]
    assert [sum(to is not None for to in one.values()) for one in given] == [2, 0]


@pytest.mark.parametrize("name", BUDGETS)
def test_the_pick_equals_brute_force(answers, name):
    held, (code, answer) = BUDGETS[name], answers[name]
    wanted = best(ROWS, held)
    assert (answer["fits"], code) == ((True, 0) if wanted else (False, 3))
    assert {said(row) for row in answer["pareto"]} == front(ROWS, held)
    if wanted is None:
        assert answer["configuration"] is None
        assert "precision" not in answer
        return
    assert said(answer) == identity(wanted)
    assert said(answer["configuration"]) == identity(wanted)
    assert answer["value"] == pytest.approx(worth(wanted, held))
    figures = {name: figure(wanted, name) for name in (*COSTS, "ndcg_at_10", "recall_at_10", "accuracy", "knn_top1")}
    assert {name: answer[name] for name in figures} == pytest.approx(figures)


@pytest.mark.parametrize("name", FITS)
def test_why_it_counts_what_fits_and_what_is_kept(answers, name):
    held, (_, answer) = BUDGETS[name], answers[name]
    assert f"the best of the {len(fitting(ROWS, held))} of {len(ROWS)} configurations" in answer["why"][0]
    for metric in held.keep:
        share = figure(best(ROWS, held), metric) / figure(full_model(ROWS, metric), metric)
        assert any(f"it keeps {share:.1%} of" in line for line in answer["why"])


@pytest.mark.parametrize("name", FITS)
def test_the_next_better_is_over_the_limits_that_are_named_by_what_is_named(answers, name):
    held, (_, answer) = BUDGETS[name], answers[name]
    chosen = best(ROWS, held)
    better = [row for row in ROWS if worth(row, held) > worth(chosen, held)]
    wanted = nearest(ROWS, better, held)
    if wanted is None:
        assert answer["next_better"] is None
        assert "No configuration has a better" in answer["why"][-1]
        return
    assert said(answer["next_better"]) == identity(wanted)
    assert missed(answer["why"][-1].split("it does not fit: ")[1]) == expected_misses(wanted, held)
    assert f"gains {worth(wanted, held) - worth(chosen, held):.4f} for" in answer["why"][-1]
    if held.confident:
        assert "it does not fit: 97.5% bound of the p50" in answer["why"][-1]


@pytest.mark.parametrize("name", FITS)
def test_each_trade_is_true_of_its_row_and_the_least_of_its_kind(answers, name):
    held, (_, answer) = BUDGETS[name], answers[name]
    chosen = best(ROWS, held)
    found = {"buys": {}, "costs": {}}
    for trade in answer["trades"]:
        kind = "buys" if " buys " in trade["text"] else "costs"
        assert trade["text"].endswith(f": {trade['row']['name']}")
        found[kind][trade["figure"]] = trade["amount"], trade["gain"], said(trade["row"])
    for kind, wanted in (("buys", purchases(ROWS, chosen, held)), ("costs", savings(ROWS, chosen, held))):
        assert {name: row for name, (*_, row) in found[kind].items()} == {
            name: row for name, (*_, row) in wanted.items()
        }
        for cost, (amount, gain, _) in wanted.items():
            assert found[kind][cost][:2] == pytest.approx((amount, gain))


@pytest.mark.parametrize("name", FITS)
def test_a_limit_that_gives_by_what_is_said_picks_the_row_that_is_named(answers, name):
    held, (_, answer) = BUDGETS[name], answers[name]
    for trade in answer["trades"]:
        if " buys " in trade["text"]:
            amount = float(re.search(NUMBER, trade["text"])[0])  # as it is rounded in words
            cost = trade["figure"]
            eased = held.with_limit(cost, held.max[cost] + amount if cost in COSTS else amount)
            assert identity(best(ROWS, eased)) == said(trade["row"])


@pytest.mark.parametrize("name", FITS)
def test_it_is_not_certain_where_an_interval_straddles_the_limit(answers, name):
    held, (_, answer) = BUDGETS[name], answers[name]
    low, high = best(ROWS, held)["query"]["ci95_ms"]
    straddles = "p50_ms" in held.max and low <= held.max["p50_ms"] <= high
    told = [line for line in answer["uncertain"] if line.startswith("It may not fit: its p50 of a query")]
    assert len(told) == straddles
    if straddles:
        assert f"interval of {low:.4g} to {high:.4g} ms, which straddles {held.max['p50_ms']:g}" in told[0]


@pytest.mark.parametrize("name", FITS_NOT)
def test_where_nothing_fits_the_nearest_misses_what_it_is_said_to(answers, name):
    held, (_, answer) = BUDGETS[name], answers[name]
    wanted = nearest(ROWS, ROWS, held)
    assert said(answer["nearest"]) == identity(wanted)
    assert missed("\n".join(answer["why"])) == expected_misses(wanted, held)
    told = {one["figure"]: (one["value"], one["limit"], one["share"]) for one in answer["over"]}
    assert told == {name: pytest.approx(miss) for name, miss in misses(wanted, ROWS, held).items()}


@pytest.mark.parametrize("name", FITS_NOT)
def test_the_smallest_relaxation_is_the_least_by_brute_force(answers, name):
    held, (_, answer) = BUDGETS[name], answers[name]
    least = relaxations(ROWS, held)
    assert sorted(one["figure"] for one in answer["relaxations"]) == sorted(least)
    for one in answer["relaxations"]:
        cost, to = one["figure"], least[one["figure"]]
        assert one["text"] in answer["why"]
        if to is None:
            assert (one["to"], one["row"]) == (None, None)
            check_helpless(one["text"], cost, held)
            continue
        assert one["to"] == pytest.approx(to, rel=1e-4)
        assert one["to"] >= to if cost in COSTS else one["to"] <= to
        assert identity(best(ROWS, held.with_limit(cost, one["to"]))) == said(one["row"])
        assert f"{one['to']:.5g}" in one["text"]
        assert one["text"].endswith(f"it would be {one['row']['name']}.")


def check_helpless(text, name, held):
    """A limit that none meets is told with the best there is, another as one that does not help alone."""
    assert not alone(ROWS, name, held)
    met = [row for row in ROWS if name not in misses(row, ROWS, held)]
    if met:
        assert text.endswith("is met by some, which miss other limits: it alone cannot help.")
        return
    there = [held_value(row, name, held) for row in ROWS]
    assert text.endswith(f"the best has {min(there) if name in COSTS else max(there):.4g}.")
    assert f"{({**held.max, **floors(ROWS, held)})[name]:.4g}" in text
