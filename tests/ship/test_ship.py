"""What is shipped answers as the bundle does, holds no more than it needs, and needs no more than it says."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import needs_usearch, run_here, the_one_error_line
from onnx import external_data_helper, numpy_helper
from ship.choices import write_choice
from train.untrained import CLASSES

import mrl_edge
from mrl_edge.app import open_app
from mrl_edge.bundle import open_bundle
from mrl_edge.bundle_levels import adaptive_classes, adaptive_search
from mrl_edge.errors import BundleError, UsageError
from mrl_edge.index.candidates import list_count
from mrl_edge.nesting import prefix
from mrl_edge.search import Search

QUERIES = ("some words", "abc de f", "zyx")
K = 10


def ship(bundle, choice, out, *options):
    done = run_here("ship", bundle, "--pick", choice, "--out", out, "--no-verify", *options)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="session")
def embedded(small, documents):
    """The documents and queries at full dimension by the bundle's own encoder, by depth."""
    found = {}
    for depth in (1, 2):
        encoder = mrl_edge.load(small, None, "fp32", depth)
        found[depth] = encoder.encode(documents, "document"), encoder.encode(list(QUERIES), "query")
    return found


@pytest.fixture(scope="session")
def shipped(small, tmp_path_factory):
    """A folder with a scan at dimension 10; tests must not change it."""
    folder = tmp_path_factory.mktemp("shipped")
    ship(small, write_choice(small, folder / "choice.json"), folder / "app")
    return folder / "app"


def assert_exact(search, embedded, dim, documents, tolerance=1e-5):
    """Compare the hits of each query with numpy's order of the cosines."""
    stored, queries = embedded
    for query, vector in zip(QUERIES, prefix(queries, dim), strict=True):
        cosines = prefix(stored, dim) @ vector
        hits = search(query)
        assert [hit.text for hit in hits] == [documents[hit.id] for hit in hits]
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(cosines)[::-1][:K], atol=tolerance)
        np.testing.assert_allclose(cosines[[hit.id for hit in hits]], [hit.score for hit in hits], atol=tolerance)


