"""Adaptive retrieval (Kusupati et al. 2022, §4.3.1): a shortlist at a small dimension, reranked at a larger one."""

from __future__ import annotations

from mrl_edge.index import Index
from mrl_edge.index.exact import ExactIndex
from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats, prefix


class AdaptiveRetrieval:
    """Asks a small index for `shortlist` items, then ranks those by the exact cosine at `rerank_dim`.

    `vectors` [n, full] may be memory-mapped: a query reads only its shortlist's rows.
    """

    def __init__(self, first: Index, vectors: Floats, shortlist: int, rerank_dim: int) -> None:
        self.dim = rerank_dim
        self.shortlist = shortlist
        self._first = first
        self._vectors = vectors

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Return the k best of the shortlist by the cosine at `rerank_dim`; `query` is [rerank_dim]."""
        small = prefix(query[None, :], self._first.dim)[0]
        ids, _ = self._first.search(small, max(k, self.shortlist))
        best, cosines = ExactIndex(prefix(self._vectors[ids], self.dim)).search(query, k)
        return ids[best], cosines
