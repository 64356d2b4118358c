"""The vectors that a choice searches, all columns: those of the bundle's index, or made again where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrl_edge.bundle import Bundle, IndexInfo, Variant
from mrl_edge.description import Parameters, VectorsInfo
from mrl_edge.encoder import open_encoder
from mrl_edge.errors import UnsupportedError
from mrl_edge.index.candidates import Lists
from mrl_edge.index.corpus import open_documents, open_order, open_store, require_index
from mrl_edge.index.ivf import cluster, write_lists
from mrl_edge.index.vectors import VectorStore, VectorWriter, reorder
from mrl_edge.nesting import Floats
from mrl_edge.progress import Report

_PIECE = 1024


@dataclass(frozen=True)
class Corpus:
    """Stored vectors, the item of each row (none: row i is item i), and what was done to have them."""

    store: VectorStore
    order: NDArray[np.int32] | None
    own: bool  # as the bundle's index has them, so that its files fit
    notes: tuple[str, ...] = ()


def open_corpus(bundle: Bundle, variant: Variant, storage: str | None, work: Path, report: Report) -> Corpus:
    """Return the documents' vectors by a variant, stored as wanted (None: as the bundle's index has them).

    Where the bundle's were made by another variant, or stored with less, its documents are embedded again.
    """
    info = require_index(bundle)
    made_by = f"{info.precision} at depth {info.depth}"
    wanted = info.vectors.storage if storage is None else storage
    same_model = (info.precision, info.depth) == (variant.precision, variant.depth)
    if same_model and wanted == info.vectors.storage:
        return Corpus(open_store(bundle), open_order(bundle), own=True)
    if same_model and info.vectors.storage == "fp32":
        store = open_store(bundle)
        note = f"vectors are stored as {wanted}, as was picked; the bundle's index has fp32"
        written = _written(store.pieces(store.dims[-1]), info, store.dims, wanted, work)
        return Corpus(written, open_order(bundle), own=False, notes=(note,))
    had = f"{info.vectors.storage} by {made_by}"
    what = f"{info.n_items:,} documents are embedded again, {wanted} by {variant.precision} at depth {variant.depth}"
    made = embed(bundle, variant, bundle.manifest.dims, wanted, work, report)
    return Corpus(made, None, own=False, notes=(f"{what}: the bundle's index has {had}",))


def embed(
    bundle: Bundle, variant: Variant, dims: tuple[int, ...], storage: str, work: Path, report: Report
) -> VectorStore:
    """Embed the bundle's documents with a variant and store the columns up to some dimensions."""
    info = require_index(bundle)
    documents = open_documents(bundle)
    encoder = open_encoder(bundle, variant, dims[-1], threads=None)
    stage = f"embedding the documents at depth {variant.depth}"

    def pieces() -> Iterator[tuple[int, Floats]]:
        for first in range(0, info.n_items, _PIECE):
            report(stage, first, info.n_items)
            texts = documents.read(range(first, min(first + _PIECE, info.n_items)))
            yield first, encoder.encode(texts, "document")
        report(stage, info.n_items, info.n_items)

    return _written(pieces(), info, dims, storage, work)


def by_lists(corpus: Corpus, parameters: Parameters, work: Path, report: Report) -> tuple[Corpus, Lists]:
    """Order a corpus by as many inverted lists as some parameters of an `ivf` index say.

    Raises `UnsupportedError` where there are fewer documents than lists.
    """
    lists, dim = int(parameters["lists"]), int(parameters["cluster_dim"])
    if lists > corpus.store.n:
        raise UnsupportedError(
            f"the choice searches {lists} lists, and the bundle's index has {corpus.store.n} documents: "
            "bench and pick with these documents"
        )
    centroids, nearest = cluster(corpus.store, dim, lists, report)
    order = np.argsort(nearest, kind="stable")
    path = work / "lists.ivf"
    write_lists(path, nearest, centroids)
    info = replace(corpus.store.info, order="order.i32")
    reorder(corpus.store, order, VectorWriter(info, work / "ordered.bin", work / "ordered.f32"))
    store = VectorStore(info, work / "ordered.bin", work / "ordered.f32")
    items = (order if corpus.order is None else corpus.order[order]).astype("<i4")
    return replace(corpus, store=store, order=items, own=False), Lists(path, lists, dim, 0.0)


def _written(
    pieces: Iterator[tuple[int, Floats]], index: IndexInfo, dims: tuple[int, ...], storage: str, work: Path
) -> VectorStore:
    work.mkdir(exist_ok=True)
    info = VectorsInfo("vectors.bin", "lengths.f32", storage, dims, index.n_items)
    writer = VectorWriter(info, work / info.file, work / info.lengths)
    for first, vectors in pieces:
        writer.write(first, vectors)
    writer.close()
    return VectorStore(info, work / info.file, work / info.lengths)
