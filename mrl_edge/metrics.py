"""Quality of embeddings on a task's own labels: retrieval, nearest neighbours, classification.

Relevance is binary. MAP@10 divides by min(relevant, 10), as sentence-transformers does. Tests check every metric
against scikit-learn or by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrl_edge.nesting import Floats, normalise

Ids = NDArray[np.int64]

# What tables and pages call the metrics, and the embeddings that a model is compared with.
TITLES = {
    "ndcg_at_10": "nDCG@10",
    "recall_at_10": "recall@10",
    "mrr_at_10": "MRR@10",
    "map_at_10": "MAP@10",
    "accuracy": "accuracy",
    "knn_top1": "1-NN accuracy",
    "spearman": "Spearman",
    "neighbours_at_10": "10 nearest neighbours kept",
}
_METHODS = {
    "mrl": "MRL (this model)",
    "ff": "trained at that dimension alone",
    "pca": "PCA",
    "truncation": "plain truncation",
}


def method_title(method: str) -> str:
    """Name what an embedding was made by: `mrl`, `pca`, …, perhaps at an exit, as in `mrl-L3`."""
    name, _, layer = method.partition("-L")
    title = _METHODS.get(name, name)
    return f"{title}, layer {layer}" if layer else title


@dataclass(frozen=True)
class RetrievalTask:
    """Unique queries, unique documents, and which documents answer each query."""

    queries: list[str]
    documents: list[str]
    relevant: list[frozenset[int]]  # per query, indices into documents


def retrieval_task(queries: Sequence[str], positives: Sequence[str]) -> RetrievalTask:
    """Make a task from (query, positive) pairs; equal texts are one query or one document."""
    query_ids: dict[str, int] = {}
    document_ids: dict[str, int] = {}
    relevant: list[set[int]] = []
    for query, positive in zip(queries, positives, strict=True):
        document = document_ids.setdefault(positive, len(document_ids))
        number = query_ids.setdefault(query, len(query_ids))
        if number == len(relevant):
            relevant.append(set())
        relevant[number].add(document)
    return RetrievalTask(list(query_ids), list(document_ids), [frozenset(ids) for ids in relevant])


def exact_top_k(queries: Floats, documents: Floats, k: int, block: int = 256) -> Ids:
    """Return [n_queries, k] int64 document ids by descending inner product, ties by ascending id.

    `queries` [n, d] and `documents` [m, d] are float32; with L2-normalised rows this is the cosine ranking.
    """
    k = min(k, len(documents))
    found = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), block):
        scores = queries[start : start + block] @ documents.T
        for row, line in enumerate(scores, start):
            found[row] = top_k(line, k)
    return found


def top_k(scores: Floats, k: int) -> Ids:
    """Return the k largest of [n] scores as ids [min(k, n)], best first, ties by ascending id."""
    if k >= len(scores):
        return np.argsort(-scores, kind="stable")
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    ids = np.flatnonzero(scores >= least)
    return ids[np.argsort(-scores[ids], kind="stable")][:k]


def retrieval_quality(found: Sequence[Sequence[int]] | Ids, relevant: Sequence[frozenset[int]]) -> dict[str, float]:
    """Return mean `recall_at_10`, `ndcg_at_10`, `mrr_at_10`, `map_at_10` of ranked ids (-1 is no hit)."""
    discounts = 1.0 / np.log2(np.arange(2, 12))
    sums = np.zeros(4)
    for ranked, answers in zip(found, relevant, strict=True):
        hits = np.array([int(document) in answers for document in list(ranked)[:10]], dtype=float)
        hits = np.pad(hits, (0, 10 - len(hits)))
        best = min(len(answers), 10)
        precision = np.cumsum(hits) / np.arange(1, 11)
        first = 1.0 / (np.argmax(hits) + 1) if hits.any() else 0.0
        sums += [
            hits.sum() / len(answers),
            (hits * discounts).sum() / discounts[:best].sum(),
            first,
            (precision * hits).sum() / best,
        ]
    names = ("recall_at_10", "ndcg_at_10", "mrr_at_10", "map_at_10")
    return {name: float(value) for name, value in zip(names, sums / len(relevant), strict=True)}


def overlap_at_k(found: Ids, reference: Ids) -> float:
    """Return the mean share of the reference's ids [n, k] that are among the ones found [n, k]: ANN recall@k."""
    shares = [len(set(a.tolist()) & set(b.tolist())) / len(b) for a, b in zip(found, reference, strict=True)]
    return float(np.mean(shares))


def knn_top1(embeddings: Floats, labels: Sequence[str]) -> float:
    """Return the leave-one-out accuracy of the nearest neighbour's label by cosine; embeddings are [n, d].

    A single row has no neighbour and scores 0.
    """
    if len(embeddings) < 2:
        return 0.0
    unit = normalise(embeddings)
    found = exact_top_k(unit, unit, 2)
    rows = np.arange(len(unit))
    nearest = np.where(found[:, 0] == rows, found[:, -1], found[:, 0])
    names = np.asarray(labels)
    return float(np.mean(names[nearest] == names))


def accuracy(scores: Floats, labels: Sequence[str], classes: Sequence[str]) -> float:
    """Return the share of rows of [n, classes] whose largest score is the label's.

    A label that is no class, because training never saw it, counts as a miss.
    """
    predicted = np.asarray(classes)[scores.argmax(axis=1)]
    return float(np.mean(predicted == np.asarray(labels)))


def mean_and_min_cosine(ours: Floats, reference: Floats) -> tuple[float, float]:
    """Return the mean and the least cosine between the rows of two [n, d] arrays."""
    cosines = paired_cosines(ours, reference)
    return float(cosines.mean()), float(cosines.min())


def paired_cosines(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Return the cosines [n] of row i of one with row i of the other, both [n, d]."""
    return np.asarray(np.sum(normalise(a).astype(np.float64) * normalise(b), axis=1))


def spearman(values: Sequence[float] | NDArray[np.float64], scores: Sequence[float]) -> float:
    """Return the rank correlation of two lists of numbers, equal values sharing the mean of their ranks.

    It is 0 where one list is constant, and says nothing.
    """
    a, b = (ranks - ranks.mean() for ranks in (_ranks(values), _ranks(scores)))
    lengths = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / lengths if lengths else 0.0


def _ranks(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value from 1, ties sharing the mean."""
    _, places, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[places])
