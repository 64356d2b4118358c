"""The report as a reader has it: what Chromium shows for a budget is what `mrl-edge pick` answers to it."""

import itertools
import json
import os
import random
import re
import shlex

import msgspec
import numpy as np
import pytest
from browser.scripts import run, tool
from conftest import mrl_edge_here, run_here
from mrl_edge.bench.candidates import candidates
from mrl_edge.bench.results import ClassThird, IndexPlan, read_results, write_results
from rows import measurement, results
from sizes import SIZES, at

pytestmark = pytest.mark.browser

TYPED = [
    {},
    {"max-p50_ms": "3"},
    {"max-p50_ms": "2.5", "max-peak_rss_mb": "130", "max-disk_mb": "61"},
    {"max-p99_ms": "5", "max-cold_start_ms": "320", "min-recall_at_10": "0.35"},
    {"max-disk_mb": "1"},  # nothing fits
    {"min-ndcg_at_10": "0.55", "min-accuracy": "0.6"},
    {"keep-ndcg_at_10": "0.9", "max-energy_mj": "12"},
    {"max-p50_ms": "1.3", "max-disk_mb": "30", "keep-ndcg_at_10": "1"},  # nothing fits
]
SLID = [
    {"max-p50_ms": 0.4},
    {"max-peak_rss_mb": 0.25, "max-disk_mb": 0.7},
    {"max-cold_start_ms": 0.5, "min-recall_at_10": 0.6},
    {"max-p50_ms": 0.3, "max-p99_ms": 0.5, "max-peak_rss_mb": 0.5, "max-disk_mb": 0.5, "min-ndcg_at_10": 0.2},
    {"max-p50_ms": 0},  # nothing fits
]
BUDGETS = [
    *({"typed": typed} for typed in TYPED),
    *({"slid": slid} for slid in SLID),
    {"typed": {"max-peak_rss_mb": "120"}, "objective": "recall_at_10"},
    {"slid": {"max-disk_mb": 0.5, "max-p50_ms": 0.5}, "objective": "accuracy"},
    {"typed": {"max-p50_ms": "3", "min-recall_at_10": "0.35"}, "confidence": "0.95"},
    {"typed": {"max-p50_ms": "2.2", "min-ndcg_at_10": "0.5", "keep-ndcg_at_10": "0.9"}, "confidence": "0.95"},
    {"typed": {"max-p50_ms": "1.5", "max-peak_rss_mb": "105", "min-ndcg_at_10": "0.6"}, "confidence": "0.95"},
    {"typed": {"max-disk_mb": "50", "min-mrr_at_10": "0.3", "keep-mrr_at_10": "0.7"}, "objective": "mrr_at_10"},
]
OPENING = ("--max-p50-ms", "3", "--keep-quality", "ndcg_at_10=0.8", "--confidence", "0.95")
GROWN = ("--corpus-now", "2000", "--corpus", "20000", "--max-p50-ms", "5")
EVIL = "</script><!--<script>alert(1)</script><img src=x onerror=alert(1)>"


def swept(seed, **options):
    """200 rows, as of a sweep over precisions, depths, dimensions and kinds of search; few values, so that some tie.

    Intervals differ in width, some latencies are in doubt, some p99 and energies are not known.
    """
    rng = random.Random(seed)
    grid = itertools.product(
        ("fp32", "fp16", "int8", "int4"), (3, 6), (8, 16, 32, 64, 128, 256, 384), ("scan", "annoy", "ivf", "binary")
    )
    rows = []
    for precision, depth, dim, kind in list(grid)[:200]:
        row = measurement(
            precision, dim, encode_ms=rng.randint(2, 9) / 2, search_ms=rng.randint(1, 4) / 4,
            disk_mb=rng.randint(20, 90), rss_mb=rng.randint(50, 90) * 2,
            ndcg=rng.randint(4, 12) / 20, recall=rng.randint(4, 12) / 18, accuracy=rng.randint(8, 16) / 20,
        )  # fmt: skip
        mrr = 0.9 * row.quality.ndcg_at_10
        search = msgspec.structs.replace(row.search, index=kind)
        thirds = [ClassThird(name, 3, n, rng.random()) for name, n in (("head", 150), ("medium", 40), ("tail", 10))]
        row = msgspec.structs.replace(
            row,
            depth=depth,
            plan=IndexPlan(kind),
            search=search,
            query=_timed(row.query, rng),
            energy_mj=rng.choice((None, 5.0, 10.0, 20.0)),
            quality=msgspec.structs.replace(row.quality, mrr_at_10=mrr, by_class=tuple(thirds)),
        )
        rows.append(msgspec.structs.replace(row, cold_start_ms=rng.randint(200, 500)))
    content = results(*rows, **options)
    return msgspec.structs.replace(content, settings={**content.settings, "queries": 300, "texts": 200})


