"""A model with exits: each depth has its own graphs, which hold nothing of the layers that they skip."""

import json
import shutil

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from conftest import mrl_edge_here, run_here, the_one_error_line
from safetensors.torch import load_file
from train.encoders import sentence_transformer, tiny_bert
from train.untrained import CLASSES, DIMS, TEXTS, untrained_model
from transformers import AutoModel, AutoTokenizer

import mrl_edge as runtime
from mrl_edge.bundle import open_bundle
from mrl_edge.encoder import load_nested, softmax

DEPTHS = (1, 2, 4)
PRECISIONS = ("fp32", "int8")


@pytest.fixture(scope="module")
def nested_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exits")
    encoder = sentence_transformer(folder / "st", tiny_bert(folder / "bert", layers=4), pooling="mean", dense=28)
    return untrained_model(folder / "model", encoder, DEPTHS)


@pytest.fixture(scope="module")
def nested_bundle(nested_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    mrl_edge_here("export", nested_model, "--out", out, "--precision", ",".join(PRECISIONS))
    return out


def graphs(bundle, precision, depth):
    variant = open_bundle(bundle).variant(precision, depth)
    return {graph.dim: onnx.load(bundle / graph.file, load_external_data=False) for graph in variant.graphs}


@pytest.mark.parametrize("depth", DEPTHS)
def test_an_exit_computes_what_transformers_computes_with_fewer_layers(nested_model, nested_bundle, depth):
    tokenizer = AutoTokenizer.from_pretrained(nested_model)
    shallow = AutoModel.from_pretrained(nested_model, num_hidden_layers=depth).eval()
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        hidden, mask = shallow(**batch).last_hidden_state, batch["attention_mask"][:, :, None]
    dense = load_file(nested_model / "2_Dense" / "model.safetensors")
    vectors = torch.tanh(F.linear((hidden * mask).sum(1) / mask.sum(1), dense["linear.weight"], dense["linear.bias"]))
    if depth == DEPTHS[-1]:
        heads = load_file(nested_model / "heads.safetensors")
        projection = load_file(nested_model / "3_Dense" / "model.safetensors")["linear.weight"]
    else:
        stored = load_file(nested_model / "exits.safetensors")
        heads = {name.removeprefix(f"{depth}."): value for name, value in stored.items()}
        projection = heads["projection"] if "projection" in heads else stored[f"{depth}.projection"]
    projected = vectors @ projection.T
    nested = load_nested(nested_bundle, "fp32", depth)
    for dim in DIMS:
        wanted = F.normalize(projected[:, :dim], dim=-1).numpy()
        one = runtime.load(nested_bundle, dim, "fp32", depth=depth)
        assert one.depth == depth
        np.testing.assert_allclose(one.encode(TEXTS), wanted, atol=1e-5)
        np.testing.assert_allclose(nested.encode(TEXTS)[dim], wanted, atol=1e-5)
        logits = F.linear(projected[:, :dim], heads[f"{dim}.weight"], heads[f"{dim}.bias"]).numpy()
        np.testing.assert_allclose(one.classify(TEXTS), softmax(logits), atol=1e-5)
        np.testing.assert_allclose(nested.classify(TEXTS)[dim], softmax(logits), atol=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_shallow_graph_holds_nothing_of_the_layers_that_it_skips(nested_bundle, precision):
    for depth in DEPTHS:
        for graph in graphs(nested_bundle, precision, depth).values():
            text = "\n".join(
                [name for node in graph.graph.node for name in (*node.input, *node.output)]
                + [tensor.name for tensor in graph.graph.initializer]
            )
            for layer in range(4):
                assert (f"layer.{layer}/" in text or f"layer.{layer}." in text) == (layer < depth), (depth, layer)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_initializer_of_a_graph_is_read_and_every_node_leads_to_an_output(nested_bundle, precision):
    for depth in DEPTHS:
        for graph in graphs(nested_bundle, precision, depth).values():
            read = {name for node in graph.graph.node for name in node.input}
            read |= {value.name for value in graph.graph.output}
            assert {tensor.name for tensor in graph.graph.initializer} <= read
            assert all(read & set(node.output) for node in graph.graph.node)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_depths_share_one_weight_file_in_which_each_byte_is_stored_once(nested_bundle, precision):
    ranges = {}
    for depth in DEPTHS:
        for graph in graphs(nested_bundle, precision, depth).values():
            for tensor in graph.graph.initializer:
                place = {entry.key: entry.value for entry in tensor.external_data}
                if place:
                    assert place["location"] == "weights.bin"
                    start, length = int(place["offset"]), int(place["length"])
                    ranges[start] = max(ranges.get(start, 0), length)
    end = 0
    for start, length in sorted(ranges.items()):
        assert end <= start <= -(-end // 4096) * 4096  # nothing overlaps, and padding ends at a page
        end = start + length
    assert end == (nested_bundle / precision / "weights.bin").stat().st_size
    full = sum(tensor_bytes(graphs(nested_bundle, precision, DEPTHS[-1])[None]))
    heads = 2 * 4 * (DIMS[-1] * 28 + sum((dim + 1) * len(CLASSES) for dim in DIMS))
    padding = 4096 * len(ranges)
    assert end <= full + heads + padding


def tensor_bytes(model):
    for tensor in model.graph.initializer:
        yield from (int(entry.value) for entry in tensor.external_data if entry.key == "length")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_graph_beyond_the_weights_takes_less_than_150_kilobytes(nested_bundle, precision):
    manifest = open_bundle(nested_bundle).manifest
    files = {name: entry.bytes for name, entry in manifest.files.items() if name.startswith(f"{precision}/")}
    assert files.pop(f"{precision}/weights.bin") > 0
    named = {graph.file for variant in manifest.variants for graph in variant.graphs if variant.precision == precision}
    assert set(files) == named
    assert len(files) == len(DEPTHS) * (len(DIMS) + 1)
    assert max(files.values()) < 150_000
    suffixes = ("", "-L1", "-L2")
    names = (*(f"d{dim}" for dim in DIMS), "all")
    assert named == {f"{precision}/{name}{suffix}.onnx" for name in names for suffix in suffixes}


def test_the_manifest_says_how_near_each_depth_is_to_pytorch_at_that_depth(nested_bundle):
    manifest = open_bundle(nested_bundle).manifest
    assert manifest.depths == DEPTHS
    for variant in manifest.variants:
        for graph in variant.graphs:
            assert graph.fidelity.texts >= len(TEXTS)
            if variant.precision == "fp32":
                assert graph.fidelity.max_abs_error <= 1e-4
            else:
                assert graph.fidelity.cosine_min > 0.9


def test_graphs_are_of_an_opset_and_ir_that_the_oldest_onnxruntime_reads(nested_bundle):
    manifest = open_bundle(nested_bundle).manifest
    for variant in manifest.variants:
        for graph in graphs(nested_bundle, variant.precision, variant.depth).values():
            opset = next(entry.version for entry in graph.opset_import if entry.domain == "")
            assert opset <= int(manifest.versions["onnx opset"]) <= 21
            assert graph.ir_version == int(manifest.versions["onnx IR"]) == 10


def test_a_model_with_exits_is_exported_to_the_same_bytes_again(nested_model, nested_bundle, tmp_path):
    mrl_edge_here("export", nested_model, "--out", tmp_path / "bundle", "--precision", ",".join(PRECISIONS))
    assert open_bundle(tmp_path / "bundle").manifest.files == open_bundle(nested_bundle).manifest.files


def test_every_later_command_takes_a_depth(nested_bundle, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(nested_bundle, bundle)
    table = tmp_path / "data.csv"
    rows = [f"{text},{text[::-1]},{CLASSES[i % 3]}" for i, text in enumerate(TEXTS[5:])]
    table.write_text("\n".join(["query,positive,label", *rows]))
    pairs = ("--query", "query", "--positive", "positive")
    by_depth = {
        depth: mrl_edge_here("classify", bundle, "a text", "--precision", "fp32", "--depth", depth, "--json")
        for depth in DEPTHS
    }
    assert len(set(by_depth.values())) == len(DEPTHS)
    assert "no such depth" in the_one_error_line(run_here("evaluate", bundle, "--data", table, *pairs, "--depth", 3))
    scored = json.loads(mrl_edge_here("evaluate", bundle, "--data", table, *pairs, "--precision", "fp32", "--json"))
    assert scored["depths"] == list(DEPTHS)
    info = json.loads(mrl_edge_here("index", bundle, table, "--positive", "positive", "--depth", 1, "--json"))
    assert info["depth"] == 1
    assert len(json.loads(mrl_edge_here("search", bundle, TEXTS[5], "--dim", 4, "-k", 2, "--json"))) == 2
    results = tmp_path / "results.json"
    options = (*pairs, "--dims", "24", "--tokens", "0", "--max-seconds", "0.1", "--repeats", "1", "--index", "scan",
               "--out", results)  # fmt: skip
    assert "has depth 1, 2, 4" in the_one_error_line(
        run_here("bench", bundle, "--data", table, *options, "--depths", "3")
    )
    measured = json.loads(
        mrl_edge_here("bench", bundle, "--data", table, *options, "--depths", "1,4", "--precision", "fp32", "--json")
    )
    rows = measured["measurements"]
    assert [(row["depth"], row["status"]) for row in rows] == [(4, "ok"), (1, "ok")]
    assert rows[0]["fidelity"] is None  # it is what the others are compared with
    assert rows[1]["fidelity"]["cosine_min"] < 0.99
    picked = json.loads(mrl_edge_here("pick", results, "--max-disk-mb", 100, "--json"))
    assert picked["depth"] in (1, 4)
    assert picked["shallow"] == (picked["depth"] == 1)
