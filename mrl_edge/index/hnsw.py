"""HNSW (Malkov and Yashunin 2016) by usearch, its vectors in int8: an extra, `pip install 'mrl-edge[hnsw]'`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mrl_edge.errors import UsageError
from mrl_edge.index.vectors import VectorStore
from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats
from mrl_edge.progress import Report


class HnswIndex:
    """A graph over the prefixes of one dimension, mapped from its file."""

    def __init__(self, path: Path, dim: int, expansion: int) -> None:
        self.dim = dim
        self.expansion = expansion
        self._graph = require_usearch().Index.restore(str(path), view=True)
        if self._graph is None:
            raise UsageError(f"{path} is no graph that this usearch reads: make the index again")
        self._graph.expansion_search = expansion  # once: threads share the graph

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Return the k nearest that the walk met and their cosines; usearch keeps at least k candidates itself."""
        matches = self._graph.search(query, min(k, len(self._graph)))  # it makes room for all k
        return matches.keys.astype(np.int64), np.asarray(1.0 - matches.distances, dtype=np.float32)


def build_hnsw(store: VectorStore, dim: int, connectivity: int, path: Path, stage: str, report: Report) -> None:
    """Build the graph with `connectivity` links a node; usearch uses all cores, so two builds may differ."""
    graph = require_usearch().Index(ndim=dim, metric="cos", dtype="i8", connectivity=connectivity)
    for first, vectors in store.pieces(dim):
        report(stage, first, store.n)
        graph.add(np.arange(first, first + len(vectors), dtype=np.uint64), vectors)
    report(stage, store.n, store.n)
    graph.save(str(path))


def require_usearch() -> Any:
    """Return usearch's module, which a board need not have; `UsageError` says how to install it."""
    import onnxruntime  # noqa: F401 (imported after usearch 2.26 it crashes the process)

    try:
        from usearch import index
    except ImportError:
        raise UsageError("hnsw needs usearch: pip install 'mrl-edge[hnsw]'") from None
    return index
