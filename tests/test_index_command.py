"""`mrl-edge index` as its user meets it: options that make no sense, older indexes, corpora that are tiny or cut."""

import json
import shutil

import pytest
from conftest import leftovers, mrl_edge_here, run_here, the_one_error_line

from mrl_edge.bundle import open_bundle


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
        (("--kinds", "scan"), "--kinds needs --tune"),
        (("--tune", "--kinds", "lsh"), "--kinds lsh: unknown; there is"),
        (("--vectors", "int3"), "fp32, fp16, int8, int8-int6, int8-int4"),
        (("--tune", "--kinds", "scan", "--max-index-mb", "0.0001"), "--max-index-mb"),
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
