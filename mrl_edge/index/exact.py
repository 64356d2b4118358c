"""Exact search: one matrix product over all vectors, the reference of every other index."""

from __future__ import annotations

import numpy as np

from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats, prefix


class ExactIndex:
    """All vectors of one dimension in memory: n · dim · 4 bytes."""

    def __init__(self, vectors: Floats, dim: int) -> None:
        self.dim = dim
        self._vectors = np.ascontiguousarray(prefix(vectors, dim))  # [n, dim]

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Score every vector and return the k best."""
        scores = self._vectors @ query
        k = min(k, len(scores))
        top = np.argpartition(-scores, k - 1)[:k]
        top = top[np.argsort(-scores[top], kind="stable")]
        return top.astype(np.int64), scores[top]
