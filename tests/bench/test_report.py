"""The page is read as a browser would: parsed HTML, and the figures' own data."""

import re
from html.parser import HTMLParser

import msgspec
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.bench.report import render
from mrl_edge.bench.results import write_results
from rows import measurement, results

DIMS = (8, 64, 384)
TRAINING = {
    "quality": {
        method: {str(dim): {"recall_at_10": base + dim / 1000} for dim in (384, 8, 64)}
        for method, base in (("mrl", 0.3), ("pca", 0.2), ("truncation", 0.1))
    }
}
ROWS = [
    measurement(precision, dim, encode_ms=ms, search_ms=0.2, rss_mb=rss, ndcg=dim / 500)
    for precision, ms, rss in (("int8", 1.2, 110), ("fp32", 3.0, 180))
    for dim in DIMS
]


class Page(HTMLParser):
    """Tags with their attributes, text by tag, scripts apart."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.cells, self.scripts, self._open = [], [], [], ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data):
        if self._open == "script":
            self.scripts.append(data)
        elif data.strip():
            self.cells.append(data.strip())


@pytest.fixture(scope="module")
def page():
    return Page(render(results(*ROWS, training=TRAINING)))


def test_nothing_is_fetched(page):
    for tag, attributes in page.tags:
        assert not ({"src", "href", "action", "data"} & set(attributes)), (tag, attributes)
        assert tag not in {"link", "iframe", "object", "embed", "img"}
    style = " ".join(attributes.get("style", "") for _, attributes in page.tags)
    assert "url(" not in style


def test_there_is_a_figure_for_each_cost_and_the_curves(page):
    figures = [script for script in page.scripts if "Plotly.newPlot(" in script and len(script) < 100_000]
    assert len(figures) == 4
    for title, figure in zip(("query p50, ms", "peak RSS, MB", "disk, MB", "dimension"), figures, strict=True):
        assert title in figure
    assert all("Pareto front" in figure for figure in figures[:3])


def test_a_kind_that_ranks_again_at_its_own_dimension_has_a_curve():
    row = measurement("int8", 64, search_ms=1.0, ndcg=0.4321)
    search = msgspec.structs.replace(row.search, index="binary", shortlist=200, rerank_dim=64)
    figures = [s for s in Page(render(results(msgspec.structs.replace(row, search=search)))).scripts if "newPlot" in s]
    curves = figures[-1]
    assert "int8, binary" in curves
    assert "0.4321" in curves


def test_the_tables_hold_the_measurements_the_baselines_and_the_machine(page):
    text = " ".join(page.cells)
    for wanted in ("MRL (this model)", "PCA", "plain truncation", "0.364", "0.208", "int8", "fp32"):
        assert wanted in text, wanted
    where = [page.cells.index(str(dim)) for dim in DIMS]
    assert where == sorted(where)
    assert any(cell.startswith(results().device.cpu) for cell in page.cells)


def test_hostile_names_stay_text():
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    bad = msgspec.structs.replace(ROWS[0], precision=evil)
    failed = msgspec.structs.replace(ROWS[1], status="failed", reason=evil)
    hostile = results(*ROWS, bad, failed, training=TRAINING, name=evil)
    hostile = msgspec.structs.replace(hostile, device=msgspec.structs.replace(hostile.device, cpu=evil))
    page = Page(render(hostile))
    clean = Page(render(results(*ROWS, ROWS[0], ROWS[1], training=TRAINING)))
    assert [tag for tag, _ in page.tags].count("script") == [tag for tag, _ in clean.tags].count("script")
    assert "img" not in {tag for tag, _ in page.tags}
    assert not any(re.search("<script>alert", script) for script in page.scripts)


def test_failed_configurations_are_named_with_their_reason():
    failed = msgspec.structs.replace(ROWS[1], status="out_of_memory", reason="the kernel killed the process (SIGKILL)")
    text = " ".join(Page(render(results(ROWS[0], failed))).cells)
    assert "SIGKILL" in text


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
