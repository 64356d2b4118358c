"""Funnel and adaptive retrieval (Kusupati et al. 2022, §4.3.1): shortlists at small dimensions, reranked at larger.

    Funnel(ScanIndex(store, 16), store, [Step(200, 32), Step(100, 64), Step(50, 128)])

A funnel of one step is adaptive retrieval.
"""

from __future__ import annotations

from collections.abc import Sequence

from mrl_edge.description import Step
from mrl_edge.errors import UsageError
from mrl_edge.index import Index
from mrl_edge.index.vectors import Rows
from mrl_edge.metrics import Ids, top_k
from mrl_edge.nesting import Floats, prefix


class Funnel:
    """Asks a small index for a shortlist, then ranks ever shorter ones at ever larger dimensions.

    A query reads only its shortlist's `rows`. A shortlist is at least as long as what is asked for.
    """

    def __init__(self, first: Index, rows: Rows, steps: Sequence[Step]) -> None:
        self.dim = steps[-1].dim
        self.steps = tuple(steps)
        self._first = first
        self._rows = rows

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Return the k best of the last shortlist by the cosine at the last dimension; `query` is [dim]."""
        return self.rerank(query, self.shortlist(query, k), k)

    def shortlist(self, query: Floats, k: int) -> Ids:
        """Return the ids of the first shortlist, of as many items as its step says, or k if that is more."""
        return self._first.search(_cut(query, self._first.dim), max(k, self.steps[0].shortlist))[0]

    def rerank(self, query: Floats, ids: Ids, k: int) -> tuple[Ids, Floats]:
        """Return the k best of a first shortlist, by way of the further steps."""
        kept = [*(max(k, step.shortlist) for step in self.steps[1:]), k]
        for step, number in zip(self.steps, kept, strict=True):
            cosines = self._rows.cosines(ids, _cut(query, step.dim))
            best = top_k(cosines, number)
            ids, cosines = ids[best], cosines[best]
        return ids, cosines


class AdaptiveRetrieval(Funnel):
    """A funnel of one step: `shortlist` items of a small index, ranked by the exact cosine at `rerank_dim`."""

    def __init__(self, first: Index, rows: Rows, shortlist: int, rerank_dim: int) -> None:
        super().__init__(first, rows, (Step(shortlist, rerank_dim),))


def _cut(query: Floats, dim: int) -> Floats:
    if len(query) < dim:
        raise UsageError(f"a query of {len(query)} dimensions cannot be searched at {dim}")
    return query if len(query) == dim else prefix(query[None, :], dim)[0]
