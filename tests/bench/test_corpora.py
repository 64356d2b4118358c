"""A budget's corpus now and later: held at the larger, told at both, on machines whose curves are known."""

import dataclasses
import json
import shlex

import msgspec
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.bench.budget import Budget
from mrl_edge.bench.candidates import candidates
from mrl_edge.bench.corpora import at_each
from mrl_edge.bench.pick import pick
from mrl_edge.bench.results import read_results, write_results
from report_page import Page
from rows import measurement, results
from sizes import ENCODE_MS, SIZES, at, truth

NOW, LATER = 2000, 20_000
BOTH = ("--corpus-now", NOW, "--corpus", LATER)


def p50_ms(n):
    return ENCODE_MS + truth(n)[0]


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{n}.json" for n in SIZES]
    for path, n in zip(paths, SIZES, strict=True):
        write_results(path, at(n))
    return paths


def test_a_limit_is_held_at_the_larger_and_the_costs_are_told_at_both(files):
    answer = json.loads(mrl_edge_here("pick", *files, *BOTH, "--max-p50-ms", "5", "--json"))
    assert answer["p50_ms"] == pytest.approx(p50_ms(LATER), rel=1e-3)
    for size, told in zip((NOW, LATER), answer["corpora"], strict=True):
        _, rss, disk, ndcg = truth(size)
        assert (told["n_items"], told["predicted"]) == (size, size not in SIZES)
        assert told["p50_ms"] == pytest.approx(p50_ms(size), rel=1e-3)
        assert (told["peak_rss_mb"], told["disk_mb"]) == pytest.approx((rss, disk), rel=1e-6)
        assert told["ndcg_at_10"] == pytest.approx(ndcg, abs=1e-3)
    said = " ".join(answer["why"])
    assert f"Now, with 2,000 documents: p50 of a query {p50_ms(NOW):.2f} ms, peak RSS {truth(NOW)[1]:.2f} MB" in said
    assert f"Later, with 20,000 documents: p50 of a query {p50_ms(LATER):.2f} ms" in said
    between = (p50_ms(NOW) + p50_ms(LATER)) / 2
    assert run_here("pick", *files, *BOTH, "--max-p50-ms", between).returncode == 3
    assert run_here("pick", *files, "--corpus-now", NOW, "--max-p50-ms", between).returncode == 0


def test_a_corpus_that_shrinks_is_held_at_its_size_now(files):
    done = run_here("pick", *files, "--corpus-now", LATER, "--corpus", NOW, "--json")
    assert "limits are held at the larger" in done.stderr
    answer = json.loads(done.stdout)
    assert answer["n_items"] == LATER
    assert any(line.startswith("Later, with 2,000 documents") for line in answer["why"])


def test_both_stand_in_a_file_and_options_replace_them(files, tmp_path):
    (tmp_path / "budget.toml").write_text(f"corpus = {LATER}\ncorpus_now = {NOW}\n")
    given = ("--budget", tmp_path / "budget.toml", "--json")
    sizes = [one["n_items"] for one in json.loads(mrl_edge_here("pick", *files, *given))["corpora"]]
    assert sizes == [NOW, LATER]
    answer = json.loads(mrl_edge_here("pick", *files, *given, "--corpus-now", LATER))
    assert (answer["n_items"], answer["corpora"]) == (LATER, [])


def test_one_choice_for_all_boards_has_the_worst_of_each_size(files, tmp_path):
    for n in SIZES:
        slow = at(n, noise=2.0)
        device = msgspec.structs.replace(slow.device, name="slow")
        write_results(tmp_path / f"slow-{n}.json", msgspec.structs.replace(slow, device=device))
    both = [*files, *(tmp_path / f"slow-{n}.json" for n in SIZES)]
    answer = json.loads(mrl_edge_here("pick", *both, *BOTH, "--one-for-all", "--json"))
    for size, told in zip((NOW, LATER), answer["corpora"], strict=True):
        assert told["p50_ms"] == pytest.approx(ENCODE_MS + 2 * truth(size)[0], rel=1e-3)


def test_what_the_smaller_size_misses_by_its_noise_is_said():
    (row,) = candidates(results(measurement("int8", 64, encode_ms=2.0, search_ms=1.0)))
    budget = Budget(max={"p50_ms": 5.0}, corpus_now=NOW, corpus=LATER)
    choice = pick([row], budget)
    (line,) = at_each(choice, budget, [dataclasses.replace(row, p50_ms=5.5)]).uncertain
    assert "With 2,000 documents it misses a limit" in line
    assert "p50 of a query 5.50 ms is 0.50 ms over --max-p50-ms 5" in line
    assert at_each(choice, budget, [dataclasses.replace(row, p50_ms=2.5)]).uncertain == []
    unknown = at_each(choice, budget, [])
    assert unknown.why[-2] == (
        "Now, with 2,000 documents, its figures are not known: it was measured at one size alone."
    )
    assert unknown.corpora == (row,)


def test_a_page_is_of_the_larger_with_the_smaller_beside_it(files, tmp_path):
    out = tmp_path / "page.html"
    mrl_edge_here("report", *files, *BOTH, "--max-p50-ms", "5", "--out", out)
    page = Page(out.read_text(encoding="utf-8"))
    (device,) = page.data["devices"]
    (row,) = device["rows"]
    assert row["p50_ms"] == pytest.approx(p50_ms(LATER), rel=1e-3)
    assert row["smaller"]["p50_ms"] == pytest.approx(p50_ms(NOW), rel=1e-3)
    assert row["smaller"]["disk_mb"] == pytest.approx(truth(NOW)[2])
    assert page.data["corpora"] == [{"documents": NOW, "when": "now"}, {"documents": LATER, "when": "later"}]
    command = next(cell for cell in page.cells if cell.startswith("mrl-edge pick"))
    answer = json.loads(mrl_edge_here(*shlex.split(command)[1:], "--json"))
    assert (answer["name"], answer["p50_ms"]) == (row["name"], row["p50_ms"])
    text = " ".join(page.cells)
    assert "predicted for 20,000 documents, from what was measured with 1,000, 2,000, 4,000" in text
    assert "Now, with 2,000 documents: p50 of a query" in text
    assert "do not compare" not in text


def tune(bundle, task, out, *options):
    return run_here(
        "tune", bundle, "--data", task, "--query", "q", "--positive", "p", "--max-queries", "10", "--index", "scan",
        "--max-disk-mb", "0.001", "--out", out, *options,
    )  # fmt: skip


def test_tune_measures_the_larger_where_the_data_have_it(tiny_bundle, dev, tmp_path):
    task = tmp_path / "task.jsonl"
    pairs = zip(dev["query"][:40], dev["positive"][:40], strict=True)
    task.write_text("".join(json.dumps({"q": q, "p": p}) + "\n" for q, p in pairs))
    out = tmp_path / "t.json"
    done = tune(tiny_bundle, task, out, "--corpus-now", "20", "--corpus", "30")
    assert done.returncode == 3
    assert "limits are held with 30 documents" in done.stderr
    assert read_results(out).settings["documents"] == 30
    refused = tmp_path / "none.json"
    line = the_one_error_line(tune(tiny_bundle, task, refused, "--corpus", "5000"))
    assert f"corpus of 5000 documents: the data have {len(set(dev['positive'][:40]))}" in line
    line = the_one_error_line(tune(tiny_bundle, task, refused, "--corpus", "30", "--max-documents", "20"))
    assert "--max-documents 20: the budget's corpus is of 30" in line
    assert not refused.exists()
