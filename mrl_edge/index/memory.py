"""The private memory of a search, beside the files that it maps: what is made of the rows of one piece at a time."""

from __future__ import annotations

from mrl_edge.index.binary import PIECE
from mrl_edge.index.vectors import COMPARED, VectorStore

_SCORED = 24  # bytes a row: its score, whether it is among the best, and its number and score again if so


def private_bytes(kind: str, store: VectorStore, dim: int, rerank_dim: int | None) -> int:
    """Return about the bytes that a thread's search allocates; Annoy's and HNSW's grow with the visits alone."""
    first = {"scan": _compared(store, dim), "ivf": _compared(store, dim), "binary": _differing(store, dim)}
    return max(first.get(kind, 0), _compared(store, rerank_dim) if rerank_dim else 0)


def _compared(store: VectorStore, dim: int) -> int:
    """Return the bytes of a piece's columns of the widest block, as they are stored and as float32."""
    widest = max((block.stored.itemsize + 4) * block.stored.shape[1] for block in store.upto(dim))
    return min(COMPARED, store.n) * (widest + _SCORED)


def _differing(store: VectorStore, dim: int) -> int:
    """Return the bytes of a piece's differing bits, 8 bytes a word of 64, and of their counts."""
    return min(PIECE, store.n) * (9 * -(-dim // 64) + _SCORED)
