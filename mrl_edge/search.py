"""Text to hits: a bundle's encoder and index put together.

search = Search("bundle", dim=64, threads=1)
for hit in search("a small musical phrase", k=5): ...
"""

from __future__ import annotations

from pathlib import Path

from mrl_edge.bundle import open_bundle
from mrl_edge.encoder import load
from mrl_edge.index import Index
from mrl_edge.index.corpus import open_adaptive, open_documents, open_index, require_index
from mrl_edge.index.documents import Hit
from mrl_edge.nesting import prefix
from mrl_edge.providers import CPU

__all__ = ("Hit", "Search", "search_every_dimension")


class Search:
    """A loaded encoder and an open index of one dimension, optionally reranked at a larger one."""

    def __init__(
        self,
        bundle: str | Path,
        dim: int,
        rerank_dim: int | None = None,
        shortlist: int = 200,
        exact: bool = False,
        threads: int | None = None,
        provider: str = CPU,
    ) -> None:
        opened = open_bundle(bundle)
        info = require_index(opened)
        self._documents = open_documents(opened)
        if rerank_dim is None:
            self._index: Index = open_index(opened, dim, exact)
        else:
            self._index = open_adaptive(opened, dim, rerank_dim, shortlist, exact)
        variant = info.precision, info.depth
        self._encoder = load(bundle, self._index.dim, *variant, threads, provider=provider)

    def __call__(self, query: str, k: int = 10) -> list[Hit]:
        """Return the k nearest documents, best first."""
        vector = self._encoder.encode([query], "query")[0]
        return self._documents.hits(self._index, vector, k)


def search_every_dimension(
    bundle: str | Path, query: str, k: int, exact: bool = False, threads: int | None = None, provider: str = CPU
) -> dict[int, list[Hit]]:
    """Return the hits of each indexed dimension; the query is encoded once, its prefixes are the embeddings."""
    opened = open_bundle(bundle)
    info = require_index(opened)
    documents = open_documents(opened)
    full = load(bundle, None, info.precision, info.depth, threads, provider=provider).encode([query], "query")
    indexes = {sized.dim: open_index(opened, sized.dim, exact) for sized in info.sizes}
    return {dim: documents.hits(index, prefix(full, index.dim)[0], k) for dim, index in indexes.items()}
