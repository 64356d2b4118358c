"""Funnel and adaptive retrieval (Kusupati et al. 2022, §4.3.1): shortlists at small dimensions, reranked at larger.

    Funnel(ExactIndex(prefix(vectors, 16)), vectors, [Step(200, 32), Step(100, 64), Step(50, 128)])

A funnel of one step is adaptive retrieval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrl_edge.index import Index
from mrl_edge.index.exact import ExactIndex
from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats, prefix


@dataclass(frozen=True)
class Step:
    """Keep the best `shortlist` items so far, and rank them again by the exact cosine at `dim`."""

    shortlist: int
    dim: int


class Funnel:
    """Asks a small index for a shortlist, then ranks ever shorter ones at ever larger dimensions.

    `vectors` [n, full] may be memory-mapped: a query reads only its shortlist's rows. A shortlist is at least as
    long as what is asked for.
    """

    def __init__(self, first: Index, vectors: Floats, steps: Sequence[Step]) -> None:
        self.dim = steps[-1].dim
        self.steps = tuple(steps)
        self._first = first
        self._vectors = vectors

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Return the k best of the last shortlist by the cosine at the last dimension; `query` is [dim]."""
        lengths = [max(k, step.shortlist) for step in self.steps]
        ids, cosines = self._first.search(_cut(query, self._first.dim), lengths[0])
        for step, kept in zip(self.steps, [*lengths[1:], k], strict=True):
            vectors = prefix(self._vectors[ids], step.dim)
            best, cosines = ExactIndex(vectors).search(_cut(query, step.dim), kept)
            ids = ids[best]
        return ids, cosines


class AdaptiveRetrieval(Funnel):
    """A funnel of one step: `shortlist` items of a small index, ranked by the exact cosine at `rerank_dim`."""

    def __init__(self, first: Index, vectors: Floats, shortlist: int, rerank_dim: int) -> None:
        super().__init__(first, vectors, (Step(shortlist, rerank_dim),))


def _cut(query: Floats, dim: int) -> Floats:
    return query if len(query) == dim else prefix(query[None, :], dim)[0]
