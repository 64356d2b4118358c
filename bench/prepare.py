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
from mrl_edge.index.sizing import size_annoy, time_search
from mrl_edge.metrics import Ids, exact_top_k, knn_top1, mean_and_min_cosine, overlap_at_k, retrieval_quality
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
    return AdaptiveRetrieval(first, vectors, plan.shortlist or 0, plan.rerank_dim)


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
        task = self.task
        queries = self._encode(task.queries or task.texts, "query" if task.queries else "text", batch_size=1)
        path = self.work / "queries.f32"
        queries.tofile(path)
        labelled = self._labelled_quality()
        documents = self._encode(task.documents, "document", batch_size=32) if task.documents and self.job.dims else None
        found = []
        for dim in self.job.dims:
            fidelity = self._fidelity(queries, dim)
            if documents is None:
                quality = Quality(**labelled.get(dim, {}))
                found.append(Prepared(dim, None, None, None, None, self._disk(dim), None, quality, fidelity))
                continue
            for plan in self.job.plans:
                if plan.rerank_dim is None or plan.rerank_dim > dim:
                    found.append(self._search(dim, plan, queries, documents, labelled.get(dim, {}), fidelity))
        return PrepareResult(str(path), tuple(found))

    def _encode(self, texts: list[str], role: str, batch_size: int) -> Floats:
        return self.encoder.encode(texts, role, batch_size)[self.full]

    def _labelled_quality(self) -> dict[int, dict[str, float]]:
        """Accuracy and 1-NN accuracy of the labelled texts, by dimension."""
        task = self.task
        if not task.labels or not self.job.dims:
            return {}
        embeddings = self.encoder.encode(task.texts, "text", batch_size=1)
        quality = {dim: {"knn_top1": knn_top1(embeddings[dim], task.labels)} for dim in self.job.dims}
        if self.encoder.classes:
            probabilities = self.encoder.classify(task.texts, batch_size=1)
            classes = np.asarray(self.encoder.classes)
            for dim in self.job.dims:
                predicted = classes[probabilities[dim].argmax(axis=1)]
                quality[dim]["accuracy"] = float(np.mean(predicted == np.asarray(task.labels)))
        return quality

    def _search(
        self,
        dim: int,
        plan: IndexPlan,
        queries: Floats,
        documents: Floats,
        labelled: dict[str, float],
        fidelity: VectorFidelity | None,
    ) -> Prepared:
        small = prefix(documents, dim)
        search_k = n_trees = None
        build_s = 0.0
        if plan.kind == "exact":
            file = self.work / f"d{dim}.f32"
            small.tofile(file)
        else:
            file = self.work / f"d{dim}.ann"
            tuning = prefix(queries[:_TUNING_QUERIES], dim)
            sizing = size_annoy(small, tuning, exact_top_k(tuning, small, 10), self.job.target_recall, None, file)
            search_k, n_trees, build_s = sizing.search_k, sizing.n_trees, sizing.build_s
        vectors_file = None
        if plan.rerank_dim is not None:
            vectors_file = str(self.work / f"d{plan.rerank_dim}.f32")
            prefix(documents, plan.rerank_dim).tofile(vectors_file)
        disk = self._disk(dim if plan.rerank_dim is None else plan.rerank_dim)
        disk = msgspec.structs.replace(
            disk,
            index_bytes=0 if plan.kind == "exact" else file.stat().st_size,
            vectors_bytes=(file.stat().st_size if plan.kind == "exact" else 0)
            + (Path(vectors_file).stat().st_size if vectors_file else 0),
        )
        prepared = Prepared(dim, plan, str(file), vectors_file, search_k, disk, None, Quality(), fidelity)
        index = open_prepared(prepared)
        if index is None:
            raise AssertionError("a plan always has an index")
        ids, _ = time_search(index, prefix(queries, index.dim))
        search = SearchResult(
            index=plan.kind,
            n_items=len(documents),
            metric="cosine" if plan.kind == "exact" else METRIC,
            n_trees=n_trees,
            search_k=search_k,
            shortlist=plan.shortlist,
            rerank_dim=plan.rerank_dim,
            p50_ms=0.0,
            p99_ms=0.0,
            build_s=build_s,
            recall_at_10=overlap_at_k(ids, self._full_hits(queries, documents)),
        )
        relevant = [frozenset(answers) for answers in self.task.relevant]
        quality = Quality(**retrieval_quality(ids, relevant), **labelled)
        return msgspec.structs.replace(prepared, search=search, quality=quality)

    def _full_hits(self, queries: Floats, documents: Floats) -> Ids:
        """The exact hits at the full dimension, computed once."""
        if not hasattr(self, "_exact"):
            self._exact = exact_top_k(queries, documents, 10)
        return self._exact

    def _fidelity(self, queries: Floats, dim: int) -> VectorFidelity | None:
        if self.job.reference is None:
            return None
        reference = np.fromfile(self.job.reference, dtype=np.float32).reshape(-1, self.full)
        return VectorFidelity(*mean_and_min_cosine(queries[:, :dim], reference[:, :dim]))

    def _disk(self, dim: int) -> Disk:
        return Disk(model_bytes=self.bundle.model_bytes(self.variant, dim), index_bytes=0, vectors_bytes=0)
