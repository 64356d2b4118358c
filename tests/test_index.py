import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import DEV_ROWS, DIMS, mrl_edge_here, run_here, the_one_error_line

import mrl_edge as runtime
from mrl_edge.bundle import open_bundle
from mrl_edge.errors import BundleError, UsageError
from mrl_edge.index.corpus import open_adaptive, open_documents, open_index, open_vectors
from mrl_edge.nesting import prefix
from mrl_edge.search import Search


@pytest.fixture(scope="module")
def documents(dev):
    return list(dict.fromkeys(dev["positive"][:DEV_ROWS]))


@pytest.fixture(scope="module")
def queries(indexed, dev):
    """Full embeddings of queries that no index was sized on: [200, full]."""
    return runtime.load(indexed, None, "int8").encode(dev["query"][500:700], "query")


def cosines(queries, vectors, dim):
    return prefix(queries, dim) @ prefix(np.asarray(vectors), dim).T


def index_corpus(bundle, texts, *options):
    corpus = bundle.parent / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return run_here("index", bundle, corpus, *options)


def test_the_vectors_are_the_encoders_and_the_documents_the_corpus(indexed, documents):
    opened = open_bundle(indexed)
    assert opened.manifest.index.n_items == len(documents)
    numbers = [0, 17, len(documents) - 1]
    assert open_documents(opened).read(numbers) == [documents[i] for i in numbers]
    encoder = runtime.load(indexed, None, "int8")
    for number in numbers:  # int8 activations are quantised a batch at a time, so neighbours move them a little
        alone = encoder.encode([documents[number]], "document")[0]
        assert alone @ open_vectors(opened)[number] > 0.93


@pytest.mark.parametrize("dim", DIMS)
def test_exact_search_is_numpys_order(indexed, queries, dim):
    opened = open_bundle(indexed)
    index = open_index(opened, dim, exact=True)
    wanted = cosines(queries, open_vectors(opened), dim)
    for query, scores in zip(prefix(queries, dim)[:20], wanted, strict=False):
        ids, found = index.search(query, 10)
        np.testing.assert_allclose(found, np.sort(scores)[::-1][:10], atol=1e-6)
        np.testing.assert_allclose(scores[ids], found, atol=1e-6)


@pytest.mark.parametrize("dim", DIMS)
def test_annoy_keeps_the_recall_that_it_was_sized_to_on_queries_it_never_saw(indexed, queries, dim):
    opened = open_bundle(indexed)
    sized = next(size for size in opened.manifest.index.sizes if size.dim == dim)
    assert sized.recall_at_10 >= 0.93  # sized to 0.95 on 200 queries, scored on 200 others
    index = open_index(opened, dim)
    wanted = cosines(queries, open_vectors(opened), dim)
    shared = [
        len(set(index.search(query, 10)[0]) & set(np.argsort(-scores, kind="stable")[:10])) / 10
        for query, scores in zip(prefix(queries, dim), wanted, strict=True)
    ]
    assert np.mean(shared) >= 0.9  # 0.95 ± three standard errors of 200 queries


def test_annoys_scores_are_cosines(indexed, queries):
    opened = open_bundle(indexed)
    ids, scores = open_index(opened, 64).search(prefix(queries, 64)[0], 10)
    np.testing.assert_allclose(scores, cosines(queries, open_vectors(opened), 64)[0][ids], atol=1e-5)
    assert list(scores) == sorted(scores, reverse=True)


def test_adaptive_retrieval_ranks_the_shortlist_by_the_larger_dimension(indexed, queries):
    opened = open_bundle(indexed)
    adaptive = open_adaptive(opened, 16, 384, shortlist=50, exact=True)
    vectors = open_vectors(opened)
    small, large = cosines(queries, vectors, 16), cosines(queries, vectors, 384)
    for number in range(20):
        shortlist = np.argsort(-small[number], kind="stable")[:50]
        wanted = np.sort(large[number][shortlist])[::-1][:10]
        ids, scores = adaptive.search(queries[number], 10)
        np.testing.assert_allclose(scores, wanted, atol=1e-6)
        np.testing.assert_allclose(large[number][ids], wanted, atol=1e-6)


@pytest.mark.parametrize("shortlist", [50, 200, 1000])
def test_annoy_gives_a_shortlist_of_the_length_that_was_asked_for(indexed, queries, shortlist):
    opened = open_bundle(indexed)
    for dim in DIMS:
        index = open_index(opened, dim)
        assert len(index.search(prefix(queries, dim)[0], shortlist)[0]) == shortlist


def test_a_shortlist_of_everything_is_exact_search(indexed, queries, documents):
    opened = open_bundle(indexed)
    everything = open_adaptive(opened, 8, 384, shortlist=len(documents), exact=True)
    exact = open_index(opened, 384, exact=True)
    for query in queries[:10]:
        np.testing.assert_allclose(everything.search(query, 10)[1], exact.search(query, 10)[1], atol=1e-6)


