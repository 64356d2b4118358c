"""Nearest-neighbour search over the embeddings of a corpus; every kind of index answers the same question."""

from __future__ import annotations

from typing import Protocol

from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats


class Index(Protocol):
    """Something that finds the nearest of n stored embeddings by cosine."""

    dim: int  # of the query vectors it takes

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Return the ids and cosines, each [≤ k] and best first, for a query vector [dim] of length 1."""
