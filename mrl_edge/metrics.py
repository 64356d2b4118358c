"""Quality of embeddings on a task's own labels: retrieval, nearest neighbours, classification.

Relevance is binary. MAP@k divides by min(relevant, k), as sentence-transformers does. Tests check every metric
against ir-measures, scikit-learn, scipy or by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrl_edge.nesting import Floats, normalise

Ids = NDArray[np.int64]
Labels = NDArray[np.str_]

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
    "svd": "SVD",
    "random": "random features",
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
        if k == 1:  # many times faster, and argmax too takes the first of equals
            found[start : start + block, 0] = scores.argmax(axis=1)
            continue
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
    """Return what results keep of `retrieval_metrics`: mean recall, nDCG, MRR and MAP at 10."""
    return means(scores_at_10(found, relevant))


def retrieval_metrics(
    found: Sequence[Sequence[int]] | Ids, relevant: Sequence[frozenset[int]], ks: Sequence[int]
) -> dict[str, float]:
    """Return mean `recall_at_k`, `precision_at_k`, `ndcg_at_k`, `mrr_at_k`, `map_at_k` of ranked ids (-1 is no hit).

    Precision divides by k, even where fewer than k documents were found.
    """
    hits, counts = _hits(found, relevant, max(ks))
    metrics = {}
    for k in ks:
        per_query = _ranking_metrics(hits[:, :k], counts)
        metrics.update({f"{name}_at_{k}": float(values.mean()) for name, values in per_query.items()})
    return metrics


def scores_at_10(
    found: Sequence[Sequence[int]] | Ids, relevant: Sequence[frozenset[int]]
) -> dict[str, NDArray[np.float64]]:
    """Return recall, nDCG, MRR and MAP at 10 of each query [n] of ranked ids (-1 is no hit), under results' names."""
    scores = _ranking_metrics(*_hits(found, relevant, 10))
    return {f"{name}_at_10": scores[name] for name in ("recall", "ndcg", "mrr", "map")}


def means(scores: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Return the mean of each metric's scores [n]."""
    return {name: float(each.mean()) for name, each in scores.items()}


def _hits(
    found: Sequence[Sequence[int]] | Ids, relevant: Sequence[frozenset[int]], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return which of the first k [queries, k] are answers (1, else 0), and how many answers each query has."""
    hits = np.zeros((len(relevant), k))
    for row, (ranked, answers) in enumerate(zip(found, relevant, strict=True)):
        for place, document in enumerate(ranked[:k]):
            hits[row, place] = int(document) in answers
    return hits, np.array([len(answers) for answers in relevant])


def _ranking_metrics(hits: NDArray[np.float64], counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Score rankings [queries, k] of hits (1) and misses (0) by query; `counts` are each one's relevant documents."""
    places = np.arange(1, hits.shape[1] + 1)
    discounts = 1.0 / np.log2(places + 1)
    best = np.minimum(counts, hits.shape[1])
    precision = np.cumsum(hits, axis=1) / places
    first = np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1), 0.0)
    return {
        "recall": hits.sum(axis=1) / counts,
        "precision": precision[:, -1],
        "ndcg": hits @ discounts / np.cumsum(discounts)[best - 1],
        "mrr": first,
        "map": (precision * hits).sum(axis=1) / best,
    }


def overlap_at_k(found: Ids | Sequence[Ids], reference: Ids) -> float:
    """Return the mean share of the reference's ids [n, k] that are among the ones found [n, any]: ANN recall@k."""
    shares = [len(set(a.tolist()) & set(b.tolist())) / len(b) for a, b in zip(found, reference, strict=True)]
    return float(np.mean(shares))


def knn_top1(embeddings: Floats, labels: Sequence[str]) -> float:
    """Return the leave-one-out accuracy of the nearest neighbour's label by cosine; embeddings are [n, d].

    A single row has no neighbour and scores 0.
    """
    if len(embeddings) < 2:
        return 0.0
    return share_equal(nearest_labels(embeddings, labels), labels)


def nearest_labels(embeddings: Floats, labels: Sequence[str]) -> Labels:
    """Return the label [n] of each row's nearest neighbour by cosine, itself left out; embeddings are [n ≥ 2, d]."""
    names: Labels = np.asarray(labels)
    return np.asarray(names[nearest_others(embeddings, 1)[:, 0]])


def share_equal(predicted: Labels, labels: Sequence[str]) -> float:
    """Return the share of rows whose predicted label is their own."""
    return float(np.mean(predicted == np.asarray(labels)))


def nearest_others(embeddings: Floats, k: int) -> Ids:
    """Return the rows [n, min(k, n - 1)] nearest to each of [n, d] by cosine, best first, itself left out."""
    unit = normalise(embeddings)
    found = exact_top_k(unit, unit, k + 1)
    others = found != np.arange(len(unit))[:, None]
    others[others.all(axis=1), -1] = False  # a row with many equals may not be among its own nearest
    return np.asarray(found[others].reshape(len(unit), -1), dtype=np.int64)


def majority(neighbours: Ids, labels: Sequence[str]) -> Labels:
    """Return the commonest label [n] of each row's neighbours [n, k], nearest first; a tie goes to the nearest."""
    names = np.asarray(labels)
    # Of equal counts Counter returns the one that it met first.
    return np.array([Counter(row).most_common(1)[0][0] for row in names[neighbours].tolist()])


def accuracy(scores: Floats, labels: Sequence[str], classes: Sequence[str]) -> float:
    """Return the share of rows of [n, classes] whose largest score is the label's.

    A label that is no class, because training never saw it, counts as a miss.
    """
    return share_equal(likeliest(scores, classes), labels)


def likeliest(scores: Floats, classes: Sequence[str]) -> Labels:
    """Return the class [n] with the largest score of [n, classes]."""
    names: Labels = np.asarray(classes)
    return np.asarray(names[scores.argmax(axis=1)])


def spearman(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    """Return the rank correlation of two [n] lists of scores, equal scores sharing their mean rank.

    It is NaN where all scores of a list are equal: they have no order.
    """
    a, b = (ranks - ranks.mean() for ranks in (_mean_ranks(ours), _mean_ranks(theirs)))
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale else float("nan")


def mean_and_min_cosine(ours: Floats, reference: Floats) -> tuple[float, float]:
    """Return the mean and the least cosine between the rows of two [n, d] arrays."""
    cosines = paired_cosines(ours, reference)
    return float(cosines.mean()), float(cosines.min())


def paired_cosines(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Return the cosines [n] of row i of one with row i of the other, both [n, d]."""
    return np.asarray(np.sum(normalise(a).astype(np.float64) * normalise(b), axis=1))


def _mean_ranks(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    _, groups, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(sizes) - (sizes - 1) / 2)[groups], dtype=np.float64)
