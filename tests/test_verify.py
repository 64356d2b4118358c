"""A bundle is verified with the runtime alone: every file by its hash, every graph by what it computes."""

import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from conftest import mrl_edge_here, run_here
from test_bundle import edit_manifest, flip_a_byte
from train.encoders import sentence_transformer, tiny_bert
from train.untrained import DIMS, TEXTS, untrained_model

from mrl_edge.bundle import open_bundle
from mrl_edge.hashing import sha256
from mrl_edge.train.model import load_model

DEPTHS = (1, 2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    prompts = {"query": "q ", "plain": "p "}
    encoder = sentence_transformer(folder / "st", tiny_bert(folder / "bert"), pooling="mean", prompts=prompts)
    settings = folder / "st" / "config_sentence_transformers.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"default_prompt_name": "plain"}))
    return untrained_model(folder / "model", encoder, DEPTHS)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("verify") / "bundle"
    mrl_edge_here("export", model, "--out", out, "--precision", "fp32,int8")
    return out


@pytest.fixture
def own(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "bundle")


def verified(bundle):
    """Run the command and return its exit code and the lines on standard output."""
    done = run_here("verify", bundle)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def test_an_untouched_bundle_is_verified(exported):
    code, lines = verified(exported)
    assert code == 0
    files, graphs = len(open_bundle(exported).manifest.files), 2 * len(DEPTHS) * (len(DIMS) + 1)
    assert lines == [f"{exported}: {files} files and {graphs} graphs are as they were exported"]
    found = json.loads(mrl_edge_here("verify", exported, "--json"))
    assert found["problems"] == []
    assert len(found["graphs"]) == graphs
    for check in found["graphs"]:
        assert check["cosine_min"] > (0.9999 if check["file"].startswith("fp32") else 0.9)


def test_the_stored_embeddings_are_those_of_the_model_in_pytorch(model, exported):
    manifest = open_bundle(exported).manifest
    texts = json.loads((exported / manifest.samples.texts).read_text())
    assert set(texts) == set(TEXTS)
    stored = np.fromfile(exported / manifest.samples.embeddings, np.float32).reshape(len(DEPTHS), len(texts), -1)
    loaded = load_model(model)
    for depth, ours in zip(DEPTHS, stored, strict=True):
        theirs = torch.from_numpy(loaded.embed(texts, "text", depth))  # `text` takes the default prompt
        np.testing.assert_allclose(ours, F.normalize(theirs, dim=-1).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "file", ["int8/weights.bin", "fp32/d4.onnx", "tokenizer.json", "samples/embeddings.f32", "samples/texts.json"]
)
def test_each_changed_file_is_one_line(own, file):
    flip_a_byte(own / file)
    code, lines = verified(own)
    assert code == 1
    assert len(lines) == 1
    assert str(own / file) in lines[0]
    assert "sha256" in lines[0]


def test_several_broken_files_are_all_named_and_the_other_graphs_still_run(own):
    (own / "int8" / "weights.bin").unlink()
    flip_a_byte(own / "fp32" / "d4.onnx")
    done = run_here("verify", own)
    assert done.returncode == 1
    assert [line.split(":")[0].split(" is ")[0] for line in done.stdout.splitlines()] == [
        str(own / "fp32" / "d4.onnx"),
        str(own / "int8" / "weights.bin"),
    ]
    assert "9 graphs were not run" in done.stderr


def test_a_graph_whose_hash_is_right_but_whose_vectors_are_not_is_named_with_its_cosine(own):
    path = own / "fp32" / "d10.onnx"
    graph = onnx.load(path, load_external_data=False)
    other = onnx.load(own / "fp32" / "d10-L1.onnx", load_external_data=False)
    path.write_bytes(other.SerializeToString())  # the exit's graph in the place of the full depth's
    assert graph != other
    entry = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    edit_manifest(own, lambda manifest: manifest["files"].update({"fp32/d10.onnx": entry}))
    code, lines = verified(own)
    assert code == 1
    assert len(lines) == 1
    assert "fp32/d10.onnx: cosine to PyTorch" in lines[0]


def test_a_bundle_of_an_earlier_version_says_that_it_has_no_texts(own):
    edit_manifest(own, lambda manifest: manifest.pop("samples"))
    code, lines = verified(own)
    assert code == 1
    assert lines == ["the bundle has no texts to verify with: export it again"]


def test_what_is_no_bundle_is_the_users_error(tmp_path):
    for command in ("verify", "show"):
        done = run_here(command, tmp_path)
        assert done.returncode == 2
        assert "is no bundle" in done.stderr


def test_verifying_and_showing_load_no_torch(exported):
    script = (
        "import sys; from mrl_edge.cli import run; "
        f"codes = [run([command, {str(exported)!r}]) for command in ('verify', 'show')]; "
        "assert codes == [0, 0], codes; assert not {'torch', 'onnx', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_show_prints_every_variant_and_the_encoder(exported):
    manifest = open_bundle(exported).manifest
    text = mrl_edge_here("show", exported)
    table = [line.split() for line in text.splitlines() if line.startswith(("fp32", "int8"))]
    assert [(row[0], int(row[1])) for row in table] == [(v.precision, v.depth) for v in manifest.variants]
    assert {row[3] for row in table} == {"4–24"}
    for row in table:
        assert float(row[-1]) <= float(row[-2]) <= 1.00001
    for said in ("tiny, bert, mean pooling", "plain 'p '", "dimensions    4, 10, 24", "onnx opset 18", "onnxruntime"):
        assert said in text
    shown = json.loads(mrl_edge_here("show", exported, "--json"))
    assert shown == json.loads((exported / "bundle.json").read_text())
