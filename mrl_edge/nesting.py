"""What a Matryoshka embedding is: every prefix of it, L2-normalised, is an embedding (Kusupati et al. 2022, §3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mrl_edge.errors import UsageError

Floats = NDArray[np.float32]


def parse_dims(text: str) -> tuple[int, ...]:
    """Read nesting dimensions from a comma-separated list such as `8,16,32`; see `parse_ascending`."""
    return parse_ascending("--dims", text)


def parse_ascending(option: str, text: str) -> tuple[int, ...]:
    """Read what an option gives as a comma-separated list, such as `8,16,32`.

    Raises `UsageError` unless they are positive whole numbers in ascending order.
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text}: expected whole numbers separated by commas, as in 8,16,32") from None
    if numbers[0] < 1:
        raise UsageError(f"{option} {text}: each is at least 1")
    for smaller, larger in pairwise(numbers):
        if larger <= smaller:
            raise UsageError(f"{option} {text}: {larger} comes after {smaller}; they must ascend")
    return numbers


def select_dims(wanted: Sequence[int] | None, available: Sequence[int], where: str) -> tuple[int, ...]:
    """Return `wanted`, or everything `available` when it is None; `UsageError` names what is not there."""
    if wanted is None:
        return tuple(available)
    for dim in wanted:
        if dim not in available:
            raise UsageError(f"dimension {dim} is not in {where}, which has {_listed(available)}")
    return tuple(wanted)


def default_dims(full: int) -> tuple[int, ...]:
    """Return 8, 16, 32, … doubled below `full`, then `full` itself: the paper's spacing."""
    dims = []
    dim = 8
    while dim < full:
        dims.append(dim)
        dim *= 2
    return (*dims, full)


def prefix(embeddings: Floats, dim: int | None) -> Floats:
    """Return the embedding of dimension `dim` (None: all of it): the first columns, rows L2-normalised.

    `embeddings` is [n, full] and the result [n, dim], both float32; a row of zeros stays zeros.
    """
    return normalise(embeddings[:, :dim])


def normalise(vectors: Floats) -> Floats:
    """Scale the rows of [n, d] to length 1; a row of zeros stays zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def _listed(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values)
