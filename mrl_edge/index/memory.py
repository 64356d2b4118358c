"""The memory that searches touch: of the files that they map, and private, made of the rows of one piece at a time."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from mrl_edge.index.binary import PIECE
from mrl_edge.index.vectors import COMPARED, RERANKED, VectorStore

if TYPE_CHECKING:
    from mrl_edge.index.candidates import Candidate

_SCORED = 64  # bytes a row: its score, and its number and score again, to sort, where it may be among the best


def touched_bytes(candidate: Candidate, store: VectorStore, dim: int, ranked: Collection[int]) -> int:
    """Return the bytes that many queries touch: of mapped files, of which the kernel holds no more, and private.

    `ranked` are the dimensions that shortlists are ranked again at.
    """
    compared = {*ranked, dim} if candidate.scans else {*ranked}
    columns = store.block_bytes(max(compared)) if compared else 0
    order = 4 * store.n if store.info.order else 0
    private = private_bytes(candidate.kind, store, dim, max(ranked, default=None))
    return candidate.own_bytes + columns + 4 * store.n * len(compared) + order + private


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
