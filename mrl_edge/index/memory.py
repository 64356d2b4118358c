"""The private memory of a search, beside the files that it maps: what is made of the rows of one piece at a time."""

from __future__ import annotations

from mrl_edge.index.binary import PIECE
from mrl_edge.index.vectors import COMPARED, RERANKED, VectorStore

_SCORED = 64  # bytes a row: its score, and its number and score again, to sort, where it may be among the best


def private_bytes(kind: str, store: VectorStore, dim: int, rerank_dim: int | None) -> int:
    """Return about the bytes that a thread's search of a kind at `dim` allocates, with or without a rerank.

    What Annoy and HNSW allocate grows with the visits alone, and is left out.
    """
    reranked = _compared(store, rerank_dim, RERANKED) if rerank_dim else 0
    if kind in ("scan", "ivf"):
        return max(_compared(store, dim, COMPARED), reranked)
    return max(_differing(store, dim), reranked) if kind == "binary" else reranked


def _compared(store: VectorStore, dim: int, rows: int) -> int:
    """Return the bytes of some rows' columns of the widest block, as they are stored and, where not so, as float32."""
    made = 0 if store.info.storage == "fp32" else 4
    widest: int = max((block.stored.itemsize + made) * block.stored.shape[1] for block in store.upto(dim))
    return min(rows, store.n) * (widest + _SCORED)


def _differing(store: VectorStore, dim: int) -> int:
    """Return the bytes of a piece's differing bits, 8 bytes a word of 64, and of their counts."""
    return min(PIECE, store.n) * (9 * -(-dim // 64) + _SCORED)
