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
from mrl_edge.bench.budget import Budget
from mrl_edge.bench.report import render
from mrl_edge.bench.report_devices import ResultsFile
from mrl_edge.bench.report_peers import read_peers
from mrl_edge.bench.reproduce import asked as named
from mrl_edge.bench.reproduce import bench_command
from mrl_edge.bench.results import ClassThird, IndexPlan, Narrowing, System, read_results, write_results
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


def on(name, *rows, cpu=None, **settings):
    """Results of another machine."""
    content = results(*rows)
    device = msgspec.structs.replace(content.device, name=name, cpu=cpu or f"cpu of {name}")
    return msgspec.structs.replace(content, device=device, settings={**content.settings, **settings})


def test_an_unknown_p99_is_null():
    looped = msgspec.structs.replace(ROWS[-1].query, p99_ms=None, loops=4)
    (file,) = page_of(results(*ROWS[:-1], msgspec.structs.replace(ROWS[-1], query=looped))).data["devices"]
    assert [row["p99_ms"] is None for row in file["rows"]] == [False] * 5 + [True]


def full_of(*files):
    return [[one["ndcg_at_10"] for one in device["full"]] for device in page_of(*files).data["devices"]]


def test_the_full_model_is_the_one_that_pick_takes_shares_of():
    assert full_of(results(*ROWS)) == [[ROWS[-1].quality.ndcg_at_10]]
    assert full_of(results(*ROWS[:3])) == [[]]
    too_large = msgspec.structs.replace(ROWS[-1], status="out_of_memory")  # fp32 at 64 is not the full model then
    assert full_of(results(*ROWS[:-1], too_large)) == [[]]
    tuned = results(*ROWS[:-1])
    known = Narrowing({"too slow": 3}, 6, 384, {"ndcg_at_10": 0.9})
    assert full_of(msgspec.structs.replace(tuned, narrowing=known)) == [[0.9]]
    assert full_of(msgspec.structs.replace(tuned, narrowing=Narrowing({"too slow": 3}))) == [[]]


def test_a_board_that_could_not_run_the_full_model_is_held_to_another_boards():
    both = page_of(results(*ROWS), on("pi4", *ROWS[:3]))
    assert full_of(results(*ROWS), on("pi4", *ROWS[:3])) == [[ROWS[-1].quality.ndcg_at_10]] * 2
    assert [device["full_elsewhere"] for device in both.data["devices"]] == [False, True]
    assert both.data["devices"][1]["pick_all"] == "mrl-edge pick device-0.json device-1.json"
    other = on("pi4", *ROWS[:3], data_sha256="another")
    assert full_of(results(*ROWS), other) == [[ROWS[-1].quality.ndcg_at_10], []]


def test_what_tune_left_out_is_said():
    tuned = msgspec.structs.replace(results(*ROWS[:2]), narrowing=Narrowing({"cannot be better than what fits": 7}))
    text = " ".join(page_of(tuned).cells)
    assert "mrl-edge tune measured device-0.json for one budget and left out 7 configurations" in text
    assert "cannot be better than what fits" in text


def test_devices_stand_side_by_side_and_what_differs_is_said():
    slower = [
        measurement(r.precision, r.dim, encode_ms=9.0, search_ms=0.2, ndcg=r.quality.ndcg_at_10) for r in ROWS[:4]
    ]
    both = page_of(results(*ROWS), on("pi4", *slower))
    assert [device["label"] for device in both.data["devices"]] == [results().device.cpu, "pi4"]
    text = " ".join(both.cells)
    assert "The 4 configurations that several devices measured" in text
    assert "9.20" in text
    assert "These files measured different" not in text
    board = on("pi4", *slower)
    other = msgspec.structs.replace(board, bundle=msgspec.structs.replace(board.bundle, name="other", sha256="1" * 64))
    text = " ".join(page_of(results(*ROWS), other).cells)
    assert "different bundles" in text
    assert "that several devices measured" not in text
    assert "model, other" in text


def test_a_configuration_is_paired_by_what_was_asked_and_named_over_all_boards():
    """One board ran three layers and six, the other three alone; each tuned its index to a shortlist of its own."""

    def row(depth, shortlist):
        made = measurement("int8", 8, search_ms=0.2, ndcg=0.5)
        search = msgspec.structs.replace(made.search, index="scan", shortlist=shortlist, rerank_dim=384)
        return msgspec.structs.replace(made, depth=depth, search=search, plan=IndexPlan("scan", tuned=True))

    page = page_of(on("a", row(3, 50), row(6, 60)), on("b", row(3, 90)))
    assert "The 1 configurations that several devices measured" in " ".join(page.cells)
    assert "int8 at dimension 8, stopped after layer 3, scan tuned search" in page.cells
    (alone,) = page.data["devices"][1]["rows"]
    assert alone["name"] == "int8 at dimension 8, stopped after layer 3, scan search, 90 hits reranked at 384"


def test_files_of_one_machine_are_one_device_as_pick_takes_them(tmp_path):
    again = measurement("fp32", 384, encode_ms=2.0, search_ms=0.2, rss_mb=180, ndcg=0.8)  # in the place of the first's
    (device,) = page_of(results(*ROWS), results(again)).data["devices"]
    assert len(device["rows"]) == len(ROWS)
    assert [row["p50_ms"] for row in device["rows"] if (row["precision"], row["dim"]) == ("fp32", 384)] == [2.2]
    for name, content in (("a.json", results(*ROWS)), ("b.json", results(again))):
        write_results(tmp_path / name, content)
    answer = json.loads(run_here("pick", tmp_path / "a.json", tmp_path / "b.json", "--json").stdout)
    best = max(device["rows"], key=lambda row: row["ndcg_at_10"])
    assert (answer["name"], answer["p50_ms"]) == (best["name"], best["p50_ms"])
    assert device["pick"] == "mrl-edge pick device-0.json device-1.json"


