"""An encoder that was never trained here is exported as its folder defines it, and what a cut costs is said."""

import json

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from conftest import mrl_edge_here, run_here, the_one_error_line
from sentence_transformers import SentenceTransformer, models
from sklearn.neighbors import NearestNeighbors
from train.encoders import read_json, sentence_transformer, tiny_bert
from transformers import AutoModel, AutoTokenizer

import mrl_edge as runtime
from mrl_edge.bundle import open_bundle
from mrl_edge.encoder import load_nested

WORDS = ("cat", "house", "under", "bright", "seven", "river", "stone", "lamp", "green", "walk", "a", "of")
TEXTS = [" ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 2 + i % 9)) + f" {WORDS[i % 7]}" for i in range(120)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("own") / "bert")


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n\n")
    return path


def export(source, out, lines, *options):
    """Export in fp32 and return the warnings on stderr."""
    done = run_here("export", source, "--out", out, "--precision", "fp32", "--texts", lines, *options)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("warning")]


def saved(folder, bert, *modules, prompts=None):
    """Save a folder with sentence-transformers' own library and return it loaded again."""
    transformer = models.Transformer(str(bert))
    SentenceTransformer(modules=[transformer, *modules], prompts=prompts, device="cpu").save(str(folder))
    return SentenceTransformer(str(folder), device="cpu")


