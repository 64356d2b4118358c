"""The scan: every stored vector is compared, in fp32, fp16 or int8 as the store keeps them."""

from __future__ import annotations

from mrl_edge.index.best import BestRows
from mrl_edge.index.vectors import Rows
from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats


class ScanIndex:
    """Compares a query with the prefix of every row; over fp32 rows that is exact search at the dimension."""

    def __init__(self, rows: Rows, dim: int) -> None:
        self.dim = dim
        self._rows = rows

    def search(self, query: Floats, k: int) -> tuple[Ids, Floats]:
        """Return the k best rows and their cosines."""
        best = BestRows(k)
        for first, scores in self._rows.scores(query):
            best.add(first, scores)
        return best.ranked()
