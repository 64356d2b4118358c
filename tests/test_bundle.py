"""A bundle that was changed, cut or is no bundle is refused with one line; an untouched file that is not needed is."""

import json
import os
import shutil

import numpy as np
import pytest
from conftest import run_here, the_one_error_line

import mrl_edge
from mrl_edge.bundle import open_bundle
from mrl_edge.errors import BundleError


def flip_a_byte(path, place=None):
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 if place is None else place)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def edit_manifest(bundle, change):
    path = bundle / "bundle.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def classify(bundle):
    return run_here("classify", bundle, "a text", "--precision", "int8")


@pytest.mark.parametrize("file", ["int8/weights.bin", "int8/all.onnx", "tokenizer.json"])
def test_one_changed_byte_is_named(own_bundle, file):
    flip_a_byte(own_bundle / file)
    line = the_one_error_line(classify(own_bundle))
    assert file in line
    assert "sha256" in line


@pytest.mark.parametrize("place", [0, -1])
def test_the_first_and_the_last_byte_of_the_weights_count(own_bundle, place):
    weights = own_bundle / "int8" / "weights.bin"
    flip_a_byte(weights, place % weights.stat().st_size)
    with pytest.raises(BundleError, match=r"weights\.bin.*sha256"):
        mrl_edge.load(own_bundle, 64, "int8")


@pytest.mark.parametrize("file", ["int8/weights.bin", "int8/all.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(own_bundle, file):
    (own_bundle / file).unlink()
    line = the_one_error_line(classify(own_bundle))
    assert file in line
    assert "missing" in line


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_manifest_is_damaged(own_bundle, share):
    path = own_bundle / "bundle.json"
    os.truncate(path, int(path.stat().st_size * share))
    assert "bundle.json is damaged" in the_one_error_line(classify(own_bundle))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("rest", [b'"name": "\xff"}', b'"training": ' + b"[" * 100_000], ids=["odd bytes", "endless"])
def test_a_manifest_of_odd_bytes_or_that_nests_without_end_is_damaged(tmp_path, version, rest):
    (tmp_path / "bundle.json").write_bytes(b'{"schema_version": %d, %b' % (version, rest))
    assert "bundle.json is damaged" in the_one_error_line(classify(tmp_path))


@pytest.mark.parametrize("name", ["/tmp/int8", "../../int8", "int8\x1b[2J", ""])
def test_a_precision_of_another_name_than_ours_is_damage(own_bundle, name):
    """Folders of `bench` are named after it, and would be made wherever it says."""
    path = own_bundle / "bundle.json"
    manifest = json.loads(path.read_text())
    manifest["variants"][-1]["precision"] = name
    path.write_text(json.dumps(manifest))
    line = the_one_error_line(classify(own_bundle))
    assert "bundle.json is damaged" in line
    assert "precision" in line


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path):
    assert "is no bundle" in the_one_error_line(classify(tmp_path))


def test_a_newer_schema_asks_for_a_newer_program_even_when_it_cannot_be_read(own_bundle):
    (own_bundle / "bundle.json").write_text('{"schema_version": 3, "unheard": "of"}')
    assert "upgrade mrl-edge" in the_one_error_line(classify(own_bundle))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "int8/../../secret"])
def test_a_manifest_that_points_outside_its_folder_is_refused(own_bundle, name):
    edit_manifest(own_bundle, lambda m: m["files"].update({name: {"bytes": 1, "sha256": "0" * 64}}))
    assert "outside the bundle" in the_one_error_line(classify(own_bundle))


def test_a_manifest_whose_names_would_steer_a_terminal_is_refused(own_bundle):
    edit_manifest(own_bundle, lambda m: m["files"].update({"a\x1b[2J": {"bytes": 1, "sha256": "0" * 64}}))
    assert r"unprintable characters: 'a\x1b[2J'" in the_one_error_line(classify(own_bundle))


def test_a_file_that_the_manifest_does_not_list_is_not_used(own_bundle):
    edit_manifest(own_bundle, lambda m: m["files"].pop("int8/weights.bin"))
    with pytest.raises(BundleError, match=r"does not list int8/weights\.bin"):
        mrl_edge.load(own_bundle, 64, "int8")


def test_a_tokenizer_that_is_listed_but_is_none_is_refused(own_bundle):
    content = b'{"not": "a tokenizer"}'
    (own_bundle / "tokenizer.json").write_bytes(content)
    import hashlib

    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_manifest(own_bundle, lambda m: m["files"].update({"tokenizer.json": entry}))
    assert "tokenizer.json" in the_one_error_line(classify(own_bundle))


def test_a_precision_runs_without_the_files_of_the_others(own_bundle, bundle, dev):
    shutil.rmtree(own_bundle / "fp32")
    here = mrl_edge.load(own_bundle, 64, "int8").encode(dev["query"][:4])
    np.testing.assert_array_equal(here, mrl_edge.load(bundle, 64, "int8").encode(dev["query"][:4]))


def test_model_bytes_are_the_bytes_of_the_files_that_one_configuration_reads(own_bundle):
    opened = open_bundle(own_bundle)
    needed = ("bundle.json", "tokenizer.json", "int8/weights.bin", "int8/d64.onnx")
    bytes_needed = sum((own_bundle / name).stat().st_size for name in needed)
    assert opened.model_bytes(opened.variant("int8", None), 64) == bytes_needed
    for path in own_bundle.rglob("*"):
        if path.is_file() and str(path.relative_to(own_bundle)) not in needed:
            path.unlink()
    assert mrl_edge.load(own_bundle, 64, "int8").encode(["a text"]).shape == (1, 64)
