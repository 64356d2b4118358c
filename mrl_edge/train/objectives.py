"""The nested objectives: one loss a dimension on the prefixes of the same vectors, summed with weights c_m.

Kusupati et al. 2022, eq. 1: min Σ_m c_m · L(prefix of size m).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def nested_contrastive(
    queries: Tensor,
    positives: Tensor,
    same: Tensor,
    dims: Sequence[int],
    weights: Sequence[float],
    temperature: float,
) -> Tensor:
    """Symmetric InfoNCE with in-batch negatives, a term a dimension.

    `queries` and `positives` are [batch, full]; row i of one answers row i of the other. `same` [batch, batch]
    is True off the diagonal where two rows hold the same text, which is no negative.
    """
    targets = torch.arange(len(queries), device=queries.device)
    total = queries.new_zeros(())
    for dim, weight in zip(dims, weights, strict=True):
        a = F.normalize(queries[:, :dim], dim=-1)
        b = F.normalize(positives[:, :dim], dim=-1)
        scores = (a @ b.T / temperature).masked_fill(same, float("-inf"))  # [batch, batch]
        total = total + weight * (F.cross_entropy(scores, targets) + F.cross_entropy(scores.T, targets))
    return total


def nested_cross_entropy(logits: Sequence[Tensor], labels: Tensor, weights: Sequence[float]) -> Tensor:
    """Softmax cross-entropy, a term a dimension; `logits` are [batch, classes] each and `labels` [batch]."""
    losses = [weight * F.cross_entropy(rows, labels) for rows, weight in zip(logits, weights, strict=True)]
    return torch.stack(losses).sum()
