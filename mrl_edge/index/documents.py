"""The corpus' texts, and the hits of a search among them."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrl_edge.errors import UsageError
from mrl_edge.index import Index
from mrl_edge.nesting import Floats


@dataclass(frozen=True)
class Hit:
    """One document, its number among the corpus' distinct documents from 0, and its cosine to the query."""

    id: int
    score: float
    text: str


class Documents:
    """The corpus' texts on disk, a JSON text a line; a read touches only the lines that it needs.

    The file stays open: one that takes its place later has other lines, and was not compared with its hash.
    """

    def __init__(self, documents: Path, offsets: Path) -> None:
        self._offsets = np.memmap(offsets, dtype=np.int64, mode="r")  # [n_items + 1], where each line starts
        self._file = documents.open("rb")
        weakref.finalize(self, self._file.close)
        self._reading = threading.Lock()

    def read(self, ids: Sequence[int]) -> list[str]:
        """Return the texts of some items, in the order of `ids`."""
        texts = []
        with self._reading:
            for item in ids:
                self._file.seek(int(self._offsets[item]))
                texts.append(json.loads(self._file.readline()))
        return texts

    def hits(self, index: Index, vector: Floats, k: int) -> list[Hit]:
        """Return the k nearest documents to a query vector [dim], best first; `UsageError` for a k below 1."""
        check_k(k)
        ids, scores = index.search(vector, k)
        texts = self.read(ids.tolist())
        return [Hit(int(i), float(score), text) for i, score, text in zip(ids, scores, texts, strict=True)]


def check_k(k: int) -> None:
    """Raise `UsageError` unless as many as k answers can be asked for."""
    if k < 1:
        raise UsageError(f"k {k}: expected at least 1")
