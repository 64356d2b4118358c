"""One block of columns of the stored vectors: rows of float32, float16, int8, or of 4 bits a column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mrl_edge.nesting import Floats

_CHUNK_BYTES = 256 * 1024  # of float32 made from smaller types at a time: fits the second-level cache of most cores
_LEVELS: Final = 8  # of 4 bits on each side of zero, which itself is none of them


@dataclass(frozen=True)
class Block:
    """Columns start:end of all rows. `stored` is [n, end - start] numbers, or [n, ⌈(end - start) / 2⌉ + 1] bytes."""

    stored: NDArray[Any]
    start: int
    end: int
    packed: bool  # 4 bits a column

    def numbers(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return what some stored rows mean: [m, end - start], of any type of number."""
        return _unpack(stored, self.end - self.start) if self.packed else stored

    def write(self, rows: slice, numbers: NDArray[Any]) -> NDArray[Any]:
        """Store [m, end - start] numbers, and return them as a reader will see them."""
        self.stored[rows] = _pack(numbers) if self.packed else numbers
        return self.numbers(self.stored[rows])

    def products(self, stored: NDArray[Any], query: Floats) -> Floats:
        """Return the inner products [m] of stored rows with [end - start]; float32 is made a chunk at a time."""
        if stored.dtype == np.float32:
            return np.asarray(stored @ query)
        size = max(256, _CHUNK_BYTES // (4 * len(query)))
        chunk = np.empty((min(size, len(stored)), len(query)), dtype=np.float32)
        found = np.empty(len(stored), dtype=np.float32)
        for first in range(0, len(stored), size):
            part = stored[first : first + size]
            np.copyto(chunk[: len(part)], self.numbers(part))
            np.matmul(chunk[: len(part)], query, out=found[first : first + size])
        return found


def packed_width(columns: int) -> int:
    """Return the bytes of a row of 4 bits a column, with its step."""
    return -(-columns // 2) + 1


def _pack(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return int8 codes [m, w] as [m, ⌈w / 2⌉ + 1] bytes: column j and column ⌈w / 2⌉ + j share byte j.

    The last byte is the row's largest magnitude, of which 8 steps are made; a nibble means the middle of its step.
    """
    half = -(-codes.shape[1] // 2)
    largest = np.abs(codes.astype(np.int16)).max(axis=1)
    steps = np.floor(codes * (_LEVELS / np.maximum(largest, 1).astype(np.float32))[:, None])
    nibbles = np.full((len(codes), 2 * half), _LEVELS, dtype=np.uint8)
    nibbles[:, : codes.shape[1]] = np.clip(steps + _LEVELS, 0, 2 * _LEVELS - 1)
    packed = np.empty((len(codes), half + 1), dtype=np.uint8)
    packed[:, :half] = nibbles[:, :half] | (nibbles[:, half:] << 4)
    packed[:, half] = largest
    return packed


def _unpack(packed: NDArray[np.uint8], columns: int) -> Floats:
    half = packed.shape[1] - 1
    numbers = np.empty((len(packed), 2 * half), dtype=np.float32)
    np.bitwise_and(packed[:, :half], 15, out=numbers[:, :half], casting="unsafe")
    np.right_shift(packed[:, :half], 4, out=numbers[:, half:], casting="unsafe")
    numbers -= _LEVELS - 0.5
    numbers *= packed[:, half:].astype(np.float32) / _LEVELS
    return numbers[:, :columns]
