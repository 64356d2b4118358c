import re

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from conftest import DIMS, leftovers, mrl_edge_here, run_here, the_one_error_line
from mrl_edge.export import heads
from mrl_edge.export.run import export_bundle, read_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from train.encoders import tiny_bert
from train.untrained import untrained_model
from transformers import AutoModel, AutoTokenizer

import mrl_edge as runtime
from mrl_edge.bundle import open_bundle
from mrl_edge.encoder import load_nested
from mrl_edge.errors import FidelityError

PRECISIONS = ("fp32", "int8")


def test_graphs_compute_what_transformers_and_the_saved_weights_compute(model, bundle, dev):
    texts = ["", *dev["query"][:4], "a long one " * 200]
    tokenizer = AutoTokenizer.from_pretrained(model)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(model)(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    projected = pooled @ load_file(model / "3_Dense" / "model.safetensors")["linear.weight"].T
    stored = load_file(model / "heads.safetensors")
    probabilities = load_nested(bundle, "fp32").classify(texts)
    for dim in DIMS:
        wanted = torch.nn.functional.normalize(projected[:, :dim], dim=-1).numpy()
        np.testing.assert_allclose(runtime.load(bundle, dim, "fp32").encode(texts), wanted, atol=1e-5)
        logits = projected[:, :dim] @ stored[f"{dim}.weight"].T + stored[f"{dim}.bias"]
        np.testing.assert_allclose(probabilities[dim], logits.softmax(dim=-1).numpy(), atol=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_all_dimensions_take_little_more_disk_than_one(bundle, precision):
    files = open_bundle(bundle).manifest.files
    weights = files[f"{precision}/weights.bin"].bytes
    graphs = {name: entry.bytes for name, entry in files.items() if re.fullmatch(rf"{precision}/\w+\.onnx", name)}
    assert len(graphs) == len(DIMS) + 1
    assert weights + sum(graphs.values()) <= 1.1 * (weights + graphs[f"{precision}/d64.onnx"])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_smaller_head_is_a_prefix_of_the_same_bytes(bundle, model, precision):
    offsets = set()
    whole = load_file(model / "3_Dense" / "model.safetensors")["linear.weight"].numpy()
    content = (bundle / precision / "weights.bin").read_bytes()
    for dim in DIMS:
        graph = onnx.load(bundle / precision / f"d{dim}.onnx", load_external_data=False).graph
        head = next(tensor for tensor in graph.initializer if tensor.name == "mrl.projection.weight")
        place = {entry.key: entry.value for entry in head.external_data}
        offsets.add(int(place["offset"]))
        start, length = int(place["offset"]), int(place["length"])
        stored = np.frombuffer(content[start : start + length], np.float32).reshape(dim, -1)
        np.testing.assert_array_equal(stored, whole[:dim])
    assert len(offsets) == 1
    assert offsets.pop() % 4096 == 0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_of_a_precision_are_stored_once_and_nowhere_else(bundle, precision):
    for path in (bundle / precision).glob("*.onnx"):
        inline = sum(len(t.raw_data) for t in onnx.load(path, load_external_data=False).graph.initializer)
        assert inline < 20_000
        assert path.stat().st_size < 150_000


def test_a_graph_runs_with_onnxruntime_and_tokenizers_alone(bundle, dev):
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    session = ort.InferenceSession(bundle / "int8" / "d32.onnx")
    ids = np.array([tokenizer.encode(dev["query"][0]).ids])
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    (vector,) = session.run(["embedding"], feed)
    np.testing.assert_allclose(vector, runtime.load(bundle, 32, "int8").encode(dev["query"][:1]), atol=1e-6)
    assert tokenizer.truncation["max_length"] == 256


def test_fidelity_in_the_manifest_is_measured_on_real_texts(bundle):
    for variant in open_bundle(bundle).manifest.variants:
        for graph in variant.graphs:
            assert graph.fidelity.texts >= 100
            if variant.precision == "fp32":
                assert graph.fidelity.max_abs_error <= 1e-4
            else:
                assert 0.95 < graph.fidelity.cosine_min <= graph.fidelity.cosine_mean < 1


def test_int8_vectors_stay_close_to_fp32_on_other_texts(bundle, dev):
    texts = dev["query"][-100:]
    fp32, int8 = (runtime.load(bundle, precision=precision).encode(texts) for precision in PRECISIONS)
    assert np.sum(fp32 * int8, axis=1).min() > 0.95


@pytest.fixture
def tiny_model(tmp_path):
    """A function that writes a model with random weights, which tells these classes apart."""
    return lambda classes=("a", "b"): untrained_model(
        tmp_path / "model", tiny_bert(tmp_path / "bert"), (2,), classes=classes
    )


def test_an_export_that_does_not_agree_with_pytorch_fails_and_writes_nothing(tiny_model, tmp_path, monkeypatch):
    honest = heads._Builder._pooled

    def wrong_pooling(self):  # as if the exporter had got a family's pooling wrong
        self._tail = type(self._tail)("cls", self._tail.modules, self._tail.projection, self._tail.classifiers)
        return honest(self)

    monkeypatch.setattr(heads._Builder, "_pooled", wrong_pooling)
    (tmp_path / "out").mkdir()
    with pytest.raises(FidelityError, match=r"d4\.onnx.*differ from PyTorch"):
        export_bundle(read_model(tiny_model()), tmp_path / "out" / "bundle", ("fp32",))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_without_classes_has_no_logits(tiny_model, tmp_path):
    mrl_edge_here("export", tiny_model(classes=()), "--out", tmp_path / "bundle", "--precision", "fp32")
    graph = onnx.load(tmp_path / "bundle" / "fp32" / "all.onnx", load_external_data=False).graph
    assert all(output.name.startswith("embedding_") for output in graph.output)
    line = the_one_error_line(run_here("classify", tmp_path / "bundle", "text"))
    assert "does not classify" in line


@pytest.mark.parametrize("classes", [("a", "b"), ()])
def test_a_model_whose_projection_is_not_finite_is_not_exported(tiny_model, tmp_path, classes):
    model = tiny_model(classes)
    (file,) = model.glob("*_Dense/model.safetensors")
    save_file({"linear.weight": load_file(file)["linear.weight"] * float("nan")}, file)
    line = the_one_error_line(run_here("export", model, "--out", tmp_path / "bundle"))
    assert "embeddings are not finite" in line
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "bundle").exists()
