"""`mrl-edge report`: the budget that a page opens with, other software, the commands in it, what is refused."""

import json
import shlex
from itertools import pairwise

import msgspec
import pytest
from cli.lines import parse
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.bench.budget import Budget
from mrl_edge.bench.report_peers import read_peers
from mrl_edge.bench.reproduce import asked as named
from mrl_edge.bench.reproduce import command_of
from mrl_edge.bench.results import HeldLimits, IndexPlan, Narrowing, Unmeasured, write_results
from report_page import ROWS, TRAINING, Page, on, page_of
from rows import measurement, results

from mrl_edge.datasets import Columns


def test_the_page_opens_with_a_budget(tmp_path):
    path, out = tmp_path / "results.json", tmp_path / "page.html"
    write_results(path, results(*ROWS))
    limits = ("--max-p50-ms", "2.5", "--keep-quality", "ndcg_at_10=0.1", "--confidence", "0.9")
    mrl_edge_here("report", path, *limits, "--out", out)
    page = Page(out.read_text(encoding="utf-8"))
    answer = json.loads(run_here("pick", path, *limits, "--json").stdout)
    assert answer["name"] in page.cells  # without a script
    assert answer["why"][0] in page.cells
    assert page.data["budget"] == {"max": {"p50_ms": 2.5}, "min": {}, "keep": {"ndcg_at_10": 0.1}, "confidence": 0.9}
    assert page.data["confidences"] == [0.9, 0.95]
    given = ["mrl-edge", "report", str(path), "--out", str(out), *limits]
    assert sorted(shlex.split(page.cells[page.cells.index("This page") + 1])) == sorted(given)
    shown = (
        f"mrl-edge pick {path} --max-p50-ms 2.5 --keep-quality ndcg_at_10=0.1 --confidence 0.9 --objective ndcg_at_10"
    )
    assert shown in page.cells


def test_nothing_fits_the_budget_that_the_page_opens_with():
    cells = page_of(results(*ROWS), budget=Budget(max={"p50_ms": 0.5})).cells
    assert "Nothing fits" in cells
    assert any(cell.startswith("With p50 of a query 1.4 ms instead of 0.5 it would be int8") for cell in cells)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[utility]\nndcg_at_10 = 1.0\np50_ms = -0.1", "utility"),
        ("corpus = 5000", "--corpus 5000: predicting needs the results of two corpus sizes"),
        ("[min]\nmrr_at_10 = 0.1", "no MRR@10 to set a floor on, mrr_at_10: they have ndcg_at_10"),
        ("[keep]\naccuracy = 0.9", "full model"),
        ("[max]\nenergy_mj = 10.0", "--max-energy-mj"),
    ],
)
def test_a_budget_that_the_page_cannot_hold_is_one_error_line(tmp_path, content, said):
    path, out = tmp_path / "results.json", tmp_path / "page.html"
    write_results(path, results(*ROWS))
    (tmp_path / "budget.toml").write_text(content)
    assert said in the_one_error_line(run_here("report", path, "--budget", tmp_path / "budget.toml", "--out", out))
    assert not out.exists()


def test_the_page_does_not_replace_what_it_is_made_of(tmp_path):
    path = tmp_path / "results.json"
    write_results(path, results(*ROWS))
    before = path.read_bytes()
    (tmp_path / "link.json").symlink_to(path)
    for out in (path, tmp_path / "link.json"):
        assert "replace what it is made of" in the_one_error_line(run_here("report", path, "--out", out))
    assert path.read_bytes() == before


def test_peers_say_where_they_were_measured_and_miss_what_they_miss(tmp_path):
    path = tmp_path / "peers.json"
    where = {"machine": "a pc", "bundle": "model", "dim": 64, "threads": 1}
    path.write_text(json.dumps({**where, "rows": [{"peer": "half known", "p50_ms": 0.0}], "shortfalls": []}))
    text = " ".join(page_of(on("local", *ROWS, cpu="a pc"), peers=read_peers(path)).cells)
    assert "Of model on a pc, at dimension 64, with 1 thread." in text
    assert "half known" in text
    elsewhere = " ".join(page_of(on("pi4", *ROWS), peers=read_peers(path)).cells)
    assert "which is none of the devices above" in elsewhere


def test_the_command_that_measures_again_names_the_corpus_and_the_board():
    board = on("pi4", *ROWS, documents=1200)
    told = dict(pairwise(shlex.split(command_of(board, "out.json"))))
    assert (told["--max-documents"], told["--device"]) == ("1200", "USER@HOST")
    here = shlex.split(command_of(results(*ROWS), "out.json"))
    assert "--device" not in here
    assert "--max-documents" not in here
    device = msgspec.structs.replace(results().device, name="pi-zero-2w", capped_to="pi-zero-2w")
    capped = shlex.split(command_of(msgspec.structs.replace(results(*ROWS), device=device), "out.json"))
    assert capped[capped.index("--device") + 1 :][:2] == ["pi-zero-2w", "--capped"]


