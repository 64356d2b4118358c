"""Weights in the order that this processor's kernels like, written once and mapped from the file from then on.

onnxruntime maps the weights of a bundle, but its kernels copy most of them into private memory in an order of their
own (prepacking). Saved with the graph, those copies are mapped too: pages that the system can drop and read again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import onnxruntime as ort

from mrl_edge.atomic import new_folder, write_file
from mrl_edge.caches import cache_folder
from mrl_edge.cpu import features
from mrl_edge.errors import UnsupportedError

_GRAPH, _WEIGHTS = "graph.onnx", "weights.bin"
_SOURCE = "source.txt"  # the graph that a copy is of, what it depends on, and the sizes of its files, a line each
_LEAST_BYTES = "256"  # smaller tensors stay in the graph, as in a bundle


def prepacked(graph: Path, options: ort.SessionOptions, exact: bool) -> Path:
    """Return a copy of a graph with its prepacked weights beside it, in the user's cache.

    It is written where there is none of this graph and its weights, this processor and this onnxruntime, with `options`
    that are used for nothing else and are `exact` or not, as in `open_session`; one that is out of date, or of other
    sizes than it was written, is replaced, and copies of graphs that are no longer there are removed. It holds the
    weights in both orders. Raises `UnsupportedError` where the cache cannot be written to.
    """
    graph = graph.resolve()
    copies = cache_folder() / "prepacked"
    folder = copies / hashlib.sha256(f"{graph} {exact}".encode()).hexdigest()[:16]
    source = f"{graph}\n{state_of(graph)}\n"
    if _text(folder / _SOURCE) == source + _sizes(folder):
        return folder / _GRAPH
    try:
        _remove_orphans(copies)
        with new_folder(folder) as new:
            _write(graph, new, options)
            write_file(new / _SOURCE, (source + _sizes(new)).encode())
    except OSError as error:
        raise UnsupportedError(f"runtime setting mapped-prepack: {copies} cannot be written to: {error}") from None
    return folder / _GRAPH


def _write(graph: Path, folder: Path, options: ort.SessionOptions) -> None:
    options.optimized_model_filepath = str(folder / _GRAPH)
    for name, value in (
        ("optimized_model_external_initializers_file_name", _WEIGHTS),
        ("optimized_model_external_initializers_min_size_in_bytes", _LEAST_BYTES),
        ("save_external_prepacked_constant_initializers", "1"),
    ):
        options.add_session_config_entry(f"session.{name}", value)
    ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    for path in _files(folder):  # before they are known: a power cut leaves files of zeros
        with path.open("r+b") as file:
            os.fsync(file.fileno())


def state_of(graph: Path) -> str:
    """Name all that what is made of a graph depends on; weights by their file, its size and when it was written."""
    digest = hashlib.sha256(graph.read_bytes())
    weights = sorted(path for path in graph.parent.iterdir() if path.suffix == ".bin")
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in weights]
    digest.update(repr((stats, sorted(features()), ort.__version__)).encode())
    return digest.hexdigest()


def _remove_orphans(copies: Path) -> None:
    for source in copies.glob("*/" + _SOURCE):
        if not Path(_text(source).partition("\n")[0]).is_file():
            shutil.rmtree(source.parent, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    return [path for path in (folder / _GRAPH, folder / _WEIGHTS) if path.is_file()]


def _sizes(folder: Path) -> str:
    return "".join(f"{path.stat().st_size}\n" for path in _files(folder))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
