"""Other models in the same tables: each row is what the other model, evaluated by itself, gives."""

import csv
import json
import shutil

import numpy as np
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression
from train.encoders import tiny_bert

PAIRS = ("--query", "q", "--positive", "p")
CLASSES = ("--text", "q", "--label", "c")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """An encoder, two tables, a model of 4 and 32 dimensions, and the models of each alone."""
    folder = tmp_path_factory.mktemp("beside")
    tiny_bert(folder / "bert")
    random = np.random.default_rng(0)
    for name, count in (("train", 240), ("dev", 160)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["q", "p", "c"])
            for _ in range(count):
                word = "".join(random.choice(list("abcdefghijkl"), 5))
                writer.writerow([word, word[::-1], {"a": "one", "b": "one", "c": "two"}.get(word[0], "three")])
    train(folder, "model", "--fixed-out", folder / "alone")
    return folder


def train(here, out, *options, columns=(*PAIRS, *CLASSES), data="train.csv"):
    mrl_edge_here(
        "train", "--encoder", here / "bert", "--data", here / data, "--dev", here / "dev.csv", "--out", here / out,
        "--cache", here / "cache", "--epochs", 3, *(() if "--dims" in options else ("--dims", "4,32")),
        "--mixed-precision", "no",
        *columns, *options,
    )  # fmt: skip


def evaluate(here, model, *options, columns=(*PAIRS, *CLASSES)):
    return json.loads(mrl_edge_here("evaluate", here / model, "--data", here / "dev.csv", *columns, *options, "--json"))


def rows(found, beside=None):
    """Return family and method → scores by dimension, of one model."""
    return {(s["family"], s["method"]): s["by_dim"] for s in found["scores"] if s["beside"] == beside}


@pytest.fixture(scope="module")
def found(here):
    return evaluate(here, "model", "--beside", f"untouched={here / 'bert'}", "--beside", f"FF={here / 'alone'}")


def test_the_untouched_encoder_brings_its_truncation_and_baselines(found, here):
    alone = evaluate(here, "bert", "--dims", "4,32")
    assert rows(found, "untouched") == rows(alone)
    assert {method for _, method in rows(found, "untouched")} == {"truncation", "pca", "svd", "random"}


def test_a_row_of_ff_is_the_model_that_was_trained_at_that_dimension(found, here):
    for dim in ("4", "32"):
        alone = evaluate(here, f"alone/d{dim}")
        assert alone["dims"] == [int(dim)]
        for (family, method), by_dim in rows(found, "FF").items():
            assert method == "ff"
            assert by_dim[dim] == rows(alone)[family, "mrl"][dim]
    assert "accuracy" in rows(found, "FF")["classes", "ff"]["4"]
    assert rows(found, "FF")["retrieval", "ff"]["4"] != rows(found)["retrieval", "mrl"]["4"]


def test_the_evaluated_model_scores_as_it_does_alone(found, here):
    alone = evaluate(here, "model")
    assert rows(found) == rows(alone)
    assert found["adaptive_classification"] == alone["adaptive_classification"]


def test_the_linear_probe_is_scikit_learns_on_the_normalised_prefix(here):
    found = evaluate(here, "model", "--reference", here / "train.csv", columns=CLASSES)
    known, scored = (list(csv.DictReader((here / f"{name}.csv").open())) for name in ("train", "dev"))
    for dim in (4, 32):
        encoder = SentenceTransformer(str(here / "model"), truncate_dim=dim, device="cpu")
        pool, texts = (
            encoder.encode([row["q"] for row in table], normalize_embeddings=True).astype(np.float64)
            for table in (known, scored)
        )
        theirs = LogisticRegression(C=10, max_iter=10_000, tol=1e-8).fit(pool, [row["c"] for row in known])
        wanted = theirs.score(texts, [row["c"] for row in scored])
        classes = rows(found)["classes", "mrl"][str(dim)]
        assert classes["linear_accuracy"] == pytest.approx(wanted, abs=1.5 / len(scored))
    without = evaluate(here, "model", "--no-linear-probe", columns=CLASSES)
    assert "linear_accuracy" not in rows(without)["classes", "mrl"]["4"]


def test_the_tables_name_the_models(here):
    text = mrl_edge_here(
        "evaluate", here / "model", "--data", here / "dev.csv", *CLASSES, "--beside", here / "bert",
        "--beside", f"FF={here / 'alone'}", "--beside", f"again={here / 'model'}",
    )  # fmt: skip
    for words in ("bert: plain truncation", "bert: PCA", "trained at each dimension alone", "linear probe"):
        assert words in text
    assert {"again", "FF"} <= {line.split()[0] for line in text.splitlines() if line.strip()}


def test_a_bundle_stands_beside_its_model_and_scores_alike(here):
    mrl_edge_here("export", here / "model", "--out", here / "bundle", "--precision", "fp32")
    found = evaluate(here, "model", "--beside", f"exported={here / 'bundle'}")
    for key, by_dim in rows(found, "exported").items():
        for dim, metrics in by_dim.items():
            assert metrics == pytest.approx(rows(found)[key][dim], abs=3 / 160), (key, dim)


def test_what_cannot_stand_beside_is_refused_before_anything_is_embedded(here, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.csv").write_text("q,p,c\n" + "".join(f"{a}{b},{b},{a}\n" for a in "xy" for b in "abcdef"))
    shutil.copy(here / "dev.csv", tmp_path)
    shutil.copytree(here / "bert", tmp_path / "bert")
    train(tmp_path, "other", columns=CLASSES, data="other.csv")
    train(here, "narrow", "--dims", "4,16")
    (tmp_path / "some").mkdir()
    shutil.copytree(here / "alone" / "d4", tmp_path / "some" / "d4")
    (tmp_path / "twice").mkdir()
    for name in ("a", "b"):
        shutil.copytree(here / "alone" / "d4", tmp_path / "twice" / name)
    shutil.copytree(here / "alone", tmp_path / "damaged")
    (tmp_path / "damaged" / "d32" / "heads.safetensors").unlink()
    (tmp_path / "nested").mkdir()
    shutil.copytree(here / "model", tmp_path / "nested" / "model")
    for beside, said in (
        ((tmp_path / "empty",), "is no bundle, no trained model and no encoder"),
        ((tmp_path / "nowhere",), "nowhere: no such encoder folder"),
        ((f"={here / 'bert'}",), "expected NAME=FOLDER"),
        ((here / "bert", f"bert={here / 'model'}"), "two models are called bert"),
        ((here / "narrow",), "dimension 32 is not in"),
        ((tmp_path / "some",), "dimension 32 is not in"),
        ((tmp_path / "twice",), "a and b are both of dimension 4"),
        ((tmp_path / "nested",), "it holds model, of 2 dimensions"),
        ((tmp_path / "damaged",), "heads.safetensors is missing or damaged"),
        ((tmp_path / "other",), "tell different classes apart: 'one' is of one only"),
    ):
        options = [option for text in beside for option in ("--beside", text)]
        done = run_here("evaluate", here / "model", "--data", here / "dev.csv", *CLASSES, *options)
        assert said in the_one_error_line(done)
        assert "embedding" not in done.stderr