def test_search_prints_hits_a_person_can_read_and_a_program_too(indexed):
    query = "the capital and largest city of France"
    text = mrl_edge_here("search", indexed, query, "--dim", "64", "-k", "3")
    assert [line[0] for line in text.splitlines() if line[0] != " "] == ["1", "2", "3"]
    hits = json.loads(mrl_edge_here("search", indexed, query, "--dim", "384", "-k", "3", "--json"))
    assert [set(hit) for hit in hits] == [{"id", "score", "text"}] * 3
    assert hits[0]["score"] >= hits[1]["score"] >= hits[2]["score"]
    side_by_side = mrl_edge_here("search", indexed, query, "--dim", "all", "-k", "2")
    assert side_by_side.splitlines()[1].split() == [str(dim) for dim in DIMS]
    by_dim = json.loads(mrl_edge_here("search", indexed, query, "--dim", "all", "-k", "3", "--json"))
    # Two graphs give one vector but for the last bit.
    assert [hit | {"score": pytest.approx(hit["score"], abs=1e-6)} for hit in hits] == by_dim["384"]
    reranked = json.loads(
        mrl_edge_here(
            "search", indexed, query, "--dim", "32", "--rerank-dim", "384", "--shortlist", "4000", "-k", "3", "--json"
        )
    )
    assert [hit["text"] for hit in reranked] == [hit["text"] for hit in hits]


def test_classify_prints_every_dimension(indexed):
    text = mrl_edge_here("classify", indexed, "a small bird that sings")
    assert all(f"dim {dim}" in text for dim in DIMS)
    probabilities = json.loads(mrl_edge_here("classify", indexed, "a small bird that sings", "--json"))
    assert list(probabilities) == [str(dim) for dim in DIMS]
    for row in probabilities.values():
        assert sum(row.values()) == pytest.approx(1, abs=1e-5)
    assert max(probabilities["384"], key=probabilities["384"].get) == "noun.animal"


@pytest.mark.parametrize("texts", [["only one"], ["one", "two", "one", "three"]])
def test_tiny_corpora(own_bundle, texts):
    done = index_corpus(own_bundle, texts)
    assert done.returncode == 0, done.stderr
    hits = json.loads(mrl_edge_here("search", own_bundle, "one", "--dim", "64", "-k", "5", "--json"))
    assert sorted(hit["text"] for hit in hits) == sorted(set(texts))


def test_odd_documents_come_back_as_they_were(own_bundle):
    texts = ["a\nb\r\nc", "日本語 🎉", '"quoted", \\ and \t', "\u2028 separator"]
    done = index_corpus(own_bundle, texts, "--dims", "8,384")
    assert done.returncode == 0, done.stderr
    assert open_documents(open_bundle(own_bundle)).read(range(4)) == texts


def test_an_index_can_be_made_again_and_the_model_stays_the_same(own_bundle):
    identity = open_bundle(own_bundle).identity()
    assert index_corpus(own_bundle, [f"document {i}" for i in range(40)]).returncode == 0
    assert open_bundle(own_bundle).identity() == identity
    assert index_corpus(own_bundle, [f"text {i}" for i in range(30)], "--dims", "32").returncode == 0
    opened = open_bundle(own_bundle)
    assert opened.identity() == identity
    assert opened.manifest.index.n_items == 30
    there = {f"index/{path.name}" for path in (own_bundle / "index").iterdir()}
    assert there == {name for name in opened.manifest.files if name.startswith("index/")}
    with pytest.raises(UsageError, match="no index of dimension 64; it has 32"):
        Search(own_bundle, 64)


def test_an_index_too_large_for_the_limit_leaves_the_old_one(own_bundle):
    texts = [f"document {i}" for i in range(300)]
    assert index_corpus(own_bundle, texts, "--dims", "64").returncode == 0
    line = the_one_error_line(index_corpus(own_bundle, texts, "--dims", "64", "--max-index-mb", "0.01"))
    assert "--max-index-mb" in line
    assert len(json.loads(mrl_edge_here("search", own_bundle, "document 7", "--dim", "64", "--json"))) == 5


@pytest.mark.parametrize(
    "file", ["index/d64.ann", "index/documents.jsonl", "index/offsets.i64", "index/vectors.bin", "index/lengths.f32"]
)
def test_a_damaged_index_is_named(indexed, tmp_path, file):
    copy = tmp_path / "bundle"
    shutil.copytree(indexed, copy)
    os.truncate(copy / file, (copy / file).stat().st_size - 8)
    line = the_one_error_line(run_here("search", copy, "query", "--dim", "64"))
    assert file in line


def test_searching_without_an_index_says_how_to_make_one(bundle):
    assert "mrl-edge index" in the_one_error_line(run_here("search", bundle, "query", "--dim", "64"))
    with pytest.raises(BundleError):
        Search(bundle, 64)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dim", "x"), "--dim x"),
        (("--dim", "65"), "it has 8, 16"),
        (("--dim", "999", "--exact"), "dimension 999 is not in"),
        (("--dim", "all", "--rerank-dim", "384"), "--rerank-dim needs one --dim"),
        (("--dim", "64", "--rerank-dim", "32"), "must be larger"),
        (("--dim", "64", "-k", "0"), "-k"),
    ],
)
def test_search_options_that_make_no_sense(indexed, options, said):
    assert said in the_one_error_line(run_here("search", indexed, "query", *options))


def test_an_interrupted_index_leaves_the_bundle_as_it_was(own_bundle):
    before = sorted(own_bundle.rglob("*"))
    command = [
        sys.executable, "-m", "mrl_edge", "index", str(own_bundle), "builtin:wordnet_nouns/train", "--text", "gloss",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "embedding the corpus" in line:
            break
    process.send_signal(signal.SIGINT)
    assert process.stderr.read() == "interrupted\n"
    assert process.wait(timeout=60) == 130
    assert sorted(own_bundle.rglob("*")) == before
