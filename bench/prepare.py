"""Once a variant: embed the task, build the indexes, score their hits. Nothing here is timed but the build.

Queries are encoded one at a time, as the device will: dynamic quantisation scales by the batch, so batched
queries would be other vectors than the ones whose latency is measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from mrl_edge.bench.embedding import encode_documents, encode_singly
from mrl_edge.bench.indexing import Indexes
from mrl_edge.bench.jobs import Prepared, PrepareJob, PrepareResult, Task, read_task
from mrl_edge.bench.path import HITS, open_files
from mrl_edge.bench.results import ClassThird, Disk, IndexPlan, Quality, SearchResult, VectorFidelity

from mrl_edge.bundle import Bundle, Variant, open_bundle
from mrl_edge.cpu import allowed_cores
from mrl_edge.description import VectorsInfo
from mrl_edge.encoder import NestedEncoder, load_nested
from mrl_edge.evaluation.slices import by_frequency, thirds
from mrl_edge.index import Index
from mrl_edge.index.build import LENGTHS, VECTORS
from mrl_edge.metrics import (
    Ids,
    Labels,
    exact_top_k,
    likeliest,
    mean_and_min_cosine,
    nearest_labels,
    overlap_at_k,
    retrieval_quality,
    share_equal,
)
from mrl_edge.nesting import Floats, prefix
from mrl_edge.prompts import prefix_for


def prepare(job: PrepareJob) -> PrepareResult:
    """Write vectors and indexes into `job.work` and return one entry a dimension and plan."""
    return _Preparation(job).run()


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
        self.spent_s: dict[str, float] = {}
        self.encoder: NestedEncoder = load_nested(job.bundle, job.precision, job.depth, threads=1)

    def run(self) -> PrepareResult:
        task, dims = self.task, self.job.dims
        with self._spending("embedding"):
            queries, labelled = self._asked()
        path = self.work / "queries.f32"
        queries.tofile(path)
        if not dims:  # only the query vectors were wanted, to compare others with
            return PrepareResult(str(path), (), self.spent_s)
        alone = [self._encoded(queries, dim, labelled.get(dim, Quality())) for dim in dims]
        if not task.documents:
            return PrepareResult(str(path), tuple(alone), self.spent_s)
        with self._spending("embedding"):
            documents = encode_documents(self.encoder, task.documents)
        found = self._searched(queries, documents, alone)
        return PrepareResult(str(path), tuple(found), self.spent_s)

    @contextmanager
    def _spending(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.spent_s[what] = self.spent_s.get(what, 0.0) + time.perf_counter() - started

    def _asked(self) -> tuple[Floats, dict[int, Quality]]:
        """The vectors of the queries, or of the labelled texts where there are none, and the quality of the latter.

        Texts that are both, under one prompt, pass through the encoder once.
        """
        asked, full = self.task.queries, self.full
        texts = self.task.texts if self.job.dims or not asked else []
        if self._prefix("query") == self._prefix("text"):
            embeddings, probabilities = encode_singly(self.encoder, [*texts, *asked], "text")
            queries = embeddings[full][len(texts) :]
        else:
            embeddings, probabilities = encode_singly(self.encoder, texts, "text")
            queries = encode_singly(self.encoder, asked, "query")[0][full]
        labelled = self.job.dims if self.task.labels else ()
        quality = {dim: self._labelled(embeddings[dim][: len(texts)], probabilities.get(dim)) for dim in labelled}
        return (queries if asked else embeddings[full]), quality

    def _prefix(self, role: str) -> str:
        encoder = self.bundle.manifest.encoder
        return prefix_for(encoder.prompts, encoder.default_prompt, role)

    def _labelled(self, embeddings: Floats, probabilities: Floats | None) -> Quality:
        """Accuracy and 1-NN accuracy of the labelled texts at one dimension, of all and by thirds of the classes."""
        labels = self.task.labels
        nearest = nearest_labels(embeddings, labels) if len(labels) > 1 else np.array([""])  # one has no neighbour
        predicted = None if probabilities is None else likeliest(probabilities[: len(labels)], self.encoder.classes)
        return Quality(
            knn_top1=share_equal(nearest, labels),
            accuracy=None if predicted is None else share_equal(predicted, labels),
            by_class=_by_class(labels, nearest, predicted),
        )

    def _encoded(self, queries: Floats, dim: int, quality: Quality) -> Prepared:
        """A configuration that encodes and does not search."""
        disk = Disk(model_bytes=self.bundle.model_bytes(self.variant, dim), index_bytes=0, vectors_bytes=0)
        fidelity = None
        if self.job.reference is not None:
            reference = np.fromfile(self.job.reference, dtype=np.float32).reshape(-1, self.full)
            fidelity = VectorFidelity(*mean_and_min_cosine(queries[:, :dim], reference[:, :dim]))
        return Prepared(dim, None, None, None, dim, disk, None, quality, fidelity)

    def _searched(self, queries: Floats, documents: Floats, alone: Sequence[Prepared]) -> Iterator[Prepared]:
        """Yield what each plan makes of each configuration that encodes: its index, its recall, its hits' quality."""
        info = VectorsInfo(VECTORS, LENGTHS, self.job.storage, self.bundle.manifest.dims, len(documents))
        with self._spending("building indexes"):
            indexes = Indexes(queries, documents, info, self.job.plans, self.work)
            reference = exact_top_k(queries, documents, 10)
        for encoded in alone:
            own = exact_top_k(prefix(queries, encoded.dim), prefix(documents, encoded.dim), 10)
            for plan in self.job.plans:
                if plan.applies_to(encoded.dim, self.full):
                    yield self._with_index(queries, plan, encoded, indexes, (reference, own))

    def _with_index(
        self, queries: Floats, plan: IndexPlan, encoded: Prepared, indexes: Indexes, references: tuple[Ids, Ids]
    ) -> Prepared:
        """Build what a plan searches and search every query with it; `references` is at the full and its own dim."""
        plain = msgspec.structs.replace(plan, shortlist=None, rerank_dim=None)
        like = next((p for p in self.job.like if (p.dim, p.plan) == (encoded.dim, plain)), None)
        known = like.index.sized if like and like.index else None
        with self._spending("building indexes" if known else "tuning and building indexes"):
            made = indexes.make(plan, encoded.dim, self.job.target_recall, known)
        index, sized = open_files(made.files), made.files.sized
        with self._spending("hits for the quality"):
            ids = _hits(index, queries)
        hits = self.work / f"{plan}-d{encoded.dim}.hits"
        ids.tofile(hits)
        search = SearchResult(
            index=plan.kind,
            n_items=indexes.n_items,
            shortlist=sized.shortlist,
            rerank_dim=sized.rerank_dim,
            p50_ms=None,
            p99_ms=None,
            build_s=made.build_s,
            recall_at_10=overlap_at_k(ids, references[0]),
            recall_at_10_of_dim=overlap_at_k(ids, references[1]),
            parameters=sized.parameters,
            vectors=self.job.storage,
            tuned_on=like.search.tuned_on if like and like.search else self.job.precision,
        )
        scores = retrieval_quality(ids, [frozenset(answers) for answers in self.task.relevant])
        return msgspec.structs.replace(
            encoded,
            plan=plan,
            index=made.files,
            hits=str(hits),
            encode_dim=index.dim,
            disk=indexes.disk(made.files, self.bundle.model_bytes(self.variant, index.dim)),
            search=search,
            quality=msgspec.structs.replace(encoded.quality, **scores),
        )


def _by_class(labels: list[str], nearest: Labels, predicted: Labels | None) -> tuple[ClassThird, ...]:
    """Return the accuracies by thirds of the classes; `nearest` and `predicted` are labels [n]."""
    knn = by_frequency(nearest, labels, labels)
    heads = by_frequency(predicted, labels, labels) if predicted is not None else {}
    names = np.asarray(labels)
    return tuple(
        ClassThird(third, len(classes), int(np.isin(names, classes).sum()), knn[third], heads.get(third))
        for third, classes in thirds(labels, labels).items()
    )


def _hits(index: Index, queries: Floats) -> Ids:
    """Return the ids [queries, 10] that an index finds, -1 pads, one query at a time on each core."""
    found = np.full((len(queries), HITS), -1, dtype=np.int64)
    with ThreadPoolExecutor(allowed_cores()) as pool:
        cut = prefix(queries, index.dim)
        for line, ids in zip(found, pool.map(lambda query: index.search(query, HITS)[0], cut), strict=True):
            line[: len(ids)] = ids
    return found
