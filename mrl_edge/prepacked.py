"""Weights in the order that this processor's kernels like, written once and mapped from the file from then on.

onnxruntime maps the weights of a bundle, but its kernels copy most of them into private memory in an order of their
own (prepacking). Saved with the graph, those copies are mapped too: pages that the system can drop and read again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnxruntime as ort

from mrl_edge.atomic import new_folder
from mrl_edge.caches import cache_folder
from mrl_edge.cpu import features

_GRAPH, _WEIGHTS = "graph.onnx", "weights.bin"
_LEAST_BYTES = "256"  # smaller tensors stay in the graph, as in a bundle


def prepacked(graph: Path, options: ort.SessionOptions, settings: str) -> Path:
    """Return a copy of a graph with its prepacked weights beside it, in the user's cache.

    It is written where it is not there yet: for this graph and its weights, this processor, this onnxruntime and
    these `settings`, with `options` that are used for nothing else. It holds the weights in both orders.
    """
    folder = cache_folder() / "prepacked" / _key(graph, settings)
    if not (folder / _GRAPH).is_file():
        with new_folder(folder) as new:
            options.optimized_model_filepath = str(new / _GRAPH)
            for name, value in (
                ("optimized_model_external_initializers_file_name", _WEIGHTS),
                ("optimized_model_external_initializers_min_size_in_bytes", _LEAST_BYTES),
                ("save_external_prepacked_constant_initializers", "1"),
            ):
                options.add_session_config_entry(f"session.{name}", value)
            ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return folder / _GRAPH


def _key(graph: Path, settings: str) -> str:
    """Name a copy by all that it depends on; weights by where they lie, their size and when they were written."""
    digest = hashlib.sha256(graph.read_bytes())
    weights = sorted(path for path in graph.resolve().parent.iterdir() if path.suffix == ".bin")
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in weights]
    digest.update(repr((stats, sorted(features()), ort.__version__, settings)).encode())
    return digest.hexdigest()[:16]
