"""The report as a reader has it: what Chromium shows for a budget is what `mrl-edge pick` answers to it."""

import json
import re
import shlex

import pytest
from browser.pages import BUDGETS, OPENING, answered
from conftest import run_here
from mrl_edge.bench.candidates import candidates
from mrl_edge.bench.results import read_results

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("number", range(len(BUDGETS)))
def test_the_page_answers_what_the_command_answers(folder, seen, number):
    """The pick or the nearest, what limits alone would have to give, what is uncertain, and what trades there are."""
    shown = seen["budgets"][number]
    answer = answered(folder, shown["commands"][0])
    if answer["fits"]:
        assert shown["names"] == [answer["name"]]
        assert {one["row"]["name"] for one in answer["trades"]} <= set(shown["traded"])
    else:
        assert shown["names"] == ["Nothing fits"]
        assert shown["nearest"] == [answer["nearest"]["name"]]
        assert "ship" not in shown["commands"][0]
    assert shown["relaxed"] == [one["text"] for one in answer["relaxations"]]
    lines = [line for line in answer["uncertain"] if not line.startswith("Its latency was not measured")]
    assert [line for line in shown["unsure"] if not line.startswith("Its latency is not settled")] == lines
    assert len(shown["unsure"]) - len(lines) == len(answer["uncertain"]) - len(lines)


def test_what_the_next_better_one_needs_fits_it(folder, seen):
    rows = {row.name: row for row in candidates(read_results(folder / "results.json"))}
    key_of, seen_needs = {"query p50": "p50_ms", "peak RSS": "peak_rss_mb", "disk": "disk_mb"}, 0
    for shown in seen["budgets"]:
        if shown["confidence"]:
            continue
        for line in shown["trades"]:
            found = re.match(r"The nearest better one, (.*), gains .*; it needs (.*)\.$", line)
            for title, limit in re.findall(r"(query p50|peak RSS|disk) up to ([\d.]+) ", found[2] if found else ""):
                assert float(limit) >= getattr(rows[found[1]], key_of[title])
                seen_needs += 1
    assert seen_needs > 1
    assert not any("not known is not known" in text or "up to not known" in text for text in seen["texts"])


def test_the_budgets_choose_different_rows_and_one_fits_nothing(seen):
    names = {shown["names"][0] for shown in seen["budgets"]}
    assert len(names) > 6
    assert "Nothing fits" in names


@pytest.mark.parametrize("number", [0, 1, 2, 10])
def test_the_front_is_every_row_that_fits_and_that_nothing_that_fits_beats(folder, seen, number):
    shown = seen["budgets"][number]
    fitting = [
        row
        for row in candidates(read_results(folder / "results.json"))
        if row.name in {name.removesuffix(" ~") for name in shown["fitting"]}
    ]
    axes = {row.name: (-row.quality["ndcg_at_10"], row.p50_ms, row.peak_rss_mb, row.disk_mb) for row in fitting}
    unbeaten = {
        name
        for name, ours in axes.items()
        if not any(o != ours and all(a <= b for a, b in zip(o, ours, strict=True)) for o in axes.values())
    }
    assert sorted(shown["front"]) == sorted(unbeaten)
    assert shown["front"][0] == shown["names"][0]


def test_a_share_of_the_full_models_quality_is_a_floor(folder, seen):
    rows = candidates(read_results(folder / "results.json"))
    full = [row.quality["ndcg_at_10"] for row in rows if (row.precision, row.depth, row.dim) == ("fp32", 6, 384)]
    expected = {
        row.name
        for row in rows
        if row.quality["ndcg_at_10"] >= 0.9 * max(full) and row.energy_mj is not None and row.energy_mj <= 12
    }
    (shown,) = [one for one in seen["budgets"] if "--max-energy-mj 12" in one["commands"][0]]
    assert {name.removesuffix(" ~") for name in shown["fitting"]} == expected
    assert "--keep-quality ndcg_at_10=0.9" in shown["commands"][0]


def test_a_board_without_the_full_model_is_held_to_another_boards(folder, seen):
    first, second = seen["keptOnBoth"]["commands"]
    assert "board.json" not in first
    assert str(folder / "board.json") in second
    words = shlex.split(second.splitlines()[0])
    boards = json.loads(run_here(*words[1:], "--json").stdout)["boards"]
    assert seen["keptOnBoth"]["names"][1].replace(", stopped after layer 3", "") == boards["a board"]["name"]


def test_a_board_of_other_data_without_the_full_model_says_so(seen):
    shown = seen["unknownShare"]
    assert shown["names"][0] in {name.removesuffix(" ~") for name in shown["fitting"]}
    assert shown["names"][1] == "No full model measured"
    assert shown["commands"][1].startswith("# no full model was measured")
    assert len(shown["fitting"]) < 200  # of the first; none of the other's


def test_the_page_opens_with_its_budget_until_it_is_cleared(folder, seen):
    answer = json.loads(run_here("pick", folder / "results.json", *OPENING, "--json").stdout)
    assert seen["opened"]["names"] == [answer["name"]]
    assert seen["opened"]["hash"] == ""
    assert seen["cleared"]["hash"] == "#budget=none"
    assert len(seen["reloaded"]["fitting"]) == 200


def test_what_is_no_number_is_no_limit_and_said(seen):
    shown = seen["invalid"]
    assert len(shown["fitting"]) == 200
    assert shown["wrong"] == ["Expected a number from 0: no limit."]
    for said in (shown["budget"], shown["said"]):
        assert "Not a number, and no limit: query p50." in said


def test_a_page_of_a_corpus_now_and_later_tells_both_and_is_picked_again(folder, seen):
    shown = seen["grown"]
    words = shlex.split(shown["commands"][0].splitlines()[0].removesuffix(" --json > choice.json"))
    answer = json.loads(run_here(*words[1:], "--json").stdout)
    assert shown["names"] == [answer["name"]]
    now, later = answer["corpora"]
    assert (now["n_items"], later["n_items"]) == (2000, 20_000)
    assert f"now: {now['p50_ms']:.2f} ms" in shown["picks"]
    assert f"{later['p50_ms']:.2f} ms" in shown["picks"]
    assert "Limits are held with the 20,000 documents of later" in shown["picks"]
    assert "2,000 documents now, 20,000 documents later" in shown["budget"]


def test_an_address_holds_its_budget(seen):
    assert seen["budgets"][0]["hash"] == ""
    assert seen["budgets"][2]["hash"] == "#max.p50_ms=2.5&max.peak_rss_mb=130&max.disk_mb=61"
    for shown in ("names", "commands", "fitting"):
        assert seen["linked"][shown] == seen["budgets"][2][shown] != seen["budgets"][0][shown]


def test_keys_move_a_slider_and_walk_the_points(folder, seen):
    command = seen["byKeyboard"]["commands"][0]
    assert "--max-disk-mb" in command
    assert seen["byKeyboard"]["names"] == [answered(folder, command)["name"]]
    assert "query p50" in seen["tip"]
