"""The page is read as a browser would: parsed HTML, and the figures' own data."""

import base64
import hashlib
import re
from itertools import pairwise

import msgspec
import pytest
from mrl_edge.bench.results import ClassThird, read_results
from report_page import DIMS, ROWS, TRAINING, page_of
from rows import measurement, results

from mrl_edge.datasets import Columns


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
    (file,) = page.data["devices"]
    for record, row in zip(file["rows"], ROWS, strict=True):
        assert (record["precision"], record["dim"], record["search"]) == (row.precision, row.dim, "annoy")
        assert record["p50_ms"] == row.query.p50_ms
        assert record["encode_ms"] == row.encode.p50_ms
        assert record["peak_rss_mb"] == row.memory.peak_rss_bytes / 1e6
        assert record["intervals"]["p50_ms"] == list(row.query.ci95_ms)
        assert record["ndcg_at_10"] == row.quality.ndcg_at_10


def test_an_answer_without_a_budget_needs_no_script(page):
    place = page.cells.index("int8 at dimension 384, annoy search")  # as good as fp32 there, and faster
    assert "the best of the 6 of 6 configurations" in page.cells[place + 1]
    after = page.cells.index("query p50", place)
    assert page.cells[after - 2 : after + 2] == ["nDCG@10", "0.768", "query p50", "1.40"]


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
    (file,) = page_of(results(msgspec.structs.replace(row, search=search))).data["devices"]
    assert [(row["search"], row["ndcg_at_10"]) for row in file["rows"]] == [("binary", 0.4321)]


def test_an_unknown_p99_is_null():
    looped = msgspec.structs.replace(ROWS[-1].query, p99_ms=None, loops=4)
    (file,) = page_of(results(*ROWS[:-1], msgspec.structs.replace(ROWS[-1], query=looped))).data["devices"]
    assert [row["p99_ms"] is None for row in file["rows"]] == [False] * 5 + [True]


def test_a_predicted_row_is_named_so():
    page = page_of(results(*ROWS[:-1], msgspec.structs.replace(ROWS[-1], predicted=True)))
    assert [row["name"].endswith("predicted") for row in page.data["devices"][0]["rows"]] == [False] * 5 + [True]
    assert "1 of 6 configurations" in " ".join(page.cells)


def test_accuracy_by_class_is_a_table_with_counts():
    thirds = (
        ClassThird("head", 2, 70, 0.91, 0.92), ClassThird("medium", 2, 20, 0.51, 0.52), ClassThird("tail", 1, 10, 0.11),
    )  # fmt: skip
    rows = [msgspec.structs.replace(r, quality=msgspec.structs.replace(r.quality, by_class=thirds)) for r in ROWS[:2]]
    cells = page_of(results(*rows, *ROWS[2:])).cells
    start = cells.index("Quality by class")
    assert cells[cells.index("head: accuracy") :][:2] == ["head: accuracy", "2 classes, 70 texts"]
    place = cells.index("int8 at dimension 64", start)
    assert cells[place + 1 : place + 7] == ["0.920", "0.910", "0.520", "0.510", "–", "0.110"]
    assert cells[start:place].count("int8 at dimension 8") == 1
    assert "Quality by class" not in page_of(results(*ROWS)).cells


def test_bench_scores_by_class_as_scikit_learn_would(tiny):
    """The tiny data have as many texts of each of three classes, so that their names decide which is the head."""
    from sklearn.metrics import recall_score
    from sklearn.neighbors import NearestNeighbors

    import mrl_edge as runtime
    from mrl_edge.datasets import read_table

    roles = read_table(str(tiny / "dev.csv"), Columns(text="answer", label="label")).roles
    row = next(r for r in read_results(tiny / "results.json").measurements if (r.precision, r.dim) == ("fp32", 24))
    encoder = runtime.load(tiny / "bundle", dim=24, precision="fp32", depth=row.depth, threads=1)
    vectors = [encoder.encode([text])[0] for text in roles["text"]]
    labels = roles["label"]
    near = NearestNeighbors(n_neighbors=2, metric="cosine").fit(vectors).kneighbors(return_distance=False)
    nearest = [labels[places[0]] for places in near]
    names = sorted(set(labels))
    found = row.quality.by_class
    assert [(one.third, one.classes, one.texts) for one in found] == [
        (third, 1, labels.count(name)) for third, name in zip(("head", "medium", "tail"), names, strict=True)
    ]
    wanted = recall_score(labels, nearest, labels=names, average=None)
    assert [one.knn_top1 for one in found] == pytest.approx(list(wanted))


def test_every_figure_is_in_the_table():
    quality = msgspec.structs.replace(ROWS[0].quality, mrr_at_10=0.123, map_at_10=0.234, knn_top1=0.345)
    encode = msgspec.structs.replace(ROWS[0].encode, p50_ms=7.89, ci95_ms=(7.11, 8.22))
    cells = page_of(results(msgspec.structs.replace(ROWS[0], quality=quality, encode=encode))).cells
    wanted = {"MRR@10": "0.123", "MAP@10": "0.234", "1-NN accuracy": "0.345", "encoding alone": "7.89"}
    assert wanted.keys() <= set(cells)
    assert set(wanted.values()) <= set(cells)
    assert "7.11–8.22" in cells


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
    assert page.data["devices"][0]["label"] == evil  # and no letter of it is lost


def test_failed_configurations_are_named_with_their_reason():
    failed = msgspec.structs.replace(ROWS[1], status="out_of_memory", reason="the kernel killed the process (SIGKILL)")
    batch = msgspec.structs.replace(ROWS[1], plan=None, status="failed", batch=32)
    cells = page_of(results(ROWS[0], failed, batch)).cells
    assert "int8 d64-L6 annoy: out_of_memory, the kernel killed the process (SIGKILL)" in cells
    assert "int8 d64-L6 batch 32: failed" in cells
