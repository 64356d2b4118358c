"""`mrl-edge index --tune`: the corpus in its store, ordered by inverted lists, and the best index a dimension."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from mrl_edge.bundle import Bundle, IndexInfo
from mrl_edge.description import SizedIndex, VectorsInfo
from mrl_edge.errors import UsageError
from mrl_edge.index.build import FOLDER, LENGTHS, VECTORS, Corpus, Embedded, write_index
from mrl_edge.index.candidates import KINDS, Lists, list_count
from mrl_edge.index.clustering import products_by_dim
from mrl_edge.index.hnsw import require_usearch
from mrl_edge.index.ivf import cluster, write_lists
from mrl_edge.index.trials import Trial
from mrl_edge.index.tuning import Ground, Target, rows_of, tune
from mrl_edge.index.vectors import VectorStore, VectorWriter, reorder
from mrl_edge.nesting import select_dims
from mrl_edge.progress import Report

TUNING = "tuning.json"
LISTS, ORDER = "lists.ivf", "order.i32"


class Tuning(msgspec.Struct, frozen=True):
    """`index/tuning.json`: what was asked for, all that was tried, and what was chosen."""

    target_recall: float
    max_bytes: int | None
    storage: str
    n_items: int
    queries: int
    trials: tuple[Trial, ...]  # on the tuning queries
    list_products: dict[int, float]  # that a query takes, on a sample, by the dimension that lists are found at
    chosen: tuple[SizedIndex, ...]


def tune_index(
    bundle: Bundle, corpus: Corpus, target: Target, report: Report, dims: Sequence[int] | None = None
) -> IndexInfo:
    """Embed the corpus and write `index/` with the fastest index a dimension that reaches the target.

    Tuned on the corpus' queries, or on documents when there are none. Raises `UsageError` for a kind that is
    unknown or not installed, and where nothing fits the memory.
    """
    chosen = select_dims(dims, bundle.manifest.dims, str(bundle.folder))
    check_kinds("--kinds", target.kinds)

    def choose(folder: Path, embedded: Embedded) -> tuple[tuple[SizedIndex, ...], VectorsInfo]:
        ground = order_by_lists(embedded, folder, report, chosen) if "ivf" in target.kinds else unordered(embedded)
        sizes, trials = tune(ground, chosen, target, folder, report)
        if ground.lists is not None and not any(size.kind == "ivf" for size in sizes):
            ground.lists.path.unlink()
        sizes = [_in_bundle(size) for size in sizes]
        store = ground.store
        tuning = Tuning(
            target_recall=target.recall,
            max_bytes=target.max_bytes,
            storage=corpus.storage,
            n_items=store.n,
            queries=len(ground.queries),
            trials=tuple(trials),
            list_products=ground.lists.products if ground.lists else {},
            chosen=tuple(sizes),
        )
        (folder / TUNING).write_bytes(msgspec.json.format(msgspec.json.encode(tuning), indent=1) + b"\n")
        return tuple(sizes), store.info

    return write_index(bundle, corpus, report, choose, f"{FOLDER}/{TUNING}")


def check_kinds(option: str, kinds: Sequence[str]) -> None:
    """Raise `UsageError` unless every kind is known and installed."""
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"{option} {kind}: unknown; there is {', '.join(KINDS)}")
    if "hnsw" in kinds:
        require_usearch()


def unordered(embedded: Embedded) -> Ground:
    """Tune over the store as it is: row i is item i."""
    return Ground(embedded.store, embedded.queries, embedded.reference, None, embedded.store.dims[-1], embedded.unseen)


def order_by_lists(
    embedded: Embedded, folder: Path, report: Report, searched: Sequence[int] | None = None, at: int | None = None
) -> Ground:
    """Find inverted lists and write the store anew, list after list, in the place of the old one.

    They are found `at` a dimension, by default at the one that has queries at the `searched` ones, or at all, compare
    the least.
    """
    old, started = embedded.store, time.perf_counter()
    lists = list_count(old.n)
    chosen = {} if at else products_by_dim(old, embedded.queries, lists / old.n, searched or old.dims, report)
    dim = at or next(iter(chosen))
    centroids, nearest = cluster(old, dim, lists, report)
    order = np.argsort(nearest, kind="stable")
    write_lists(folder / LISTS, nearest, centroids)
    order.astype("<i4").tofile(folder / ORDER)
    info = replace(old.info, order=f"{FOLDER}/{ORDER}")
    vectors, lengths = folder / VECTORS, folder / LENGTHS
    new_vectors, new_lengths = folder / f".{VECTORS}", folder / f".{LENGTHS}"
    reorder(old, order, VectorWriter(info, new_vectors, new_lengths))
    new_vectors.replace(vectors)
    new_lengths.replace(lengths)
    found = Lists(folder / LISTS, lists, dim, time.perf_counter() - started, chosen)
    store = VectorStore(info, vectors, lengths)
    unseen = embedded.unseen and (embedded.unseen[0], rows_of(embedded.unseen[1], order))
    return Ground(store, embedded.queries, rows_of(embedded.reference, order), found, store.dims[-1], unseen)


def _in_bundle(size: SizedIndex) -> SizedIndex:
    return size if size.file is None else replace(size, file=f"{FOLDER}/{size.file}")
