"""The corpus' vectors, stored once and memory-mapped, so that reading a prefix touches only its bytes.

Block k holds columns dims[k-1]:dims[k] of all rows, contiguous and starting on a page: a scan at dimension 64 reads
the blocks up to 64, a rerank the shortlist's rows of each block. `int8` scales every row by its own largest
magnitude; the cosine at a prefix divides by the prefix's length, so the scale cancels and is not kept. `int8-int6`
and `int8-int4` are the same with the last block, which carries least, in 6 or 4 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mrl_edge.description import VectorsInfo
from mrl_edge.errors import BundleError, UsageError
from mrl_edge.index.blocks import Block, packed_width
from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats, normalise, prefix

STORAGES: Final = {"fp32": "<f4", "fp16": "<f2", "int8": "i1", "int8-int6": "i1", "int8-int4": "i1"}
_LAST_BITS: Final = {"int8-int6": 6, "int8-int4": 4}  # a column of the last block
_PAGE = 16_384  # the largest page of the kernels that boards run; the smaller ones divide it
_PIECE = 16_384  # rows
COMPARED: Final = 4096  # rows at a time
RERANKED: Final = 512


class Rows(Protocol):
    """Where a scan and a rerank take their vectors from."""

    def scores(self, query: Floats) -> Iterator[tuple[int, Floats]]:
        """Yield the first row of a piece, and the cosines of its rows' prefixes with a query [dim] of length 1."""

    def cosines(self, ids: Ids, query: Floats) -> Floats:
        """Return the cosines [len(ids)] of some rows' prefixes with a query [dim] of length 1."""


@dataclass(frozen=True)
class ArrayRows:
    """Rows of an array [n, full] in memory."""

    vectors: Floats

    def cosines(self, ids: Ids, query: Floats) -> Floats:
        """Return [len(ids)] float32."""
        return np.asarray(prefix(self.vectors[ids], len(query)) @ query)

    def scores(self, query: Floats) -> Iterator[tuple[int, Floats]]:
        """Yield all rows as one piece; those of the query's own dimension are taken to be L2-normalised."""
        full = self.vectors.shape[1]
        yield 0, np.asarray((self.vectors if len(query) == full else prefix(self.vectors, len(query))) @ query)


class VectorStore:
    """Vectors on disk, opened by mapping. Rows are in the file's order: see `VectorsInfo.order`."""

    def __init__(self, info: VectorsInfo, vectors: Path, lengths: Path) -> None:
        self.info = info
        self.files = vectors, lengths
        self.n = info.n_rows
        self.dims = info.dims
        self.blocks = _blocks(map_bytes(vectors), info)
        self.inverse_lengths: Floats = map_bytes(lengths).view("<f4").reshape(len(info.dims), self.n)  # [dims, n]

    def cosines(self, ids: Ids, query: Floats) -> Floats:
        """Return the cosines [len(ids)] with a query [dim] of length 1: only these rows are read."""
        found = np.empty(len(ids), dtype=np.float32)
        for first in range(0, len(ids), RERANKED):
            piece = ids[first : first + RERANKED]
            found[first : first + len(piece)] = self.compare(partial(np.take, indices=piece, axis=0), query)
        return found

    def pieces(self, dim: int, size: int = _PIECE) -> Iterator[tuple[int, Floats]]:
        """Yield the first row's number and [≤ size, dim] float32, L2-normalised, until all rows were read."""
        for first in range(0, self.n, size):
            found = np.empty((min(size, self.n - first), dim), dtype=np.float32)
            for block in self.upto(dim):
                found[:, block.start : block.end] = block.numbers(block.stored[first : first + len(found)])
            yield first, normalise(found)

    def scores(self, query: Floats) -> Iterator[tuple[int, Floats]]:
        """Yield the first row's number and the cosines [≤ COMPARED] of a piece of all rows with a query [dim]."""
        for first in range(0, self.n, COMPARED):
            yield first, self.compare(itemgetter(slice(first, first + COMPARED)), query)

    def compare(self, read: Callable[[NDArray[Any]], NDArray[Any]], query: Floats) -> Floats:
        """Return the cosines [m] of some rows with a query of length 1 whose dimension is one of `dims`.

        `read` takes the m rows out of an array [n, …]; their columns are made float32 a block at a time.
        """
        products = (b.products(read(b.stored), query[b.start : b.end]) for b in self.upto(len(query)))
        cosines = next(products)
        for more in products:
            cosines += more
        cosines *= read(self.lengths_of(len(query)))
        return cosines

    def lengths_of(self, dim: int) -> Floats:
        """Return 1 / the length of each row's prefix, [n]."""
        return np.asarray(self.inverse_lengths[self.dims.index(dim)])

    def upto(self, dim: int) -> Iterator[Block]:
        """Yield the blocks of the columns up to `dim`."""
        return (block for block in self.blocks if block.start < dim)

    def block_bytes(self, dim: int) -> int:
        """Return the bytes of the columns up to `dim`."""
        return sum(block.stored.nbytes for block in self.upto(dim))


