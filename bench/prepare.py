"""Once a variant: embed the task, the queries and labelled texts first. Nothing here is timed.

Queries are encoded one at a time, as the device will: dynamic quantisation scales by the batch, so batched
queries would be other vectors than the ones whose latency is measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from mrl_edge.bench.by_query import packed
from mrl_edge.bench.embedding import encode_documents, encode_singly
from mrl_edge.bench.jobs import EmbedJob, EmbedResult, Prepared, Task, read_task
from mrl_edge.bench.results import ClassThird, Disk, Quality, VectorFidelity

from mrl_edge.bundle import Bundle, open_bundle
from mrl_edge.encoder import NestedEncoder, load_nested
from mrl_edge.evaluation.slices import by_frequency, thirds
from mrl_edge.metrics import (
    Labels,
    exact_top_k,
    likeliest,
    mean_and_min_cosine,
    means,
    nearest_labels,
    retrieval_quality,
)
from mrl_edge.nesting import Floats, prefix
from mrl_edge.prompts import prefix_for

_QUERIES, _DOCUMENTS = "queries.f32", "documents.f32"


def embed(job: EmbedJob) -> EmbedResult:
    """Write the vectors into `job.work`, and score exact search of the documents that were asked for."""
    return _Embedding(job).run()


class _Embedding:
    """The vectors of one variant."""

    def __init__(self, job: EmbedJob) -> None:
        self.job = job
        self.bundle: Bundle = open_bundle(job.bundle)
        self.full = self.bundle.manifest.dims[-1]
        self.task: Task = read_task(job.task)
        self.work = Path(job.work)
        self.work.mkdir(parents=True, exist_ok=True)
        self.spent_s: dict[str, float] = {}
        self.encoder: NestedEncoder = load_nested(job.bundle, job.precision, job.depth, threads=1)

    def run(self) -> EmbedResult:
        found = self.job.there or self._queries()
        if self.job.documents != "none" and self.task.documents:
            found = self._with_documents(found)
        return msgspec.structs.replace(found, spent_s=self.spent_s)

    def _queries(self) -> EmbedResult:
        with self._spending("embedding"):
            queries, labelled = self._asked()
        path = self.work / _QUERIES
        queries.tofile(path)
        alone = [self._encoded(queries, dim, labelled.get(dim, Quality())) for dim in self.job.dims]
        return EmbedResult(str(path), tuple(alone))

    def _with_documents(self, found: EmbedResult) -> EmbedResult:
        task, path = self.task, None
        numbers = list(range(len(task.documents)))
        if self.job.documents == "answers":
            numbers = sorted({answer for answers in task.relevant for answer in answers})
        with self._spending("embedding"):
            documents = encode_documents(self.encoder, [task.documents[number] for number in numbers])
        if self.job.documents == "all":
            path = self.work / _DOCUMENTS
            documents.tofile(path)
        queries = np.fromfile(found.query_vectors, dtype=np.float32).reshape(-1, self.full)
        place = {number: new for new, number in enumerate(numbers)}
        relevant = [frozenset(place[answer] for answer in answers) for answers in task.relevant]
        exact = {}
        with self._spending("exact search"):
            for dim in self.job.exact_dims:
                ids = exact_top_k(prefix(queries, dim), prefix(documents, dim), 10)
                exact[dim] = msgspec.structs.replace(Quality(), **retrieval_quality(ids, relevant))
        return msgspec.structs.replace(found, document_vectors=path and str(path), exact=exact)

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
        names = {"knn_top1": nearest, "accuracy": predicted}
        right = {
            metric: (given == np.asarray(labels)).astype(np.float64)
            for metric, given in names.items()
            if given is not None
        }
        return msgspec.structs.replace(
            Quality(),
            **means(right),
            by_class=_by_class(labels, nearest, predicted),
            each={metric: packed(hits) for metric, hits in right.items()},
        )

    def _encoded(self, queries: Floats, dim: int, quality: Quality) -> Prepared:
        """A configuration that encodes and does not search."""
        variant = self.bundle.variant(self.job.precision, self.job.depth)
        disk = Disk(model_bytes=self.bundle.model_bytes(variant, dim), index_bytes=0, vectors_bytes=0)
        fidelity = None
        if self.job.reference is not None:
            reference = np.fromfile(self.job.reference, dtype=np.float32).reshape(-1, self.full)
            fidelity = VectorFidelity(*mean_and_min_cosine(queries[:, :dim], reference[:, :dim]))
        return Prepared(dim, None, None, None, dim, disk, None, quality, fidelity)


def _by_class(labels: list[str], nearest: Labels, predicted: Labels | None) -> tuple[ClassThird, ...]:
    """Return the accuracies by thirds of the classes; `nearest` and `predicted` are labels [n]."""
    knn = by_frequency(nearest, labels, labels)
    heads = by_frequency(predicted, labels, labels) if predicted is not None else {}
    names = np.asarray(labels)
    return tuple(
        ClassThird(third, len(classes), int(np.isin(names, classes).sum()), knn[third], heads.get(third))
        for third, classes in thirds(labels, labels).items()
    )
