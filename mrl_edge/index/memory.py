"""The private memory of a search, beside the files that it maps: score arrays, and rows copied together."""

from __future__ import annotations

from typing import Final

from mrl_edge.index.kinds import Parameters
from mrl_edge.index.scratch import SPARE
from mrl_edge.index.vectors import RERANKED, VectorStore

# Of a compared row: the scores, one block's part of them, and what the selection of the best copies. Binary holds
# two words of differing bits, their counts, and the counts as scores.
_SCORED: Final = {"scan": 12, "ivf": 12, "binary": 24}


def private_bytes(kind: str, store: VectorStore, dim: int, parameters: Parameters) -> int:
    """Return about the bytes that a thread's first step allocates; Annoy's and HNSW's grow with the visits alone."""
    if kind != "ivf":
        return _SCORED.get(kind, 0) * store.n
    rows = -(-store.n * int(parameters["probes"]) // int(parameters["lists"]))
    widest = max(block.stored.nbytes for block in store.upto(dim))
    return rows * _SCORED[kind] + int(SPARE * widest * rows / store.n)


def rerank_bytes(store: VectorStore, dim: int) -> int:
    """Return the bytes of the float32 rows of which a rerank computes the cosines at a time."""
    return int(SPARE * 4 * min(RERANKED, store.n) * dim)
