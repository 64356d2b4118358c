"""Building `bundle/index`: the corpus embedded a piece at a time into the store, then an index a dimension.

`build_index` sizes Annoy at every dimension; `index/tune.py` chooses among all kinds. Either replaces an older
index only when it is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from mrl_edge.atomic import new_folder
from mrl_edge.bundle import Bundle, IndexInfo, Manifest, file_entries, write_manifest
from mrl_edge.description import SizedIndex, VectorsInfo
from mrl_edge.encoder import Encoder, load
from mrl_edge.index.annoy import METRIC, AnnoyIndex, Metric
from mrl_edge.index.kept import KeptEmbeddings
from mrl_edge.index.reference import RunningTopK, exact_in_pieces
from mrl_edge.index.sizing import size_annoy, time_search
from mrl_edge.index.vectors import StoredPrefix, VectorStore, VectorWriter
from mrl_edge.metrics import Ids, overlap_at_k
from mrl_edge.nesting import Floats, prefix, select_dims
from mrl_edge.progress import Report
from mrl_edge.providers import CPU

FOLDER = "index"
VECTORS, LENGTHS = "vectors.bin", "lengths.f32"
_DOCUMENTS, _OFFSETS = "documents.jsonl", "offsets.i64"
_TUNING_QUERIES = 200  # and as many others to score the choice on, where there are so many


@dataclass(frozen=True)
class Corpus:
    """What is indexed: distinct documents, real queries to size on if there are any, and with what it is embedded."""

    documents: Sequence[str]
    queries: Sequence[str] | None
    source: str
    precision: str | None = None  # None: the bundle's leanest
    depth: int | None = None
    threads: int | None = None
    storage: str = "fp32"
    provider: str = CPU


@dataclass(frozen=True)
class Embedded:
    """The stored vectors, and the queries that sizes are chosen on."""

    store: VectorStore
    queries: Floats  # [queries, full]
    reference: Ids  # [queries, ≤ 10]: items by exact search over the float32 vectors, at the full dimension
    unseen: tuple[Floats, Ids] | None = None  # other queries and their items, to score the choice on


Choose = Callable[[Path, Embedded], tuple[tuple[SizedIndex, ...], VectorsInfo]]


def build_index(
    bundle: Bundle,
    corpus: Corpus,
    report: Report,
    dims: Sequence[int] | None = None,
    target_recall: float = 0.95,
    max_bytes: int | None = None,
    metric: Metric = METRIC,
) -> IndexInfo:
    """Embed the corpus and write `index/` into the bundle with an Annoy index a dimension, replacing an older one.

    The trees are sized on the corpus' queries, or on documents when there are none. What was embedded before this was
    interrupted the next call takes up, for whatever dimensions and storage. Raises `UsageError` for a dimension or
    precision that the bundle does not hold, or an Annoy index larger than `max_bytes`.
    """
    chosen = select_dims(dims, bundle.manifest.dims, str(bundle.folder))

    def size(folder: Path, embedded: Embedded) -> tuple[tuple[SizedIndex, ...], VectorsInfo]:
        sizes = []
        for number, dim in enumerate(chosen):
            report("sizing the index of each dimension", number, len(chosen))
            sizes.append(_size(embedded, dim, target_recall, max_bytes, metric, folder, report))
        report("sizing the index of each dimension", len(chosen), len(chosen))
        return tuple(sizes), embedded.store.info

    return write_index(bundle, corpus, report, size)


def write_index(bundle: Bundle, corpus: Corpus, report: Report, choose: Choose, tuning: str | None = None) -> IndexInfo:
    """Embed the corpus into a new folder, let `choose` fill it with indexes, and put it in the old one's place."""
    variant = corpus.precision, corpus.depth
    encoder = load(bundle.folder, None, *variant, corpus.threads, provider=corpus.provider)
    made_by = bundle.variant(encoder.precision, encoder.depth, corpus.provider)
    kept = KeptEmbeddings(bundle, made_by, corpus.documents, corpus.provider)
    with new_folder(bundle.folder / FOLDER) as folder:
        embedded = _embed(encoder, corpus, kept, bundle.manifest.dims, folder, report)
        _write_documents(corpus.documents, folder)
        sizes, vectors = choose(folder, embedded)
        info = IndexInfo(
            source=Path(corpus.source).name,
            precision=encoder.precision,
            depth=encoder.depth,
            n_items=len(corpus.documents),
            vectors=vectors,
            documents=f"{FOLDER}/{_DOCUMENTS}",
            offsets=f"{FOLDER}/{_OFFSETS}",
            sizes=sizes,
            tuning=tuning,
            scored_on="tuning queries" if embedded.unseen is None else "other queries",
        )
        new = file_entries(folder, [path.name for path in sorted(folder.iterdir())])
        # Until the new index is in place the manifest lists none, so that no crash leaves a wrong hash.
        manifest = _without_index(bundle)
        write_manifest(bundle.folder, manifest)
    files = {**manifest.files, **{f"{FOLDER}/{name}": entry for name, entry in new.items()}}
    write_manifest(bundle.folder, msgspec.structs.replace(manifest, files=files, index=info))
    kept.forget()
    return info


