"""A query's whole way as the stages that are timed: text → tokens → vector → shortlist → rerank → ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrl_edge.index.adaptive import Funnel
from mrl_edge.index.kinds import ItemIndex, open_sized
from mrl_edge.index.vectors import VectorStore, map_bytes
from mrl_edge.metrics import Ids

if TYPE_CHECKING:
    from mrl_edge.bench.jobs import IndexFiles

    from mrl_edge.encoder import Encoder
    from mrl_edge.index import Index
    from mrl_edge.nesting import Floats
    from mrl_edge.tokens import Batch

HITS = 10


def open_files(files: IndexFiles) -> Index:
    """Open an index by mapping its files."""
    store = VectorStore(files.info, Path(files.vectors), Path(files.lengths))
    order = None if files.order is None else map_bytes(Path(files.order)).view("<i4")
    return open_sized(files.sized, store, Path(files.file or ""), order)


class QueryPath:
    """Some texts, and for each what the last stage that ran made of it: tokens, vector [dim], shortlist, hits [≤ 10].

    `stages` are two to encode, tokens and vector, and where there is an index one to search, or shortlist and rerank.
    """

    def __init__(self, encoder: Encoder, index: Index | None, texts: Sequence[str], role: str) -> None:
        self._encoder, self._texts, self._role = encoder, texts, role
        self._tokens: list[Batch] = [{}] * len(texts)
        self._vectors: list[Floats] = [np.empty(0, dtype=np.float32)] * len(texts)
        self._shortlists: list[Ids] = [np.empty(0, dtype=np.int64)] * len(texts)
        self.hits: list[Ids] = [np.empty(0, dtype=np.int64)] * len(texts)
        self.queries = 0  # that were run
        self.stages: tuple[Callable[[int], None], ...] = (self._tokenise, self._embed)
        rows = index.rows if isinstance(index, ItemIndex) else index
        if isinstance(rows, Funnel):
            self._funnel, self._items = rows, index.items if isinstance(index, ItemIndex) else None
            self.stages += (self._shortlist, self._rerank)
        elif index is not None:
            self._index = index
            self.stages += (self._search,)

    def run(self) -> None:
        """Run every stage for every text once."""
        self._run(self.stages)

    def search(self) -> None:
        """Search for every text's last vector once."""
        self._run(self.stages[2:])

    def _run(self, stages: Sequence[Callable[[int], None]]) -> None:
        for number in range(len(self._texts)):
            for stage in stages:
                stage(number)

    def _tokenise(self, number: int) -> None:
        self.queries += 1
        self._tokens[number] = self._encoder.prepare(self._texts[number : number + 1], self._role)

    def _embed(self, number: int) -> None:
        self._vectors[number] = self._encoder.embed(self._tokens[number])[0]

    def _search(self, number: int) -> None:
        self.hits[number] = self._index.search(self._vectors[number], HITS)[0]

    def _shortlist(self, number: int) -> None:
        self._shortlists[number] = self._funnel.shortlist(self._vectors[number], HITS)

    def _rerank(self, number: int) -> None:
        rows = self._funnel.rerank(self._vectors[number], self._shortlists[number], HITS)[0]
        self.hits[number] = rows if self._items is None else self._items(rows)
