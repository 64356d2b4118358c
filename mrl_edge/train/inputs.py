"""What a training step is fed with: trunk outputs computed once, or texts (or images) for the trunk to run."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch

from mrl_edge.nesting import Floats
from mrl_edge.train.nested import Features
from mrl_edge.train.trunk import Preprocess

# Fine-tuning sorts this many batches by length together, so that little is padded and batches stay random.
_BUCKET = 16


class Inputs(Protocol):
    """Rows of the training data as a model takes them."""

    def features(self, role: str, rows: Sequence[int]) -> Features:
        """Return the rows of a role: [exits, rows, width], or the trunk's inputs."""

    def batches(self, rows: int, batch_size: int, seed: int) -> list[list[int]]:
        """Return one epoch's batches of row numbers; the last incomplete batch is dropped, if there is another."""


class Cached:
    """The frozen trunk's outputs, held in memory."""

    def __init__(self, features: Mapping[str, Floats]) -> None:
        self._features = {role: torch.from_numpy(table) for role, table in features.items()}

    def features(self, role: str, rows: Sequence[int]) -> Features:
        """Look the rows up."""
        return self._features[role][:, torch.as_tensor(rows)]

    def batches(self, rows: int, batch_size: int, seed: int) -> list[list[int]]:
        """Return batches in random order."""
        return _cut(_whole(_shuffled(rows, seed), batch_size), batch_size)


class Live:
    """The texts, or the images by their paths, of each batch, for a trunk that is fine-tuned.

    `length` says how long a text is, so that a batch holds equal ones.
    """

    def __init__(
        self, preprocess: Preprocess, texts: Mapping[str, Sequence[str]], length: Callable[[str], int] = len
    ) -> None:
        self._preprocess = preprocess
        self._texts = texts
        self._length = length

    def features(self, role: str, rows: Sequence[int]) -> Features:
        """Tokenise the rows, or read the images."""
        texts = self._texts[role]
        return self._preprocess([texts[i] for i in rows])

    def batches(self, rows: int, batch_size: int, seed: int) -> list[list[int]]:
        """Return batches of similar length in random order."""
        order = _whole(_shuffled(rows, seed), batch_size)
        lengths = [sum(self._length(texts[i]) for texts in self._texts.values()) for i in range(rows)]
        # At least four windows an epoch: batches cut from one window would be much the same in every epoch.
        window = batch_size * max(1, min(_BUCKET, len(order) // batch_size // 4))
        for start in range(0, len(order), window):
            order[start : start + window] = sorted(order[start : start + window], key=lengths.__getitem__)
        batches = _cut(order, batch_size)
        random.Random(seed + 1).shuffle(batches)  # noqa: S311 (training order, not a secret)
        return batches


def _shuffled(rows: int, seed: int) -> list[int]:
    order = list(range(rows))
    random.Random(seed).shuffle(order)  # noqa: S311 (training order, not a secret)
    return order


def _whole(order: list[int], batch_size: int) -> list[int]:
    """Drop what makes no whole batch, before anything is sorted: else the same rows would be dropped every time."""
    return order[: len(order) // batch_size * batch_size or len(order)]


def _cut(order: list[int], batch_size: int) -> list[list[int]]:
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
