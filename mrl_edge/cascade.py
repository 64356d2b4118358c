"""Adaptive classification (Kusupati et al. 2022, §4.2.1): the smallest dimension that is sure enough answers.

    cascade = Cascade(dims=(8, 64, 384), thresholds=(0.9, 0.7))
    answer = cascade.decide(nested_encoder.classify(texts))

Imports numpy alone: this is what runs on a board.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mrl_edge.errors import UsageError
from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats


@dataclass(frozen=True)
class Answers:
    """The class chosen for each row, and the dimension that chose it, both [n]."""

    classes: Ids
    dims: Ids


@dataclass(frozen=True)
class Cascade:
    """Dimensions, ascending, and the probability from which on each but the last, which always answers, is believed.

    A threshold of 0 is always passed, one above 1 never.
    """

    dims: tuple[int, ...]
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.thresholds) != len(self.dims) - 1:
            raise UsageError(f"a cascade of {len(self.dims)} dimensions takes one threshold fewer")
        if any(larger <= smaller for smaller, larger in pairwise(self.dims)):
            raise UsageError(f"the dimensions of a cascade must ascend: {self.dims}")

    def decide(self, probabilities: Mapping[int, Floats]) -> Answers:
        """Return the answers to rows whose class probabilities [n, classes] are given for every dimension."""
        *smaller, last = self.dims
        classes = probabilities[last].argmax(axis=1)
        dims = np.full(len(classes), last, dtype=np.int64)
        open_rows = np.ones(len(classes), dtype=bool)
        for dim, threshold in zip(smaller, self.thresholds, strict=True):
            rows = probabilities[dim]
            sure = open_rows & (rows.max(axis=1) >= threshold)
            classes[sure] = rows[sure].argmax(axis=1)
            dims[sure] = dim
            open_rows &= ~sure
        return Answers(classes, dims)

    def first_sure(self, ask: Callable[[int], Floats]) -> tuple[int, int]:
        """Return the class and the dimension that chose it for one text, asking no larger dimension than needed.

        `ask` returns the class probabilities [classes] at a dimension.
        """
        *smaller, last = self.dims
        for dim, threshold in zip(smaller, self.thresholds, strict=True):
            probabilities = ask(dim)
            if probabilities.max() >= threshold:
                return int(probabilities.argmax()), dim
        return int(ask(last).argmax()), last
