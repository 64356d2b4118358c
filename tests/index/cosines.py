"""Cosines of prefixes by numpy in float64, and what an index or a store says beside them."""

import numpy as np

DIMS = (8, 24, 40, 96)
ROWS = 3000


def cut(queries, dim):
    part = queries[:, :dim].astype(np.float64)
    return part / np.linalg.norm(part, axis=1, keepdims=True)


def exact(queries, vectors, dim):
    """Cosines in float64, which none of ours computes in."""
    return cut(queries, dim) @ cut(vectors, dim).T


def scores(store, query):
    return np.concatenate([piece for _, piece in store.scores(query)])


def recall(index, queries, cosines, k=10):
    shares = []
    for query, line in zip(cut(queries, index.dim).astype(np.float32), cosines, strict=True):
        shares.append(len(set(index.search(query, k)[0].tolist()) & set(np.argsort(-line)[:k].tolist())) / k)
    return np.mean(shares)
