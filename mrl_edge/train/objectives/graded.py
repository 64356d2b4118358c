"""CoSENT: pairs with graded similarities, as in semantic textual similarity (STS)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mrl_edge.train.objectives import Batch
from mrl_edge.train.objectives.prefixes import paired_prefix_cosines


class Graded:
    """A pair with a higher score shall have the higher cosine: log(1 + Σ exp((cos_low − cos_high) / τ)).

    The sum runs over the pairs of rows whose scores differ (Su 2022, CoSENT; kexue.fm/archives/8847).
    """

    def __init__(self, dims: Sequence[int], temperature: float) -> None:
        self._dims = tuple(dims)
        self._temperature = temperature

    def __call__(self, batch: Batch) -> Tensor:
        """Return [dims] losses."""
        if batch.scores is None:
            raise ValueError("graded pairs have scores")
        cosines = paired_prefix_cosines(batch.vectors["query"], batch.vectors["document"], self._dims)
        cosines = cosines / self._temperature  # [dims, batch]
        excess = cosines[:, :, None] - cosines[:, None, :]  # [dims, i, j]: cos_i − cos_j
        wrong_way = batch.scores[:, None] < batch.scores[None, :]  # i should lie below j
        return F.softplus(excess.masked_fill(~wrong_way, float("-inf")).flatten(1).logsumexp(dim=1).clamp_min(-1e4))
