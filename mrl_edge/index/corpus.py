"""`bundle/index`, opened: the corpus' vectors and texts, and the index of each dimension."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrl_edge.bundle import MANIFEST, Bundle, IndexInfo
from mrl_edge.description import SizedIndex
from mrl_edge.errors import BundleError, UsageError
from mrl_edge.index import Index
from mrl_edge.index.adaptive import AdaptiveRetrieval
from mrl_edge.index.documents import Documents
from mrl_edge.index.kinds import ItemIndex, open_first, open_sized
from mrl_edge.index.scan import ScanIndex
from mrl_edge.index.vectors import VectorStore, check_files, check_size, map_bytes
from mrl_edge.nesting import Floats, select_dims


def open_index(bundle: Bundle, dim: int, exact: bool = False) -> Index:
    """Open the index of one dimension as it was sized or tuned, its rerank included, after checking its files.

    With `exact` every vector is compared at that dimension instead, as it is stored (fp32, fp16, int8 or smaller);
    of equal cosines the row that is stored first wins. The index takes queries of its `dim`.
    """
    store = open_store(bundle)
    if exact:
        return _items(bundle, _scan(bundle, store, dim))
    sized = _sized(bundle, dim)
    return open_sized(sized, store, _path(bundle, sized), open_order(bundle))


def open_adaptive(bundle: Bundle, dim: int, rerank_dim: int, shortlist: int, exact: bool = False) -> Index:
    """Open adaptive retrieval: the index of `dim`, reranked at `rerank_dim`."""
    if rerank_dim <= dim:
        raise UsageError(f"--rerank-dim {rerank_dim} must be larger than --dim {dim}")
    select_dims((rerank_dim,), bundle.manifest.dims, str(bundle.folder))
    store = open_store(bundle)
    first = _scan(bundle, store, dim) if exact else _first(bundle, store, _sized(bundle, dim))
    if rerank_dim < first.dim:
        raise UsageError(
            f"--rerank-dim {rerank_dim} must be {first.dim} at least: the index of dimension {dim} takes queries of it"
        )
    return _items(bundle, AdaptiveRetrieval(first, store, shortlist, rerank_dim))


def open_store(bundle: Bundle) -> VectorStore:
    """Map the vectors after checking their files; rows are in the order that `VectorsInfo.order` says.

    Raises `BundleError` where the manifest says something else than the files do.
    """
    index = require_index(bundle)
    info = index.vectors
    if info.dims != bundle.manifest.dims or info.n_rows != index.n_items:
        raise BundleError(
            f"{bundle.folder / MANIFEST} contradicts itself about the vectors of its index: make it again"
        )
    vectors, lengths = bundle.checked(info.file), bundle.checked(info.lengths)
    check_files(info, vectors, lengths)
    return VectorStore(info, vectors, lengths)


def open_vectors(bundle: Bundle) -> Floats:
    """Read all vectors into memory, float32 [n_items, full], rows L2-normalised, in the order of the items."""
    store = open_store(bundle)
    vectors = np.concatenate([piece for _, piece in store.pieces(store.dims[-1])])
    order = open_order(bundle)
    if order is None:
        return vectors
    items = np.empty_like(vectors)
    items[order] = vectors
    return items


def open_documents(bundle: Bundle) -> Documents:
    """Open the corpus' texts after checking their files."""
    info = require_index(bundle)
    return Documents(bundle.checked(info.documents), bundle.checked(info.offsets))


def require_index(bundle: Bundle) -> IndexInfo:
    """Return what the bundle says of its index; `BundleError` when it has none that this version reads."""
    if bundle.manifest.index is None:
        if bundle.has_old_index:
            raise BundleError(f"{bundle.folder}: its index was made by an earlier version: run mrl-edge index again")
        raise BundleError(f"{bundle.folder} has no index: make one with mrl-edge index {bundle.folder} CORPUS")
    return bundle.manifest.index


def _sized(bundle: Bundle, dim: int) -> SizedIndex:
    sizes = require_index(bundle).sizes
    for sized in sizes:
        if sized.dim == dim:
            return sized
    dims = ", ".join(str(sized.dim) for sized in sizes)
    raise UsageError(f"{bundle.folder} has no index of dimension {dim}; it has {dims}")


def _first(bundle: Bundle, store: VectorStore, sized: SizedIndex) -> Index:
    return open_first(sized, store, _path(bundle, sized))


def _path(bundle: Bundle, sized: SizedIndex) -> Path:
    return bundle.folder if sized.file is None else bundle.checked(sized.file)


def _scan(bundle: Bundle, store: VectorStore, dim: int) -> Index:
    return ScanIndex(store, select_dims((dim,), bundle.manifest.dims, str(bundle.folder))[0])


def _items(bundle: Bundle, rows: Index) -> Index:
    order = open_order(bundle)
    return rows if order is None else ItemIndex(rows, order)


def open_order(bundle: Bundle) -> NDArray[np.int32] | None:
    """Map the item of each row; None where row i is item i."""
    info = require_index(bundle).vectors
    if info.order is None:
        return None
    path = bundle.checked(info.order)
    check_size(path, 4 * info.n_rows)
    return map_bytes(path).view("<i4")
