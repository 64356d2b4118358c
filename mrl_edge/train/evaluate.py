"""Quality of projected embeddings on the dev rows, a dimension at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mrl_edge.metrics import RetrievalTask, exact_top_k, knn_top1, retrieval_quality
from mrl_edge.nesting import Floats, prefix

Quality = dict[str, float]


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


def quality_by_dim(
    dev: DevEmbeddings, dims: Sequence[int], task: RetrievalTask | None, labels: Sequence[str] | None
) -> dict[int, Quality]:
    """Return retrieval metrics and 1-NN accuracy of the prefix embeddings of every dimension."""
    return {dim: _quality(dev, dim, task, labels) for dim in dims}


def accuracy(logits: Floats, labels: Sequence[str], classes: Sequence[str]) -> float:
    """Return the share of rows of [n, classes] whose largest logit is the label's.

    A label that is no class, because training never saw it, counts as a miss.
    """
    predicted = np.asarray(classes)[logits.argmax(axis=1)]
    return float(np.mean(predicted == np.asarray(labels)))


def _quality(dev: DevEmbeddings, dim: int, task: RetrievalTask | None, labels: Sequence[str] | None) -> Quality:
    quality: Quality = {}
    if task is not None and dev.queries is not None and dev.documents is not None:
        found = exact_top_k(prefix(dev.queries, dim), prefix(dev.documents, dim), 10)
        quality |= retrieval_quality(found, task.relevant)
    if labels is not None and dev.texts is not None:
        quality["knn_top1"] = knn_top1(prefix(dev.texts, dim), labels)
    return quality
