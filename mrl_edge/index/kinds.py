"""The kinds of index that a bundle may hold, and how each is opened from what the manifest says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mrl_edge.bundle import SizedIndex
from mrl_edge.errors import BundleError
from mrl_edge.index import Index
from mrl_edge.index.annoy import METRIC, METRICS, AnnoyIndex
from mrl_edge.index.binary import BinaryIndex
from mrl_edge.index.hnsw import HnswIndex
from mrl_edge.index.ivf import IvfIndex
from mrl_edge.index.scan import ScanIndex
from mrl_edge.index.vectors import VectorStore
from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats

Parameters = dict[str, int | str]
_Open = Callable[[VectorStore, Path, int, Parameters], Index]


def _annoy(store: VectorStore, path: Path, dim: int, found: Parameters) -> Index:
    metric = next(metric for metric in METRICS if metric == found.get("metric", METRIC))
    return AnnoyIndex(path, dim, int(found["search_k"]), metric)


OPENERS: dict[str, _Open] = {
    "scan": lambda store, path, dim, found: ScanIndex(store, dim),
    "binary": lambda store, path, dim, found: BinaryIndex(path, store.n, dim),
    "annoy": _annoy,
    "hnsw": lambda store, path, dim, found: HnswIndex(path, dim, int(found["expansion"])),
    "ivf": lambda store, path, dim, found: IvfIndex(store, path, dim, int(found["probes"]), int(found["lists"])),
}


def open_first(sized: SizedIndex, store: VectorStore, path: Path) -> Index:
    """Open the index of one dimension, without its rerank; its ids are rows of the store."""
    if sized.kind not in OPENERS:
        raise BundleError(f"the index of dimension {sized.dim} is of an unknown kind, {sized.kind}: upgrade mrl-edge")
    return OPENERS[sized.kind](store, path, sized.dim, sized.parameters)


class ItemIndex:
    """An index over rows, whose answers are items: `order` [n] is the item of each row."""

    def __init__(self, rows: Index, order: Ids) -> None:
        self.dim = rows.dim
        self._rows = rows
        self._order = order

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Return the ids of the k best items and their cosines."""
        rows, cosines = self._rows.search(query, k)
        return self._order[rows].astype(np.int64), cosines
