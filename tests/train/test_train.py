import csv
import time

import numpy as np
import pytest
import torch
from conftest import DIMS, leftovers, mrl_edge, mrl_edge_here
from datasets import Dataset
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from train.commands import train_tiny
from train.encoders import read_json, sentence_transformer, tiny_bert
from transformers import AutoModel, AutoTokenizer

import mrl_edge as runtime
from mrl_edge.train.baselines import principal_components
from mrl_edge.train.features import embed
from mrl_edge.train.model import load_model
from mrl_edge.train.source import read_encoder
from mrl_edge.train.trunk import Trunk, load_tokenizer, text_inputs

TEXTS = ["abc", "", "a much longer text than the other ones " * 4, "Éa b-c", "x"]


def test_matryoshka_beats_truncation_from_16_up_and_pca_from_32_up(model):
    quality = read_json(model / "mrl.json")["quality"]
    for dim in DIMS:
        recall = {method: by_dim[str(dim)]["recall_at_10"] for method, by_dim in quality.items()}
        if dim >= 16:
            assert recall["mrl"] > recall["truncation"], dim
        if dim >= 32:
            assert recall["mrl"] > recall["pca"], dim


def test_recorded_recall_is_what_sentence_transformers_and_numpy_find(tmp_path, letters):
    columns = ("--query", "query", "--positive", "positive", "--dev", letters)
    train_tiny(tiny_bert(tmp_path / "bert"), letters, tmp_path / "m", *columns)
    rows = list(csv.DictReader(letters.open()))
    encoder = SentenceTransformer(str(tmp_path / "m"), device="cpu")
    documents = list(dict.fromkeys(row["positive"] for row in rows))
    own = np.array([documents.index(row["positive"]) for row in rows])
    queries, vectors = (encoder.encode(texts) for texts in ([row["query"] for row in rows], documents))
    for dim in (4, 32):
        cut, of_documents = (
            each[:, :dim] / np.linalg.norm(each[:, :dim], axis=1, keepdims=True) for each in (queries, vectors)
        )
        scores = cut @ of_documents.T
        rank = (scores > scores[np.arange(len(own)), own][:, None]).sum(axis=1)
        recorded = read_json(tmp_path / "m" / "mrl.json")["quality"]["mrl"][str(dim)]["recall_at_10"]
        assert 10 / len(documents) < recorded < 1
        assert recorded == pytest.approx(float((rank < 10).mean()), abs=1.5 / len(rows))


def test_trained_model_encodes_alike_in_sentence_transformers_and_in_the_bundle(model, bundle, dev):
    texts = dev["query"][:32]
    theirs = SentenceTransformer(str(model), truncate_dim=64, device="cpu").encode(texts, normalize_embeddings=True)
    ours = runtime.load(bundle, dim=64, precision="fp32").encode(texts)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "cls"},
        {"pooling": "mean", "normalise": True},
        {"pooling": "max", "dense": 16},
        {"pooling": "mean_sqrt_len_tokens", "dense": 24, "normalise": True},
        {"pooling": "mean", "max_tokens": 7},
    ],
)
def test_a_sentence_transformers_folder_is_run_as_the_library_runs_it(tmp_path, options):
    folder = sentence_transformer(tmp_path / "st", tiny_bert(tmp_path / "bert"), **options)
    spec = read_encoder(str(folder))
    ours = embed(Trunk(spec), text_inputs(load_tokenizer(spec), spec.max_tokens), TEXTS, bfloat16=False)[0]
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_prompts_of_the_encoder_reach_training_and_the_device(tmp_path, letters):
    prompts = {"query": "find ", "document": "text "}
    source = sentence_transformer(tmp_path / "st", tiny_bert(tmp_path / "bert"), "mean", prompts=prompts)
    train_tiny(source, letters, tmp_path / "model", "--query", "query", "--positive", "positive")
    mrl_edge_here("export", tmp_path / "model", "--out", tmp_path / "bundle", "--precision", "fp32")
    encoder = runtime.load(tmp_path / "bundle")
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    for role in prompts:
        theirs = model.encode(["abc"], prompt_name=role, normalize_embeddings=True)
        np.testing.assert_allclose(encoder.encode(["abc"], role), theirs, atol=1e-5)
    assert not np.allclose(encoder.encode(["abc"], "query"), encoder.encode(["abc"], "document"), atol=1e-3)


