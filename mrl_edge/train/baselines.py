"""What a Matryoshka model must beat: plain truncation and PCA of the same frozen embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrl_edge.nesting import Floats


@dataclass(frozen=True)
class PrincipalComponents:
    """The principal axes of a set of embeddings: `axes` [width, width], strongest first, and `mean` [width]."""

    axes: Floats
    mean: Floats

    def project(self, embeddings: Floats) -> Floats:
        """Return the scores [n, width] of centred embeddings; the first d columns are PCA to d dimensions."""
        return np.asarray((embeddings - self.mean) @ self.axes.T, dtype=np.float32)


def principal_components(embeddings: Floats) -> PrincipalComponents:
    """Fit PCA to [n, width] embeddings; unlike scikit-learn's it returns all axes even when n < width."""
    mean = embeddings.mean(axis=0)
    centred = (embeddings - mean).astype(np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)  # eigenvalues ascend
    return PrincipalComponents(np.ascontiguousarray(vectors.T[::-1], dtype=np.float32), mean)
