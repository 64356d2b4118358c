"""The best rows of a search that scores them a piece at a time, so that no array of all rows is needed."""

from __future__ import annotations

import numpy as np

from mrl_edge.metrics import Ids, top_k
from mrl_edge.nesting import Floats


class BestRows:
    """The k best of all scores seen so far; of equal ones the first rows."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._least = np.float32(-np.inf)  # what a row must exceed
        self._count = 0
        self._rows: list[Ids] = []
        self._scores: list[Floats] = []

    def add(self, first: int, scores: Floats) -> None:
        """See the scores [m] of the rows from number `first` on, all after those seen before."""
        near = np.flatnonzero(scores > self._least)
        if not len(near):
            return
        self._rows.append(near + first)
        self._scores.append(scores[near])
        self._count += len(near)
        if self._count > 2 * self._k:
            rows, scores = self._seen()
            self._least = np.partition(scores, len(scores) - self._k)[len(scores) - self._k]
            kept = np.flatnonzero(scores >= self._least)  # more than k where some are equal: `ranked` cuts them
            self._rows, self._scores, self._count = [rows[kept]], [scores[kept]], len(kept)

    def ranked(self) -> tuple[Ids, Floats]:
        """Return the rows [≤ k], best first, and their scores."""
        rows, scores = self._seen()
        best = top_k(scores, self._k)
        return rows[best], scores[best]

    def _seen(self) -> tuple[Ids, Floats]:
        if not self._rows:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        return np.concatenate(self._rows), np.concatenate(self._scores)