ALL = {"lists": list_count(400), "cluster_dim": 10}
EXHAUSTIVE = {  # searches that leave nothing out: their answers are known
    "scan": ({"index": "scan"}, 10),
    "scan, reranked": ({"index": "scan", "dim": 4, "shortlist": 400, "rerank_dim": 24}, 24),
    "annoy": ({"index": "annoy", "parameters": {"n_trees": 3, "search_k": 10**6}}, 10),
    "binary": ({"index": "binary", "shortlist": 400, "rerank_dim": 10}, 10),
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


def test_it_runs_with_numpy_onnxruntime_and_tokenizers_alone_in_another_folder(shipped, tmp_path):
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(shipped, moved)
    program = (
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


@needs_usearch
def test_a_graph_of_usearch_is_shipped_and_named_among_what_it_requires(small, choose, embedded, documents, tmp_path):
    graph = {"index": "hnsw", "parameters": {"connectivity": 16, "expansion": 400}, "shortlist": 400, "rerank_dim": 10}
    ship(small, choose(**graph), tmp_path / "app")
    app = open_app(tmp_path / "app")
    assert_exact(lambda query: app.search(query, K), embedded[2], 10, documents)
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
        ({"shortlist": 50, "rerank_dim": 24}, "int8-int4", (10, 24)),
        ({"dim": 4, "shortlist": 50, "rerank_dim": 24}, "int8-int4", (4, 10, 24)),
    ):
        ship(small, choose(vectors="int8-int4", **changes), tmp_path / "app", "--overwrite")
        vectors = open_app(tmp_path / "app").info.levels[0].index.vectors
        assert (vectors.storage, vectors.dims) == (storage, dims)


def test_a_bundles_own_dimensions_and_exits_are_levels_too(small):
    search = adaptive_search(small, threads=1)
    search.warm_up("abc", 3)
    assert [level.name for level in search.levels] == ["d10-L2", "d4-L2"]
    for deadline_ms, dim in ((None, 10), (1e-6, 4), (60_000, 10)):
        answer = search("abc de f", 3, deadline_ms=deadline_ms)
        assert answer.level == f"d{dim}-L2"
        assert answer.value == Search(small, dim, threads=1)("abc de f", 3)
    with pytest.raises(UsageError, match="dimension 24"):
        adaptive_search(small, [24])
    classes = adaptive_classes(small, [(24, 2), (4, 1)], threads=1)
    classes.warm_up("abc")
    for deadline_ms, dim, depth in ((None, 24, 2), (1e-6, 4, 1)):
        wanted = mrl_edge.load(small, dim, "fp32", depth).classify(["abc de f"])[0]
        np.testing.assert_allclose(classes("abc de f", deadline_ms=deadline_ms).value, wanted, atol=1e-6)


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


def test_levels_share_their_bytes_and_each_answers_for_its_depth(small, choose, embedded, documents, tmp_path):
    ship(small, choose(dim=24), tmp_path / "alone")
    ship(small, choose(dim=24), tmp_path / "app", "--also", "d4,d10-L1")
    app = open_app(tmp_path / "app")
    assert [level.name for level in app.info.levels] == ["d24-L2", "d4-L2", "d10-L1"]
    for number, (dim, depth) in enumerate([(24, 2), (4, 2), (10, 1)]):
        assert_exact(lambda query, at=number: app.level(at).search(query, K), embedded[depth], dim, documents)
    sizes = [(tmp_path / name / "model" / "weights.bin").stat().st_size for name in ("alone", "app")]
    heads = 4 * 32 * 10  # of the exit after layer 1; its classes are few
    assert sizes[0] < sizes[1] < sizes[0] + heads + 3 * 4096
    assert app.info.levels[2].resident_bytes < app.info.levels[1].resident_bytes < app.info.levels[0].resident_bytes


def test_a_deadline_that_only_the_least_level_meets_steps_down_and_none_steps_back(small, choose, documents, tmp_path):
    """Real levels and a real clock: the best one pays for a text of the model's greatest length, the other does not."""
    ship(small, choose(dim=24), tmp_path / "app", "--also", "d4-L1")
    app = open_app(tmp_path / "app", threads=1)
    app.warm_up("abc")
    assert app.ask("abc").level == "d24-L2"
    stepped = app.ask("abc", deadline_ms=1e-6)
    assert stepped.level == "d4-L1"
    assert [hit.id for hit in stepped.value] == [hit.id for hit in app.level(1).search("abc", K)]
    assert app.ask("abc", deadline_ms=60_000).level == "d24-L2"
    smallest = app.info.levels[1].resident_bytes
    assert app.ask("abc", max_bytes=smallest).level == "d4-L1"
    with pytest.raises(UsageError, match="no level fits"):
        app.ask("abc", max_bytes=smallest - 1)


def test_a_funnel_ranks_again_at_every_step(small, choose, embedded, documents, tmp_path):
    ship(small, choose(dim=4), tmp_path / "app", "--funnel", "60@10,20@24")
    app = open_app(tmp_path / "app")
    stored, queries = embedded[2]
    for query, vector in zip(QUERIES, queries, strict=True):
        left = np.arange(len(documents))
        for dim, keep in ((4, 60), (10, 20), (24, K)):
            cosines = prefix(stored[left], dim) @ prefix(vector[None, :], dim)[0]
            left = left[np.argsort(-cosines, kind="stable")[:keep]]
        assert [hit.id for hit in app.search(query, K)] == left.tolist()


def test_a_choice_without_an_index_ships_no_corpus_and_classifies_or_encodes(small, choose, tmp_path):
    ship(small, choose(index=None, vectors=None), tmp_path / "app", "--also", "d4-L1")
    app = open_app(tmp_path / "app")
    assert not (tmp_path / "app" / "index").exists()
    best, least = (mrl_edge.load(small, dim, "fp32", depth) for dim, depth in ((10, 2), (4, 1)))
    np.testing.assert_allclose(app.encode(QUERIES), best.encode(QUERIES, "query"), atol=1e-6)
    shares = best.classify(list(QUERIES))
    assert [app.ask(text).value[0].text for text in QUERIES] == [CLASSES[row.argmax()] for row in shares]
    with pytest.raises(UsageError, match="without documents"):
        app.search("abc")
    for threshold, encoder in ((0.0, least), (1.1, best)):
        chosen, probability, by = app.adaptive_classifier([threshold])("abc de f")
        row = encoder.classify(["abc de f"])[0]
        assert (chosen, by.dim) == (CLASSES[row.argmax()], encoder.dim)
        assert probability == pytest.approx(row.max(), abs=1e-5)


def test_documents_stored_with_less_than_was_picked_are_embedded_again_and_it_says_so(
    small, choose, embedded, documents, tmp_path
):
    bundle = tmp_path / "bundle"
    shutil.copytree(small, bundle)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    done = run_here("index", bundle, corpus, "--tune", "--kinds", "scan", "--vectors", "int8", "--dims", "10")
    assert done.returncode == 0, done.stderr
    shipped = ship(bundle, choose(vectors="fp32"), tmp_path / "app")
    assert f"{len(documents)} documents are embedded again, fp32 by fp32 at depth 2" in shipped.stderr
    app = open_app(tmp_path / "app")
    assert_exact(lambda query: app.search(query, K), embedded[2], 10, documents)


@pytest.mark.parametrize("file", ["model/weights.bin", "index/vectors.bin", "mrl_edge/app.py", "tokenizer.json"])
def test_a_changed_or_missing_file_is_named(shipped, tmp_path, file):
    app = tmp_path / "app"
    shutil.copytree(shipped, app)
    path = app / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=f"{path.name} is not the file that was shipped"):
        open_app(app)
    path.unlink()
    with pytest.raises(BundleError, match=f"{path.name} is missing"):
        open_app(app)