@dataclass(frozen=True)
class StoredPrefix:
    """The vectors of one dimension: what `store.pieces(dim)` yields, a piece at a time."""

    store: VectorStore
    dim: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, as an array has them."""
        return self.store.n, self.dim


class VectorWriter:
    """Writes a store a piece at a time, in any order; never holds more than the piece in memory."""

    def __init__(self, info: VectorsInfo, vectors: Path, lengths: Path) -> None:
        check_storage(info.storage, info.dims)
        self._storage = info.storage
        self._file = np.memmap(vectors, dtype=np.uint8, mode="w+", shape=(max(1, _starts(info)[-1]),))
        self._lengths = np.memmap(lengths, dtype="<f4", mode="w+", shape=(len(info.dims), info.n_rows))
        self._blocks = _blocks(self._file, info)

    def write(self, first: int, vectors: Floats) -> None:
        """Store [m, full] float32 as the rows from number `first` on."""
        stored = _stored(normalise(vectors), self._storage)
        rows = slice(first, first + len(vectors))
        squares = np.zeros(len(vectors), dtype=np.float32)
        for number, block in enumerate(self._blocks):
            kept = block.write(rows, stored[:, block.start : block.end])
            squares += np.square(kept.astype(np.float32)).sum(axis=1)
            # What was stored, not what was given, has the length that a scan divides by.
            self._lengths[number, rows] = 1.0 / np.maximum(np.sqrt(squares), 1e-12)

    def copy(self, first: int, source: VectorStore, rows: Ids) -> None:
        """Store some rows of another store, their bytes unchanged, as the rows from number `first` on."""
        here = slice(first, first + len(rows))
        for block, theirs in zip(self._blocks, source.blocks, strict=True):
            block.stored[here] = theirs.stored.take(rows, axis=0)
        self._lengths[:, here] = source.inverse_lengths.take(rows, axis=1)

    def select(self, source: VectorStore) -> None:
        """Store a part of another store's columns, their bytes unchanged: each block here ends where one ends there."""
        for number, block in enumerate(self._blocks):
            column = 0
            for theirs in source.blocks:
                if block.start <= theirs.start < block.end:
                    width = theirs.stored.shape[1]
                    block.stored[:, column : column + width] = theirs.stored
                    column += width
            self._lengths[number] = source.lengths_of(block.end)

    def close(self) -> None:
        """Write all that is still in memory to the disk."""
        self._file.flush()
        self._lengths.flush()


def check_storage(storage: str, dims: Sequence[int]) -> None:
    """Raise `UsageError` unless vectors of these nesting dimensions can be stored so."""
    if storage not in STORAGES:
        raise UsageError(f"vectors cannot be stored as {storage}: there is {', '.join(STORAGES)}")
    if storage in _LAST_BITS and len(dims) < 2:
        fewer = f"the columns after the last but one have {_LAST_BITS[storage]} bits"
        raise UsageError(f"{storage} needs two dimensions at least: {fewer}")


def block_bytes(info: VectorsInfo, dim: int) -> int:
    """Return the bytes that the columns up to `dim` take, whether or not they are written yet."""
    widths = (width * dtype.itemsize for start, _, width, dtype, _ in _formats(info) if start < dim)
    return info.n_rows * sum(widths)


def check_files(info: VectorsInfo, vectors: Path, lengths: Path) -> None:
    """Raise `BundleError` unless the files are what the manifest says of them."""
    if info.storage not in STORAGES:
        raise BundleError(f"the vectors of the index are stored as {info.storage}, which is unknown: upgrade mrl-edge")
    check_size(vectors, max(1, _starts(info)[-1]))
    check_size(lengths, 4 * len(info.dims) * info.n_rows)


def check_size(path: Path, size: int) -> None:
    """Raise `BundleError` unless the file has so many bytes."""
    if path.stat().st_size != size:
        raise BundleError(f"{path} does not fit what the manifest says of it: run mrl-edge index again")


def reorder(source: VectorStore, order: Ids, target: VectorWriter, size: int = _PIECE) -> None:
    """Copy a store, its rows in another order, a piece at a time."""
    for first in range(0, len(order), size):
        target.copy(first, source, order[first : first + size])
    target.close()


def map_bytes(path: Path) -> NDArray[np.uint8]:
    """Map a file; the result is a plain array, as slices of numpy's memmap class take many times longer."""
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="r")).view(np.ndarray)


def _stored(vectors: Floats, storage: str) -> NDArray[Any]:
    if not storage.startswith("int8"):
        return vectors.astype(STORAGES[storage])
    largest = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-12)
    return np.asarray(np.rint(vectors * (127.0 / largest)), dtype=np.int8)


def _blocks(file: NDArray[np.uint8], info: VectorsInfo) -> tuple[Block, ...]:
    found = []
    for at, (start, end, width, dtype, bits) in zip(_starts(info), _formats(info), strict=False):
        size = info.n_rows * width * dtype.itemsize
        stored = file[at : at + size].view(dtype).reshape(info.n_rows, width)
        found.append(Block(stored, start, end, bits))
    return tuple(found)


def _starts(info: VectorsInfo) -> list[int]:
    """Where each block starts, and where the last one ends."""
    starts = [0]
    for _, _, width, dtype, _ in _formats(info):
        starts.append(starts[-1] + -(-info.n_rows * width * dtype.itemsize // _PAGE) * _PAGE)
    return starts


def _formats(info: VectorsInfo) -> Iterator[tuple[int, int, int, np.dtype[Any], int | None]]:
    """Yield each block's first column, the one after its last, a stored row's width and type, and packed bits."""
    for start, end in pairwise((0, *info.dims)):
        bits = _LAST_BITS.get(info.storage) if end == info.dims[-1] else None
        if bits is None:
            yield start, end, end - start, np.dtype(STORAGES[info.storage]), None
        else:
            yield start, end, packed_width(end - start, bits), np.dtype(np.uint8), bits
