"""One block of columns of the stored vectors: rows of float32, float16, int8, or of 4 or 6 bits a column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mrl_edge.nesting import Floats

_PLANES: Final = {4: (4,), 6: (4, 2)}  # how the bits of a packed column are split, the more significant ones first


@dataclass(frozen=True)
class Block:
    """Columns start:end of all rows. `stored` is [n, end - start] numbers, or [n, packed_width] bytes."""

    stored: NDArray[Any]
    start: int
    end: int
    bits: int | None = None  # a column, where they are packed

    def numbers(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return what some stored rows mean: [m, end - start], of any type of number."""
        return stored if self.bits is None else _unpack(stored, self.end - self.start, self.bits)

    def write(self, rows: slice, numbers: NDArray[Any]) -> NDArray[Any]:
        """Store [m, end - start] numbers, and return them as a reader will see them."""
        self.stored[rows] = numbers if self.bits is None else _pack(numbers, self.bits)
        return self.numbers(self.stored[rows])

    def products(self, stored: NDArray[Any], query: Floats) -> Floats:
        """Return the inner products [m] of some stored rows with [end - start]."""
        if self.bits is None:
            return np.asarray(stored.astype(np.float32, copy=False) @ query)
        half = 2 ** (self.bits - 1)
        found = np.full(len(stored), (0.5 - half) * query.sum(), dtype=np.float32)
        for plane, width, below in _planes(stored, len(query), self.bits):
            found += 2**below * _plane_products(plane, width, query)
        found *= stored[:, -1].astype(np.float32) / half
        return found


def packed_width(columns: int, bits: int) -> int:
    """Return the bytes of a row of `bits` a column, with its step."""
    return sum(_width(columns, width) for width in _PLANES[bits]) + 1


def _pack(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Return int8 codes [m, columns] as [m, packed_width] bytes.

    The last byte is the row's largest magnitude, of which 2^(bits - 1) steps are made on each side of zero; what is
    packed is a step's number, which means its middle. In a plane of 4 bits column j and column ⌈columns / 2⌉ + j
    share byte j, in one of 2 bits four columns do.
    """
    half = 2 ** (bits - 1)
    largest = np.abs(codes.astype(np.int16)).max(axis=1)
    steps = np.floor(codes * (half / np.maximum(largest, 1).astype(np.float32))[:, None])
    numbers = np.clip(steps + half, 0, 2 * half - 1).astype(np.uint8)
    packed = np.zeros((len(codes), packed_width(codes.shape[1], bits)), dtype=np.uint8)
    for plane, width, below in _planes(packed, codes.shape[1], bits):
        for field, columns in _fields(plane, width, codes.shape[1]):
            part = numbers[:, columns] >> below & (2**width - 1)
            plane[:, : part.shape[1]] |= part << (field * width)
    packed[:, -1] = largest
    return packed


def _unpack(packed: NDArray[np.uint8], columns: int, bits: int) -> Floats:
    half = 2 ** (bits - 1)
    numbers = np.full((len(packed), columns), 0.5 - half, dtype=np.float32)
    for plane, width, below in _planes(packed, columns, bits):
        for field, there in _fields(plane, width, columns):
            part = numbers[:, there]
            part += (plane[:, : part.shape[1]] >> (field * width) & (2**width - 1)) << below
    numbers *= packed[:, -1:].astype(np.float32) / half
    return numbers


def _plane_products(plane: NDArray[np.uint8], width: int, query: Floats) -> Floats:
    """Return the inner products [m] of a plane's bits, as whole numbers, with [columns].

    A byte is its lowest field + 2^width · the rest: whole bytes are multiplied, and no field need be cut out.
    """
    parts = np.zeros((8 // width, plane.shape[1]), dtype=np.float32)
    parts.ravel()[: len(query)] = query
    parts[1:] -= 2**width * parts[:-1].copy()
    found = plane.astype(np.float32) @ parts[0]
    for field, part in enumerate(parts[1:], start=1):
        found += (plane >> (field * width)).astype(np.float32) @ part
    return np.asarray(found)


def _planes(packed: NDArray[np.uint8], columns: int, bits: int) -> Iterator[tuple[NDArray[np.uint8], int, int]]:
    """Yield each plane of packed rows, its bits a column, and how many less significant ones the others hold."""
    start, below = 0, bits
    for width in _PLANES[bits]:
        end, below = start + _width(columns, width), below - width
        yield packed[:, start:end], width, below
        start = end


def _fields(plane: NDArray[np.uint8], width: int, columns: int) -> Iterator[tuple[int, slice]]:
    """Yield the number of each field of a plane's bytes, and the columns that it holds."""
    size = plane.shape[1]
    for field in range(8 // width):
        yield field, slice(min(field * size, columns), min((field + 1) * size, columns))


def _width(columns: int, bits: int) -> int:
    return -(-columns * bits // 8)
