"""What every index is measured against: exact search, over vectors that come a piece at a time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mrl_edge.index.best import BestRows
from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats


class RunningTopK:
    """The k best of all vectors seen so far for each query; ties by ascending id, as `exact_top_k`."""

    def __init__(self, queries: Floats, k: int) -> None:
        self._queries = queries  # [queries, dim], L2-normalised
        self._best = [BestRows(k) for _ in queries]

    def add(self, first: int, vectors: Floats) -> None:
        """See [m, dim] vectors, L2-normalised, with the ids from `first` on, larger than all before."""
        for best, scores in zip(self._best, self._queries @ vectors.T, strict=True):
            best.add(first, scores)

    @property
    def ids(self) -> Ids:
        """The ids [queries, ≤ k], best first."""
        return np.array([best.ranked()[0] for best in self._best])


def exact_in_pieces(queries: Floats, pieces: Iterable[tuple[int, Floats]], k: int) -> Ids:
    """Return [queries, ≤ k] ids by exact search over pieces of L2-normalised vectors."""
    running = RunningTopK(queries, k)
    for first, vectors in pieces:
        running.add(first, vectors)
    return running.ids
