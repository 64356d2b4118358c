"""`mrl-edge index` as its user meets it: options that make no sense, older indexes, corpora that are tiny or cut."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import leftovers, mrl_edge_here, run_here, the_one_error_line

from mrl_edge.bundle import open_bundle
from mrl_edge.index.build import Corpus, build_index
from mrl_edge.index.corpus import open_index, open_vectors
from mrl_edge.index.kept import KeptEmbeddings
from mrl_edge.progress import silent


@pytest.fixture
def own_tiny(tiny_bundle, tmp_path):
    """A copy of the tiny bundle to be indexed."""
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


def test_an_index_of_an_earlier_version_is_named_and_can_be_replaced(own_tiny):
    corpus = own_tiny.parent / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": f"document {i}"}) + "\n" for i in range(30)))
    mrl_edge_here("index", own_tiny, corpus, "--dims", "8")
    identity = open_bundle(own_tiny).identity()
    manifest = json.loads((own_tiny / "bundle.json").read_text())
    index = manifest["index"]
    old = {"vectors": "index/vectors.bin", "sizes": [{"dim": 8, "n_trees": 4}], "documents": index["documents"]}
    (own_tiny / "bundle.json").write_text(json.dumps({**manifest, "schema_version": 1, "index": old}))
    line = the_one_error_line(run_here("search", own_tiny, "document 7", "--dim", "8"))
    assert "its index was made by an earlier version: run mrl-edge index again" in line
    assert open_bundle(own_tiny).identity() == identity
    mrl_edge_here("index", own_tiny, corpus, "--dims", "8,16")
    assert len(json.loads(mrl_edge_here("search", own_tiny, "document 7", "--dim", "16", "--json"))) == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--kinds", "scan"), "--kinds scan needs --tune"),
        (("--kinds", "annoy-dot,annoy"), "one of annoy, annoy-dot, annoy-euclidean"),
        (("--tune", "--kinds", "lsh"), "--kinds lsh: unknown; there is"),
        (("--vectors", "int3"), "fp32, fp16, int8, int8-int6, int8-int4"),
        (("--tune", "--kinds", "scan", "--max-index-mb", "0.0001"), "--max-index-mb"),
        (("--max-index-mb", "inf"), "--max-index-mb"),
    ],
)
def test_options_that_make_no_sense_leave_the_old_index(own_tiny, options, said):
    corpus = own_tiny.parent / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": f"document {i}"}) + "\n" for i in range(60)))
    assert run_here("index", own_tiny, corpus, "--dims", "8").returncode == 0
    before = open_bundle(own_tiny).manifest
    assert said in the_one_error_line(run_here("index", own_tiny, corpus, *options))
    assert open_bundle(own_tiny).manifest == before
    assert leftovers(own_tiny) == []


@pytest.mark.parametrize("texts", [["only one"], ["one", "two", "three"]])
def test_tiny_corpora_can_be_tuned(own_tiny, texts):
    corpus = own_tiny.parent / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    done = run_here("index", own_tiny, corpus, "--tune", "--vectors", "int8-int4", "--dims", "8,32")
    assert done.returncode == 0, done.stderr
    hits = json.loads(mrl_edge_here("search", own_tiny, "one", "--dim", "8", "-k", "5", "--json"))
    assert sorted(hit["text"] for hit in hits) == sorted(texts)
    assert open_bundle(own_tiny).manifest.index.scored_on == "tuning queries"


def test_the_first_distinct_documents_alone_can_be_indexed(own_tiny):
    corpus = own_tiny.parent / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": f"document {i // 2}"}) + "\n" for i in range(30)))
    mrl_edge_here("index", own_tiny, corpus, "--dims", "8", "--max-documents", "7")
    hits = json.loads(mrl_edge_here("search", own_tiny, "one", "--dim", "8", "-k", "20", "--json"))
    assert sorted(hit["text"] for hit in hits) == [f"document {i}" for i in range(7)]


@pytest.fixture
def own_cache_folder(tmp_path, monkeypatch):
    """A user's cache that nothing else writes to."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mrl-edge" / "embedded"


def words(count):
    return [f"{'abcdefgh'[i % 8]} text {i} {'yz' * (i % 5)}" for i in range(count)]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in words(2500)))
    return path


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
@pytest.mark.parametrize("tune", [(), ("--tune",)])
def test_annoy_of_another_metric_is_built_where_it_is_asked_for_and_finds_the_same(own_tiny, corpus, metric, tune):
    mrl_edge_here("index", own_tiny, corpus, "--dims", "16", "--kinds", f"annoy-{metric}", *tune)
    opened = open_bundle(own_tiny)
    (sized,) = opened.manifest.index.sizes
    assert (sized.kind, sized.parameters["metric"]) == ("annoy", metric)
    index, vectors = open_index(opened, 16), open_vectors(opened)
    cut = vectors[:, : index.dim] / np.linalg.norm(vectors[:, : index.dim], axis=1, keepdims=True)
    found, shares = cut[::50] @ cut.T, []
    for query, cosines in zip(cut[::50], found, strict=True):
        ids, scores = index.search(query, 10)
        np.testing.assert_allclose(scores, cosines[ids], atol=1e-2 if tune else 1e-5)  # int8 rows
        shares.append(np.mean(cosines[ids] >= np.sort(cosines)[-10] - 1e-6))
    assert np.mean(shares) >= 0.9