def _embed(
    encoder: Encoder, corpus: Corpus, kept: KeptEmbeddings, dims: Sequence[int], folder: Path, report: Report
) -> Embedded:
    """Write the vectors of the documents; never more than a piece of them is in memory."""
    documents = corpus.documents
    queries = encoder.encode(_sample(corpus.queries or documents), "query" if corpus.queries else "document")
    info = VectorsInfo(f"{FOLDER}/{VECTORS}", f"{FOLDER}/{LENGTHS}", corpus.storage, tuple(dims), len(documents))
    writer = VectorWriter(info, folder / VECTORS, folder / LENGTHS)
    best = RunningTopK(queries, 10)
    first = 0
    for piece in kept.pieces(lambda texts: encoder.encode(texts, "document"), report):
        writer.write(first, piece)
        best.add(first, piece)
        first += len(piece)
    writer.close()
    store = VectorStore(info, folder / VECTORS, folder / LENGTHS)
    if len(queries) < 2 * _TUNING_QUERIES:
        return Embedded(store, queries, best.ids)
    return Embedded(store, queries[::2], best.ids[::2], (queries[1::2], best.ids[1::2]))


def _sample(texts: Sequence[str]) -> list[str]:
    """Return texts from all over: twice as many as are tuned on where there are so many, else as many or all."""
    count = 2 * _TUNING_QUERIES if len(texts) >= 2 * _TUNING_QUERIES else min(_TUNING_QUERIES, len(texts))
    return [texts[i] for i in np.linspace(0, len(texts) - 1, count).astype(int)]


def _size(
    embedded: Embedded,
    dim: int,
    target_recall: float,
    max_bytes: int | None,
    metric: Metric,
    folder: Path,
    report: Report,
) -> SizedIndex:
    store, queries = embedded.store, prefix(embedded.queries, dim)
    path = folder / f"d{dim}.ann"
    reference = exact_in_pieces(queries, store.pieces(dim), 10)
    rows = StoredPrefix(store, dim)
    sizing = size_annoy(rows, queries, reference, target_recall, max_bytes, path, metric, report)
    recall, full, p50_ms = sizing.recall_at_10, overlap_at_k(sizing.found, embedded.reference), sizing.p50_ms
    if embedded.unseen is not None:
        others = prefix(embedded.unseen[0], dim)
        found, p50_ms = time_search(AnnoyIndex(path, dim, sizing.search_k, metric), others)
        recall = overlap_at_k(found, exact_in_pieces(others, store.pieces(dim), 10))
        full = overlap_at_k(found, embedded.unseen[1])
    return SizedIndex(
        dim=dim,
        kind="annoy",
        file=f"{FOLDER}/{path.name}",
        parameters={"metric": metric, "n_trees": sizing.n_trees, "search_k": sizing.search_k},
        recall_at_10=recall,
        recall_at_10_full=full,
        p50_ms=p50_ms,
        resident_bytes=path.stat().st_size,
    )


def _write_documents(documents: Sequence[str], folder: Path) -> None:
    offsets = np.zeros(len(documents) + 1, dtype=np.int64)
    with (folder / _DOCUMENTS).open("wb") as file:
        for number, text in enumerate(documents):
            line = msgspec.json.encode(text.encode("utf-8", "replace").decode()) + b"\n"
            offsets[number + 1] = offsets[number] + file.write(line)
    offsets.tofile(folder / _OFFSETS)


def _without_index(bundle: Bundle) -> Manifest:
    files = {name: entry for name, entry in bundle.manifest.files.items() if not name.startswith(f"{FOLDER}/")}
    return msgspec.structs.replace(bundle.manifest, files=files, index=None)