def test_files_of_one_machine_that_do_not_compare_stand_apart():
    large, small = (on("local", *ROWS, cpu="a cpu", data_sha256=str(n), documents=n) for n in (10_000, 1000))
    page = page_of(large, small)
    assert [device["label"] for device in page.data["devices"]] == ["device-0.json on a cpu", "device-1.json on a cpu"]
    text = " ".join(page.cells)
    assert "over 1,000 and 10,000 documents" in text
    assert "they do not compare, neither in quality nor in what a search takes of time, memory and disk" in text


def test_a_machine_held_to_a_board_is_itself():
    content = results(*ROWS)
    device = msgspec.structs.replace(content.device, name="pi-zero-2w", capped_to="pi-zero-2w", cpu="a cpu")
    page = page_of(msgspec.structs.replace(content, device=device))
    assert page.data["devices"][0]["label"] == "a cpu, held to a pi-zero-2w"
    assert "Its times are of this machine's processor" in " ".join(page.cells)


def test_why_latencies_are_in_doubt_and_a_slowed_or_busy_machine_is_said():
    def moved(row, *doubts, **seen):
        query = msgspec.structs.replace(row.query, stable=False, doubts=doubts)
        return msgspec.structs.replace(row, query=query, **seen)

    busy = System(61.0, 3.0)
    rows = [moved(ROWS[0], "bimodal"), moved(ROWS[1], "bimodal", "drift"), moved(ROWS[2], "few samples", system=busy)]
    text = " ".join(page_of(results(*rows, msgspec.structs.replace(ROWS[3], throttled=True), *ROWS[4:])).cells)
    assert "3 of 6 latencies" in text
    assert "2 at two speeds, 1 that drifted meanwhile, 1 of few samples" in text
    assert "was throttled during 1 of 6 measurements" in text
    assert "Other work took up to 61%" in text
    assert "just before 1 of 6" in text
    quiet = " ".join(page_of(results(*ROWS)).cells)
    for word in ("in doubt", "throttled", "Other work"):
        assert word not in quiet


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


def test_the_page_opens_with_a_budget(tmp_path):
    path, out = tmp_path / "results.json", tmp_path / "page.html"
    write_results(path, results(*ROWS))
    limits = ("--max-p50-ms", "2.5", "--keep-ndcg", "0.1", "--confidence", "0.9")
    mrl_edge_here("report", path, *limits, "--out", out)
    page = Page(out.read_text(encoding="utf-8"))
    answer = json.loads(run_here("pick", path, *limits, "--json").stdout)
    assert answer["name"] in page.cells  # without a script
    assert answer["why"][0] in page.cells
    assert page.data["budget"] == {"max": {"p50_ms": 2.5}, "min": {}, "keep": {"ndcg_at_10": 0.1}, "confidence": 0.9}
    assert page.data["confidences"] == [0.9, 0.95]
    given = ["mrl-edge", "report", str(path), "--out", str(out), *limits]
    assert sorted(shlex.split(page.cells[page.cells.index("This page") + 1])) == sorted(given)
    shown = f"mrl-edge pick {path} --max-p50-ms 2.5 --keep-ndcg 0.1 --confidence 0.9 --objective ndcg_at_10"
    assert shown in page.cells


def test_nothing_fits_the_budget_that_the_page_opens_with():
    cells = page_of(results(*ROWS), budget=Budget(max={"p50_ms": 0.5})).cells
    assert "Nothing fits" in cells
    assert any(cell.startswith("With p50 of a query 1.4 ms instead of 0.5 it would be int8") for cell in cells)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[utility]\nndcg_at_10 = 1.0\np50_ms = -0.1", "utility"),
        ("corpus = 5000", "corpus"),
        ("[min]\nmrr_at_10 = 0.1", "min.mrr_at_10"),
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


def test_every_figure_is_in_the_table():
    quality = msgspec.structs.replace(ROWS[0].quality, mrr_at_10=0.123, map_at_10=0.234, knn_top1=0.345)
    encode = msgspec.structs.replace(ROWS[0].encode, p50_ms=7.89, ci95_ms=(7.11, 8.22))
    cells = page_of(results(msgspec.structs.replace(ROWS[0], quality=quality, encode=encode))).cells
    wanted = {"MRR@10": "0.123", "MAP@10": "0.234", "1-NN accuracy": "0.345", "encoding alone": "7.89"}
    assert wanted.keys() <= set(cells)
    assert set(wanted.values()) <= set(cells)
    assert "7.11–8.22" in cells


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
    told = dict(pairwise(shlex.split(bench_command(board, "out.json"))))
    assert (told["--max-documents"], told["--device"]) == ("1200", "USER@HOST")
    here = shlex.split(bench_command(results(*ROWS), "out.json"))
    assert "--device" not in here
    assert "--max-documents" not in here
    device = msgspec.structs.replace(results().device, name="pi-zero-2w", capped_to="pi-zero-2w")
    capped = shlex.split(bench_command(msgspec.structs.replace(results(*ROWS), device=device), "out.json"))
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
    assert page.data["devices"][0]["label"] == evil  # and no letter of it is lost


def test_failed_configurations_are_named_with_their_reason():
    failed = msgspec.structs.replace(ROWS[1], status="out_of_memory", reason="the kernel killed the process (SIGKILL)")
    batch = msgspec.structs.replace(ROWS[1], plan=None, status="failed", batch=32)
    cells = page_of(results(ROWS[0], failed, batch)).cells
    assert "int8 d64-L6 annoy: out_of_memory, the kernel killed the process (SIGKILL)" in cells
    assert "int8 d64-L6 batch 32: failed" in cells


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
