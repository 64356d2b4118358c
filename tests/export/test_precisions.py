import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import BRIEF_LAYERS, mrl_edge, mrl_edge_here, run_here, the_one_error_line
from onnx import TensorProto
from tokenizers import Tokenizer
from train.encoders import tiny_bert
from train.untrained import untrained_model

import mrl_edge as runtime
from mrl_edge.bundle import open_bundle
from mrl_edge.errors import BundleError
from mrl_edge.runtime import open_session

LADDER = ("fp32", "fp16", "int8", "int8-static", "int4")


@pytest.fixture(scope="module", params=["brief_model", pytest.param("model", marks=pytest.mark.slow)])
def ladder(request, tmp_path_factory):
    """A model in every precision: two layers of it, and as `slow` all six."""
    out = tmp_path_factory.mktemp("ladder") / "bundle"
    model = request.getfixturevalue(request.param)
    mrl_edge_here("export", model, "--out", out, "--precision", ",".join(LADDER))
    return out


@pytest.fixture(scope="module")
def targeted(brief_model, tmp_path_factory):
    """The model in int8 for every processor; with a floor that every one of them holds, no node falls back."""
    out = tmp_path_factory.mktemp("targeted") / "bundle"
    options = ("--precision", "int8", "--target", "arm64,avx2,avx512,avx512-vnni", "--floor", "0.9,0.8")
    mrl_edge_here("export", brief_model, "--out", out, *options)
    return out


@pytest.fixture
def tiny_model(tmp_path):
    """A model with random weights; what its precisions keep says nothing."""
    return untrained_model(tmp_path / "model", tiny_bert(tmp_path / "bert", layers=1), (1,))


@pytest.mark.parametrize(
    ("precision", "mean", "least"),
    [("fp16", 0.9999, 0.999), ("int8", 0.99, 0.95), ("int8-static", 0.98, 0.95), ("int4", 0.96, 0.9)],
)
def test_a_precision_stays_near_fp32_on_texts_that_it_never_saw(ladder, dev, precision, mean, least):
    texts = dev["query"][-100:]
    fp32, ours = (runtime.load(ladder, precision=name).encode(texts, batch_size=1) for name in ("fp32", precision))
    cosines = np.sum(fp32 * ours, axis=1)
    assert cosines.mean() >= mean
    assert cosines.min() >= least - 0.01


def test_each_step_of_the_ladder_is_smaller(ladder):
    """Which nodes fall back depends on the processor; each, kept in fp32, is at most a matrix of 384 × 1536.

    What is never quantised, the positions and the projection, takes 1.4 MB. All six layers take 90.9 MB in fp32:
    less than 24 in int8 and, with graph and tokenizer, 15.5 in int4.
    """
    bundle = open_bundle(ladder)
    size = {
        v.precision: bundle.manifest.files[v.weights].bytes / 1e6 - len(v.fell_back) * 384 * 1536 * 4 / 1e6
        for v in bundle.manifest.variants
    }
    assert size["fp16"] < 0.51 * size["fp32"]
    quantised = size["fp32"] - 1.4
    assert size["int8"] - 1.4 < 0.252 * quantised
    assert size["int8-static"] - 1.4 < 0.252 * quantised
    assert size["int4"] - 1.4 < 0.149 * quantised


def test_weights_of_4_bits_take_half_a_byte_in_the_weight_file(ladder):
    graph = onnx.load(ladder / "int4" / "d64.onnx", load_external_data=False).graph
    (table,) = (t for t in graph.initializer if t.name == "embeddings.word_embeddings.weight_Q4")
    place = {entry.key: int(entry.value) for entry in table.external_data if entry.key != "location"}
    assert table.data_type == onnx.TensorProto.UINT4
    assert place["length"] == table.dims[0] * table.dims[1] / 2
    assert place["offset"] % 4096 == 0


@pytest.mark.parametrize("precision", LADDER)
def test_every_graph_of_a_precision_takes_tokens_and_gives_float32(ladder, precision):
    for path in (ladder / precision).glob("*.onnx"):
        session = ort.InferenceSession(path)
        assert {value.type for value in session.get_inputs()} == {"tensor(int64)"}
        assert {value.type for value in session.get_outputs()} == {"tensor(float)"}
        onnx.checker.check_model(path)


