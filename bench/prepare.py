"""Once a variant: embed the task, build the indexes, score their hits. Nothing here is timed but the build.

Queries are encoded one at a time, as the device will: dynamic quantisation scales by the batch, so batched
queries would be other vectors than the ones whose latency is measured.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from mrl_edge.bench.jobs import Prepared, PrepareJob, PrepareResult, Task, read_task
from mrl_edge.bench.results import Disk, IndexPlan, Quality, SearchResult, VectorFidelity

from mrl_edge.bundle import Bundle, Variant, open_bundle
from mrl_edge.encoder import NestedEncoder, load_nested
from mrl_edge.index import Index
from mrl_edge.index.adaptive import AdaptiveRetrieval
from mrl_edge.index.annoy import METRIC, AnnoyIndex
from mrl_edge.index.exact import ExactIndex, map_vectors
from mrl_edge.index.sizing import Sizing, size_annoy, time_search
from mrl_edge.index.vectors import ArrayRows
from mrl_edge.metrics import (
    Ids,
    accuracy,
    exact_top_k,
    knn_top1,
    mean_and_min_cosine,
    overlap_at_k,
    retrieval_quality,
)
from mrl_edge.nesting import Floats, prefix

_TUNING_QUERIES = 200


def prepare(job: PrepareJob) -> PrepareResult:
    """Write vectors and indexes into `job.work` and return one entry a dimension and plan."""
    return _Preparation(job).run()


def open_prepared(prepared: Prepared) -> Index | None:
    """Open the index that a configuration searches, or None when it only encodes."""
    plan = prepared.plan
    if plan is None:
        return None
    if plan.kind == "exact":
        first: Index = ExactIndex(map_vectors(Path(str(prepared.index_file)), prepared.dim))
    else:
        first = AnnoyIndex(Path(str(prepared.index_file)), prepared.dim, prepared.search_k or -1)
    if plan.rerank_dim is None:
        return first
    vectors = map_vectors(Path(str(prepared.vectors_file)), plan.rerank_dim)
    return AdaptiveRetrieval(first, ArrayRows(vectors), plan.shortlist or 0, plan.rerank_dim)


class _Preparation:
    """The vectors of one variant, and what is made of them."""

    def __init__(self, job: PrepareJob) -> None:
        self.job = job
        self.bundle: Bundle = open_bundle(job.bundle)
        self.variant: Variant = self.bundle.variant(job.precision, job.depth)
        self.full = self.bundle.manifest.dims[-1]
        self.task: Task = read_task(job.task)
        self.work = Path(job.work)
        self.work.mkdir(parents=True, exist_ok=True)
        self.encoder: NestedEncoder = load_nested(job.bundle, job.precision, job.depth)

    def run(self) -> PrepareResult:
        task, dims = self.task, self.job.dims
        queries = self._encode(task.queries or task.texts, "query" if task.queries else "text", batch_size=1)
        path = self.work / "queries.f32"
        queries.tofile(path)
        if not dims:  # only the query vectors were wanted, to compare others with
            return PrepareResult(str(path), ())
        labelled = self._labelled_quality() if task.labels else {}
        if not task.documents:
            found = [self._encoded(queries, dim, Quality(**labelled.get(dim, {}))) for dim in dims]
            return PrepareResult(str(path), tuple(found))
        documents = self._encode(task.documents, "document", batch_size=32)
        reference = exact_top_k(queries, documents, 10)
        found = [
            self._searched(
                queries, documents, reference, plan, self._encoded(queries, dim, Quality(**labelled.get(dim, {})))
            )
            for dim in dims
            for plan in self.job.plans
            if plan.applies_to(dim)
        ]
        return PrepareResult(str(path), tuple(found))

    def _encode(self, texts: list[str], role: str, batch_size: int) -> Floats:
        return self.encoder.encode(texts, role, batch_size)[self.full]

    def _labelled_quality(self) -> dict[int, dict[str, float]]:
        """Accuracy and 1-NN accuracy of the labelled texts, by dimension."""
        task = self.task
        embeddings = self.encoder.encode(task.texts, "text", batch_size=1)
        quality = {dim: {"knn_top1": knn_top1(embeddings[dim], task.labels)} for dim in self.job.dims}
        if self.encoder.classes:
            probabilities = self.encoder.classify(task.texts, batch_size=1)
            for dim in self.job.dims:
                quality[dim]["accuracy"] = accuracy(probabilities[dim], task.labels, self.encoder.classes)
        return quality

    def _encoded(self, queries: Floats, dim: int, quality: Quality) -> Prepared:
        """A configuration that encodes and does not search."""
        disk = Disk(model_bytes=self.bundle.model_bytes(self.variant, dim), index_bytes=0, vectors_bytes=0)
        fidelity = None
        if self.job.reference is not None:
            reference = np.fromfile(self.job.reference, dtype=np.float32).reshape(-1, self.full)
            fidelity = VectorFidelity(*mean_and_min_cosine(queries[:, :dim], reference[:, :dim]))
        return Prepared(dim, None, None, None, None, disk, None, quality, fidelity)

    def _searched(
        self, queries: Floats, documents: Floats, reference: Ids, plan: IndexPlan, encoded: Prepared
    ) -> Prepared:
        """The same with an index, its recall against `reference` and the quality of its hits."""
        prepared, sizing = self._with_index(queries, documents, plan, encoded)
        index = open_prepared(prepared)
        if index is None:
            raise AssertionError("a plan has an index")
        ids, _ = time_search(index, prefix(queries, index.dim))
        search = SearchResult(
            index=plan.kind,
            n_items=len(documents),
            metric="cosine" if sizing is None else METRIC,
            n_trees=sizing.n_trees if sizing else None,
            search_k=prepared.search_k,
            shortlist=plan.shortlist,
            rerank_dim=plan.rerank_dim,
            p50_ms=None,
            p99_ms=None,
            build_s=sizing.build_s if sizing else 0.0,
            recall_at_10=overlap_at_k(ids, reference),
        )
        scores = retrieval_quality(ids, [frozenset(answers) for answers in self.task.relevant])
        quality = msgspec.structs.replace(encoded.quality, **scores)
        return msgspec.structs.replace(prepared, search=search, quality=quality)

    def _with_index(
        self, queries: Floats, documents: Floats, plan: IndexPlan, encoded: Prepared
    ) -> tuple[Prepared, Sizing | None]:
        """Write the files that a plan searches."""
        small = prefix(documents, encoded.dim)
        rerank = None
        if plan.rerank_dim is not None:
            rerank = self._write_vectors(prefix(documents, plan.rerank_dim))
        vectors_bytes = rerank.stat().st_size if rerank else 0
        sizing = None
        if plan.kind == "exact":
            file = self._write_vectors(small)
            index_bytes, vectors_bytes = 0, vectors_bytes + file.stat().st_size
        else:
            file = self.work / f"d{encoded.dim}.ann"
            tuning = prefix(queries[:_TUNING_QUERIES], encoded.dim)
            sizing = size_annoy(small, tuning, exact_top_k(tuning, small, 10), self.job.target_recall, None, file)
            index_bytes = file.stat().st_size
        disk = Disk(self.bundle.model_bytes(self.variant, plan.rerank_dim or encoded.dim), index_bytes, vectors_bytes)
        prepared = msgspec.structs.replace(
            encoded,
            plan=plan,
            index_file=str(file),
            vectors_file=str(rerank) if rerank else None,
            search_k=sizing.search_k if sizing else None,
            disk=disk,
        )
        return prepared, sizing

    def _write_vectors(self, vectors: Floats) -> Path:
        path = self.work / f"d{vectors.shape[1]}.f32"
        vectors.tofile(path)
        return path
