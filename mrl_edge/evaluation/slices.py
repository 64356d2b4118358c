"""Labelled rows looked at from closer: few examples a class, rare classes, classes of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mrl_edge.metrics import Ids, Labels, exact_top_k
from mrl_edge.nesting import Floats

Third = Literal["head", "medium", "tail"]
THIRDS: tuple[Third, ...] = ("head", "medium", "tail")


def halves(rows: int, seed: int) -> tuple[Ids, Ids]:
    """Split row numbers at random into two halves, each ascending; the first is the smaller one if any is."""
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[: rows // 2]), np.sort(order[rows // 2 :])


def few_shot(
    embeddings: Floats,
    labels: Sequence[str],
    pool: Floats,
    pool_labels: Sequence[str],
    shots: Sequence[int],
    seed: int,
    draws: int = 5,
) -> dict[int, float]:
    """Return the 1-NN accuracy on [n, d] rows when n examples a class are known, by n; the mean of several draws.

    The examples are drawn from the `pool` [m, d], all rows L2-normalised; a class with fewer gives what it has,
    one with none is missed. A number that no class of the pool reaches is left out.
    """
    names, pool_names = np.asarray(labels), np.asarray(pool_labels)
    largest = max(Counter(pool_names.tolist()).values())
    right: dict[int, list[float]] = {shot: [] for shot in shots if shot <= largest}
    for draw in range(draws):
        places = _places_within_class(pool_names, np.random.default_rng([seed, draw]))
        for shot, shares in right.items():
            known = np.flatnonzero(places < shot)
            nearest = exact_top_k(embeddings, pool[known], 1)[:, 0]
            shares.append(float(np.mean(pool_names[known][nearest] == names)))
    return {shot: float(np.mean(shares)) for shot, shares in right.items()}


def by_frequency(predicted: Labels, labels: Sequence[str], reference: Sequence[str]) -> dict[str, float]:
    """Return the mean accuracy of the head, medium and tail classes: thirds by their count among `reference`.

    Each class of `labels` weighs the same, however many rows it has. Fewer than three classes have no thirds.
    """
    names = np.asarray(labels)
    right = predicted == names
    return {
        third: float(np.mean([right[names == name].mean() for name in part]))
        for third, part in thirds(labels, reference).items()
    }


def thirds(labels: Sequence[str], reference: Sequence[str]) -> dict[Third, Labels]:
    """Return the classes of `labels` as head, medium and tail by their count among `reference`; none of fewer than 3.

    Classes of a count go by their names; the first thirds have one more where the classes do not divide.
    """
    counts = Counter(reference)
    classes = sorted(set(labels), key=lambda name: (-counts[name], name))
    if len(classes) < len(THIRDS):
        return {}
    return dict(zip(THIRDS, np.array_split(np.array(classes), len(THIRDS)), strict=True))


def superclass_accuracy(predicted: Labels, labels: Sequence[str], superclasses: Mapping[str, str]) -> float:
    """Return the share of rows whose predicted class has the same superclass as their own.

    A class that no row says the superclass of is right only when it is the row's own class.
    """
    pairs = zip(predicted.tolist(), labels, strict=True)
    return float(np.mean([superclasses.get(guess, guess) == superclasses[label] for guess, label in pairs]))


def _places_within_class(labels: Labels, random: np.random.Generator) -> Ids:
    """Number the rows of each class from 0 in random order."""
    places = np.empty(len(labels), dtype=np.int64)
    order = random.permutation(len(labels))
    for name in np.unique(labels):
        of_class = order[labels[order] == name]
        places[of_class] = np.arange(len(of_class))
    return places