def test_choices_that_were_measured_stand_in_the_manifest(ladder):
    settings = {v.precision: v.settings for v in open_bundle(ladder).manifest.variants}
    assert settings["int8-static"]["calibration"] in ("minmax", "entropy", "percentile")
    assert settings["int4"]["block"] in (32, 64)
    assert settings["int8"] == {}


def test_exporting_again_in_another_process_gives_the_same_bytes(tiny_model, tmp_path):
    """What is chosen by measuring, int8-static's ranges and int4's blocks, included."""
    options = ("--precision", ",".join(LADDER), "--floor", "0.1,0.05")
    mrl_edge_here("export", tiny_model, "--out", tmp_path / "here", *options)
    mrl_edge("export", tiny_model, "--out", tmp_path / "there", *options)
    here, there = (open_bundle(tmp_path / name).manifest.files for name in ("here", "there"))
    assert here == there


def test_targets_with_equal_flags_share_a_variant(targeted):
    variants = open_bundle(targeted).manifest.variants
    assert {v.target for v in variants} == {"arm64,avx512-vnni", "avx2", "avx512"}
    assert {v.weights.split("/")[0] for v in variants} == {"int8-arm64+avx512-vnni", "int8-avx2", "int8-avx512"}


@pytest.mark.parametrize("here", ["arm64", "avx2", "avx512", "avx512-vnni"])
def test_the_variant_made_for_this_processor_is_loaded(targeted, here, monkeypatch):
    monkeypatch.setattr("mrl_edge.bundle.this_target", lambda: here)
    assert here in open_bundle(targeted).variant("int8", None).target.split(",")


