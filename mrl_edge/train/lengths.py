"""A batch's texts through the trunk in groups of like length.

A processor takes as long for a token that only pads a text as for any other, and half of a batch's tokens may be
such. A pass more for each group costs less than they do: it reads the weights, and adds to their gradients, again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mrl_edge.train.trunk import ModelInputs, Trunk

PASS_TOKENS = 64  # what one more pass costs, in tokens


def embed_by_length(trunk: Trunk, texts: Mapping[str, ModelInputs]) -> dict[str, Tensor]:
    """Return [exits, batch, width] by role of tokenised texts, as the trunk gives them but for rounding and dropout."""
    together = _stacked(list(texts.values()))
    lengths, order = together["attention_mask"].sum(dim=1).sort()
    groups = order.split_with_sizes(group_sizes(lengths.tolist(), PASS_TOKENS))
    parts = []
    for rows in groups:
        longest = int(together["attention_mask"][rows].sum(dim=1).max())
        parts.append(trunk({name: values[rows, :longest] for name, values in together.items()}))
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    outputs = torch.cat(parts, dim=1)[:, back]
    counts = [len(inputs["attention_mask"]) for inputs in texts.values()]
    return dict(zip(texts, outputs.split_with_sizes(counts, dim=1), strict=True))


def group_sizes(lengths: Sequence[int], pass_tokens: int) -> list[int]:
    """Return how many of ascending lengths each group takes, so that tokens with padding and passes cost the least."""
    ascending, count = np.asarray(lengths), len(lengths)
    least, starts = np.zeros(count + 1), np.zeros(count + 1, dtype=int)
    for end in range(1, count + 1):
        costs = least[:end] + (end - np.arange(end)) * ascending[end - 1]
        starts[end] = costs.argmin()
        least[end] = costs[starts[end]] + pass_tokens
    sizes, end = [], count
    while end:
        sizes.append(int(end - starts[end]))
        end = starts[end]
    return sizes[::-1]


def _stacked(batches: Sequence[ModelInputs]) -> ModelInputs:
    """Return tokens of several batches as one, padded on the right to the longest with what the mask leaves out."""
    longest = max(inputs["attention_mask"].shape[1] for inputs in batches)
    return {
        name: torch.cat([F.pad(inputs[name], (0, longest - inputs[name].shape[1])) for inputs in batches])
        for name in batches[0]
    }
