"""onnxruntime's levers change memory and time, never what is computed."""

import os
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime as ort
import pytest

import mrl_edge
from mrl_edge.errors import UnsupportedError, UsageError
from mrl_edge.levers import LEVERS, pull


def test_each_lever_sets_one_thing():
    for name in LEVERS:
        options, plain = ort.SessionOptions(), ort.SessionOptions()
        pull(options, [name])
        changed = {
            "no-arena": options.enable_cpu_mem_arena is not plain.enable_cpu_mem_arena,
            "no-pattern": options.enable_mem_pattern is not plain.enable_mem_pattern,
            "no-prepack": _prepacking_is_off(options),
        }
        assert [lever for lever, is_set in changed.items() if is_set] == [name]


def _prepacking_is_off(options):
    try:
        return options.get_session_config_entry("session.disable_prepacking") == "1"
    except RuntimeError:  # it was never set
        return False


def test_the_vectors_are_the_same_with_all_levers(bundle):
    texts = ["a short musical passage", "a small stringed instrument"]
    plain = mrl_edge.load(bundle, 64, "fp32", threads=1).encode(texts)
    levered = mrl_edge.load(bundle, 64, "fp32", threads=1, levers=tuple(LEVERS)).encode(texts)
    assert np.abs(plain - levered).max() < 1e-5


def test_an_unknown_lever_is_named(bundle):
    with pytest.raises(UsageError, match="no-brakes"):
        mrl_edge.load(bundle, 64, levers=("no-brakes",))


def test_two_levers_that_exclude_each_other_are_refused(bundle):
    with pytest.raises(UsageError, match="only one of them"):
        mrl_edge.load(bundle, 64, levers=("no-prepack", "mapped-prepack"))


TEXTS = ["a short musical passage", "a small stringed instrument"]


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """When each prepacked copy in a cache of this test's own was written, by its file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda: {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("weights.bin")}


def mapped(bundle, precision, *others):
    return mrl_edge.load(bundle, 64, precision, threads=1, levers=("mapped-prepack", *others)).encode(TEXTS)


def test_prepacked_weights_are_written_once_for_each_graph(bundle, copies):
    for number, precision in enumerate(("fp32", "int8"), start=1):
        plain = mrl_edge.load(bundle, 64, precision, threads=1).encode(TEXTS)
        assert np.abs(plain - mapped(bundle, precision)).max() < 1e-5
        written = copies()
        assert len(written) == number
        assert np.abs(plain - mapped(bundle, precision, "no-arena")).max() < 1e-5
        assert copies() == written


def test_prepacked_weights_are_replaced_when_out_of_date_and_removed_with_their_graph(bundle, tmp_path, copies):
    one, other = (shutil.copytree(bundle, tmp_path / name) for name in ("one", "other"))
    mapped(one, "int8")
    (first,) = copies().items()
    (weights,) = (one / "int8").glob("*.bin")
    os.utime(weights, ns=(0, 0))  # as a new export's would be: another time
    mapped(one, "int8")
    (second,) = copies().items()
    assert second[0] == first[0]
    assert second[1] != first[1]
    shutil.rmtree(one)
    mapped(other, "int8")
    (third,) = copies()
    assert third != second[0]


@pytest.mark.parametrize("file", ["weights.bin", "graph.onnx"])
@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 4096), lambda path: path.unlink()])
def test_a_prepacked_copy_of_which_a_part_is_gone_is_written_anew(bundle, tmp_path, copies, file, damage):
    wanted = mapped(bundle, "int8")
    (path,) = (tmp_path / "cache").rglob(file)
    size = path.stat().st_size
    damage(path)
    np.testing.assert_array_equal(mapped(bundle, "int8"), wanted)
    assert path.stat().st_size == size


def test_prepacked_weights_are_on_the_disk_before_they_are_known(bundle, copies, monkeypatch):
    """Of a file that was not synced a power cut leaves zeros, and of zeros no error: other vectors."""
    synced, sync = [], os.fsync

    def noted(handle):
        synced.append(os.fstat(handle).st_ino)
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    mapped(bundle, "int8")
    (weights,) = copies()
    assert [(weights.parent / name).stat().st_ino for name in ("graph.onnx", "weights.bin", "source.txt")] == synced


def test_a_cache_that_cannot_be_written_to_is_named(bundle, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UnsupportedError, match="cannot be written to"):
        mapped(bundle, "int8")


MEMORY = """
import sys
import mrl_edge
from mrl_edge.bench.memory import read_memory
encoder = mrl_edge.load(sys.argv[1], 64, "fp32", threads=1, levers=sys.argv[2:])
encoder.encode(["a short musical passage"])
print(read_memory().anonymous)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_mapped_prepacked_weights_are_no_memory_that_the_system_cannot_drop(bundle, tmp_path):
    """Of all-MiniLM-L6-v2 42 MB of fp32 weights are products', and prepacked."""

    def anonymous(*levers):
        command = [sys.executable, "-c", MEMORY, bundle, *levers]
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
        return int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)

    anonymous("mapped-prepack")  # which writes the file
    assert anonymous() - anonymous("mapped-prepack") > 25_000_000
