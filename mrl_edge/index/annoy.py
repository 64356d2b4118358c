"""Annoy: a forest of random projection trees in one memory-mapped file, which `forest.py` builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats

Metric = Literal["angular", "dot", "euclidean", "hamming"]  # hamming compares the signs alone, a bit a dimension
METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
METRIC: Final[Metric] = "angular"  # √(2 − 2·cosine): ranks as the cosine does


class AnnoyIndex:
    """An index file on disk, opened by memory mapping: what is not visited is not resident."""

    def __init__(self, path: Path, dim: int, search_k: int, metric: Metric = METRIC) -> None:
        self.dim = dim
        self.search_k = search_k
        self._metric = metric
        self._forest = new_forest(dim, metric)
        self._forest.load(str(path))

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Visit about `search_k` items of the forest and return the k nearest of them, with their cosines.

        A long shortlist needs more visits than the `search_k` that a short one was sized to: at least k a tree,
        which is Annoy's own default. The cosines of hamming are estimated, as in `BinaryIndex`.
        """
        k = min(k, self._forest.get_n_items())  # C++'s whole numbers end soon
        search_k = max(self.search_k, k * self._forest.get_n_trees())
        vector = query > 0 if self._metric == "hamming" else query
        ids, distances = self._forest.get_nns_by_vector(vector, k, search_k, include_distances=True)
        return np.asarray(ids, dtype=np.int64), self._cosines(np.asarray(distances)).astype(np.float32)

    def _cosines(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._metric == "dot":
            return distances
        if self._metric == "hamming":
            return np.asarray(np.cos(distances * (np.pi / self.dim)))
        return np.asarray(1.0 - np.square(distances) / 2.0)  # of vectors of length 1 both angular and euclidean


def new_forest(dim: int, metric: Metric) -> Any:
    """Return Annoy's own object, to be built or to be loaded into."""
    from annoy import AnnoyIndex  # here, so that a board that searches otherwise need not compile it

    return AnnoyIndex(dim, metric)
