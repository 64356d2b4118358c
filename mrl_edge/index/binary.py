"""Signs packed into bits, compared by Hamming distance: a shortlister that needs a rerank.

A vector of d dimensions is d bits, and since the slices nest, the bits of every dimension are a prefix of the same
words. Word k of all rows lies in one piece, so that a scan at 64 dimensions reads 8 bytes a row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrl_edge.index.best import BestRows
from mrl_edge.index.vectors import VectorStore
from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats

Words = NDArray[np.uint64]
_BITS = 64
PIECE = 8192  # rows at a time: their words fit the second-level cache of most cores


class BinaryIndex:
    """All rows' signs, [words, n] uint64, mapped from a file."""

    def __init__(self, path: Path, n: int, dim: int) -> None:
        self.dim = dim
        words = np.asarray(np.memmap(path, dtype="<u8", mode="r")).reshape(-1, n)
        self._words = words[: -(-dim // _BITS)]
        self._mask = np.uint64((1 << (dim % _BITS)) - 1)  # of the last word's bits that belong to `dim`

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Return the k rows whose signs differ least, and cosines estimated from how many differ.

        Two vectors at an angle θ differ in the share θ/π of the signs of random projections (Charikar 2002, §3).
        """
        signs = pack_signs(query[None, :])[0][: len(self._words), None]
        best = BestRows(k)
        for first in range(0, self._words.shape[1], PIECE):
            words = self._words[:, first : first + PIECE]
            differing = words ^ signs
            if self._mask:
                differing[-1] &= self._mask
            best.add(first, -np.bitwise_count(differing).sum(axis=0, dtype=np.float32))
        rows, distances = best.ranked()
        return rows, np.cos(distances * np.float32(np.pi / self.dim))


def pack_signs(vectors: Floats) -> Words:
    """Return the signs of [n, d] as [n, ⌈d / 64⌉] words: bit j of word i says whether column 64·i + j is positive."""
    bits = np.packbits(vectors > 0, axis=1, bitorder="little")
    padded = np.zeros((len(vectors), -(-bits.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : bits.shape[1]] = bits
    return padded.view("<u8")


def build_binary(store: VectorStore, path: Path) -> None:
    """Write the signs of all of the store's columns, which serve every dimension."""
    full = store.dims[-1]
    words = np.memmap(path, dtype="<u8", mode="w+", shape=(-(-full // _BITS), store.n))
    for first, vectors in store.pieces(full):
        words[:, first : first + len(vectors)] = pack_signs(vectors).T
    words.flush()


def binary_bytes(n: int, dim: int) -> int:
    """Return the bytes that a scan of n rows at `dim` reads."""
    return n * 8 * -(-dim // _BITS)
