"""How many items of a first index must be ranked again to reach a recall, and whether two steps rank them sooner.

Of a long shortlist the cosines at the full dimension are most of what a rerank does: 1,600 rows at 128 columns, and the
best 100 of them at 384, are four tenths of 1,600 rows at 384.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mrl_edge.description import Step
from mrl_edge.index.vectors import Rows
from mrl_edge.metrics import Ids, overlap_at_k, top_k
from mrl_edge.nesting import Floats, prefix

LENGTHS = (25, 50, 100, 200, 400, 800, 1600, 3200)
_K = 10


@dataclass(frozen=True)
class Shortlists:
    """Each query's shortlist of rows, best first, and what is to be found in it."""

    rows: Rows
    queries: Floats  # [queries, full]
    found: Sequence[Ids]  # [queries, any]
    reference: Ids  # [queries, ≤ 10]

    def enough(self, dim: int, recall: float) -> list[int]:
        """Return the lengths that reach the recall, ascending, or the least of those that come nearest to it.

        Each shortlist is ranked once at its full length, and a shorter one keeps the order of its rows. Annoy and
        HNSW look further for a longer one, so that their own recall at a length is still to be measured.
        """
        recalls: dict[int, float] = {}
        cosines = self._cosines(dim)
        longest = max(len(ids) for ids in self.found)
        for length in [*(length for length in LENGTHS if length < longest), longest]:
            best = [ids[top_k(line[:length], _K)] for ids, line in zip(self.found, cosines, strict=True)]
            recalls[length] = overlap_at_k(best, self.reference)
        wanted = min(recall, max(recalls.values()))
        lengths = [length for length, reached in recalls.items() if reached >= wanted]
        return lengths if wanted == recall else lengths[:1]

    def narrowed(self, whole: Step, dims: Sequence[int], recall: float) -> Iterator[tuple[Step, Step]]:
        """Yield the funnel by way of each dimension that keeps the fewest rows and still reaches the recall.

        `whole` is the one step that ranks these shortlists; a funnel is yielded where it reads fewer columns.
        """
        last = self._cosines(whole.dim)
        for dim in dims:
            first = self._cosines(dim)
            for kept in LENGTHS:
                if whole.shortlist * dim + kept * whole.dim >= whole.shortlist * whole.dim:
                    break
                best = []
                for ids, at, full in zip(self.found, first, last, strict=True):
                    left = top_k(at, kept)
                    best.append(ids[left[top_k(full[left], _K)]])
                if overlap_at_k(best, self.reference) >= recall:
                    yield Step(whole.shortlist, dim), Step(kept, whole.dim)
                    break

    def _cosines(self, dim: int) -> list[Floats]:
        queries = prefix(self.queries, dim)
        return [self.rows.cosines(ids, query) for ids, query in zip(self.found, queries, strict=True)]
