"""The page is read as a browser would: parsed HTML, and the figures' own data."""

import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser
from itertools import pairwise

import msgspec
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.bench.report import ResultsFile, render
from mrl_edge.bench.report_peers import read_peers
from mrl_edge.bench.reproduce import asked as named
from mrl_edge.bench.reproduce import bench_command
from mrl_edge.bench.results import write_results
from rows import measurement, results

from mrl_edge.datasets import Columns

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
    """Tags with their attributes, text by tag, scripts apart, and what the embedded JSON says."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.cells, self.scripts, self.headings, self._open = [], [], [], [], ""
        self.feed(content)
        self.data = json.loads(self.scripts[0])

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        if tag == "script":
            self._open = ""

    def handle_data(self, data):
        if self._open == "script":
            self.scripts[-1] += data
        elif data.strip():
            self.cells.append(data.strip())
            if self._open in ("h1", "h2", "h3", "h4", "h5"):
                self.headings.append(self._open)


def page_of(*files, **options):
    """The page of results, each of a file of its own."""
    named = [ResultsFile(f"device-{number}.json", one) for number, one in enumerate(files)]
    return Page(render(named, **options))


@pytest.fixture(scope="module")
def page():
    return page_of(results(*ROWS, training=TRAINING))


def test_nothing_is_fetched(page):
    for tag, attributes in page.tags:
        assert not ({"src", "action", "data"} & set(attributes)), (tag, attributes)
        assert attributes.get("href", "#").startswith("#"), (tag, attributes)
        assert tag not in {"link", "iframe", "object", "embed", "img"}
    style = " ".join(attributes.get("style", "") for _, attributes in page.tags) + " ".join(page.cells)
    assert "url(" not in style
    assert "@import" not in style
    assert "http://" not in page.scripts[1].replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page.scripts[1]


def test_the_policy_lets_only_the_pages_own_script_run(page):
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_there_is_a_figure_for_each_cost_and_the_curves(page):
    assert [a["data-cost"] for _, a in page.tags if "data-cost" in a] == ["p50_ms", "peak_rss_mb", "disk_mb"]
    assert {"quality", "p50_ms", "encode_ms"} <= {a["data-curve"] for _, a in page.tags if "data-curve" in a}
    (file,) = page.data["files"]
    for record, row in zip(file["rows"], ROWS, strict=True):
        assert (record["precision"], record["dim"], record["search"]) == (row.precision, row.dim, "annoy")
        assert record["p50_ms"] == row.query.p50_ms
        assert record["encode_ms"] == row.encode.p50_ms
        assert record["peak_rss_mb"] == row.memory.peak_rss_bytes / 1e6
        assert record["intervals"]["p50_ms"] == list(row.query.ci95_ms)
        assert record["ndcg_at_10"] == row.quality.ndcg_at_10


def test_an_answer_without_a_budget_needs_no_script(page):
    place = page.cells.index("int8 at dimension 384, annoy search")  # as good as fp32 there, and faster
    assert page.cells[place + 1].startswith("The best nDCG@10 of all 6 configurations")
    assert page.cells[place + 2 : place + 6] == ["nDCG@10", "0.768", "query p50", "1.40"]


def test_every_control_has_a_label_and_headings_skip_no_level(page):
    named = {a["for"] for tag, a in page.tags if tag == "label" and "for" in a}
    for tag, attributes in page.tags:
        if tag == "input" and attributes["type"] != "radio":
            assert attributes.get("id") in named or attributes.get("aria-label"), attributes
    levels = [int(heading[1]) for heading in page.headings]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_a_kind_that_ranks_again_at_its_own_dimension_has_a_curve():
    row = measurement("int8", 64, search_ms=1.0, ndcg=0.4321)
    search = msgspec.structs.replace(row.search, index="binary", shortlist=200, rerank_dim=64)
    (file,) = page_of(results(msgspec.structs.replace(row, search=search))).data["files"]
    assert [(row["search"], row["ndcg_at_10"]) for row in file["rows"]] == [("binary", 0.4321)]


def test_an_unknown_p99_and_the_full_models_quality():
    looped = msgspec.structs.replace(ROWS[-1].query, p99_ms=None, loops=4)
    (file,) = page_of(results(*ROWS[:-1], msgspec.structs.replace(ROWS[-1], query=looped))).data["files"]
    assert [row["p99_ms"] is None for row in file["rows"]] == [False] * 5 + [True]
    assert file["full"] == {"ndcg_at_10": ROWS[-1].quality.ndcg_at_10}
    (file,) = page_of(results(*ROWS[:3])).data["files"]
    assert file["full"] == {}


def test_devices_stand_side_by_side_and_what_differs_is_said():
    slower = [
        measurement(r.precision, r.dim, encode_ms=9.0, search_ms=0.2, ndcg=r.quality.ndcg_at_10) for r in ROWS[:4]
    ]
    board = msgspec.structs.replace(results(*slower), device=msgspec.structs.replace(results().device, name="pi4"))
    other = msgspec.structs.replace(board.bundle, sha256="1" * 64)
    both = page_of(results(*ROWS), msgspec.structs.replace(board, bundle=other))
    assert [file["label"] for file in both.data["files"]] == [results().device.cpu, "pi4"]
    text = " ".join(both.cells)
    assert "The 4 configurations that several devices measured" in text
    assert "9.20" in text
    assert "different bundles" in text
    assert "different bundles" not in " ".join(page_of(results(*ROWS), board).cells)
    twins = page_of(results(*ROWS), results(*ROWS)).data["files"]
    assert [file["label"].rsplit(" ", 1)[1] for file in twins] == ["(device-0.json)", "(device-1.json)"]


def test_peers_are_shown_with_their_ratios_or_why_they_have_none(tmp_path):
    row = {
        "peer": "other software", "p50_ms": 9.64, "time_ratio": 10.7, "time_ratio_ci95": [10.1, 11.25],
        "same_precision_ratio": 2.0, "same_precision_ratio_ci95": [1.9, 2.1], "peak_rss_mb": 627.0, "rss_ratio": 5.7,
        "cosine_mean": 1.0, "cosine_min": 0.9999,
    }  # fmt: skip
    path = tmp_path / "peers.json"
    path.write_text(json.dumps({"rows": [row, {"peer": "another", "failed": "not installed"}], "shortfalls": []}))
    text = " ".join(page_of(results(*ROWS), peers=read_peers(path)).cells)
    for wanted in ("other software", "9.64", "10.70", "10.10–11.25", "627", "another", "not installed"):
        assert wanted in text
    assert "other software" not in " ".join(page_of(results(*ROWS)).cells)


def test_the_command_that_measures_again_names_every_row():
    asked = {"--data": "builtin:wordnet_nouns/dev", "--query": "a gloss", "--positive": "lemmas"}
    settings = {"queries": 500, "texts": 0, "asked": asked, "max_seconds": 4.0, "repeats": 3, "target_recall": 0.95}
    fixed = msgspec.structs.replace(measurement("int8", 384, threads=2), tokens=32)
    content = msgspec.structs.replace(results(*ROWS, fixed), settings=settings)
    words = shlex.split(bench_command(content, "out.json"))
    assert words[:3] == ["mrl-edge", "bench", "model"]
    told = dict(pairwise(words))
    expected = asked | {
        "--precision": "int8,fp32", "--dims": "8,64,384", "--depths": "6", "--threads": "1,2", "--index": "annoy",
        "--tokens": "32", "--max-queries": "500", "--recall": "0.95", "--repeats": "3", "--out": "out.json",
    }  # fmt: skip
    assert expected.items() <= told.items()
    columns = Columns(query="a gloss", positive="lemmas")
    assert named("builtin:wordnet_nouns/dev", columns) == asked
    assert named("somewhere/else/dev.csv", columns)["--data"] == "dev.csv"
    assert "--query QUERY --positive POSITIVE" in bench_command(
        msgspec.structs.replace(content, settings={"data": "dev.csv", "queries": 500}), "out.json"
    )


def test_the_tables_hold_the_measurements_the_baselines_and_the_machine(page):
    text = " ".join(page.cells)
    for wanted in ("MRL (this model)", "PCA", "plain truncation", "0.364", "0.208", "int8", "fp32"):
        assert wanted in text, wanted
    where = [page.cells.index(str(dim)) for dim in DIMS]
    assert where == sorted(where)
    assert any(cell.startswith(results().device.cpu) for cell in page.cells)


def test_hostile_names_stay_text():
    evil = "</script><!--<script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"
    bad = msgspec.structs.replace(ROWS[0], precision=evil)
    failed = msgspec.structs.replace(ROWS[1], status="failed", reason=evil)
    hostile = results(*ROWS, bad, failed, training=TRAINING, name=evil)
    hostile = msgspec.structs.replace(hostile, device=msgspec.structs.replace(hostile.device, cpu=evil))
    page = page_of(hostile)
    clean = page_of(results(*ROWS, ROWS[0], ROWS[1], training=TRAINING))
    assert [tag for tag, _ in page.tags].count("script") == [tag for tag, _ in clean.tags].count("script")
    assert "img" not in {tag for tag, _ in page.tags}
    assert not any(re.search("<script>alert", script) for script in page.scripts)
    assert page.data["files"][0]["label"] == evil  # and no letter of it is lost


def test_failed_configurations_are_named_with_their_reason():
    failed = msgspec.structs.replace(ROWS[1], status="out_of_memory", reason="the kernel killed the process (SIGKILL)")
    text = " ".join(page_of(results(ROWS[0], failed)).cells)
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