def _timed(query, rng):
    low, high = (1 - rng.choice((0.01, 0.05, 0.1)), 1 + rng.choice((0.01, 0.06, 0.12)))
    known = rng.random() < 0.8
    return msgspec.structs.replace(
        query,
        ci95_ms=(query.p50_ms * low, query.p50_ms * high),
        p99_ms=1.5 * query.p50_ms if known else None,
        loops=1 if known else 4,
        stable=high < 1.05,
        doubts=() if high < 1.05 else ("interval",),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pages of one file, of several with all that there is, and of one with hostile names."""
    folder = tmp_path_factory.mktemp("report")
    methods = {"mrl": 0.3, "pca": 0.2}
    quality = {name: {str(d): {"recall_at_10": at + d / 1000} for d in (8, 64, 384)} for name, at in methods.items()}
    one, other = swept(1, training={"quality": quality}), swept(2)
    row = {"peer": "another", "p50_ms": 9.0, "time_ratio": 9.0, "peak_rss_mb": 300.0, "rss_ratio": 3.0}
    rows = [{**row, "cosine_mean": 1.0, "cosine_min": 0.99}, {"peer": "a third", "failed": "not installed"}]
    (folder / "peers.json").write_text(json.dumps({"rows": rows}))
    write_results(folder / "results.json", one)
    few = tuple(row for row in other.measurements if row.depth == 3 and row.precision != "fp32")  # no full model
    board = msgspec.structs.replace(other.device, name="a board", cpu="another cpu")
    write_results(folder / "board.json", msgspec.structs.replace(other, device=board, measurements=few))
    other_data = msgspec.structs.replace(other, device=board, measurements=few, settings={"data_sha256": "another"})
    write_results(folder / "elsewhere.json", other_data)
    mrl_edge_here("report", folder / "results.json", folder / "elsewhere.json", "--out", folder / "apart.html")
    write_results(folder / "single.json", results(one.measurements[150]))
    mrl_edge_here("report", folder / "single.json", "--out", folder / "single.html")
    evil = msgspec.structs.replace(measurement(EVIL, 64, ndcg=0.9), reason=EVIL)
    hostile = results(evil, *one.measurements[:3], name=EVIL)
    write_results(
        folder / "hostile.json",
        msgspec.structs.replace(hostile, device=msgspec.structs.replace(hostile.device, cpu=EVIL)),
    )
    sizes = [folder / f"{n}.json" for n in SIZES]
    for path, n in zip(sizes, SIZES, strict=True):
        write_results(path, at(n))
    mrl_edge_here("report", *sizes, *GROWN, "--out", folder / "grown.html")
    mrl_edge_here("report", folder / "results.json", "--out", folder / "page.html")
    mrl_edge_here("report", folder / "results.json", *OPENING, "--out", folder / "opened.html")
    mrl_edge_here("report", folder / "hostile.json", "--out", folder / "hostile.html")
    mrl_edge_here(
        "report", folder / "results.json", folder / "board.json", "--peers", folder / "peers.json",
        "--out", folder / "several.html",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def seen(folder):
    """What Chromium shows."""
    names = ("page", "several", "hostile", "opened", "apart", "single", "grown")
    task = {name: str(folder / f"{name}.html") for name in names} | {"budgets": BUDGETS}
    return run("report.mjs", tool(os.environ.get("CHROMIUM", "chromium")), task=task)


def answered(folder, command):
    """Run the command that the page shows, and return its answer with the page's short titles."""
    words = shlex.split(command.splitlines()[0].removesuffix(" --json > choice.json"))
    assert words[:2] == ["mrl-edge", "pick"]
    assert words[2] == str(folder / "results.json")
    done = run_here(*words[1:], "--json")
    assert done.returncode in (0, 3), done.stderr
    return json.loads(re.sub("(p50|p99) of a query", r"query \1", done.stdout))


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


def test_whiskers_are_the_intervals_and_lie_within_the_frame(folder, seen):
    """Pixels of all bars of the first figure, by the scale that its ticks' numbers and places give."""
    figure = seen["figure"]
    rows = candidates(read_results(folder / "results.json"))
    numbers = np.array([float(text) for text, _ in figure["ticks"]])
    slope, start = np.polyfit(numbers, [x for _, x in figure["ticks"]], 1)
    bars = np.array(figure["whiskers"])
    wanted = np.array([row.p50_ci95_ms for row in rows]) * slope + start
    assert bars.shape == wanted.shape
    for end in (0, 1):
        np.testing.assert_allclose(np.sort(bars[:, end]), np.sort(wanted[:, end]), atol=0.5)
    np.testing.assert_allclose(np.sort(np.ptp(bars, axis=1)), np.sort(np.ptp(wanted, axis=1)), atol=0.5)
    left, right = figure["frame"]
    assert left < np.min(wanted)
    assert np.max(wanted) < right


def test_every_section_of_several_files_says_what_it_is_of(seen):
    sections = seen["sections"]
    assert {"a board", "The 84 configurations that several devices measured"} <= set(sections["devices"].split("\n"))
    assert "MRL (this model)" in sections["baselines"]
    assert "0.684" in sections["baselines"]  # at 384 dimensions
    assert "head: 1-NN accuracy" in sections["classes"]
    assert "3 classes, 150 texts" in sections["classes"]
    for wanted in ("another", "9.00", "not installed"):
        assert wanted in sections["peers"]
    assert "200 on" in sections["all"]
    assert "84 on a board" in sections["all"]
    assert "USER@HOST" in sections["reproduce"]


def test_paper_says_the_device_and_the_form_of_each_figure_and_unfolds_all(folder, seen):
    """What print's style shows, with no form to read them from."""
    printed = seen["printed"]
    cpu = read_results(folder / "results.json").device.cpu
    assert printed["hidden"] == ["#budget", ".switch", ".by"]
    assert f"Shown: {cpu}." in printed["text"]
    assert re.search(rf"Shown: {re.escape(cpu)}, \w+ search, \d layers, 1 thread, default runtime\.", printed["text"])
    assert "Budget: query p50 ≤ 2.5 ms" in printed["text"]
    assert printed["folded"] == 0
    rows = candidates(read_results(folder / "board.json"))
    assert all(f"{row.peak_rss_mb:.1f}" in printed["text"] for row in rows)
    assert set(printed["widths"]) == {230, 360}  # of figures three and two in a row, on whatever screen


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


def test_nothing_is_asked_of_a_network_and_the_console_is_silent(seen):
    assert seen["requests"] == []
    assert seen["complaints"] == []


def test_200_configurations_open_within_two_seconds_and_weigh_less_than_6_mb(folder, seen):
    assert len(candidates(read_results(folder / "results.json"))) == 200
    assert seen["openedMs"][0] < 2000  # the first, nothing of it cached
    assert (folder / "several.html").stat().st_size < 6e6


def test_axe_finds_nothing_in_light_dark_or_narrow(seen):
    assert seen["violations"] == []


def test_400_pixels_are_wide_enough(seen):
    assert seen["narrowWidth"] <= 400
    assert seen["pdf"] > 10_000


def test_hostile_names_are_text(seen):
    assert seen["hostile"]["names"][0].startswith(EVIL)
