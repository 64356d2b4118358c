"""What a Matryoshka model must beat, made of its own full embedding: PCA, SVD and randomly selected features.

Each is a map [n, full] → [n, full] whose prefixes are its embeddings. Fixed-dimension models and the untouched
encoder's truncation are other models: they are trained, or evaluated by themselves.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mrl_edge.nesting import Floats
from mrl_edge.train.baselines import PrincipalComponents, principal_components

Map = Callable[[Floats], Floats]
DRAWS = 3


def baselines(fitting: Floats, seed: int) -> dict[str, list[Map]]:
    """Fit the baselines to [n, full] embeddings; the figures of one with several maps are their mean."""
    return {
        "pca": [principal_components(fitting).project],
        "svd": [singular_vectors(fitting).project],
        "random": [random_features(fitting.shape[1], seed + draw) for draw in range(DRAWS)],
    }


def singular_vectors(embeddings: Floats) -> PrincipalComponents:
    """Fit SVD: the axes of [n, width] embeddings that are not centred, all of them even when n < width."""
    rows = embeddings.astype(np.float64)
    _, _, axes = np.linalg.svd(rows.T @ rows)
    return PrincipalComponents(axes.astype(np.float32), np.zeros(embeddings.shape[1], dtype=np.float32))


def random_features(width: int, seed: int) -> Map:
    """Return a map that shuffles the columns, always in the same way."""
    order = np.random.default_rng(seed).permutation(width)
    return lambda embeddings: embeddings[:, order]
