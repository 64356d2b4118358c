"""The kinds of index that a bundle may hold, and how each is opened from what the manifest says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mrl_edge.description import Parameters, SizedIndex, Step, agree
from mrl_edge.errors import BundleError
from mrl_edge.index import Index
from mrl_edge.index.adaptive import Funnel
from mrl_edge.index.vectors import VectorStore, check_size
from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats

if TYPE_CHECKING:
    from mrl_edge.index.annoy import Metric

# What a forest is asked for by. All three metrics rank rows of length 1 alike; their trees split otherwise.
FORESTS: dict[str, Metric] = {"annoy": "angular", "annoy-dot": "dot", "annoy-euclidean": "euclidean"}


class IndexSpec(Protocol):
    """What an index is opened by, as a bundle's manifest or a shipped folder's says it."""

    @property
    def dim(self) -> int:
        """The dimension that it searches at."""

    @property
    def kind(self) -> str:
        """One of `OPENERS`."""

    @property
    def file(self) -> str | None:
        """Its file, where it has one."""

    @property
    def parameters(self) -> Parameters:
        """What its kind needs."""


# Each imports its kind alone: the others would take as long as opening the index does.
_Open = Callable[[VectorStore | None, Path, int, Parameters], Index]


def _annoy(store: VectorStore | None, path: Path, dim: int, found: Parameters) -> Index:
    from mrl_edge.index.annoy import METRIC, METRICS, AnnoyIndex

    metric = next((metric for metric in METRICS if metric == found.get("metric", METRIC)), None)
    if metric is None:
        raise BundleError(f"the index of dimension {dim} has an unknown metric, {found['metric']}: upgrade mrl-edge")
    return AnnoyIndex(path, dim, int(found["search_k"]), metric)


def _scan(store: VectorStore | None, path: Path, dim: int, found: Parameters) -> Index:
    from mrl_edge.index.scan import ScanIndex

    return ScanIndex(_there(store), dim)


def _binary(store: VectorStore | None, path: Path, dim: int, found: Parameters) -> Index:
    from mrl_edge.index.binary import BinaryIndex, binary_bytes

    n, size = _there(store).n, path.stat().st_size
    if size % (8 * n) or size < binary_bytes(n, dim):  # the words of further columns may be there
        raise BundleError(f"{path} does not fit what the manifest says of it: run mrl-edge index again")
    return BinaryIndex(path, n, dim)


def _ivf(store: VectorStore | None, path: Path, dim: int, found: Parameters) -> Index:
    from mrl_edge.index.ivf import IvfIndex, ivf_bytes

    lists = int(found["lists"])
    check_size(path, ivf_bytes(lists, int(found["cluster_dim"])))
    return IvfIndex(_there(store), path, dim, int(found["probes"]), lists)


def _hnsw(store: VectorStore | None, path: Path, dim: int, found: Parameters) -> Index:
    from mrl_edge.index.hnsw import HnswIndex

    return HnswIndex(path, dim, int(found["expansion"]))


def _there(store: VectorStore | None) -> VectorStore:
    if store is None:
        raise BundleError("the index needs the vectors, which are not there: make it again")
    return store


OPENERS: dict[str, _Open] = {
    "scan": _scan,
    "binary": _binary,
    "annoy": _annoy,
    "hnsw": _hnsw,
    "ivf": _ivf,
}
READS_COLUMNS = ("scan", "ivf")  # at their own dimension; the others bring a copy, or the signs alone
# Whole numbers from 1 that each needs; all but scan have a file.
_NEEDED: dict[str, tuple[str, ...]] = {
    "scan": (),
    "binary": (),
    "annoy": ("search_k",),
    "hnsw": ("expansion",),
    "ivf": ("probes", "lists", "cluster_dim"),
}


def kind_of(name: str) -> str:
    """Return the kind of what is asked for under a name: `annoy-dot` is annoy, of that metric."""
    return "annoy" if name in FORESTS else name


def open_first(sized: IndexSpec, store: VectorStore | None, path: Path) -> Index:
    """Open the index of one dimension, without its rerank; its ids are rows of the store.

    Annoy and HNSW bring their own copy and need no store; a binary index asks a store for nothing but its number of
    rows. Raises `BundleError` where the manifest says what cannot be.
    """
    if sized.kind not in OPENERS:
        raise BundleError(f"the index of dimension {sized.dim} is of an unknown kind, {sized.kind}: upgrade mrl-edge")
    numbers = [sized.parameters.get(name) for name in _NEEDED[sized.kind]]
    there = sized.kind not in READS_COLUMNS or store is None or sized.dim in store.dims
    known = there and (sized.file is not None or sized.kind == "scan")
    if not known or not all(isinstance(number, int) and number >= 1 for number in numbers):
        raise BundleError(
            f"what the manifest says of the {sized.kind} index of dimension {sized.dim} cannot be: "
            "run mrl-edge index again"
        )
    return OPENERS[sized.kind](store, path, sized.dim, sized.parameters)


def open_sized(sized: SizedIndex, store: VectorStore | None, path: Path, order: NDArray[np.int32] | None) -> Index:
    """Open the index of one dimension as it was sized or tuned, its rerank included; `order` as of `ItemIndex`.

    Raises `BundleError` where the manifest says what cannot be.
    """
    if not agree(sized.shortlist, sized.rerank_dim, sized.funnel):
        raise BundleError(
            f"the funnel of the index of dimension {sized.dim} is not of its shortlist and rerank_dim: "
            "run mrl-edge index again"
        )
    return open_steps(sized, store, path, sized.steps, order)


def open_steps(
    spec: IndexSpec,
    store: VectorStore | None,
    path: Path,
    steps: Sequence[Step],
    order: NDArray[np.int32] | None,
) -> Index:
    """Open an index whose shortlist is ranked again by some steps, or by none; otherwise as `open_sized`."""
    rows = open_first(spec, store, path)
    if steps:
        store, least = _there(store), rows.dim
        for step in steps:
            if step.shortlist < 1 or step.dim < least or step.dim not in store.dims:
                rerank = f"{step.shortlist} rows at {step.dim}"
                raise BundleError(f"the index of dimension {spec.dim} cannot rerank {rerank}: run mrl-edge index again")
            least = step.dim
        rows = Funnel(rows, store, steps)
    return rows if order is None else ItemIndex(rows, order)


class ItemIndex:
    """An index over rows, whose answers are items: `order` [n] is the item of each row."""

    def __init__(self, rows: Index, order: NDArray[np.int32] | Ids) -> None:
        self.dim = rows.dim
        self.rows = rows
        self._order = order

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Return the ids of the k best items and their cosines."""
        rows, cosines = self.rows.search(query, k)
        return self.items(rows), cosines

    def items(self, rows: Ids) -> Ids:
        """Return the ids of the items that stand at some rows."""
        return self._order[rows].astype(np.int64)
