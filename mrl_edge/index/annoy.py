"""Annoy: a forest of random projection trees in one memory-mapped file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from annoy import AnnoyIndex as Forest

from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats

METRIC: Final = "angular"  # √(2 − 2·cosine): ranks as the cosine does
_SEED = 1


class AnnoyIndex:
    """An index file on disk, opened by memory mapping: what is not visited is not resident."""

    def __init__(self, path: Path, dim: int, search_k: int) -> None:
        self.dim = dim
        self.search_k = search_k
        self._forest = Forest(dim, METRIC)
        self._forest.load(str(path))

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Visit about `search_k` items of the forest and return the k nearest of them.

        A long shortlist needs more visits than the `search_k` that a short one was sized to: at least k a tree,
        which is Annoy's own default.
        """
        search_k = max(self.search_k, k * self._forest.get_n_trees())
        ids, distances = self._forest.get_nns_by_vector(query, k, search_k, include_distances=True)
        cosines = 1.0 - np.square(np.asarray(distances)) / 2.0
        return np.asarray(ids, dtype=np.int64), cosines.astype(np.float32)


def build_annoy(vectors: Floats, n_trees: int, path: Path) -> None:
    """Build a forest over [n, dim] vectors and save it; one thread and a fixed seed, so always the same file."""
    forest = Forest(vectors.shape[1], METRIC)
    forest.set_seed(_SEED)
    for number, vector in enumerate(vectors):
        forest.add_item(number, vector)
    forest.build(n_trees, 1)
    forest.save(str(path))
