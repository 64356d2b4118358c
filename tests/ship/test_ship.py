"""What is shipped finds what the bundle finds, holds no more than it needs, and needs no more than it says."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import onnx
import pytest
from conftest import leftovers, needs_usearch, run_here, the_one_error_line
from jsonschema import Draft202012Validator
from onnx import external_data_helper, numpy_helper
from ship.shipping import QUERIES, K, assert_exact, funnel, ship

from mrl_edge.app import open_app
from mrl_edge.cli import schema
from mrl_edge.errors import BundleError
from mrl_edge.index.candidates import list_count
from mrl_edge.search import Search
from mrl_edge.ship.run import gains_nothing

ALL = {"lists": list_count(400), "cluster_dim": 10}
RERANKED = {"shortlist": 400, "rerank_dim": 24}
EXHAUSTIVE = {  # searches that leave nothing out: their answers are known
    "scan": ({"index": "scan"}, 10),
    "scan, reranked": ({"index": "scan", "dim": 4, "shortlist": 400, "rerank_dim": 24}, 24),
    "annoy": ({"index": "annoy", "parameters": {"n_trees": 3, "search_k": 10**6}}, 10),
    "annoy by dot": (
        {"index": "annoy-dot", "parameters": {"metric": "dot", "n_trees": 3, "search_k": 10**6}},
        10,
    ),
    "binary": ({"index": "binary", "shortlist": 400, "rerank_dim": 10}, 10),
    "annoy, reranked": (
        {"index": "annoy", "dim": 4, "parameters": {"n_trees": 3, "search_k": 10**6}, **RERANKED},
        24,
    ),
    "binary, reranked": ({"index": "binary", "dim": 4, **RERANKED}, 24),
    "ivf": ({"index": "ivf", "dim": 4, "parameters": {**ALL, "probes": ALL["lists"]}}, 4),
    "int8": ({"index": "scan", "vectors": "int8"}, 10),
    "int8-int4": ({"index": "scan", "dim": 4, "vectors": "int8-int4", "shortlist": 400, "rerank_dim": 24}, 24),
}


COARSE = {"int8": 0.01, "int8-int4": 0.05}


@pytest.mark.parametrize("name", EXHAUSTIVE)
def test_the_folder_finds_what_numpy_finds(small, choose, embedded, documents, tmp_path, name):
    changes, dim = EXHAUSTIVE[name]
    ship(small, choose(**changes), tmp_path / "app")
    app = open_app(tmp_path / "app")
    assert_exact(lambda query: app.search(query, K), embedded[2], dim, documents, COARSE.get(name, 1e-5))


def test_a_funnel_that_was_picked_ranks_again_at_every_step(small, choose, embedded, tmp_path):
    steps = [{"shortlist": 60, "dim": 10}, {"shortlist": 20, "dim": 24}]
    ship(small, choose(dim=4, shortlist=60, rerank_dim=24, funnel=steps), tmp_path / "app")
    app = open_app(tmp_path / "app")
    stored, queries = embedded[2]
    found = [[hit.id for hit in app.search(query, K)] for query in QUERIES]
    assert found == [funnel(stored, vector, (4, 60), (10, 20), (24, K)) for vector in queries]
    assert found != [funnel(stored, vector, (4, 60), (24, K)) for vector in queries]


def test_it_runs_with_numpy_onnxruntime_and_tokenizers_alone_in_another_folder(shipped, tmp_path):
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(shipped, moved)
    program = (
        "import os; os._exit = lambda code: None  # the example ends its process, and here it is asked what it loaded\n"
        f"import sys, runpy; sys.argv = ['example.py', 'abc de f', '--json']; sys.path.insert(0, {str(moved)!r})\n"
        f"runpy.run_path({str(moved / 'example.py')!r}, run_name='__main__')\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))\n"
        "import mrl_edge; print(mrl_edge.__file__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd="/", check=True)
    answer, modules, ours = done.stdout.splitlines()
    assert len(json.loads(answer)["rows"]) == K
    loaded = set(json.loads(modules.replace("'", '"')))
    assert {"numpy", "onnxruntime", "tokenizers"} <= loaded
    assert not loaded & {"msgspec", "psutil", "rich", "typer", "onnx", "torch", "annoy", "PIL", "usearch"}
    assert Path(ours) == moved / "mrl_edge" / "__init__.py"
    assert {line.partition("==")[0] for line in (moved / "requirements.txt").read_text().split()} == {
        "numpy", "onnxruntime", "tokenizers",
    }  # fmt: skip


def test_the_example_is_30_lines_and_says_in_one_what_is_wrong(shipped):
    example = shipped / "example.py"
    assert len(example.read_text().splitlines()) <= 30

    def ask(*arguments, given=None):
        command = [sys.executable, str(example), *arguments]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False)

    done = ask("--json", "--level", "d10-L2", "-", given=json.dumps(["abc de f", "two\nlines"]))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["text"] for answer in answers] == ["abc de f", "two\nlines"]
    hits = open_app(shipped).search("two\nlines", K)
    assert answers[1]["rows"] == [[hit.id, pytest.approx(hit.score), hit.text] for hit in hits]
    for arguments, given, message in (
        (("a", "--level", "d7"), None, "there is no level d7: there is d10-L2"),
        (("-",), "[", "Expecting value"),
        (("-",), "5", "not iterable"),
        ((), None, "required: texts"),
    ):
        done = ask(*arguments, given=given)
        assert done.returncode == 2
        assert message in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_its_manifest_is_as_the_schema_says_and_refused_where_that_refuses_it(shipped, tmp_path):
    said = json.loads((shipped / "app.json").read_text())
    validator = Draft202012Validator(schema.json_schema(schema.File.app))
    assert list(validator.iter_errors(said)) == []
    for key in said:
        worse = {name: value for name, value in said.items() if name != key}
        assert not validator.is_valid(worse), key
        (tmp_path / "app.json").write_text(json.dumps(worse))
        with pytest.raises(BundleError, match="damaged"):
            open_app(tmp_path)


@needs_usearch
def test_a_graph_of_usearch_is_shipped_and_named_among_what_it_requires(small, choose, embedded, documents, tmp_path):
    graph = {"index": "hnsw", "parameters": {"connectivity": 16, "expansion": 400}, "shortlist": 400}
    ship(small, choose(**graph, dim=4, rerank_dim=24), tmp_path / "app")
    app = open_app(tmp_path / "app")
    assert_exact(lambda query: app.search(query, K), embedded[2], 24, documents)
    assert "usearch==" in (tmp_path / "app" / "requirements.txt").read_text()


def test_the_bundles_own_index_is_shipped_where_it_is_that_of_the_choice(small, choose, tmp_path):
    ship(small, choose(index="annoy"), tmp_path / "app")
    assert (tmp_path / "app" / "index" / "d10.ann").read_bytes() == (small / "index" / "d10.ann").read_bytes()
    assert not (tmp_path / "app" / "index" / "vectors.bin").exists()  # Annoy has its own copy
    theirs, app = Search(small, 10, threads=1), open_app(tmp_path / "app")
    for query in QUERIES:
        assert [hit.id for hit in app.search(query, K)] == [hit.id for hit in theirs(query, K)]
    assert "annoy==" in (tmp_path / "app" / "requirements.txt").read_text()


def test_of_packed_columns_only_what_is_read_is_shipped(small, choose, tmp_path):
    for changes, storage, dims in (
        ({}, "int8", (10,)),
        ({"dim": 4, "shortlist": 50, "rerank_dim": 24}, "int8-int4", (4, 10, 24)),
    ):
        ship(small, choose(vectors="int8-int4", **changes), tmp_path / "app", "--overwrite")
        vectors = open_app(tmp_path / "app").info.levels[0].index.vectors
        assert (vectors.storage, vectors.dims) == (storage, dims)


def tensors(graph):
    model = onnx.load(graph, load_external_data=False)
    found = {}
    for tensor in model.graph.initializer:
        if external_data_helper.uses_external_data(tensor):
            said = external_data_helper.ExternalDataInfo(tensor)
            content = (graph.parent / said.location).read_bytes()[said.offset : said.offset + said.length]
            found[tensor.name] = content, (said.offset, said.offset + said.length)
        else:
            found[tensor.name] = numpy_helper.to_array(tensor).tobytes(), None
    return found


def test_the_weights_are_the_graphs_own_bytes_and_no_others(small, choose, tmp_path):
    ship(small, choose(depth=1, dim=4, index=None, vectors=None), tmp_path / "app")
    graph = tmp_path / "app" / "model" / "d4-L1.onnx"
    ours, theirs = tensors(graph), tensors(small / "fp32" / "d4-L1.onnx")
    assert {name: content for name, (content, _) in ours.items()} == {
        name: content for name, (content, _) in theirs.items()
    }
    used = sorted(place for _, place in ours.values() if place)
    size = (graph.parent / "weights.bin").stat().st_size
    assert size == used[-1][1]
    for (_, end), (start, _) in pairwise(used):
        assert 0 <= start - end < 4096  # padding to a page at most
    assert all(start % (4096 if end - start >= 4096 else 64) == 0 for start, end in used)
    assert size < 0.75 * (small / "fp32" / "weights.bin").stat().st_size  # one of two layers, 4 of 24 columns


def test_documents_stored_with_less_than_was_picked_are_embedded_again_and_it_says_so(
    small, choose, embedded, documents, tmp_path
):
    bundle = tmp_path / "bundle"
    shutil.copytree(small, bundle)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    done = run_here("index", bundle, corpus, "--tune", "--kinds", "scan", "--vectors", "int8", "--dims", "10")
    assert done.returncode == 0, done.stderr
    shipped = ship(bundle, choose(vectors="fp32", n_items=7), tmp_path / "app")
    assert f"measured among 7 documents, these are {len(documents)}" in shipped.stderr
    assert f"{len(documents)} documents are embedded again, fp32 by fp32 at depth 2" in shipped.stderr
    app = open_app(tmp_path / "app")
    assert_exact(lambda query: app.search(query, K), embedded[2], 10, documents)


def test_the_archive_is_the_folder_and_the_same_every_time(small, choose, tmp_path, monkeypatch):
    zstandard = pytest.importorskip("zstandard")
    archives = []
    for _ in range(2):
        done = ship(small, choose(), tmp_path / "app", "--archive", "--overwrite", "--json")
        said = json.loads(done.stdout)["archive"]
        assert said["by"].startswith("zstandard")
        archives.append(Path(said["file"]).read_bytes())
        assert said["bytes"] == len(archives[-1])
    assert archives[0] == archives[1]
    unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(archives[0])
    assert_unpacks_to(tmp_path / "app", unpacked, tmp_path / "one")
    if shutil.which("zstd"):
        from mrl_edge.ship.archive import write_archive

        with monkeypatch.context() as hidden:
            hidden.setitem(sys.modules, "zstandard", None)  # as where it is not installed
            assert write_archive(tmp_path / "app", "app", tmp_path / "two.tar.zst") == shutil.which("zstd")
        unpacked = subprocess.run(["zstd", "-dc", tmp_path / "two.tar.zst"], capture_output=True, check=True).stdout
        assert_unpacks_to(tmp_path / "app", unpacked, tmp_path / "two")
    assert_a_full_disk_changes_nothing(small, choose(dim=4), tmp_path / "app", monkeypatch)


def assert_a_full_disk_changes_nothing(small, choice, app, monkeypatch):
    """The disk is full while the archive is packed: neither it nor the folder is another one then."""
    files = app / "app.json", app.with_name("app.tar.zst")
    before = [path.read_bytes() for path in files]

    def full(self, *arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "add", full)
    done = run_here("ship", small, "--pick", choice, "--out", app, "--no-verify", "--archive", "--overwrite")
    assert "disk is full" in the_one_error_line(done)
    assert [path.read_bytes() for path in files] == before
    assert leftovers(app.parent) == []


def assert_unpacks_to(folder, tar, place):
    place.mkdir()
    (place / "app.tar").write_bytes(tar)
    with tarfile.open(place / "app.tar") as opened:
        opened.extractall(place, filter="data")
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    unpacked = place / "app"
    assert {p.relative_to(unpacked): p.read_bytes() for p in unpacked.rglob("*") if p.is_file()} == files
    open_app(unpacked)


def test_in_a_fresh_environment_it_answers_as_the_bundle_does_at_every_level(small, choose, tmp_path):
    options = ("--also", "d10-L1", "--json")
    done = run_here("ship", small, "--pick", choose(), "--out", tmp_path / "app", *options)
    if "pip cannot install" in done.stderr and "CI" not in os.environ:  # who has no network
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)["shipped"]["check"]
    assert (seen["fresh"], seen["texts"]) == (True, 20)
    assert [level["level"] for level in seen["levels"]] == ["d10-L2", "d10-L1"]
    for level in seen["levels"]:
        assert level["difference"] < 1e-5
        assert level["recall_at_10"] > 0.99  # a scan of fp32
        assert 10e6 < level["peak_rss_bytes"] < 1e9
    assert 0 < seen["printed_ms"] < seen["caller_ms"]


def test_where_packages_cannot_be_had_it_says_how_to_go_on_and_leaves_nothing(small, choose, tmp_path, monkeypatch):
    (tmp_path / "none").mkdir()
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(tmp_path / "none")), ("CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(f"PIP_{name}", value)
    (tmp_path / "out").mkdir()
    line = the_one_error_line(run_here("ship", small, "--pick", choose(), "--out", tmp_path / "out" / "app"))
    assert "pip cannot install what the folder requires: ERROR: " in line
    assert "--no-verify" in line
    assert list((tmp_path / "out").iterdir()) == []


def test_a_level_that_costs_as_much_as_a_better_one_is_named(shipped):
    info = open_app(shipped).info
    best = info.levels[0]

    def notes(depth, share):
        level = replace(best, name="lesser", depth=depth, resident_bytes=int(share * best.resident_bytes))
        return gains_nothing(replace(info, levels=(best, level)))

    (note,) = notes(2, 0.99)
    assert note.startswith("lesser gains next to nothing over d10-L2")
    assert notes(2, 0.9) == notes(1, 0.99) == ()
