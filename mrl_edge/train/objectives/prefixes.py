"""Inner products and cosines of every prefix at once: the blocks between two dimensions are multiplied once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor


def prefix_cosines(a: Tensor, b: Tensor, dims: Sequence[int]) -> Tensor:
    """Return the cosines [dims, n, m] of every prefix of `a` [n, full] with every prefix of `b` [m, full].

    ⟨a, b⟩ over the first d columns is the sum of the blocks up to d, so all dimensions together cost one product
    of full size, as the full dimension alone does.
    """
    products = torch.stack([a[:, low:high] @ b[:, low:high].T for low, high in blocks(dims)]).cumsum(dim=0)
    return products * inverse_lengths(a, dims)[:, :, None] * inverse_lengths(b, dims)[:, None, :]


def paired_prefix_cosines(a: Tensor, b: Tensor, dims: Sequence[int]) -> Tensor:
    """Return the cosines [dims, n] of row i of `a` with row i of `b`, both [n, full], for every prefix."""
    products = torch.stack([(a[:, low:high] * b[:, low:high]).sum(dim=1) for low, high in blocks(dims)])
    return products.cumsum(dim=0) * inverse_lengths(a, dims) * inverse_lengths(b, dims)


def inverse_lengths(vectors: Tensor, dims: Sequence[int]) -> Tensor:
    """Return 1 / ‖prefix‖, [dims, n]."""
    squares = torch.stack([vectors[:, low:high].square().sum(dim=1) for low, high in blocks(dims)]).cumsum(dim=0)
    return squares.clamp_min(1e-24).rsqrt()


def blocks(dims: Sequence[int]) -> list[tuple[int, int]]:
    """Return the column ranges between successive dimensions, from 0."""
    return list(pairwise((0, *dims)))
