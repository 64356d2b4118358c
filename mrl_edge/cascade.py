"""Adaptive classification (Kusupati et al. 2022, §4.2.1): the smallest dimension that is sure enough answers.

    cascade = Cascade(dims=(8, 64, 384), thresholds=(0.9, 0.7))
    answer = cascade.decide(nested_encoder.classify(texts))

`Cascade` decides over probabilities of every dimension, which one pass gave; `AdaptiveClassifier` over levels that are
a pass each, of which it makes no more than are needed, and than a deadline and the memory allow. Imports numpy alone:
this is what runs on a board.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mrl_edge.adaptive import Adaptive, Answer
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


@dataclass(frozen=True)
class Chosen:
    """The class that was chosen for a text, and its probability."""

    name: str
    probability: float


class AdaptiveClassifier:
    """Levels that give class probabilities [classes], asked from the least on until one is sure enough.

        classes = open_bundle("bundle").manifest.classes
        classify = AdaptiveClassifier(adaptive_classes("bundle", [(384, 6), (64, 3)]), [0.9], classes)
        answer = classify("a small musical phrase", deadline_ms=20)  # answer.value, answer.level, answer.stopped

    `thresholds` are of the levels from the least on, but for the best, which always answers; `classes` are the names
    in the order of the probabilities. Raises `UsageError` where there are not as many.
    """

    def __init__(self, levels: Adaptive[Floats], thresholds: Sequence[float], classes: Sequence[str]) -> None:
        if len(thresholds) != len(levels.levels) - 1:
            raise UsageError(f"{len(levels.levels)} levels take one threshold fewer, not {len(thresholds)}")
        self.classes = tuple(classes)
        self._levels = levels
        self._thresholds = tuple(thresholds)

    def warm_up(self, text: str, max_bytes: int | None = None) -> None:
        """Open every level that may be asked within the memory, so that no later text pays for it."""
        self._levels.warm_up_climb(text, max_bytes)

    def __call__(self, text: str, deadline_ms: float | None = None, max_bytes: int | None = None) -> Answer[Chosen]:
        """Return the class that the first level that is sure gave a text.

        Where no better level is expected within what is left of the deadline, or fits the memory beside all that take
        less (`Adaptive.climb`), the one that was asked last decides, sure or not; `stopped` says so.
        """
        answer = self._levels.climb(text, self._is_sure, deadline_ms, max_bytes)
        if len(answer.value) != len(self.classes):
            raise UsageError(f"{answer.level} tells {len(answer.value)} classes apart, not {len(self.classes)}")
        chosen = int(answer.value.argmax())
        value = Chosen(self.classes[chosen], float(answer.value[chosen]))
        return Answer(value, answer.level, answer.ms, answer.expected_ms, answer.stopped)

    def _is_sure(self, number: int, probabilities: Floats) -> bool:
        return bool(probabilities.max() >= self._thresholds[-number])
