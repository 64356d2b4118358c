"""Quality of embeddings on the dev rows, a dimension at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mrl_edge.datasets import Table
from mrl_edge.metrics import (
    accuracy,
    exact_top_k,
    knn_top1,
    nearest_others,
    overlap_at_k,
    paired_cosines,
    retrieval_quality,
    retrieval_task,
    spearman,
)
from mrl_edge.nesting import Floats, prefix
from mrl_edge.train.heads import Head
from mrl_edge.train.record import Quality
from mrl_edge.train.source import EncoderSpec

_QUICK_QUERIES = 1000
_NEIGHBOURS = 10


@dataclass(frozen=True)
class DevEmbeddings:
    """Dev embeddings by what they are of: task queries, task documents, labelled (or plain) texts.

    From a trunk each is [exits, n, width]; `at` gives one exit's, [n, width].
    """

    queries: Floats | None
    documents: Floats | None
    texts: Floats | None

    def map(self, function: Callable[[Floats], Floats]) -> DevEmbeddings:
        """Return the embeddings after `function`."""
        parts = (None if part is None else function(part) for part in (self.queries, self.documents, self.texts))
        return DevEmbeddings(*parts)

    def at(self, exit: int) -> DevEmbeddings:
        """Return the embeddings of one exit."""
        return self.map(lambda part: part[exit])


class Dev:
    """The dev rows as a retrieval task, as graded pairs, as labelled texts, or as texts alone."""

    def __init__(self, spec: EncoderSpec, table: Table) -> None:
        roles = table.roles
        self._scores = np.array([float(score) for score in roles["score"]]) if "score" in roles else None
        self._task = None
        self._pairs: tuple[list[str], list[str]] | None = None
        if self._scores is not None:
            self._pairs = roles["query"], roles["positive"]
        elif "query" in roles:
            self._task = retrieval_task(roles["query"], roles["positive"])
            self._pairs = self._task.queries, self._task.documents
        self.labels = roles.get("label")
        self._texts = roles.get("text", roles.get("image"))  # paths stand where texts do
        self._spec = spec

    def embed(self, function: Callable[[list[str]], Floats]) -> DevEmbeddings:
        """Return the embeddings that `function` makes of the dev texts, prompts included."""
        spec = self._spec
        queries, documents = self._pairs or (None, None)
        return DevEmbeddings(
            queries=function(spec.prompted("query", queries)) if queries else None,
            documents=function(spec.prompted("document", documents)) if documents else None,
            texts=function(spec.prompted("text", self._texts)) if self._texts else None,
        )

    def quality(self, embeddings: DevEmbeddings, dims: Sequence[int], teacher: DevEmbeddings) -> dict[int, Quality]:
        """Return the metrics that the rows allow, of the prefix embeddings of every dimension.

        `teacher` are the untouched encoder's: where the rows hold texts alone, what counts is how many of each
        text's nearest neighbours by those stay its neighbours.
        """
        quality = self._pair_quality(embeddings, dims, limit=None)
        if embeddings.texts is None:
            return quality
        for dim in dims:
            small = prefix(embeddings.texts, dim)
            if self.labels is not None:
                quality[dim]["knn_top1"] = knn_top1(small, self.labels)
            elif self._pairs is None and teacher.texts is not None:
                quality[dim]["neighbours_at_10"] = _neighbours_kept(small, prefix(teacher.texts, None))
        return quality

    def quick_quality(self, embeddings: DevEmbeddings, dims: Sequence[int]) -> dict[int, Quality]:
        """Return the metrics of pairs over the first 1,000 queries, cheap enough for every epoch."""
        return self._pair_quality(embeddings, dims, limit=_QUICK_QUERIES)

    def add_accuracy(
        self,
        quality: dict[int, Quality],
        embeddings: DevEmbeddings,
        head: Head,
        dims: Sequence[int],
        classes: Sequence[str],
    ) -> None:
        """Add the accuracy of the class heads, if there are any, to the quality of every dimension."""
        if not classes or embeddings.texts is None or self.labels is None:
            return
        with torch.no_grad():
            logits = head.logits(torch.from_numpy(embeddings.texts).to(head.projection.weight.device)).cpu()
        for dim, rows in zip(dims, logits, strict=True):
            quality[dim]["accuracy"] = accuracy(rows.numpy(), self.labels, classes)

    def _pair_quality(self, embeddings: DevEmbeddings, dims: Sequence[int], limit: int | None) -> dict[int, Quality]:
        queries, documents = embeddings.queries, embeddings.documents
        if queries is None or documents is None:
            return {dim: {} for dim in dims}
        if self._scores is not None:
            found = {dim: spearman(paired_cosines(queries[:, :dim], documents[:, :dim]), self._scores) for dim in dims}
            return {dim: {} if math.isnan(value) else {"spearman": value} for dim, value in found.items()}
        if self._task is None:
            return {dim: {} for dim in dims}
        relevant = self._task.relevant[:limit]
        return {
            dim: retrieval_quality(exact_top_k(prefix(queries[:limit], dim), prefix(documents, dim), 10), relevant)
            for dim in dims
        }


def _neighbours_kept(ours: Floats, theirs: Floats) -> float:
    """Return the share of each row's 10 nearest others by `theirs` that are among its 10 nearest by `ours`."""
    return overlap_at_k(nearest_others(ours, _NEIGHBOURS), nearest_others(theirs, _NEIGHBOURS))
