"""Softmax classification at every dimension: MRL, a head a dimension, and MRL-E, one head shared by all (§3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrl_edge.train.objectives import Batch
from mrl_edge.train.objectives.prefixes import blocks


class SeparateHeads(nn.Module):
    """MRL: a linear classifier of its own for every nesting dimension."""

    def __init__(self, dims: Sequence[int], classes: int) -> None:
        super().__init__()
        self._dims = tuple(dims)
        self.heads = nn.ModuleList(nn.Linear(dim, classes) for dim in dims)

    def forward(self, projected: Tensor) -> Tensor:
        """Return logits [dims, batch, classes] of `projected` [batch, full], before normalisation."""
        heads = zip(self._dims, self.heads, strict=True)
        return torch.stack([head(projected[:, :dim]) for dim, head in heads])

    def linear(self, dim: int) -> tuple[Tensor, Tensor]:
        """Return weight [classes, dim] and bias [classes] of one dimension."""
        head = self.heads[self._dims.index(dim)]
        return head.weight.detach(), head.bias.detach()  # type: ignore[operator]


class TiedHead(nn.Module):
    """MRL-E: the classifier of dimension d is the first d columns of one weight; the bias is shared."""

    def __init__(self, dims: Sequence[int], classes: int) -> None:
        super().__init__()
        self._dims = tuple(dims)
        self.head = nn.Linear(dims[-1], classes)

    def forward(self, projected: Tensor) -> Tensor:
        """Return logits [dims, batch, classes]: sums of blocks, so that all cost what the full one costs."""
        weight = self.head.weight
        parts = [projected[:, low:high] @ weight[:, low:high].T for low, high in blocks(self._dims)]
        return torch.stack(parts).cumsum(dim=0) + self.head.bias

    def linear(self, dim: int) -> tuple[Tensor, Tensor]:
        """Return weight [classes, dim] and bias [classes] of one dimension."""
        return self.head.weight.detach()[:, :dim].contiguous(), self.head.bias.detach()


Classifiers = SeparateHeads | TiedHead


class Classification:
    """Softmax cross-entropy of the class heads."""

    def __call__(self, batch: Batch) -> Tensor:
        """Return [dims] losses."""
        if batch.logits is None or batch.labels is None:
            raise ValueError("classes have logits and labels")
        dims, rows, classes = batch.logits.shape
        labels = batch.labels.repeat(dims)
        losses = F.cross_entropy(batch.logits.reshape(-1, classes), labels, reduction="none")
        return losses.reshape(dims, rows).mean(dim=1)
