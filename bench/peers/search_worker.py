"""One index in one process, for `searching.py`: built, or opened and timed on queries that come in passes.

It needs numpy alone, and mrl_edge only where ours is opened: peers run in a virtual environment of their own.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Search = Callable[[np.ndarray], np.ndarray]  # a query [dim] → the 10 nearest ids
K = 10
DIM = 384
_LINKS, _EXPANSION = 16, 200  # of both graphs
_TREES = 32


def exact(folder: Path, effort: int) -> Search:
    """Ours: exact full-dimension fp32 scan, one matrix product over mapped vectors."""
    from mrl_edge.index.scan import ScanIndex
    from mrl_edge.index.vectors import ArrayRows

    vectors = np.asarray(np.memmap(folder.parent / "vectors.f32", dtype=np.float32, mode="r")).reshape(-1, DIM)
    index = ScanIndex(ArrayRows(vectors), DIM)
    return lambda query: index.search(query, K)[0]


def ours(folder: Path, effort: int) -> Search:
    """Ours, as tuned: the choice and the store lie in the folder."""
    import msgspec

    from mrl_edge.description import SizedIndex, VectorsInfo
    from mrl_edge.index.kinds import open_sized
    from mrl_edge.index.vectors import VectorStore, map_bytes
    from mrl_edge.nesting import prefix

    size = msgspec.json.decode((folder / "chosen.json").read_bytes(), type=SizedIndex)
    info = msgspec.json.decode((folder.parent / "store.json").read_bytes(), type=VectorsInfo)
    store = VectorStore(info, folder.parent / "vectors.bin", folder.parent / "lengths.f32")
    order = None if info.order is None else map_bytes(folder.parent / "order.i32").view("<i4")
    index = open_sized(size, store, folder / (size.file or ""), order)
    dim = index.dim
    if dim == DIM:
        return lambda query: index.search(query, K)[0]
    return lambda query: index.search(prefix(query[None, :], dim)[0], K)[0]


def annoy(folder: Path, effort: int) -> Search:
    """Annoy at full dimension, angular; the effort is search_k."""
    from annoy import AnnoyIndex

    forest = AnnoyIndex(DIM, "angular")
    forest.load(str(folder / "index"))
    return lambda query: np.asarray(forest.get_nns_by_vector(query, K, effort))


def build_annoy(vectors: np.ndarray, path: str) -> None:
    """32 trees."""
    from annoy import AnnoyIndex

    forest = AnnoyIndex(DIM, "angular")
    forest.set_seed(1)
    forest.on_disk_build(path)
    for number, vector in enumerate(vectors):
        forest.add_item(number, vector)
    forest.build(_TREES, -1)


def usearch(folder: Path, effort: int) -> Search:
    """Usearch at full dimension, float32, mapped; the effort is its expansion."""
    from usearch.index import Index

    graph = Index.restore(str(folder / "index"), view=True)
    graph.expansion_search = effort
    return lambda query: graph.search(query, K).keys.astype(np.int64)


def build_usearch(vectors: np.ndarray, path: str) -> None:
    """16 links, expansion 200."""
    from usearch.index import Index

    graph = Index(ndim=DIM, metric="ip", dtype="f32", connectivity=_LINKS, expansion_add=_EXPANSION)
    for first in range(0, len(vectors), 10_000):
        piece = np.ascontiguousarray(vectors[first : first + 10_000])
        graph.add(np.arange(first, first + len(piece), dtype=np.uint64), piece)
    graph.save(path)


def hnswlib(folder: Path, effort: int) -> Search:
    """Hnswlib at full dimension, float32; the effort is ef."""
    import hnswlib

    graph = hnswlib.Index(space="ip", dim=DIM)
    graph.load_index(str(folder / "index"))
    graph.set_ef(effort)
    graph.set_num_threads(1)
    return lambda query: graph.knn_query(query, K)[0][0].astype(np.int64)


def build_hnswlib(vectors: np.ndarray, path: str) -> None:
    """16 links, ef 200."""
    import hnswlib

    graph = hnswlib.Index(space="ip", dim=DIM)
    graph.init_index(max_elements=len(vectors), M=_LINKS, ef_construction=_EXPANSION, random_seed=1)
    for first in range(0, len(vectors), 10_000):
        graph.add_items(vectors[first : first + 10_000], np.arange(first, min(first + 10_000, len(vectors))))
    graph.save_index(path)


def faiss_flat(folder: Path, effort: int) -> Search:
    """Faiss's exact scan at full dimension, float32."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.read_index(str(folder / "index"))
    return lambda query: index.search(query[None, :], K)[1][0]


def build_faiss_flat(vectors: np.ndarray, path: str) -> None:
    """Nothing is trained."""
    import faiss

    index = faiss.IndexFlatIP(DIM)
    index.add(np.ascontiguousarray(vectors))
    faiss.write_index(index, path)


OPEN = {
    "exact": exact,
    "ours": ours,
    "annoy": annoy,
    "usearch": usearch,
    "hnswlib": hnswlib,
    "faiss flat": faiss_flat,
}
_MODULES = {
    "exact": ("mrl_edge.index.scan",),
    "ours": ("msgspec", "mrl_edge.index.kinds", "mrl_edge.index.adaptive"),
    "annoy": ("annoy",),
    "usearch": ("usearch.index",),
    "hnswlib": ("hnswlib",),
    "faiss flat": ("faiss",),
}
BUILD = {
    "annoy": build_annoy,
    "usearch": build_usearch,
    "hnswlib": build_hnswlib,
    "faiss flat": build_faiss_flat,
}


def rss() -> int:
    """Return the resident bytes of this process."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def build(name: str, folder: Path) -> None:
    """Build a peer's index into a folder, and print the seconds."""
    vectors = np.memmap(folder.parent / "vectors.f32", dtype=np.float32, mode="r").reshape(-1, DIM)
    started = time.perf_counter()
    BUILD[name](vectors, str(folder / "index"))
    print(json.dumps({"build_s": time.perf_counter() - started}))


def serve(name: str, folder: Path, queries: Path, effort: int) -> None:
    """Answer each line on the standard input, the numbers of some queries, with their times, CPU times and ids.

    Resident memory is counted from when everything is imported, the queries are read and BLAS has its buffers.
    """
    vectors = np.load(queries)
    for module in _MODULES[name]:
        importlib.import_module(module)
    np.ones((512, DIM), dtype=np.float32) @ vectors[0]
    baseline = rss()
    search = OPEN[name](folder, effort)
    for line in sys.stdin:
        times, computed, found = [], [], []
        for number in json.loads(line):
            query = vectors[number]
            started, worked = time.perf_counter_ns(), time.thread_time_ns()
            ids = search(query)
            computed.append((time.thread_time_ns() - worked) / 1e6)
            times.append((time.perf_counter_ns() - started) / 1e6)
            found.append([int(i) for i in ids])
        print(json.dumps({"ms": times, "cpu_ms": computed, "ids": found, "rss_bytes": rss() - baseline}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "build":
        build(sys.argv[2], Path(sys.argv[3]))
    else:
        serve(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
