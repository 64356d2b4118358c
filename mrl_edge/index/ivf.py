"""Inverted lists found at one dimension and scanned at another (AdANNS, Rege et al. 2023, arXiv 2305.19435, §4.1).

The store's rows stand list after list (`VectorsInfo.order`), so that a list is one slice of each block and nothing
is stored twice: the index itself is the centroids and where each list starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrl_edge.index.best import BestRows
from mrl_edge.index.vectors import COMPARED, VectorStore
from mrl_edge.metrics import Ids, exact_top_k, top_k
from mrl_edge.nesting import Floats, normalise
from mrl_edge.progress import Report

_ROWS_A_LIST = 48  # that k-means sees, about
_TURNS = 10
_SEED = 1


class IvfIndex:
    """Scans at `scan_dim` the lists whose centroids are nearest; it takes queries of the larger of both dimensions."""

    def __init__(self, store: VectorStore, path: Path, scan_dim: int, probes: int, lists: int) -> None:
        self.scan_dim = scan_dim
        self.probes = probes
        self._store = store
        content = np.fromfile(path, dtype=np.uint8)
        self._starts = content[: 8 * (lists + 1)].view("<i8")
        self._centroids = content[8 * (lists + 1) :].view("<f4").reshape(lists, -1)  # [lists, cluster_dim]
        self.dim = max(scan_dim, self._centroids.shape[1])

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Return the k best rows of the probed lists and their cosines; short lists are followed by further ones."""
        nearness = self._centroids @ query[: self._centroids.shape[1]]
        probes = min(self.probes, len(nearness))
        while True:
            near = np.sort(top_k(nearness, probes))
            starts, ends = self._starts[near], self._starts[near + 1]
            sizes = np.cumsum(ends - starts)
            if sizes[-1] >= k or probes == len(nearness):
                break
            probes = min(2 * probes, len(nearness))
        query = normalise(query[None, : self.scan_dim])[0]
        best, row = BestRows(k), 0
        for lists in _pieces(starts.tolist(), ends.tolist()):
            scores = self._store.compare(partial(_joined, lists), query)
            best.add(row, scores)
            row += len(scores)
        found, cosines = best.ranked()
        place = np.searchsorted(sizes, found, side="right")  # which of the probed lists
        return found - sizes[place] + ends[place], cosines


def _pieces(starts: list[int], ends: list[int]) -> Iterator[list[tuple[int, int]]]:
    """Yield the slices of some lists at a time, of COMPARED rows together; a longer list is cut."""
    piece, rows = [], 0
    for start, end in zip(starts, ends, strict=True):
        while start < end:
            cut = min(end, start + COMPARED - rows)
            piece.append((start, cut))
            rows += cut - start
            start = cut
            if rows == COMPARED:
                yield piece
                piece, rows = [], 0
    if piece:
        yield piece


def _joined(lists: list[tuple[int, int]], stored: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([stored[start:end] for start, end in lists])


def find_centroids(vectors: Floats, lists: int, stage: str, report: Report, turns: int = _TURNS) -> Floats:
    """Return the spherical k-means centroids (Dhillon and Modha 2001) [lists, d] of [n, d], both L2-normalised.

    In numpy, because the base install has no library with k-means and a board may index its own corpus.
    """
    centroids = vectors[np.random.default_rng(_SEED).choice(len(vectors), lists, replace=False)]
    for turn in range(turns):
        report(stage, turn, turns)
        nearest = exact_top_k(vectors, centroids, 1)[:, 0]
        order = np.argsort(nearest, kind="stable")
        there, starts = np.unique(nearest[order], return_index=True)
        centroids[there] = np.add.reduceat(vectors[order], starts, axis=0)  # an empty list keeps its centroid
        centroids = normalise(centroids)
    report(stage, turns, turns)
    return centroids


def cluster(store: VectorStore, dim: int, lists: int, report: Report) -> tuple[Floats, Ids]:
    """Return centroids [lists, dim] found on a part of a store's rows, and the nearest of them to each row [n]."""
    step = max(1, store.n // (lists * _ROWS_A_LIST))
    part = np.concatenate([vectors[::step].copy() for _, vectors in store.pieces(dim)])  # a view keeps its whole piece
    centroids = find_centroids(part, lists, "finding lists", report)
    return centroids, assign(store, centroids, "filling lists", report)


def assign(store: VectorStore, centroids: Floats, stage: str, report: Report) -> Ids:
    """Return the nearest centroid [n] of each row by cosine."""
    nearest = np.empty(store.n, dtype=np.int64)
    for first, vectors in store.pieces(centroids.shape[1]):
        report(stage, first, store.n)
        nearest[first : first + len(vectors)] = exact_top_k(vectors, centroids, 1)[:, 0]
    report(stage, store.n, store.n)
    return nearest


def write_lists(path: Path, nearest: Ids, centroids: Floats) -> None:
    """Write where each list starts, int64 [lists + 1], and the centroids, float32 [lists, d]."""
    sizes = np.bincount(nearest, minlength=len(centroids))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype("<i8")
    path.write_bytes(starts.tobytes() + centroids.astype("<f4").tobytes())


def ivf_bytes(lists: int, cluster_dim: int) -> int:
    """Return the bytes of the file."""
    return 8 * (lists + 1) + 4 * lists * cluster_dim