def test_every_file_is_listed_and_the_manifest_itself_is_checked(small, shipped, tmp_path):
    app = tmp_path / "app"
    shutil.copytree(shipped, app)
    said = json.loads((app / "app.json").read_text())
    there = {path.relative_to(app).as_posix() for path in app.rglob("*") if path.is_file()}
    assert set(said["files"]) | {"app.json"} == there
    assert said["bundle_sha256"] == open_bundle(small).identity()
    for change, message in (
        ({"schema_version": 9}, "newer"),
        ({"files": {"../x": {"bytes": 1, "sha256": ""}}}, "outside"),
        ({"levels": 3}, "damaged"),
    ):
        (app / "app.json").write_text(json.dumps({**said, **change}))
        with pytest.raises(BundleError, match=message):
            open_app(app)
    (app / "app.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        open_app(app)


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
    assert_unpacks_to(tmp_path / "app", zstandard.ZstdDecompressor().decompress(archives[0]), tmp_path / "one")
    if shutil.which("zstd"):
        from mrl_edge.ship.archive import write_archive

        monkeypatch.setitem(sys.modules, "zstandard", None)  # as where it is not installed
        assert write_archive(tmp_path / "app", tmp_path / "two.tar.zst") == shutil.which("zstd")
        unpacked = subprocess.run(["zstd", "-dc", tmp_path / "two.tar.zst"], capture_output=True, check=True).stdout
        assert_unpacks_to(tmp_path / "app", unpacked, tmp_path / "two")


def assert_unpacks_to(folder, tar, place):
    place.mkdir()
    (place / "app.tar").write_bytes(tar)
    with tarfile.open(place / "app.tar") as opened:
        opened.extractall(place, filter="data")
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    unpacked = place / "app"
    assert {p.relative_to(unpacked): p.read_bytes() for p in unpacked.rglob("*") if p.is_file()} == files
    open_app(unpacked)


def test_the_server_of_the_unit_answers_over_http(small, choose, embedded, tmp_path):
    ship(small, choose(dim=24), tmp_path / "app", "--also", "d4-L1", "--systemd")
    unit = tmp_path / "app" / "app.service"
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
        complaints = [
            line for line in done.stderr.splitlines() if "app.service" in line and "not executable" not in line
        ]
        assert complaints == []
    process = subprocess.Popen(
        [sys.executable, "-B", tmp_path / "app" / "serve.py", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        address = process.stdout.readline().strip().partition("?")[0]
        answer = get(f"{address}?text=abc%20de%20f&k=3")
        stored, queries = embedded[2]
        assert [row["id"] for row in answer["rows"]] == np.argsort(-(stored @ queries[1]))[:3].tolist()
        assert answer["level"] == "d24-L2"
        assert get(f"{address}?text=abc&deadline_ms=0.000001")["level"] == "d4-L1"
        for wrong in ("", "?text=a&k=many", "?text=a&deadline_ms=soon"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(f"{address}{wrong}")
            assert refused.value.code == 400
    finally:
        process.terminate()
        process.wait(timeout=10)


def get(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"fits": False}, (), "nothing fits"),
        ({"sha256": "0" * 64}, (), "is a choice for the bundle"),
        ({"precision": "int8"}, (), "has no int8 at depth 2 for any"),
        ({"target": "cuda"}, (), "for cuda"),
        ({"dim": 11}, (), "no graph for dimension 11"),
        ({"index": "faiss"}, (), "unknown kind of index faiss"),
        ({"index": "ivf"}, (), "the choice does not say lists, cluster_dim"),
        ({"vectors": "int3"}, (), "cannot be stored as int3"),
        ({"runtime": 3}, (), "is no choice of mrl-edge pick"),
        ({"index": "ivf", "parameters": {"lists": 999, "cluster_dim": 10, "probes": 1}}, (), "999 lists"),
        ({"index": "ivf", "parameters": {"lists": 9, "cluster_dim": 11, "probes": 1}}, (), "dimension 11"),
        ({}, ("--also", "d4-L3"), "has depths 1, 2"),
        ({}, ("--also", "d10"), "shipped already"),
        ({}, ("--also", "small"), "as in d32,d16-L3"),
        ({}, ("--funnel", "20@4"), "must ascend"),
        ({}, ("--funnel", "20"), "as in 200@64"),
        ({"index": None}, ("--funnel", "20@24"), "needs an index"),
    ],
)
def test_what_cannot_be_shipped_is_one_line_and_leaves_nothing(small, choose, tmp_path, changes, options, message):
    choice = choose(**changes)
    done = run_here("ship", small, "--pick", choice, "--out", tmp_path / "app", "--no-verify", *options)
    assert message in the_one_error_line(done)
    assert [path.name for path in tmp_path.iterdir()] == ["choice.json"]


def test_neither_a_wrong_file_nor_what_is_there_is_mistaken(small, choose, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "mine.txt").write_text("mine")
    choice = choose()
    options = ("--pick", choice, "--out", tmp_path / "app", "--no-verify")
    assert "already exists" in the_one_error_line(run_here("ship", small, *options))
    assert "not ours" in the_one_error_line(run_here("ship", small, *options, "--overwrite"))
    other = ("--out", tmp_path / "new", "--no-verify")
    assert "no such file" in the_one_error_line(run_here("ship", small, "--pick", tmp_path / "none.json", *other))
    choice.write_text('{"fits": true}')
    assert "names no bundle" in the_one_error_line(run_here("ship", small, "--pick", choice, *other))


def test_a_folder_that_does_not_answer_as_the_bundle_is_not_shipped(small, choose, tmp_path, monkeypatch):
    """The graph that is written is damaged on the way, as a wrong offset would: the comparison must see it."""
    from mrl_edge.export import repack

    honest = repack._copy

    def wrong(old, new, ranges):
        honest(old, new, ranges)
        content = np.fromfile(new, dtype="<f4")
        (content * np.float32(1.5) + np.float32(0.1)).tofile(new)

    monkeypatch.setattr(repack, "_copy", wrong)
    done = run_here("ship", small, "--pick", choose(), "--out", tmp_path / "app", "--no-verify")
    assert "as the bundle does" in the_one_error_line(done)
    assert not (tmp_path / "app").exists()


def test_in_a_fresh_environment_it_answers_as_the_bundle_does(small, choose, tmp_path):
    done = run_here("ship", small, "--pick", choose(), "--out", tmp_path / "app", "--json")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)["shipped"]["check"]
    if not seen["fresh"]:
        pytest.skip(seen["where"])
    assert seen["texts"] == 20
    assert seen["difference"] < 1e-5
    assert 0 < seen["printed_ms"] < seen["caller_ms"]


