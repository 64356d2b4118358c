"""How the losses of the dimensions are put together: Σ c_m · L_m of the paper's eq. 1, c_m given or learned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FixedWeights(nn.Module):
    """Relative importance c_m, the same for the whole run."""

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.weights: Tensor
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    def forward(self, losses: Tensor) -> Tensor:
        """Return Σ c_m · L_m of [dims] losses."""
        return (self.weights * losses).sum()


class LearnedWeights(nn.Module):
    """Each dimension's weight is learned from how uncertain its loss is (Kendall et al. 2018, arXiv 1705.07115).

    Σ exp(−s_m) · L_m + s_m with a learned s_m: the weight settles at one over the loss.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(count))

    def forward(self, losses: Tensor) -> Tensor:
        """Return the weighted sum of [dims] losses and its regulariser."""
        return (self.log_variance.neg().exp() * losses + self.log_variance).sum()


Weighting = FixedWeights | LearnedWeights
