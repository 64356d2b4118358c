"""Each family of encoders that we say we export, against PyTorch, at every length and at an exit."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import transformers
from conftest import run_here, the_one_error_line
from mrl_edge.export.precisions.judge import Agreement
from mrl_edge.export.precisions.ladder import Choices
from mrl_edge.export.run import export_bundle, read_model
from train.encoders import tiny_bert
from train.families import FAMILIES, tiny_encoder
from train.untrained import untrained_model

from mrl_edge.bundle import open_bundle
from mrl_edge.metrics import paired_cosines
from mrl_edge.nesting import prefix
from mrl_edge.train.model import load_exits
from mrl_edge.train.record import read_record
from mrl_edge.train.source import read_encoder
from mrl_edge.train.trunk import Trunk

DEPTHS = (2, 3)
LENGTHS = (1, 2, 17, 64)
COSINES = {"fp32": 0.99999, "fp16": 0.999, "int8": 0.8, "int8-static": -1.0, "int4": -1.0}  # to PyTorch, at least


DIMS = (10, 24)
_EVERY = tuple(COSINES)
# Those whose quantised graphs are like no other's (shared layers, fused attention); the others too in `slow`.
_IN_EVERY = ("bert", "albert", "modernbert")
_OTHERS = tuple(family for family in FAMILIES if family not in _IN_EVERY)


@pytest.fixture(
    scope="module",
    params=[
        *((family, _EVERY) for family in _IN_EVERY),
        *((family, ("fp32", "int8")) for family in _OTHERS),
        *(pytest.param((family, _EVERY), marks=pytest.mark.slow) for family in _OTHERS),
    ],
    ids=lambda param: f"{param[0]} in {len(param[1])} precisions",
)
def family(request, tmp_path_factory):
    """(model folder, bundle, its precisions) of one family, with an exit after layer 2 of 3."""
    name, precisions = request.param
    folder = tmp_path_factory.mktemp(name)
    model = untrained_model(folder / "model", tiny_encoder(folder / "encoder", name), DEPTHS, DIMS, classes=())
    assert read_encoder(str(model)).family == name
    assert read_encoder(str(model)).max_tokens == LENGTHS[-1]
    choices = Choices(
        floor=Agreement(0.1, 0.05)
    )  # random weights: what fixed ranges and 4 bits keep of them says nothing
    export_bundle(read_model(model), folder / "bundle", precisions, choices=choices)
    return model, folder / "bundle", precisions


def wanted(model, batch):
    """Return depth → [batch, full], computed by PyTorch."""
    spec = read_encoder(str(model))
    trunk = Trunk(spec.with_modules(spec.modules[:-1]), DEPTHS).eval()
    with torch.no_grad():
        vectors = trunk({name: torch.from_numpy(rows) for name, rows in batch.items()})
    exits = load_exits(model, read_record(model))
    return {exit.depth: (own @ exit.projection.T).numpy() for exit, own in zip(exits, vectors, strict=True)}


def feed(rows, length):
    """Return `rows` random texts of up to `length` tokens, the first of them of exactly so many."""
    random = np.random.default_rng(rows * 100 + length)
    ids = random.integers(4, 56, (rows, length))
    mask = np.ones_like(ids)
    for row in range(1, rows):
        mask[row, random.integers(1, length + 1) :] = 0
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def test_a_family_computes_what_pytorch_computes_at_every_length_batch_and_depth(family):
    model, bundle, precisions = family
    manifest = open_bundle(bundle).manifest
    sessions = {
        (variant.precision, variant.depth, graph.dim): ort.InferenceSession(bundle / graph.file)
        for variant in manifest.variants
        for graph in variant.graphs
        if graph.dim
    }
    assert len(sessions) == len(precisions) * len(DEPTHS) * len(DIMS)
    for length in LENGTHS:
        for rows in (1, 3):
            batch = feed(rows, length)
            by_depth = wanted(model, batch)
            for (precision, depth, dim), session in sessions.items():
                inputs = {each.name: batch[each.name] for each in session.get_inputs()}
                (ours,) = session.run(["embedding"], inputs)
                theirs = prefix(by_depth[depth], dim)
                if precision == "fp32":
                    np.testing.assert_allclose(ours, theirs, atol=1e-4)
                else:
                    cosines = paired_cosines(ours, theirs)
                    assert cosines.min() > COSINES[precision], (precision, length, rows, depth, dim)


def test_int8_of_a_family_is_quantised(family):
    _, bundle, _ = family
    files = open_bundle(bundle).manifest.files
    assert files["int8/weights.bin"].bytes < files["fp32/weights.bin"].bytes
    for path in (bundle / "int8").glob("*.onnx"):
        kinds = [node.op_type for node in onnx.load(path, load_external_data=False).graph.node]
        assert kinds.count("MatMulInteger") >= 2


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (transformers.T5Config(d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4), "with a decoder"),
        (transformers.GPT2Config(n_embd=32, n_layer=1, n_head=4), "not the tokens of a text alone"),
        (transformers.FNetConfig(hidden_size=32, num_hidden_layers=1, intermediate_size=32), "cannot be exported"),
    ],
)
def test_a_family_that_cannot_be_exported_says_so_before_its_weights_are_read(tmp_path, config, said):
    encoder = tiny_bert(tmp_path / "encoder")
    config.save_pretrained(encoder)
    (encoder / "model.safetensors").write_bytes(b"not read")
    line = the_one_error_line(run_here("export", encoder, "--out", tmp_path / "bundle"))
    assert said in line
    assert not (tmp_path / "bundle").exists()