def test_a_plain_transformers_folder_is_mean_pooled_at_its_full_dimension_without_a_warning(bert, lines, tmp_path):
    assert export(bert, tmp_path / "bundle", lines) == []
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert manifest.dims == (32,)
    assert not manifest.matryoshka
    batch = AutoTokenizer.from_pretrained(bert)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden, mask = AutoModel.from_pretrained(bert).eval()(**batch).last_hidden_state, batch["attention_mask"]
    wanted = F.normalize((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=-1)
    np.testing.assert_allclose(runtime.load(tmp_path / "bundle").encode(TEXTS), wanted.numpy(), atol=1e-5)


def test_a_cut_encoder_is_exported_with_one_warning_and_what_each_cut_keeps(bert, lines, tmp_path):
    encoder = sentence_transformer(tmp_path / "st", bert, pooling="cls", dense=24, normalise=True)
    (warning,) = export(encoder, tmp_path / "bundle", lines, "--dims", "4,12,24")
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert not manifest.matryoshka
    theirs = SentenceTransformer(str(encoder), device="cpu").encode(TEXTS)
    distinct = theirs[[TEXTS.index(text) for text in dict.fromkeys(TEXTS)]]
    whole = _neighbours(distinct)
    for cut, dim in zip(manifest.slices, (4, 12, 24), strict=True):
        kept = [len(a & b) / 10 for a, b in zip(_neighbours(distinct[:, :dim]), whole, strict=True)]
        assert cut.dim == dim
        assert cut.texts == len(distinct)
        assert cut.neighbours_at_10 == pytest.approx(np.mean(kept), abs=0.03)  # near ties, since the weights are random
    assert manifest.slices[-1].neighbours_at_10 == 1
    assert f"dimension 4 keeps {manifest.slices[0].neighbours_at_10:.0%}" in warning
    assert f"{manifest.slices[0].neighbours_at_10:.3f}" in mrl_edge_here("show", tmp_path / "bundle")
    for dim in (4, 12, 24):
        wanted = F.normalize(torch.from_numpy(theirs[:, :dim]), dim=-1).numpy()
        np.testing.assert_allclose(runtime.load(tmp_path / "bundle", dim).encode(TEXTS), wanted, atol=1e-5)
        np.testing.assert_allclose(load_nested(tmp_path / "bundle").encode(TEXTS)[dim], wanted, atol=1e-5)
    assert run_here("verify", tmp_path / "bundle").returncode == 0


def _neighbours(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = NearestNeighbors(n_neighbors=11).fit(unit).kneighbors(unit, return_distance=False)
    return [set(row[row != i][:10].tolist()) for i, row in enumerate(found)]


def test_a_slice_needs_no_projection(bert, lines, tmp_path):
    export(bert, tmp_path / "bundle", lines, "--dims", "8,32")
    graph = onnx.load(tmp_path / "bundle" / "fp32" / "d8.onnx", load_external_data=False).graph
    ours = [node.op_type for node in graph.node if node.output[0].startswith("mrl.")]
    assert "Gemm" not in ours
    assert "Slice" in ours


def test_matryoshka_can_be_asserted_and_the_loss_is_shown_all_the_same(bert, lines, tmp_path):
    assert export(bert, tmp_path / "bundle", lines, "--dims", "8,32", "--matryoshka") == []
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert manifest.matryoshka
    assert [cut.dim for cut in manifest.slices] == [8, 32]
    assert 0 < manifest.slices[0].neighbours_at_10 < 1


def test_dimensions_that_the_config_declares_are_taken_and_believed(lines, tmp_path):
    encoder = tiny_bert(tmp_path / "declares")
    config = read_json(encoder / "config.json") | {"matryoshka_dimensions": [16, 8, 32]}
    (encoder / "config.json").write_text(json.dumps(config))
    assert export(encoder, tmp_path / "bundle", lines) == []
    assert open_bundle(tmp_path / "bundle").manifest.dims == (8, 16, 32)
    assert open_bundle(tmp_path / "bundle").manifest.matryoshka
    assert len(export(encoder, tmp_path / "other", lines, "--dims", "12")) == 1
    assert not open_bundle(tmp_path / "other").manifest.matryoshka


def test_layer_norm_before_the_cut_is_what_nomic_writes(bert, lines, tmp_path):
    """From the card of nomic-embed-text-v1.5: layer_norm over the whole vector, cut, normalise."""
    encoder = sentence_transformer(tmp_path / "st", bert, pooling="mean")
    export(encoder, tmp_path / "bundle", lines, "--dims", "8,32", "--layer-norm")
    vectors = SentenceTransformer(str(encoder), device="cpu").encode(TEXTS, convert_to_tensor=True)
    for dim in (8, 32):
        wanted = F.normalize(F.layer_norm(vectors, normalized_shape=(32,))[:, :dim], dim=1).numpy()
        np.testing.assert_allclose(runtime.load(tmp_path / "bundle", dim).encode(TEXTS), wanted, atol=1e-5)


def test_a_layer_norm_module_is_applied_with_its_weights(bert, lines, tmp_path):
    norm = models.LayerNorm(32)
    torch.nn.init.normal_(norm.norm.weight)
    torch.nn.init.normal_(norm.norm.bias)
    theirs = saved(tmp_path / "st", bert, models.Pooling(32, "mean"), norm, models.Normalize())
    export(tmp_path / "st", tmp_path / "bundle", lines, "--dims", "8,32")
    for dim in (8, 32):
        wanted = F.normalize(theirs.encode(TEXTS, convert_to_tensor=True)[:, :dim], dim=1).numpy()
        np.testing.assert_allclose(runtime.load(tmp_path / "bundle", dim).encode(TEXTS), wanted, atol=1e-5)


def test_prompts_of_the_config_are_put_before_texts(bert, lines, tmp_path):
    theirs = saved(tmp_path / "st", bert, models.Pooling(32, "mean"), prompts={"query": "q ", "document": "doc "})
    export(tmp_path / "st", tmp_path / "bundle", lines)
    ours = runtime.load(tmp_path / "bundle")
    for name in ("query", "document"):
        wanted = theirs.encode(TEXTS, prompt_name=name, normalize_embeddings=True)
        np.testing.assert_allclose(ours.encode(TEXTS, name), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dims", "64"), "larger than the encoder's 32 dimensions"),
        (("--dims", "8,4"), "must ascend"),
        (("--text", "body"), "which is not given"),
    ],
)
def test_what_makes_no_sense_is_said_before_any_work(bert, tmp_path, options, said):
    line = the_one_error_line(run_here("export", bert, "--out", tmp_path / "bundle", *options))
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_too_few_texts_are_refused(bert, tmp_path):
    (tmp_path / "few.txt").write_text("one\ntwo\n" * 50)
    line = the_one_error_line(run_here("export", bert, "--out", tmp_path / "bundle", "--texts", tmp_path / "few.txt"))
    assert "2 different texts" in line
