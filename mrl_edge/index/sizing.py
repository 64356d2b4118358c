"""How many trees, and how much of them to visit: the least that reaches a recall within a memory limit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrl_edge.errors import UsageError
from mrl_edge.index import Index
from mrl_edge.index.annoy import METRIC, AnnoyIndex, Metric
from mrl_edge.index.forest import build_annoy
from mrl_edge.index.vectors import StoredPrefix
from mrl_edge.metrics import Ids, overlap_at_k
from mrl_edge.nesting import Floats
from mrl_edge.progress import Report, silent

_TREES = (4, 8, 16, 32, 64)
_K = 10


@dataclass(frozen=True)
class Sizing:
    """A built forest and what it gave on the tuning queries."""

    n_trees: int
    search_k: int
    recall_at_10: float
    p50_ms: float
    build_s: float
    found: Ids  # [queries, 10], -1 pads


def size_annoy(
    vectors: StoredPrefix,
    queries: Floats,
    reference: Ids,
    target_recall: float,
    max_bytes: int | None,
    path: Path,
    metric: Metric = METRIC,
    report: Report = silent,
) -> Sizing:
    """Write the fastest forest that reaches `target_recall` of `reference` [queries, 10] to `path`.

    Tries ever more trees until that no longer makes queries faster. When none within `max_bytes` reaches the
    target, the one with the best recall is kept (its recall says so). Raises `UsageError` when even the
    smallest forest is larger than `max_bytes`.
    """
    best: Sizing | None = None
    trial = path.with_name(f".{path.name}")
    for n_trees in _TREES:
        started = time.perf_counter()
        build_annoy(vectors, n_trees, trial, metric, report)
        size = trial.stat().st_size
        if max_bytes is not None and size > max_bytes:
            break
        build_s = time.perf_counter() - started
        found = _tune(trial, (*vectors.shape, metric), n_trees, queries, reference, target_recall, build_s)
        if best is not None and not _better(found, best, target_recall):
            break
        best = found
        trial.replace(path)
    trial.unlink(missing_ok=True)
    if best is None:
        raise UsageError(
            f"an index of dimension {vectors.shape[1]} takes at least {size / 1e6:.1f} MB, more than allowed: "
            "raise --max-index-mb, or leave larger dimensions out with --dims"
        )
    return best


def time_search(index: Index, queries: Floats) -> tuple[Ids, float]:
    """Search one query after the other; return the ids [queries, 10] (-1 pads) and the median milliseconds."""
    ids = np.full((len(queries), _K), -1, dtype=np.int64)
    times = np.empty(len(queries))
    for number, query in enumerate(queries):
        started = time.perf_counter_ns()
        found, _ = index.search(query, _K)
        times[number] = time.perf_counter_ns() - started
        ids[number, : len(found)] = found
    return ids, float(np.median(times)) / 1e6


def _tune(
    path: Path,
    shape: tuple[int, int, Metric],
    n_trees: int,
    queries: Floats,
    reference: Ids,
    target_recall: float,
    build_s: float,
) -> Sizing:
    """Double `search_k` until the target is reached or everything is visited."""
    items, dim, metric = shape
    search_k = n_trees * _K
    while True:
        ids, p50_ms = time_search(AnnoyIndex(path, dim, search_k, metric), queries)
        recall = overlap_at_k(ids, reference)
        if recall >= target_recall or search_k >= items * n_trees:
            return Sizing(n_trees, search_k, recall, p50_ms, build_s, ids)
        search_k *= 2


def _better(new: Sizing, old: Sizing, target_recall: float) -> bool:
    if old.recall_at_10 < target_recall:
        return new.recall_at_10 > old.recall_at_10
    return new.recall_at_10 >= target_recall and new.p50_ms < old.p50_ms