def test_peers_are_shown_with_their_ratios_or_why_they_have_none(tmp_path):
    row = {
        "peer": "other software", "p50_ms": 9.64, "time_ratio": 10.7, "time_ratio_ci95": [10.1, 11.25],
        "same_precision_ratio": 2.0, "same_precision_ratio_ci95": [1.9, 2.1], "peak_rss_mb": 627.0, "rss_ratio": 5.7,
        "cosine_mean": 1.0, "cosine_min": 0.9999,
    }  # fmt: skip
    path = tmp_path / "peers.json"
    path.write_text(json.dumps({"rows": [row, {"peer": "another", "failed": "not installed"}], "shortfalls": []}))
    text = " ".join(page_of(results(*ROWS), peers=read_peers(path)).cells)
    for wanted in (
        "other software", "9.64", "10.70", "10.10–11.25", "2.00", "1.90–2.10", "627", "another", "not installed",
        "does not say of which machine",
    ):  # fmt: skip
        assert wanted in text
    assert "other software" not in " ".join(page_of(results(*ROWS)).cells)


def test_the_command_that_measures_again_names_every_row():
    asked = {"--data": "builtin:wordnet_nouns/dev", "--query": "a gloss", "--positive": "lemmas"}
    settings = {"queries": 500, "texts": 0, "asked": asked, "max_seconds": 4.0, "repeats": 3, "target_recall": 0.95}
    settings |= {"tail": 99.9}
    fixed = msgspec.structs.replace(measurement("int8", 384, threads=2), tokens=32)
    content = msgspec.structs.replace(results(*ROWS, fixed), settings=settings)
    words = shlex.split(command_of(content, "out.json"))
    assert words[:3] == ["mrl-edge", "bench", "model"]
    told = dict(pairwise(words))
    expected = asked | {
        "--precision": "int8,fp32", "--dims": "8,64,384", "--depths": "6", "--threads": "1,2", "--index": "annoy",
        "--tokens": "32", "--max-queries": "500", "--recall": "0.95", "--repeats": "3", "--tail": "99.9",
        "--out": "out.json",
    }  # fmt: skip
    assert expected.items() <= told.items()
    columns = Columns(query="a gloss", positive="lemmas")
    assert named("builtin:wordnet_nouns/dev", columns) == asked
    assert named("somewhere/else/dev.csv", columns)["--data"] == "dev.csv"
    assert "--query QUERY --positive POSITIVE" in command_of(
        msgspec.structs.replace(content, settings={"data": "dev.csv", "queries": 500}), "out.json"
    )


def test_the_command_that_measures_again_has_a_servers_limit_to_its_last_digit():
    served = msgspec.structs.replace(measurement("int8", 384), p99_limit_ms=1234567.8)
    told = dict(pairwise(shlex.split(command_of(results(*ROWS, served), "out.json"))))
    assert float(told["--p99-limit-ms"]) == 1234567.8


def tuned(**held):
    """A tuning's file: int8 measured, fp32 left out, within limits or, of an earlier version, without any said."""
    left = Unmeasured("fp32", 6, 384, 2, IndexPlan("scan", 200, 384), "too slow", 9.0, 1.0, 1.0, 1.0, {}, False)
    narrowing = Narrowing({}, unmeasured=(left,), held=HeldLimits(**held) if held else None)
    asked = {"--data": "my data.csv", "--query": "it's a gloss", "--positive": "lemmas"}
    settings = {"queries": 500, "documents": 1200, "asked": asked, "max_seconds": 4.0, "repeats": 3, "vectors": "fp32"}
    content = results(measurement("int8", 64, search_ms=0.2), name="a bundle")
    return msgspec.structs.replace(content, settings=settings, narrowing=narrowing)


def test_an_interrupted_tuning_is_not_narrowed_to_what_it_came_to():
    content = tuned()
    narrowing = Narrowing({}, finished=False)  # as it is written before anything is measured
    words = shlex.split(command_of(msgspec.structs.replace(content, narrowing=narrowing), "out.json"))
    told = dict(pairwise(words))
    choices = ("precision", "dims", "depths", "threads", "provider", "index", "shortlist", "runtime")
    assert {name: told[f"--{name}"] for name in choices} == {name: name.upper() for name in choices}
    assert (told["--rerank-dim"], told["--budget"]) == ("RERANK_DIM", "BUDGET")
    assert (told["--data"], told["--repeats"]) == ("my data.csv", "3")


