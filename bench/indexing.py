"""The documents of a variant in one store, and an index over it for every kind and dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from mrl_edge.bench.held import Held, cluster_dim_of, resized
from mrl_edge.bench.jobs import IndexFiles
from mrl_edge.bench.results import Disk, IndexPlan

from mrl_edge.atomic import write_file
from mrl_edge.description import SizedIndex, VectorsInfo
from mrl_edge.index.binary import binary_bytes
from mrl_edge.index.build import LENGTHS, VECTORS, Embedded
from mrl_edge.index.candidates import Lists, Site, build_like
from mrl_edge.index.kinds import kind_of
from mrl_edge.index.tune import LISTS, ORDER, order_by_lists, unordered
from mrl_edge.index.tuning import Ground, Target, rows_of, tune
from mrl_edge.index.vectors import VectorStore, VectorWriter
from mrl_edge.metrics import exact_top_k
from mrl_edge.nesting import Floats, prefix
from mrl_edge.progress import silent

_TUNING_QUERIES = 200
_STORE = "store.json"
_READS_COLUMNS = ("scan", "ivf")  # the others bring their own copy


@dataclass(frozen=True)
class Made:
    """An index, and the seconds that building its file took."""

    files: IndexFiles
    build_s: float


class _Lists(msgspec.Struct, frozen=True):
    lists: int
    cluster_dim: int
    build_s: float


class _Store(msgspec.Struct, frozen=True):
    """What a job that comes later must know of a store: how it is written, and the lists that it is ordered by."""

    info: VectorsInfo
    lists: _Lists | None


class Indexes:
    """One store of all documents, ordered by inverted lists where a plan needs them, and what is built over it."""

    def __init__(
        self,
        queries: Floats,
        documents: Floats,
        info: VectorsInfo,
        plans: Sequence[IndexPlan],
        like: Sequence[Held],
        work: Path,
    ) -> None:
        self._work = work
        self._documents = documents  # [n, full] float32
        self._queries = queries[:: max(1, len(queries) // _TUNING_QUERIES)][:_TUNING_QUERIES]
        lists = any(plan.kind == "ivf" for plan in plans)
        self._ground = self._kept() or self._stored(info, lists, cluster_dim_of(like))
        self.n_items = self._ground.store.n
        self._made: dict[tuple[str, int, bool], Made] = {}
        self._order = np.fromfile(work / ORDER, dtype="<i4") if lists else None

    def _stored(self, info: VectorsInfo, lists: bool, cluster_dim: int | None) -> Ground:
        """Write the store, and what a later job that builds over it needs to know."""
        work = self._work
        writer = VectorWriter(info, work / VECTORS, work / LENGTHS)
        writer.write(0, self._documents)
        writer.close()
        store = VectorStore(info, work / VECTORS, work / LENGTHS)
        embedded = Embedded(store, self._queries, exact_top_k(self._queries, self._documents, 10))
        ground = order_by_lists(embedded, work, silent, at=cluster_dim) if lists else unordered(embedded)
        made = ground.lists and _Lists(ground.lists.lists, ground.lists.cluster_dim, ground.lists.build_s)
        write_file(work / _STORE, msgspec.json.encode(_Store(ground.store.info, made or None)))
        return ground

    def _kept(self) -> Ground | None:
        """Return the store that an earlier job wrote over the same vectors."""
        work, file = self._work, self._work / _STORE
        if not file.is_file():
            return None
        kept = msgspec.json.decode(file.read_bytes(), type=_Store)
        store = VectorStore(kept.info, work / VECTORS, work / LENGTHS)
        found = exact_top_k(self._queries, self._documents, 10)
        if kept.lists is None:
            return unordered(Embedded(store, self._queries, found))
        lists = Lists(work / LISTS, kept.lists.lists, kept.lists.cluster_dim, kept.lists.build_s)
        rows = rows_of(found, np.fromfile(work / ORDER, dtype="<i4"))
        return Ground(store, self._queries, rows, lists, store.dims[-1])

    def make(self, plan: IndexPlan, dim: int, target_recall: float, like: Held | None) -> Made:
        """Return the index of a plan at a dimension, with the parameters of `like` or those that tuning chooses.

        Plans that differ by their rerank alone share what is built.
        """
        key = plan.kind, dim, plan.tuned
        if key not in self._made:
            self._made[key] = self._build(plan, dim, target_recall, like)
        made = self._made[key]
        if plan.rerank_dim is None:
            return made
        sized = replace(made.files.sized, shortlist=plan.shortlist, rerank_dim=plan.rerank_dim, funnel=())
        return replace(made, files=msgspec.structs.replace(made.files, sized=sized))

    def _build(self, plan: IndexPlan, dim: int, target_recall: float, like: Held | None) -> Made:
        folder = self._work / f"{plan.kind}-d{dim}{'-tuned' if plan.tuned else ''}"
        folder.mkdir(exist_ok=True)
        ground = self._ground if plan.tuned else self._at(dim)
        if like is not None:
            sized = _sized(like, ground.lists)
            path, build_s = build_like(sized, Site(ground.store, ground.lists, dim, folder, math.inf, silent, {}))
            sized = replace(sized, file=path.name if path else None)
        else:
            (sized,), trials = tune(ground, (dim,), Target(target_recall, None, (plan.kind,)), folder, silent)
            build_s = next(trial.build_s for trial in trials if trial.parameters == sized.parameters)
            lists = ground.lists.path if ground.lists else None
            path = lists if sized.kind == "ivf" else folder / sized.file if sized.file else None
        order = None if self._order is None else str(self._work / ORDER)
        file = None if path is None else str(path)
        vectors, lengths = str(self._work / VECTORS), str(self._work / LENGTHS)
        return Made(IndexFiles(sized, file, ground.store.info, vectors, lengths, order), build_s)

    def disk(self, files: IndexFiles, model_bytes: int) -> Disk:
        """Return what a configuration needs: of the shared files the columns and lengths that it reads."""
        store, sized = self._ground.store, files.sized
        index_bytes = Path(files.file).stat().st_size if files.file else 0
        if sized.kind == "binary":  # its file serves every dimension
            index_bytes = binary_bytes(store.n, sized.dim)
        index_bytes += 4 * store.n if files.order else 0
        scanned = sized.dim if sized.kind in _READS_COLUMNS else None
        compared = {dim for dim in (scanned, *(step.dim for step in sized.steps)) if dim}
        vectors_bytes = store.block_bytes(max(compared, default=0)) + 4 * store.n * len(compared)
        return Disk(model_bytes, index_bytes, vectors_bytes)

    def _at(self, dim: int) -> Ground:
        """Return the same ground with exact search at one dimension as what is to be found."""
        found = exact_top_k(prefix(self._queries, dim), prefix(self._documents, dim), 10)
        return replace(self._ground, reference=found if self._order is None else rows_of(found, self._order), dim=dim)


def _sized(like: Held, lists: Lists | None) -> SizedIndex:
    """Return an index that is not built yet, with the parameters that are held."""
    kind, parameters = kind_of(like.plan.kind), like.parameters
    if kind == "ivf" and lists:  # found anew over these vectors, at the dimension that is held
        parameters = {**resized(kind, parameters, lists.lists), "cluster_dim": lists.cluster_dim}
    ranked = like.shortlist, like.rerank_dim, like.funnel
    return SizedIndex(like.dim, kind, None, parameters, None, 0.0, like.p50_ms, 0, *ranked)
