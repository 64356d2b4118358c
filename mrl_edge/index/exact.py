"""Exact search: one matrix product over all vectors, the reference of every other index."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrl_edge.metrics import Ids, top_k
from mrl_edge.nesting import Floats


class ExactIndex:
    """All vectors of one dimension: n · dim · 4 bytes, in memory or mapped from a file."""

    def __init__(self, vectors: Floats) -> None:
        self.dim = vectors.shape[1]
        self._vectors = vectors  # [n, dim], rows L2-normalised

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Score every vector and return the k best."""
        scores = self._vectors @ query
        best = top_k(scores, k)
        return best, np.asarray(scores[best])


def map_vectors(path: Path, dim: int) -> Floats:
    """Map a file of float32 rows of `dim` columns: [n, dim]."""
    return np.memmap(path, dtype=np.float32, mode="r").reshape(-1, dim)