def test_classes_are_told_apart_with_the_prompt_that_training_used(tmp_path, letters):
    prompts = {"classification": "zz ", "query": "qq "}
    encoder = sentence_transformer(tmp_path / "st", tiny_bert(tmp_path / "bert"), prompts=prompts)
    train_tiny(encoder, letters, tmp_path / "m", "--text", "query", "--label", "label", "--dev", letters)
    mrl_edge_here("export", tmp_path / "m", "--out", tmp_path / "bundle", "--precision", "fp32")
    loaded = runtime.load(tmp_path / "bundle", 32, threads=1)
    rows = list(csv.DictReader(letters.open()))
    probabilities = loaded.classify([row["query"] for row in rows])
    vectors = SentenceTransformer(str(tmp_path / "m"), device="cpu").encode([f"zz {row['query']}" for row in rows])
    heads = load_file(tmp_path / "m" / "heads.safetensors")
    logits = vectors @ heads["32.weight"].numpy().T + heads["32.bias"].numpy()
    np.testing.assert_allclose(np.log(probabilities[:, 0] / probabilities[:, 1]), logits @ [1, -1], atol=1e-3)


def test_principal_axes_are_scikit_learns():
    rows = np.random.default_rng(0).normal(size=(200, 12)).astype(np.float32) * np.linspace(
        3, 0.5, 12, dtype=np.float32
    )
    ours = principal_components(rows)
    theirs = PCA(12).fit(rows)
    cosines = np.abs(np.sum(ours.axes * theirs.components_, axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-3)


def test_a_dimension_of_weight_zero_is_not_trained(tmp_path, letters):
    encoder = tiny_bert(tmp_path / "bert")
    heads = []
    for epochs in ("1", "5"):
        options = ("--text", "query", "--label", "label", "--weights", "0,1", "--epochs", epochs)
        train_tiny(encoder, letters, tmp_path / epochs, *options)
        heads.append(load_file(tmp_path / epochs / "heads.safetensors"))
    assert torch.equal(heads[0]["4.weight"], heads[1]["4.weight"])
    assert not torch.equal(heads[0]["32.weight"], heads[1]["32.weight"])


@pytest.mark.parametrize(
    ("options", "trained"),
    [((), set()), (("--fine-tune",), {"layer"}), (("--fine-tune", "--train-word-embeddings"), {"layer", "words"})],
    ids=["frozen", "fine-tuned", "word embeddings too"],
)
def test_what_of_the_trunk_is_trained(tmp_path, letters, options, trained):
    encoder = tiny_bert(tmp_path / "bert")
    train_tiny(encoder, letters, tmp_path / "m", "--query", "query", "--positive", "positive", *options)
    before, after = (load_file(folder / "model.safetensors") for folder in (encoder, tmp_path / "m"))
    parts = {"layer": "encoder.layer.0.output.dense.weight", "words": "embeddings.word_embeddings.weight"}
    assert {part for part, name in parts.items() if not torch.equal(before[name], after[name])} == trained


def test_an_exit_is_the_layer_it_says_with_the_projection_that_was_trained_on_it(tmp_path, letters):
    encoder = tiny_bert(tmp_path / "bert", layers=3)
    train_tiny(
        encoder, letters, tmp_path / "m", "--query", "query", "--positive", "positive", "--text", "query",
        "--label", "label", "--fine-tune", "--depths", "1,2", "--dev", letters,
    )  # fmt: skip
    record = read_json(tmp_path / "m" / "mrl.json")
    assert record["depths"] == [1, 2, 3]
    assert set(record["quality"]) == {
        f"{method}{layer}" for method in ("mrl", "pca", "truncation") for layer in ("", "-L1", "-L2")
    }
    loaded = load_model(tmp_path / "m")
    stored = load_file(tmp_path / "m" / "exits.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    texts = ["abcdef", "xyz"]
    for depth in (1, 2):
        model = AutoModel.from_pretrained(tmp_path / "m", num_hidden_layers=depth).eval()  # the rest is left out
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"][:, :, None]
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        wanted = pooled @ stored[f"{depth}.projection"].T
        ours = loaded.embed(texts, "text", depth)
        np.testing.assert_allclose(ours, wanted, atol=1e-5)
        logits = wanted[:, :4] @ stored[f"{depth}.4.weight"].T + stored[f"{depth}.4.bias"]
        np.testing.assert_allclose(loaded.class_scores(ours, depth)[4], logits, atol=1e-5)
    full = SentenceTransformer(str(tmp_path / "m"), device="cpu").encode(texts)
    np.testing.assert_allclose(loaded.embed(texts, "text", 3), full, atol=1e-5)


def test_heads_learn_on_alone_leave_the_trunk_as_it_was_and_an_exit_beats_the_encoder_cut_off(tmp_path, letters):
    encoder = tiny_bert(tmp_path / "bert", layers=2)
    columns = ("--query", "query", "--positive", "positive", "--text", "query", "--label", "label", "--dev", letters)
    tuning = ("--fine-tune", "--depths", "1", "--epochs", "5", "--batch-size", "40", "--trunk-lr", "3e-3")
    for epochs in (0, 8):
        train_tiny(encoder, letters, tmp_path / f"after{epochs}", *columns, *tuning, "--head-epochs", epochs)

    def kept(file):
        before, after = (load_file(tmp_path / f"after{epochs}" / file) for epochs in (0, 8))
        return {name for name, value in after.items() if torch.equal(before[name], value)}

    trunk = "model.safetensors"
    assert kept(trunk) == set(load_file(tmp_path / "after0" / trunk))
    assert not any(kept(file) for file in ("2_Dense/model.safetensors", "heads.safetensors", "exits.safetensors"))
    quality = read_json(tmp_path / "after8" / "mrl.json")["quality"]
    for dim in ("4", "32"):
        trained, cut_off = (quality[method][dim]["ndcg_at_10"] for method in ("mrl-L1", "pca-L1"))
        assert trained > cut_off + 0.05, dim


def test_a_model_of_their_matryoshka_loss_trains_on_and_exports_and_is_not_turned_away_from_its_dimensions(
    tmp_path, letters
):
    encoder = sentence_transformer(tmp_path / "st", tiny_bert(tmp_path / "bert", dropout=0.0), pooling="mean")
    theirs = SentenceTransformer(str(encoder), device="cpu")
    rows = list(csv.DictReader(letters.open()))
    pairs = Dataset.from_dict({"anchor": [r["query"] for r in rows], "positive": [r["positive"] for r in rows]})
    loss = MatryoshkaLoss(theirs, MultipleNegativesRankingLoss(theirs), matryoshka_dims=[32, 4])
    options = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "work"), num_train_epochs=15, per_device_train_batch_size=20, learning_rate=1e-3,
        save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    SentenceTransformerTrainer(theirs, options, pairs, loss=loss).train()
    theirs.save(str(tmp_path / "nested"))
    columns = ("--query", "query", "--positive", "positive", "--dev", letters)
    train_tiny(tmp_path / "nested", letters, tmp_path / "m", *columns, "--lr", "0", "--epochs", "1")
    quality = read_json(tmp_path / "m" / "mrl.json")["quality"]
    # With a learning rate of 0 the model is its start: the better of PCA and of the dimensions as they were.
    assert quality["mrl"]["4"] == pytest.approx(quality["truncation"]["4"])
    assert quality["truncation"]["4"]["recall_at_10"] > quality["pca"]["4"]["recall_at_10"]
    train_tiny(tmp_path / "nested", letters, tmp_path / "on", *columns, "--epochs", "3")
    mrl_edge_here("export", tmp_path / "on", "--out", tmp_path / "bundle", "--precision", "fp32")
    ours = runtime.load(tmp_path / "bundle", 4).encode(TEXTS)
    wanted = SentenceTransformer(str(tmp_path / "on"), truncate_dim=4, device="cpu")
    np.testing.assert_allclose(ours, wanted.encode(TEXTS, normalize_embeddings=True), atol=1e-5)
    mrl_edge_here("evaluate", tmp_path / "on", "--data", letters, *columns[:4])


def test_dimensions_need_not_divide_each_other(tmp_path, letters):
    encoder = tiny_bert(tmp_path / "bert")
    columns = ("--query", "query", "--positive", "positive", "--text", "query", "--label", "label")
    train_tiny(encoder, letters, tmp_path / "m", *columns, "--dims", "3,10,25")
    mrl_edge_here("export", tmp_path / "m", "--out", tmp_path / "bundle", "--precision", "fp32")
    assert runtime.load(tmp_path / "bundle", 10).encode(TEXTS).shape == (len(TEXTS), 10)


def test_a_tied_head_trains_saves_and_exports_as_one_weight(tmp_path, letters):
    encoder = tiny_bert(tmp_path / "bert")
    columns = ("--text", "query", "--label", "label", "--dev", letters)
    train_tiny(encoder, letters, tmp_path / "m", *columns, "--tied", "--epochs", "20")
    heads = load_file(tmp_path / "m" / "heads.safetensors")
    torch.testing.assert_close(heads["4.weight"], heads["32.weight"][:, :4])
    mrl_edge_here("export", tmp_path / "m", "--out", tmp_path / "bundle", "--precision", "fp32")
    assert runtime.load(tmp_path / "bundle", 4).classify(["abc"]).shape == (1, 2)


def test_texts_alone_make_an_encoder_nest(minilm, pairs, dev_table, cache, model, tmp_path):
    """Distillation keeps more neighbours in the small prefixes than truncation, in the smallest than PCA too."""
    out, cached = tmp_path / "m", set(cache.iterdir())
    mrl_edge(
        "train", "--encoder", minilm, "--data", pairs, "--dev", dev_table, "--text", "gloss",
        "--out", out, "--cache", cache,
    )  # fmt: skip
    assert set(cache.iterdir()) == cached  # the texts are those that `model` was trained on
    quality = read_json(out / "mrl.json")["quality"]
    for dim in ("16", "32", "64"):
        kept = {method: by_dim[dim]["neighbours_at_10"] for method, by_dim in quality.items()}
        assert kept["mrl"] > kept["truncation"] + 0.1, dim
        if dim != "64":  # where PCA keeps a little more
            assert kept["mrl"] > kept["pca"], dim
    assert quality["truncation"]["384"]["neighbours_at_10"] == 1


def test_graded_pairs_raise_the_rank_correlation(tmp_path):
    """Pairs are as alike as the letters that they share in place."""
    random = np.random.default_rng(5)
    path = tmp_path / "graded.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "s"])
        for _ in range(400):
            a = random.choice(list("abcdef"), 6)
            b = np.where(random.random(6) < random.random(), a, random.choice(list("abcdef"), 6))
            writer.writerow([" ".join(a), " ".join(b), (a == b).mean()])
    encoder = tiny_bert(tmp_path / "bert")
    columns = ("--query", "a", "--positive", "b", "--score", "s", "--dev", path)
    train_tiny(encoder, path, tmp_path / "m", *columns, "--fine-tune", "--epochs", "15", "--trunk-lr", "1e-3")
    quality = read_json(tmp_path / "m" / "mrl.json")["quality"]
    for dim in ("4", "32"):
        assert quality["mrl"][dim]["spearman"] > quality["truncation"][dim]["spearman"] + 0.02


def test_models_of_one_dimension_alone_stand_beside(tmp_path, letters):
    encoder = tiny_bert(tmp_path / "bert")
    columns = ("--query", "query", "--positive", "positive", "--epochs", "3", "--fixed-baselines")
    train_tiny(encoder, letters, tmp_path / "m", *columns)
    fixed = read_json(tmp_path / "m" / "mrl.json")["quality"]["ff"]
    train_tiny(encoder, letters, tmp_path / "alone", *columns[:-1], "--dims", "4")
    assert fixed["4"] == read_json(tmp_path / "alone" / "mrl.json")["quality"]["mrl"]["4"]
    assert "trained at that dimension alone" in (tmp_path / "m" / "README.md").read_text()
    assert leftovers(tmp_path) == []


def test_frozen_embeddings_are_computed_once(tmp_path, letters):
    encoder = tiny_bert(tmp_path / "bert")
    train_tiny(encoder, letters, tmp_path / "a", "--text", "query", "--label", "label")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    time.sleep(0.01)
    train_tiny(encoder, letters, tmp_path / "b", "--text", "query", "--label", "label", "--dims", "2,8")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == stamps


def test_a_dev_label_that_training_never_saw_counts_as_a_miss(tmp_path, letters):
    dev = tmp_path / "dev.csv"
    dev.write_text("query,label\nabc,unseen\nabd,unseen\n", encoding="utf-8")
    train_tiny(
        tiny_bert(tmp_path / "bert"), letters, tmp_path / "m", "--text", "query", "--label", "label", "--dev", dev
    )
    assert read_json(tmp_path / "m" / "mrl.json")["quality"]["mrl"]["32"]["accuracy"] == 0


def test_a_class_with_one_example_is_learned_as_any_other_and_has_no_neighbour_of_its_own(tmp_path, letters):
    data = tmp_path / "rare.csv"
    data.write_text(letters.read_text() + "zqzqzq,qzqzqz,rare\n")
    columns = ("--text", "query", "--label", "label", "--dev", data, "--epochs", "40", "--lr", "2e-2")
    train_tiny(tiny_bert(tmp_path / "bert"), data, tmp_path / "m", *columns)
    record = read_json(tmp_path / "m" / "mrl.json")
    assert record["classes"] == ["high", "low", "rare"]
    rows = list(csv.DictReader(data.open()))
    texts, labels = [row["query"] for row in rows], [row["label"] for row in rows]
    model = load_model(tmp_path / "m")
    vectors = model.embed(texts, "text", 2)
    likeliest = model.class_scores(vectors, 2)[32].argmax(axis=1)
    assert [place for place, number in enumerate(likeliest) if number == 2] == [len(rows) - 1]
    nearest = cross_val_predict(KNeighborsClassifier(1, metric="cosine"), vectors, labels, cv=LeaveOneOut())
    assert record["quality"]["mrl"]["32"]["knn_top1"] == pytest.approx(
        accuracy_score(labels, nearest), abs=1.5 / len(rows)
    )