@pytest.mark.parametrize(("options", "stage"), [((), "sizing the index"), (("--tune",), "tuning")])
def test_an_index_that_is_interrupted_goes_on_without_embedding_again(
    own_tiny, corpus, own_cache_folder, options, stage
):
    before = sorted(own_tiny.rglob("*"))
    command = [sys.executable, "-m", "mrl_edge", "index", str(own_tiny), str(corpus), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if stage in line:
            break
    process.send_signal(signal.SIGINT)
    assert process.stderr.read().splitlines()[-1] == "interrupted"
    assert process.wait(timeout=60) == 130
    assert sorted(own_tiny.rglob("*")) == before
    done = run_here("index", own_tiny, corpus, "--dims", "8")  # other options, the same embeddings
    assert done.returncode == 0
    assert "taking up what was embedded before (2500)" in done.stderr
    assert "embedding the corpus" not in done.stderr
    assert list(own_cache_folder.iterdir()) == []
    taken_up = (own_tiny / "index" / "vectors.bin").read_bytes()
    assert "embedding the corpus (2500)" in run_here("index", own_tiny, corpus, "--dims", "8").stderr
    assert (own_tiny / "index" / "vectors.bin").read_bytes() == taken_up


def test_what_was_embedded_before_ctrl_c_is_taken_up(own_tiny, own_cache_folder):
    def interrupt(stage, done, total, now=""):
        if (stage, done) == ("embedding the corpus", 2048):
            raise KeyboardInterrupt

    bundle, corpus = open_bundle(own_tiny), Corpus(words(2500), None, "words")
    with pytest.raises(KeyboardInterrupt):
        build_index(bundle, corpus, interrupt, (8,))
    told = {}
    build_index(bundle, corpus, lambda stage, done, total, now="": told.update({stage: total}), (8,))
    assert told["taking up what was embedded before"] == 2500
    assert told["embedding the corpus"] == 2500 - 2048
    vectors = open_vectors(open_bundle(own_tiny))
    build_index(bundle, corpus, silent, (8,))
    np.testing.assert_array_equal(open_vectors(open_bundle(own_tiny)), vectors)


def numbered(texts):
    """Embeddings [n, 32] that say which text they are of."""
    return np.array([[float(text)] * 32 for text in texts], dtype=np.float32)


def test_embeddings_are_kept_for_their_corpus_alone_and_a_damaged_or_old_one_is_not_used(
    tiny_bundle, own_cache_folder, monkeypatch
):
    bundle = open_bundle(tiny_bundle)
    texts, asked = [str(i) for i in range(3000)], []

    def encode(some):
        asked.extend(some)
        return numbered(some)

    def embed(documents, precision="int8", provider="cpu"):
        asked.clear()
        kept = KeptEmbeddings(bundle, bundle.variant(precision, None), documents, provider)
        np.testing.assert_array_equal(np.concatenate(list(kept.pieces(encode, silent))), numbered(documents))
        return len(asked)

    assert embed(texts) == 3000
    assert embed(texts) == 0
    assert embed(texts, "fp32") == embed(texts, provider="cuda") == 3000
    with monkeypatch.context() as elsewhere:  # a home that several machines share
        elsewhere.setattr("mrl_edge.index.kept.this_target", lambda: "another")
        assert embed(texts) == 3000
    assert embed(texts[:-1]) == 2999
    for folder in own_cache_folder.iterdir():
        os.truncate(folder / "1024.f32", 100)
    assert embed(texts) == 3000 - 1024
    for folder in own_cache_folder.iterdir():
        os.utime(folder, (0, time.time() - 8 * 86_400))
    assert embed(texts) == 3000
    assert len(list(own_cache_folder.iterdir())) == 1


@pytest.mark.parametrize("before", [0, 1024, 2048])
def test_no_room_is_taken_that_the_index_may_need(tiny_bundle, own_cache_folder, monkeypatch, before):
    """Neither from the start nor where others fill the disk meanwhile; what was kept before is taken up and goes."""
    bundle = open_bundle(tiny_bundle)
    texts, room = [str(i) for i in range(2048)], 4 * 4 * 2048 * bundle.manifest.dims[-1]
    kept = KeptEmbeddings(bundle, bundle.variant("int8", None), texts)

    def free(count):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=count))

    free(room)
    pieces = kept.pieces(numbered, silent)
    for _ in range(before // 1024):
        next(pieces)
        (folder,) = own_cache_folder.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
    free(room - 1)
    assert sum(map(len, pieces)) == 2048 - before
    asked = []
    vectors = list(kept.pieces(lambda some: asked.extend(some) or numbered(some), silent))
    np.testing.assert_array_equal(np.concatenate(vectors), numbered(texts))
    assert len(asked) == (0 if before == 2048 else 2048)
    assert list(own_cache_folder.iterdir()) == []


def test_a_cache_that_cannot_be_written_to_is_done_without(own_tiny, corpus, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert run_here("index", own_tiny, corpus, "--dims", "8").returncode == 0
