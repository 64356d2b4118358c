"""What every index is measured against: exact search, over vectors that come a piece at a time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mrl_edge.metrics import Ids, top_k
from mrl_edge.nesting import Floats


class RunningTopK:
    """The k best of all vectors seen so far for each query; ties by ascending id, as `exact_top_k`."""

    def __init__(self, queries: Floats, k: int) -> None:
        self._queries = queries  # [queries, dim], L2-normalised
        self._k = k
        self._scores = [np.empty(0, dtype=np.float32)] * len(queries)
        self._ids = [np.empty(0, dtype=np.int64)] * len(queries)

    def add(self, first: int, vectors: Floats) -> None:
        """See [m, dim] vectors, L2-normalised, with the ids from `first` on, larger than all before."""
        for number, scores in enumerate(self._queries @ vectors.T):
            near = top_k(scores, self._k)
            scores = np.concatenate([self._scores[number], scores[near]])
            ids = np.concatenate([self._ids[number], near + first])
            best = top_k(scores, self._k)
            self._scores[number], self._ids[number] = scores[best], ids[best]

    @property
    def ids(self) -> Ids:
        """The ids [queries, ≤ k], best first."""
        return np.array(self._ids)


def exact_in_pieces(queries: Floats, pieces: Iterable[tuple[int, Floats]], k: int) -> Ids:
    """Return [queries, ≤ k] ids by exact search over pieces of L2-normalised vectors."""
    running = RunningTopK(queries, k)
    for first, vectors in pieces:
        running.add(first, vectors)
    return running.ids
