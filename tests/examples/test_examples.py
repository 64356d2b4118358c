"""The scripts of examples/ run as a user runs them, and give what the parts they use give."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import mrl_edge_here

import mrl_edge
from mrl_edge.encoder import load_nested
from mrl_edge.search import Search

FOLDER = Path(__file__).parents[2] / "examples"


def example(name, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(("deadline_ms", "dim"), [("10000", 24), ("0.0001", 4)])
def test_the_largest_dimension_within_a_deadline_searches(tiny, deadline_ms, dim):
    first, *lines = example(
        "search_within_deadline.py", tiny / "bundle", "a little phrase", "--deadline-ms", deadline_ms
    )
    assert first.startswith(f"dimension {dim}, ")
    assert ("but not within" in first) == (dim == 4)
    hits = Search(tiny / "bundle", dim, threads=1)("a little phrase", 5)
    assert lines == [f"{hit.score:.3f}  {hit.text}" for hit in hits]


def test_a_class_is_the_first_sure_dimensions(tiny):
    texts = ["a little phrase", "words in a row", "x"]
    encoder = load_nested(tiny / "bundle")
    probabilities = encoder.classify(texts)
    sure = 0.5
    for row, line in enumerate(example("classify.py", tiny / "bundle", *texts, "--sure", str(sure))):
        dim = next((d for d in encoder.dims[:-1] if probabilities[d][row].max() >= sure), encoder.dims[-1])
        best = probabilities[dim][row]
        assert line == f"{texts[row]}: {encoder.classes[best.argmax()]} ({best.max():.3f}, dimension {dim})"


@pytest.mark.parametrize(
    ("sure", "deadline_ms", "depth", "stopped"),
    [("0", "10000", 1, "sure"), ("2", "10000", 2, "best"), ("2", "0.0001", 1, "deadline")],
)
def test_a_class_is_the_best_exits_that_is_needed_and_in_time(tiny, sure, deadline_ms, depth, stopped):
    texts = ["a little phrase", "words in a row"]
    lines = example(
        "classify_within_deadline.py", tiny / "bundle", *texts, "--sure", sure, "--deadline-ms", deadline_ms
    )
    assert len(lines) == len(texts)
    encoder = mrl_edge.load(tiny / "bundle", 24, "int8", depth)
    for text, line, row in zip(texts, lines, encoder.classify(texts), strict=True):
        wanted = f"{text}: {encoder.classes[row.argmax()]} ({row.max():.3f}, d24-L{depth}, "
        assert line.startswith(wanted)
        assert line.endswith(f" ms, {stopped})")


def test_a_choice_within_a_budget_runs(tiny):
    budget = ("--max-rss-mb", "2000")
    chosen = json.loads(mrl_edge_here("pick", tiny / "results.json", *budget, "--json"))["configuration"]
    kept, vector = example("choose_within_budget.py", tiny / "results.json", tiny / "bundle", *budget)
    assert json.loads(kept) == {name: chosen[name] for name in ("dim", "precision", "depth", "threads")}
    assert re.match(rf"{chosen['dim']} numbers", vector)


def test_a_budget_that_nothing_fits_is_exit_code_3(tiny):
    lines = example("choose_within_budget.py", tiny / "results.json", tiny / "bundle", "--max-rss-mb", "1", code=3)
    assert lines[0].startswith("Nothing fits")


def test_every_example_is_tested_here():
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.name}"' in tested for path in FOLDER.glob("*.py"))