def test_a_graph_that_onnxruntime_cannot_make_unsigned_warns_where_its_sums_saturate(bundle, targeted, monkeypatch):
    from mrl_edge import runtime as opened

    path = targeted / "int8-arm64+avx512-vnni" / "d8.onnx"
    monkeypatch.setattr("mrl_edge.runtime.this_target", lambda: "avx2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runtime.load(bundle, 8, "fp32")
        open_session(path, None, "arm64,avx512-vnni")
    plain = opened._open

    def refusing(path, threads, levers, exact):  # as onnxruntime 1.32 does for ALBERT's int8-static
        if exact:
            raise BundleError("Attempt to replace the existing tensor")
        return plain(path, threads, levers, exact)

    monkeypatch.setattr(opened, "_open", refusing)
    with pytest.warns(RuntimeWarning, match="without VNNI.*may saturate: export with --target avx2"):
        open_session(path, None, "arm64,avx512-vnni")


def weights_of_products(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The 8-bit matrices [inputs, outputs] of a graph's MatMulInteger nodes by output."""
    tensors = {t.name: onnx.numpy_helper.to_array(t).astype(np.int32) for t in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
    assert len(nodes) == 6 * BRIEF_LAYERS
    return {node.output[0]: tensors[node.input[1]] for node in nodes}


def activations_of_products(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The 8-bit activations [tokens, inputs] that each MatMulInteger node is given for a text, by output."""
    names = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "MatMulInteger"}
    outputs = sorted(set(names.values()))
    model.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.UINT8, None) for n in outputs)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = dict(zip(outputs, session.run(outputs, feed), strict=True))
    return {node: values[name].reshape(-1, values[name].shape[-1]) for node, name in names.items()}


def saturated_pairs(folder: Path, text: str) -> int:
    """How many of a text's pairwise sums u8·s8 + u8·s8, as vpmaddubsw makes them, do not fit its 16 bits."""
    ids = np.array([Tokenizer.from_file(str(folder.parent / "tokenizer.json")).encode(text).ids])
    model = onnx.load(folder / "d384.onnx")
    weights = weights_of_products(model)
    given = activations_of_products(
        model, {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    )
    found = 0
    for node, matrix in weights.items():
        products = given[node].astype(np.int32)
        for first in range(0, matrix.shape[0], 2):
            sums = products[:, first, None] * matrix[first] + products[:, first + 1, None] * matrix[first + 1]
            found += int(((sums > 32767) | (sums < -32768)).sum())
    return found


def test_sums_of_vpmaddubsw_saturate_with_8_bits_a_weight_and_never_with_7(targeted, dev):
    longest = max(dev["query"][:200], key=len)
    assert saturated_pairs(targeted / "int8-arm64+avx512-vnni", longest) > 0
    assert saturated_pairs(targeted / "int8-avx512", longest) == 0
    bits7 = weights_of_products(onnx.load(targeted / "int8-avx512" / "d384.onnx"))
    assert max(int(np.abs(matrix).max()) for matrix in bits7.values()) * 255 * 2 <= 32767  # whatever the activations


def test_integers_are_those_of_the_target_where_sums_would_saturate(targeted, dev, tmp_path, monkeypatch):
    ids = np.array([Tokenizer.from_file(str(targeted / "tokenizer.json")).encode(max(dev["query"][:200], key=len)).ids])
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    model = onnx.load(targeted / "int8-arm64+avx512-vnni" / "d384.onnx")
    nodes = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
    weights = weights_of_products(model)
    kinds = {node.input[0]: TensorProto.UINT8 for node in nodes} | {node.input[2]: TensorProto.UINT8 for node in nodes}
    kinds |= {node.output[0]: TensorProto.INT32 for node in nodes}
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items())
    onnx.save(model, tmp_path / "open.onnx")
    monkeypatch.setattr("mrl_edge.runtime.this_target", lambda: "avx2")
    session = open_session(tmp_path / "open.onnx", None, "arm64,avx512-vnni")
    values = dict(zip(kinds, session.run(list(kinds), feed), strict=True))
    for node in nodes:
        given, zero, ours = (values[name].astype(np.int64) for name in (node.input[0], node.input[2], node.output[0]))
        assert np.array_equal(ours, (given - zero) @ weights[node.output[0]])


def test_avx2_has_unsigned_weights_which_its_kernels_add_in_32_bits(targeted):
    weights = weights_of_products(onnx.load(targeted / "int8-avx2" / "d384.onnx")).values()
    assert min(int(w.min()) for w in weights) >= 0
    assert max(int(w.max()) for w in weights) > 200


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--precision", "int8", "--floor", "1.5"), "--floor: expected cosines below 1"),
        (("--precision", "int8", "--floor", "near"), "--floor near: expected one or two cosines"),
        (("--precision", "int8", "--target", "avx9"), "--target avx9: unknown"),
        (("--precision", "int8", "--target", "cuda"), "int8 is not for --target cuda"),
        (("--precision", "fp32", "--floor", "0.9"), "--floor is for the other precisions"),
        (("--precision", "int8", "--calibration", __file__), "--calibration is for int8-static"),
        (("--precision", "int3"), "--precision int3: unknown"),
    ],
)
def test_what_cannot_be_made_is_one_line(model, tmp_path, options, said):
    line = the_one_error_line(run_here("export", model, "--out", tmp_path / "b", *options))
    assert said in line
    assert not (tmp_path / "b").exists()


def test_calibration_texts_come_from_a_file(tiny_model, tmp_path, dev):
    """The same export twice gives the same scales (bytes, even), so others are these texts' doing."""
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(dev["query"][:40]))
    arguments = ("export", tiny_model, "--precision", "int8-static", "--floor", "0.1,0.05", "--out")
    mrl_edge_here(*arguments, tmp_path / "default")
    mrl_edge_here(*arguments, tmp_path / "ours", "--calibration", texts)
    ours, default = (activation_scales(tmp_path / name / "int8-static" / "d4.onnx") for name in ("ours", "default"))
    assert ours.keys() == default.keys()
    assert np.mean([ours[name] != default[name] for name in ours]) > 0.5
    texts.write_text("\n\n")
    line = the_one_error_line(run_here(*arguments, tmp_path / "c", "--calibration", texts))
    assert "holds no text" in line


def activation_scales(path):
    """Return the scale of every tensor that a graph quantises as it runs, by the tensor's name."""
    graph = onnx.load(path).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] not in constants]
    return {node.input[0]: float(constants[node.input[1]]) for node in found}
