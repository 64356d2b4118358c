"""`bundle/index`: the corpus' vectors and texts, and one sized Annoy index a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from mrl_edge.atomic import new_folder
from mrl_edge.bundle import Bundle, IndexInfo, Manifest, SizedIndex, file_entries, write_manifest
from mrl_edge.encoder import load
from mrl_edge.errors import BundleError, UsageError
from mrl_edge.index import Index
from mrl_edge.index.adaptive import AdaptiveRetrieval
from mrl_edge.index.annoy import AnnoyIndex
from mrl_edge.index.exact import ExactIndex, map_vectors
from mrl_edge.index.sizing import size_annoy
from mrl_edge.metrics import Ids, exact_top_k, overlap_at_k
from mrl_edge.nesting import Floats, prefix, select_dims
from mrl_edge.progress import Report, in_pieces

FOLDER = "index"
_VECTORS = "index/vectors.f32"
_DOCUMENTS = "index/documents.jsonl"
_OFFSETS = "index/offsets.i64"
_TUNING_QUERIES = 200


def build_index(
    bundle: Bundle,
    documents: Sequence[str],
    queries: Sequence[str] | None,
    source: str,
    report: Report,
    dims: Sequence[int] | None = None,
    precision: str | None = None,
    depth: int | None = None,
    target_recall: float = 0.95,
    max_bytes: int | None = None,
    threads: int | None = None,
) -> IndexInfo:
    """Embed `documents` and write `index/` into the bundle, replacing an older one.

    The trees are sized on `queries`, or on documents of the corpus when there are none. Raises `UsageError`
    for a dimension or precision that the bundle does not hold, or an index larger than `max_bytes`.
    """
    chosen = select_dims(dims, bundle.manifest.dims, str(bundle.folder))
    encoder = load(bundle.folder, None, precision, depth, threads)
    pieces = in_pieces(lambda texts: encoder.encode(texts, "document"), documents, "embedding the corpus", report)
    vectors = np.concatenate(list(pieces))
    if queries:
        tuning = encoder.encode(queries[:_TUNING_QUERIES], "query")
    else:
        tuning = vectors[np.linspace(0, len(vectors) - 1, min(_TUNING_QUERIES, len(vectors))).astype(int)]
    full = exact_top_k(tuning, vectors, 10)
    with new_folder(bundle.folder / FOLDER) as folder:
        vectors.tofile(folder / Path(_VECTORS).name)
        _write_documents(documents, folder)
        sizes = []
        for number, dim in enumerate(chosen):
            report("sizing the index of each dimension", number, len(chosen))
            sizes.append(_size(vectors, tuning, full, dim, target_recall, max_bytes, folder))
        report("sizing the index of each dimension", len(chosen), len(chosen))
        info = IndexInfo(
            source=Path(source).name,
            precision=encoder.precision,
            depth=encoder.depth,
            n_items=len(documents),
            vectors=_VECTORS,
            documents=_DOCUMENTS,
            offsets=_OFFSETS,
            sizes=tuple(sizes),
        )
        new = file_entries(folder, [path.name for path in sorted(folder.iterdir())])
        # Until the new index is in place the manifest lists none, so that no crash leaves a wrong hash.
        manifest = _without_index(bundle)
        write_manifest(bundle.folder, manifest)
    files = {**manifest.files, **{f"{FOLDER}/{name}": entry for name, entry in new.items()}}
    write_manifest(bundle.folder, msgspec.structs.replace(manifest, files=files, index=info))
    return info


def open_index(bundle: Bundle, dim: int, exact: bool = False) -> Index:
    """Open the index of one dimension (or exact search at it) after checking its files."""
    info = require_index(bundle)
    if exact:
        (dim,) = select_dims((dim,), bundle.manifest.dims, str(bundle.folder))
        vectors = open_vectors(bundle)
        return ExactIndex(vectors if dim == vectors.shape[1] else prefix(vectors, dim))
    for sized in info.sizes:
        if sized.dim == dim:
            return AnnoyIndex(bundle.checked(sized.file), dim, sized.search_k)
    dims = ", ".join(str(sized.dim) for sized in info.sizes)
    raise UsageError(f"{bundle.folder} has no index of dimension {dim}; it has {dims}")


def open_adaptive(bundle: Bundle, dim: int, rerank_dim: int, shortlist: int, exact: bool = False) -> Index:
    """Open adaptive retrieval: the index of `dim`, reranked at `rerank_dim`."""
    if rerank_dim <= dim:
        raise UsageError(f"--rerank-dim {rerank_dim} must be larger than --dim {dim}")
    return AdaptiveRetrieval(open_index(bundle, dim, exact), open_vectors(bundle), shortlist, rerank_dim)


def open_vectors(bundle: Bundle) -> Floats:
    """Map the vectors, float32 [n_items, full], rows L2-normalised."""
    info = require_index(bundle)
    return map_vectors(bundle.checked(info.vectors), bundle.manifest.dims[-1])


class Documents:
    """The corpus' texts on disk, opened and checked once; a read touches only the lines that it needs."""

    def __init__(self, bundle: Bundle) -> None:
        info = require_index(bundle)
        self._offsets = np.memmap(bundle.checked(info.offsets), dtype=np.int64, mode="r")
        self._path = bundle.checked(info.documents)

    def read(self, ids: Sequence[int]) -> list[str]:
        """Return the texts of some items, in the order of `ids`."""
        texts = []
        with self._path.open("rb") as file:
            for item in ids:
                file.seek(int(self._offsets[item]))
                texts.append(msgspec.json.decode(file.readline(), type=str))
        return texts


def require_index(bundle: Bundle) -> IndexInfo:
    """Return what the bundle says of its index; `BundleError` when it has none."""
    if bundle.manifest.index is None:
        raise BundleError(f"{bundle.folder} has no index: make one with mrl-edge index {bundle.folder} CORPUS")
    return bundle.manifest.index


def _size(
    vectors: Floats,
    tuning: Floats,
    full: Ids,
    dim: int,
    target_recall: float,
    max_bytes: int | None,
    folder: Path,
) -> SizedIndex:
    small, queries = prefix(vectors, dim), prefix(tuning, dim)
    file = f"d{dim}.ann"
    reference = exact_top_k(queries, small, 10)
    sizing = size_annoy(small, queries, reference, target_recall, max_bytes, folder / file)
    return SizedIndex(
        dim=dim,
        file=f"{FOLDER}/{file}",
        n_trees=sizing.n_trees,
        search_k=sizing.search_k,
        recall_at_10=sizing.recall_at_10,
        recall_at_10_full=overlap_at_k(sizing.found, full),
        p50_ms=sizing.p50_ms,
    )


def _write_documents(documents: Sequence[str], folder: Path) -> None:
    lines = [msgspec.json.encode(text.encode("utf-8", "replace").decode()) + b"\n" for text in documents]
    offsets = np.cumsum([0, *(len(line) for line in lines)], dtype=np.int64)
    (folder / Path(_DOCUMENTS).name).write_bytes(b"".join(lines))
    offsets.tofile(folder / Path(_OFFSETS).name)


def _without_index(bundle: Bundle) -> Manifest:
    files = {name: entry for name, entry in bundle.manifest.files.items() if not name.startswith(f"{FOLDER}/")}
    return msgspec.structs.replace(bundle.manifest, files=files, index=None)
