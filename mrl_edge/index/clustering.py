"""At which dimension inverted lists are found: the one whose lists have queries compare the least (AdANNS, §4.1).

At few dimensions centroids are soon compared, and lists are coarse: more of them must be scanned for the same hits.
Which of the two weighs more is seen on a sample, before the whole store is ordered by lists.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrl_edge.index.ivf import find_centroids
from mrl_edge.index.reference import exact_in_pieces
from mrl_edge.index.vectors import VectorStore
from mrl_edge.metrics import Ids, exact_top_k
from mrl_edge.nesting import Floats, prefix
from mrl_edge.progress import Report, silent

_TRIED = (16, 32, 64)
_SAMPLE, _QUERIES = 16_384, 100
_TURNS = 4  # of k-means: enough to tell dimensions apart
_RECALL = 0.95  # of the sample's exact hits that the scanned lists must hold
_STAGE = "choosing the dimension of the lists"


def tried_dims(dims: Sequence[int]) -> list[int]:
    """Return those of 16, 32 and 64 that a store has, else its next larger dimension, or its largest."""
    return [dim for dim in dims if dim in _TRIED] or [next((dim for dim in dims if dim >= _TRIED[-1]), dims[-1])]


def products_by_dim(
    store: VectorStore, queries: Floats, share_of_lists: float, searched: Sequence[int], report: Report
) -> dict[int, float]:
    """Return the products that a query takes by the dimension that lists are found at, the least first.

    They are the lists' centroids times that dimension, and the rows of the nearest lists that hold the exact hits
    [queries, full] times the mean of the `searched` dimensions; both of a sample of the rows, cut into
    `share_of_lists` · its rows lists.
    """
    step = -(-store.n // _SAMPLE)
    pieces = store.pieces(store.dims[-1])
    sample = np.concatenate([rows[-first % step :: step].copy() for first, rows in pieces])  # not views of all of it
    asked = queries[:: -(-len(queries) // _QUERIES)]
    hits = exact_in_pieces(asked, [(0, sample)], 10)
    lists = max(1, round(share_of_lists * len(sample)))
    dims = tried_dims(store.dims)
    found = {}
    for number, dim in enumerate(dims):
        report(_STAGE, number, len(dims))
        rows = _scanned(prefix(sample, dim), prefix(asked, dim), hits, lists)
        found[dim] = lists * dim + rows * float(np.mean(searched))
    report(_STAGE, len(dims), len(dims))
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def _scanned(vectors: Floats, queries: Floats, hits: Ids, lists: int) -> float:
    """Return the mean number of rows in so many nearest lists as hold `_RECALL` of the hits, one number for all."""
    centroids = find_centroids(vectors, lists, _STAGE, silent, _TURNS)
    nearest = exact_top_k(vectors, centroids, 1)[:, 0]
    order = np.argsort(-(queries @ centroids.T), axis=1)  # [queries, lists], the nearest list first
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(lists)[None, :], axis=1)
    needed = np.sort(np.take_along_axis(place, nearest[hits], axis=1), axis=None)
    probes = needed[min(len(needed) - 1, int(np.ceil(_RECALL * len(needed))) - 1)] + 1
    sizes = np.bincount(nearest, minlength=lists)
    return float(sizes[order[:, :probes]].sum(axis=1).mean())
