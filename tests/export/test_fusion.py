"""Fused trunks are kept only where they are faster, and the manifest says so."""

import numpy as np
import onnx
import pytest
from conftest import mrl_edge_here
from mrl_edge.export.precisions import ladder as module
from mrl_edge.export.precisions.fusion import Shape, Speedup, fuse, speedup
from mrl_edge.export.precisions.judge import Agreement
from mrl_edge.export.run import export_bundle, read_model
from train.encoders import tiny_bert
from train.untrained import DIMS, TEXTS, untrained_model

import mrl_edge as runtime
from mrl_edge.bundle import open_bundle

_FLOOR = Agreement(0.1, 0.05)  # held on every processor: the ratio alone decides


@pytest.fixture
def tiny_model(tmp_path):
    """A model of a family that fuses, with random weights."""
    return untrained_model(tmp_path / "model", tiny_bert(tmp_path / "bert"), (2,))


@pytest.mark.parametrize(
    ("ratio", "precisions", "said"),
    [
        (Speedup(1.3, 1.2, 1.4), ("fp32", "int8"), "kept, 1.30 ×"),
        (Speedup(1.0, 0.9, 1.1), ("int8",), "not kept, 1.00 ×"),
    ],
)
def test_a_fused_trunk_is_kept_only_when_it_is_not_slower(tiny_model, tmp_path, monkeypatch, ratio, precisions, said):
    monkeypatch.setattr(module, "speedup", lambda *graphs: ratio)
    choices = module.Choices(optimise=True, floor=_FLOOR)
    manifest = export_bundle(read_model(tiny_model), tmp_path / "b", precisions, choices=choices)
    plain = None
    for variant in manifest.variants:
        assert variant.settings["fusions"].startswith(said)
        graph = onnx.load(tmp_path / "b" / variant.precision / "d24.onnx", load_external_data=False).graph
        assert any(node.op_type == "BiasGelu" for node in graph.node) == said.startswith("kept")
        vectors = runtime.load(tmp_path / "b", DIMS[-1], variant.precision).encode(TEXTS)
        plain = vectors if plain is None else plain
        assert np.sum(vectors * plain, axis=1).min() > 0.95


def test_auto_measures_and_says_the_ratio(tiny_model, tmp_path):
    mrl_edge_here(
        "export",
        tiny_model,
        "--out",
        tmp_path / "b",
        "--precision",
        "int8",
        "--optimise",
        "auto",
        "--floor",
        "0.1,0.05",
    )
    (variant,) = open_bundle(tmp_path / "b").manifest.variants
    assert " × (" in variant.settings["fusions"]


def test_a_graph_is_as_fast_as_itself(bundle, tmp_path):
    path = bundle / "int8" / "d384.onnx"
    rows = np.ones((8, 32), dtype=np.int64)
    batch = {"input_ids": rows, "attention_mask": rows, "token_type_ids": rows * 0}
    ratio = speedup(path, path, [batch])
    assert 0.7 < ratio.low <= ratio.median <= ratio.high < 1.4


def test_a_family_that_does_not_fuse_is_left_alone(tmp_path):
    assert fuse(tmp_path / "none.onnx", Shape("modernbert", 12, 768), tmp_path, attention=True) is None
