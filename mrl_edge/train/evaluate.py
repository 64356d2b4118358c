"""Quality of embeddings on the dev rows, a dimension at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from mrl_edge.datasets import Table
from mrl_edge.metrics import accuracy, exact_top_k, knn_top1, retrieval_quality, retrieval_task
from mrl_edge.nesting import Floats, prefix
from mrl_edge.train.model import MatryoshkaHeads
from mrl_edge.train.record import Quality
from mrl_edge.train.source import EncoderSpec

_QUICK_QUERIES = 1000


@dataclass(frozen=True)
class DevEmbeddings:
    """Dev embeddings [n, width] by what they are of: task queries, task documents, labelled texts."""

    queries: Floats | None
    documents: Floats | None
    texts: Floats | None

    def map(self, function: Callable[[Floats], Floats]) -> DevEmbeddings:
        """Return the embeddings after `function`, which maps [n, width] to [n, full]."""
        parts = (None if part is None else function(part) for part in (self.queries, self.documents, self.texts))
        return DevEmbeddings(*parts)


class Dev:
    """The dev rows as a retrieval task, as labelled texts, or both."""

    def __init__(self, spec: EncoderSpec, table: Table) -> None:
        roles = table.roles
        self.task = retrieval_task(roles["query"], roles["positive"]) if "query" in roles else None
        self.labels = roles.get("label")
        self._texts = roles.get("text")
        self._spec = spec

    def embed(self, function: Callable[[list[str]], Floats]) -> DevEmbeddings:
        """Return the embeddings that `function` makes of the dev texts, prompts included."""
        spec, task = self._spec, self.task
        return DevEmbeddings(
            queries=function(spec.prompted("query", task.queries)) if task else None,
            documents=function(spec.prompted("document", task.documents)) if task else None,
            texts=function(spec.prompted("text", self._texts)) if self._texts else None,
        )

    def quality(self, embeddings: DevEmbeddings, dims: Sequence[int]) -> dict[int, Quality]:
        """Return retrieval metrics and 1-NN accuracy of the prefix embeddings of every dimension."""
        quality = self._retrieval(embeddings, dims, limit=None)
        if self.labels is not None and embeddings.texts is not None:
            for dim in dims:
                quality[dim]["knn_top1"] = knn_top1(prefix(embeddings.texts, dim), self.labels)
        return quality

    def quick_quality(self, embeddings: DevEmbeddings, dims: Sequence[int]) -> dict[int, Quality]:
        """Return retrieval metrics over the first 1,000 queries, cheap enough for every epoch."""
        return self._retrieval(embeddings, dims, limit=_QUICK_QUERIES)

    def add_accuracy(
        self,
        quality: dict[int, Quality],
        embeddings: DevEmbeddings,
        heads: MatryoshkaHeads,
        classes: Sequence[str],
    ) -> None:
        """Add the accuracy of the class heads, if there are any, to the quality of every dimension."""
        if not classes or embeddings.texts is None or self.labels is None:
            return
        with torch.no_grad():
            logits = heads.logits(torch.from_numpy(embeddings.texts))
        for dim, rows in zip(heads.dims, logits, strict=True):
            quality[dim]["accuracy"] = accuracy(rows.numpy(), self.labels, classes)

    def _retrieval(self, embeddings: DevEmbeddings, dims: Sequence[int], limit: int | None) -> dict[int, Quality]:
        task, queries, documents = self.task, embeddings.queries, embeddings.documents
        if task is None or queries is None or documents is None:
            return {dim: {} for dim in dims}
        return {
            dim: retrieval_quality(
                exact_top_k(prefix(queries[:limit], dim), prefix(documents, dim), 10), task.relevant[:limit]
            )
            for dim in dims
        }
