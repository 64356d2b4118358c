"""The linear probe: multinomial logistic regression on frozen embeddings, in numpy, so that it runs on a board too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrl_edge.metrics import Ids, Labels
from mrl_edge.nesting import Floats

# scikit-learn's C. Of 1, 10, 100 and 1,000, on rows of length 1 of MiniLM embeddings (25 classes, 500 and 6,000
# training rows, 8, 64 and 384 dimensions), 10 was the best or within half a point of it.
STRENGTH = 10.0
_STEPS = 300
_SETTLED = 1e-5  # largest entry of the gradient, of the mean loss a row


def linear_probe(known: Floats, known_labels: Sequence[str], embeddings: Floats) -> Labels:
    """Return the predicted class [n] of `embeddings` [n, d], after fitting to the `known` rows [m, d].

    All rows are L2-normalised. A class that no known row has is never predicted.
    """
    classes, truth = np.unique(np.asarray(known_labels), return_inverse=True)
    weights = fit(known, truth, len(classes))
    return np.asarray(classes[(_with_ones(embeddings) @ weights).argmax(axis=1)])


def fit(rows: Floats, truth: Ids, classes: int) -> Floats:
    """Return the weights [d + 1, classes], the bias last, of the classes `truth` [m] of `rows` [m, d].

    They minimise Σ cross-entropy + ‖weights without bias‖² / 2C, as scikit-learn's do (of two classes it has one
    column of weights, and so twice the penalty). The Hessian of the mean cross-entropy is nowhere above half the
    rows' second moments (Böhning 1992), so that a step through the inverse of that bound needs no line search;
    Nesterov's momentum, restarted where it points uphill, does the rest.
    """
    rows = _with_ones(rows)
    targets = np.eye(classes, dtype=np.float32)[truth]  # [m, classes]
    penalty = np.full((rows.shape[1], 1), 1 / (STRENGTH * len(rows)), dtype=np.float32)
    penalty[-1] = 0
    bound = (rows.T @ rows).astype(np.float64) / (2 * len(rows)) + np.diag(penalty[:, 0].astype(np.float64))
    inverse = np.linalg.inv(bound).astype(np.float32)
    weights = ahead = np.zeros((rows.shape[1], classes), dtype=np.float32)
    momentum = 1.0
    for _ in range(_STEPS):
        gradient = rows.T @ (_softmax(rows @ ahead) - targets) / len(rows) + penalty * ahead
        if np.abs(gradient).max() < _SETTLED:
            return ahead
        before, weights = weights, ahead - inverse @ gradient
        if np.sum(gradient * (weights - before)) > 0:
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = weights + np.float32((momentum - 1) / following) * (weights - before)
        momentum = following
    return weights


def _with_ones(rows: Floats) -> Floats:
    return np.hstack([rows, np.ones((len(rows), 1), dtype=np.float32)])


def _softmax(scores: Floats) -> Floats:
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