def test_where_packages_cannot_be_had_it_says_so_and_compares_with_this_python(small, choose, tmp_path):
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    command = [sys.executable, "-m", "mrl_edge", "ship", small, "--pick", choose(), "--out", tmp_path / "app", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)["shipped"]["check"]
    assert not seen["fresh"]
    assert "pip cannot install" in seen["where"]
    assert seen["difference"] < 1e-5


def test_an_image_encoder_is_refused_in_one_line(tmp_path, choose):
    from train.image_encoders import tiny_vit

    pytest.importorskip("PIL")
    images = sample_images(tmp_path / "images")
    vit = tiny_vit(tmp_path / "vit")
    done = run_here("export", vit, "--out", tmp_path / "bundle", "--precision", "fp32", "--dims", "4,16", *images)
    assert done.returncode == 0, done.stderr
    manifest = open_bundle(tmp_path / "bundle").manifest
    choice = choose(bundle=tmp_path / "bundle", dim=4, depth=manifest.depths[-1], index=None, vectors=None)
    done = run_here("ship", tmp_path / "bundle", "--pick", choice, "--out", tmp_path / "app", "--no-verify")
    assert "embeds images" in the_one_error_line(done)


def sample_images(folder):
    from PIL import Image

    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(20):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{number}.png")
    return ("--images", folder)