def test_a_tuning_is_measured_again_by_tune_with_its_budget_and_all_that_it_chose_among():
    held = {
        "max": {"p50_ms": 20.0, "disk_mb": 30.5}, "min": {"mrr_at_10": 0.3}, "keep": {"ndcg_at_10": 0.97},
        "confidence": 0.95, "objective": "recall_at_10", "corpus": 1200, "corpus_now": 1000,
    }  # fmt: skip
    words = shlex.split(command_of(tuned(**held), "out of it.json"))
    assert words[:3] == ["mrl-edge", "tune", "a bundle"]
    parse(words[1:])  # every option is one that the command has
    told = dict(pairwise(words))
    expected = {
        "--data": "my data.csv", "--query": "it's a gloss", "--precision": "int8,fp32", "--dims": "64,384",
        "--threads": "1,2", "--index": "annoy,scan", "--rerank-dim": "384", "--shortlist": "200",
        "--max-p50-ms": "20", "--max-disk-mb": "30.5", "--min-quality": "mrr_at_10=0.3",
        "--keep-quality": "ndcg_at_10=0.97", "--confidence": "0.95", "--objective": "recall_at_10",
        "--corpus": "1200", "--corpus-now": "1000", "--max-documents": "1200", "--repeats": "3",
        "--out": "out of it.json",
    }  # fmt: skip
    assert expected.items() <= told.items()
    assert "--tokens" not in words
    assert "--budget" not in words


@pytest.mark.parametrize("content", [tuned(), tuned(max={"p50_ms": 20.0}, utility={"ndcg_at_10": 1.0})])
def test_a_budget_that_options_cannot_say_stands_in_capitals(content):
    """Of a tuning of an earlier version, and a utility."""
    assert "--budget BUDGET" in command_of(content, "out.json")
    assert ("--max-p50-ms 20" in command_of(content, "out.json")) is (content.narrowing.held is not None)
    assert any("put in what stands in capitals" in cell for cell in page_of(content).cells)
    told = tuned(max={"p50_ms": 20.0})
    assert command_of(told, "device-0.json") in page_of(told).cells
    assert not any("put in what stands in capitals" in cell for cell in page_of(told).cells)


def test_the_command_writes_the_page_and_says_where(tmp_path):
    write_results(tmp_path / "results.json", results(*ROWS, training=TRAINING))
    said = mrl_edge_here("report", tmp_path / "results.json", "--out", tmp_path / "page.html")
    assert "page.html" in said
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("training", [{"quality": 1}, {"quality": {"mrl": {"x": 1}}}, {"quality": {"mrl": {"8": []}}}])
def test_a_strange_training_record_is_one_error_line(tmp_path, training):
    write_results(tmp_path / "results.json", results(*ROWS, training=training))
    done = run_here("report", tmp_path / "results.json", "--out", tmp_path / "page.html")
    assert "training" in the_one_error_line(done)


def test_an_objective_that_is_not_there(tmp_path):
    write_results(tmp_path / "results.json", results(*ROWS))
    done = run_here("report", tmp_path / "results.json", "--objective", "beauty", "--out", tmp_path / "page.html")
    assert "--objective beauty" in the_one_error_line(done)
    assert not (tmp_path / "page.html").exists()


def test_files_of_tasks_without_a_metric_in_common_are_one_error_line(tmp_path):
    write_results(tmp_path / "found.json", results(*ROWS))
    labelled = results(measurement("int8", 64, ndcg=None, accuracy=0.8))
    write_results(
        tmp_path / "labelled.json",
        msgspec.structs.replace(labelled, settings={**labelled.settings, "data_sha256": "another"}),
    )
    files = (tmp_path / "found.json", tmp_path / "labelled.json")
    line = the_one_error_line(run_here("report", *files, "--out", tmp_path / "page.html"))
    assert "make a page of each" in line
    assert "labelled.json has accuracy" in line


@pytest.mark.parametrize(
    ("content", "said"), [(None, "no such file of peers"), ("[]", "damaged"), ('{"rows": [{}]}', "damaged")]
)
def test_peers_that_are_none(tmp_path, content, said):
    write_results(tmp_path / "results.json", results(*ROWS))
    if content is not None:
        (tmp_path / "peers.json").write_text(content)
    done = run_here(
        "report", tmp_path / "results.json", "--peers", tmp_path / "peers.json", "--out", tmp_path / "page.html"
    )
    assert said in the_one_error_line(done)
    assert not (tmp_path / "page.html").exists()


def test_a_file_of_several_that_holds_nothing_is_named(tmp_path):
    write_results(tmp_path / "good.json", results(*ROWS))
    write_results(tmp_path / "empty.json", results())
    done = run_here("report", tmp_path / "good.json", tmp_path / "empty.json", "--out", tmp_path / "page.html")
    assert "empty.json" in the_one_error_line(done)
