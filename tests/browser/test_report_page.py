"""The report as a reader has it: what Chromium shows for a budget is what `mrl-edge pick` answers to it."""

import itertools
import json
import os
import random
import shlex

import msgspec
import pytest
from browser.scripts import run, tool
from conftest import mrl_edge_here, run_here
from mrl_edge.bench.candidates import candidates
from mrl_edge.bench.results import IndexPlan, read_results, write_results
from rows import measurement, results

pytestmark = pytest.mark.browser

TYPED = [
    {},
    {"max-p50_ms": "3"},
    {"max-p50_ms": "2.5", "max-peak_rss_mb": "130", "max-disk_mb": "61"},
    {"max-p99_ms": "4", "max-cold_start_ms": "320", "min-recall_at_10": "0.35"},
    {"max-disk_mb": "1"},  # nothing fits
    {"min-ndcg_at_10": "0.55", "min-accuracy": "0.6"},
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
]
EVIL = "</script><!--<script>alert(1)</script><img src=x onerror=alert(1)>"


def swept(seed, **options):
    """200 rows, as of a sweep over precisions, depths, dimensions and kinds of search; few values, so that some tie."""
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
        search = msgspec.structs.replace(row.search, index=kind)
        row = msgspec.structs.replace(row, depth=depth, plan=IndexPlan(kind), search=search)
        rows.append(msgspec.structs.replace(row, cold_start_ms=rng.randint(200, 500)))
    return results(*rows, **options)


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
    board = msgspec.structs.replace(other.device, name="a board")
    write_results(folder / "board.json", msgspec.structs.replace(other, device=board))
    evil = msgspec.structs.replace(measurement(EVIL, 64, ndcg=0.9), reason=EVIL)
    hostile = results(evil, *one.measurements[:3], name=EVIL)
    write_results(
        folder / "hostile.json",
        msgspec.structs.replace(hostile, device=msgspec.structs.replace(hostile.device, cpu=EVIL)),
    )
    mrl_edge_here("report", folder / "results.json", "--out", folder / "page.html")
    mrl_edge_here("report", folder / "hostile.json", "--out", folder / "hostile.html")
    mrl_edge_here(
        "report", folder / "results.json", folder / "board.json", "--peers", folder / "peers.json",
        "--out", folder / "several.html",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def seen(folder):
    """What Chromium shows."""
    pages = {"page": "page.html", "several": "several.html", "hostile": "hostile.html"}
    task = {name: str(folder / file) for name, file in pages.items()} | {
        "budgets": [*BUDGETS, {"typed": {"keep-share": "0.9"}}]
    }
    return run("report.mjs", tool(os.environ.get("CHROMIUM", "chromium")), task=task)


def picked(folder, command):
    """Run the command that the page shows, and return what it answered and the name of that row."""
    line = command.splitlines()[0].removesuffix(" --json > choice.json")
    words = shlex.split(line)
    assert words[:3] == ["mrl-edge", "pick", "results.json"]
    done = run_here("pick", folder / "results.json", *words[3:], "--json")
    assert done.returncode in (0, 3), done.stderr
    answer = json.loads(done.stdout)
    found = answer if answer["fits"] else answer["nearest"]
    rows = candidates(read_results(folder / "results.json"))
    same = ("precision", "depth", "dim", "index", "p50_ms", "peak_rss_mb")
    (name,) = {row.name for row in rows if all(getattr(row, key) == found[key] for key in same)}
    return answer["fits"], name


@pytest.mark.parametrize("number", range(len(BUDGETS)))
def test_the_page_picks_what_the_command_picks(folder, seen, number):
    shown = seen["budgets"][number]
    fits, name = picked(folder, shown["commands"][0])
    if fits:
        assert shown["names"] == [name]
    else:
        assert shown["names"] == ["Nothing fits"]
        assert shown["nearest"] == [name]


def test_the_budgets_choose_different_rows_and_one_fits_nothing(seen):
    names = {shown["names"][0] for shown in seen["budgets"]}
    assert len(names) > 6
    assert "Nothing fits" in names


@pytest.mark.parametrize("number", [0, 1, 2, 8])
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
    expected = {row.name for row in rows if row.quality["ndcg_at_10"] >= 0.9 * max(full)}
    shown = seen["budgets"][-1]
    assert {name.removesuffix(" ~") for name in shown["fitting"]} == expected
    assert "--keep-ndcg 0.9" in shown["commands"][0]


def test_an_address_holds_its_budget(seen):
    assert seen["budgets"][0]["hash"] == ""
    assert seen["budgets"][2]["hash"] == "#max.p50_ms=2.5&max.peak_rss_mb=130&max.disk_mb=61"
    for shown in ("names", "commands", "fitting"):
        assert seen["linked"][shown] == seen["budgets"][2][shown] != seen["budgets"][0][shown]


def test_keys_move_a_slider_and_walk_the_points(folder, seen):
    command = seen["byKeyboard"]["commands"][0]
    assert "--max-disk-mb" in command
    assert seen["byKeyboard"]["names"] == [picked(folder, command)[1]]
    assert "query p50" in seen["tip"]


def test_nothing_is_asked_of_a_network_and_the_console_is_silent(seen):
    assert seen["requests"] == []
    assert seen["complaints"] == []


def test_200_configurations_open_within_two_seconds_and_weigh_less_than_6_mb(folder, seen):
    assert len(candidates(read_results(folder / "results.json"))) == 200
    assert min(seen["openedMs"]) < 2000
    assert (folder / "several.html").stat().st_size < 6e6


def test_axe_finds_nothing_in_light_dark_or_narrow(seen):
    assert seen["violations"] == []


def test_400_pixels_are_wide_enough(seen):
    assert seen["narrowWidth"] <= 400
    assert seen["pdf"] > 10_000


def test_hostile_names_are_text(seen):
    assert seen["hostile"]["names"][0].startswith(EVIL)
