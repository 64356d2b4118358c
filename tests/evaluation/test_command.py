"""`mrl-edge evaluate` on real models: its figures against the other commands' and against scikit-learn's."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import DIMS, mrl_edge_here, run_here, the_one_error_line
from sklearn.metrics import accuracy_score

import mrl_edge as runtime

ROWS = 200
PAIRS = ("--query", "q", "--positive", "p")
CLASSES = ("--text", "q", "--label", "c")


@pytest.fixture(scope="module")
def task(dev, tmp_path_factory):
    """Pairs with classes and the classes' kind, cut from the dev rows."""
    path = tmp_path_factory.mktemp("task") / "task.jsonl"
    rows = zip(dev["query"][:ROWS], dev["positive"][:ROWS], dev["label"][:ROWS], strict=True)
    path.write_text(
        "".join(
            json.dumps({"q": q, "p": p, "c": c, "kind": "living" if c in ("noun.animal", "noun.plant") else "other"})
            + "\n"
            for q, p, c in rows
        )
    )
    return path


def evaluate(*arguments):
    return json.loads(mrl_edge_here("evaluate", *arguments, "--json"))


def of(found, family, method="mrl", depth=6):
    (scores,) = [s for s in found["scores"] if (s["family"], s["method"], s["depth"]) == (family, method, depth)]
    return scores["by_dim"]


@pytest.fixture(scope="module")
def found(bundle, task):
    """An evaluation of the fp32 bundle on all that the rows hold."""
    return evaluate(
        bundle, "--data", task, *PAIRS, *CLASSES, "--superclass", "kind", "--precision", "fp32", "--k", "1,10"
    )


def test_retrieval_is_what_numpy_finds(found, bundle, dev):
    queries, answers = dev["query"][:ROWS], dev["positive"][:ROWS]
    documents = list(dict.fromkeys(answers))
    for dim in (16, 384):
        encoder = runtime.load(bundle, dim, "fp32")
        scores = encoder.encode(queries, "query") @ encoder.encode(documents, "document").T
        ranks = np.array([(row > row[documents.index(a)]).sum() for row, a in zip(scores, answers, strict=True)])
        ours = of(found, "retrieval")[str(dim)]
        assert ours["recall_at_10"] == pytest.approx(np.mean(ranks < 10), abs=1.5 / ROWS)
        assert ours["precision_at_1"] == pytest.approx(np.mean(ranks < 1), abs=1.5 / ROWS)


def test_class_heads_are_scored_as_scikit_learn_scores_them(found, bundle, dev):
    encoder = runtime.load(bundle, 64, "fp32")
    predicted = np.array(encoder.classes)[encoder.classify(dev["query"][:ROWS]).argmax(axis=1)]
    ours = of(found, "classes")["64"]
    assert ours["accuracy"] == pytest.approx(accuracy_score(dev["label"][:ROWS], predicted), abs=1.5 / ROWS)
    assert ours["accuracy_superclass"] >= ours["accuracy"]


def test_a_cascade_and_a_funnel_are_reported_with_their_cost(found):
    (curve,) = found["adaptive_classification"].values()
    assert curve["oracle"]["accuracy"] >= curve["full_accuracy"]
    assert sum(point["cheapest_as_good"] for point in curve["points"]) == 1
    (searches,) = found["adaptive_retrieval"].values()
    by_kind = {kind: [s for s in searches if s["kind"] == kind] for kind in ("exact", "adaptive", "funnel")}
    full = next(s for s in by_kind["exact"] if s["dims"] == [384])
    assert all(s["mflops"] < full["mflops"] for s in by_kind["adaptive"] if s["dims"][0] <= 64)


def test_the_bundle_and_the_model_that_it_came_from_score_alike(found, model, task):
    theirs = evaluate(model, "--data", task, *PAIRS, *CLASSES, "--superclass", "kind", "--k", "1,10")
    for family in ("retrieval", "classes"):
        for dim in map(str, DIMS):
            for metric, value in of(theirs, family)[dim].items():
                assert of(found, family)[dim][metric] == pytest.approx(value, abs=4 / ROWS), (dim, metric)


def test_every_baseline_stands_beside_the_model(found):
    methods = {scores["method"] for scores in found["scores"] if scores["family"] == "retrieval"}
    assert methods == {"mrl", "pca", "svd", "random"}
    for dim in ("8", "16", "32"):
        assert of(found, "retrieval")[dim]["recall_at_10"] > of(found, "retrieval", "random")[dim]["recall_at_10"]


def test_a_plain_encoder_is_evaluated_as_truncations(minilm, task):
    plain = evaluate(minilm, "--data", task, *PAIRS, "--dims", "64,384")
    assert set(of(plain, "retrieval", "truncation")) == {"64", "384"}


def test_graded_pairs_are_scored_by_rank_correlation(bundle, tmp_path):
    rows = [("a cat", "a cat", 5), ("a cat", "a kitten", 4), ("a cat", "a dog", 2.5), ("a cat", "the moon", 0)]
    (tmp_path / "sts.csv").write_text("a,b,s\n" + "".join(f"{a},{b},{s}\n" for a, b, s in rows))
    found = evaluate(bundle, "--data", tmp_path / "sts.csv", "--query", "a", "--positive", "b", "--score", "s")
    assert of(found, "graded pairs")["384"]["spearman"] == pytest.approx(1)


def test_it_prints_a_table_a_family(bundle, task):
    text = mrl_edge_here("evaluate", bundle, "--data", task, *PAIRS, *CLASSES, "--max-queries", "50")
    for words in ("recall@10", "1-NN accuracy", "Adaptive classification", "MFLOPs", "random features", "oracle"):
        assert words in text


def test_a_bundle_is_evaluated_without_torch(bundle, task):
    program = f"""
import sys
from mrl_edge.cli import run
code = run(["evaluate", {str(bundle)!r}, "--data", {str(task)!r}, "--query", "q", "--positive", "p", "--json"])
assert code == 0
print(sorted({{"torch", "transformers", "sklearn", "scipy"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "say which columns to read"),
        ((*PAIRS, "--precision", "int3"), "it has fp32"),
        ((*PAIRS, "--score", "c"), "is no finite number"),
        ((*PAIRS, "--superclass", "kind"), "--label"),
        ((*PAIRS, "--k", "0"), "at least 1"),
        ((*PAIRS, "--dims", "65"), "65"),
        ((*PAIRS, "--depth", "3"), "it has 6"),
        ((*PAIRS, "--seed", "-1"), "'--seed'"),
    ],
)
def test_options_that_make_no_sense(bundle, task, options, said):
    assert said in the_one_error_line(run_here("evaluate", bundle, "--data", task, *options))


def test_a_damaged_bundle_and_a_folder_that_is_none(bundle, task, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    (copy / "int8" / "all.onnx").write_bytes(b"")
    assert "all.onnx" in the_one_error_line(run_here("evaluate", copy, "--data", task, *PAIRS))
    (tmp_path / "empty").mkdir()
    assert "is no bundle" in the_one_error_line(run_here("evaluate", tmp_path / "empty", "--data", task, *PAIRS))
