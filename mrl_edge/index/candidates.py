"""What tuning may build: each kind's files at a dimension, and how hard its searches may try."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mrl_edge.description import Parameters
from mrl_edge.index.annoy import METRICS, Metric
from mrl_edge.index.binary import binary_bytes, build_binary
from mrl_edge.index.forest import build_annoy
from mrl_edge.index.hnsw import build_hnsw
from mrl_edge.index.kinds import FORESTS, IndexSpec
from mrl_edge.index.vectors import StoredPrefix, VectorStore
from mrl_edge.progress import Report

_TREES = (8, 16, 32, 64, 128)
_SIGN_TREES = (32,)  # of `hamming`, which keeps a bit a dimension
_TREE_BYTES = 8  # of a row in a tree, at least: 9 to 18 were measured
_VISITS = tuple(500 * 2**doubled for doubled in range(7))
_SIGN_VISITS = (500, 32_000)  # a shortlist, which signs always need, visits its length a tree by itself
_LINKS = 16
_EXPANSIONS = (64, 256)  # a shortlist that is longer raises it
_PROBED = (128, 64, 32, 16, 12, 8, 6, 4, 3, 2)  # one list in so many


@dataclass(frozen=True)
class Lists:
    """The inverted lists that a store is ordered by."""

    path: Path
    lists: int
    cluster_dim: int
    build_s: float
    products: dict[int, float] = field(default_factory=dict)  # of a query, by the dimensions that were tried


@dataclass(frozen=True)
class Candidate:
    """One built index, and the parameters of its searches by rising effort."""

    kind: str
    path: Path | None
    build_s: float
    own_bytes: int
    efforts: tuple[Parameters, ...]
    estimates: bool = False  # its cosines are, so that its answers are ranked again even at its own dimension

    @property
    def scans(self) -> bool:
        """Whether its searches read the store's columns, in whole or in part; the others bring their own copy."""
        return self.kind in ("scan", "ivf")


@dataclass(frozen=True)
class Site:
    """Where candidates are built: over which rows, at which dimension, into which folder, of at most how many bytes.

    `made` is the seconds that each file took which serves every dimension: one that is not in it is another store's.
    """

    store: VectorStore
    lists: Lists | None
    dim: int
    folder: Path
    room: float
    report: Report
    made: dict[Path, float]


def ladders(name: str, site: Site) -> Iterator[Iterator[Candidate]]:
    """Yield what one of `KINDS` offers, each as ever larger builds, made when they are asked for.

    What needs more than the site's room for itself is left out.
    """
    for build in _BUILDERS[name]:
        yield build(site)


def build_like(sized: IndexSpec, site: Site) -> tuple[Path | None, float]:
    """Build what an index of the same kind and parameters needs over the site's rows; return it and the seconds."""
    if sized.kind in _FILES:
        return _FILES[sized.kind](site, sized.parameters)
    return (site.lists.path, site.lists.build_s) if sized.kind == "ivf" and site.lists else (None, 0.0)


def _scan(site: Site) -> Iterator[Candidate]:
    yield Candidate("scan", None, 0.0, 0, ({},))


def _ivf(site: Site) -> Iterator[Candidate]:
    lists = site.lists
    if lists is not None:
        common: Parameters = {"lists": lists.lists, "cluster_dim": lists.cluster_dim}
        probes = sorted({max(1, lists.lists // share) for share in _PROBED})
        efforts = tuple[Parameters, ...]({**common, "probes": number} for number in probes)
        yield Candidate("ivf", lists.path, lists.build_s, lists.path.stat().st_size, efforts)


def _binary(site: Site) -> Iterator[Candidate]:
    size = binary_bytes(site.store.n, site.dim)
    if size <= site.room:
        yield Candidate("binary", *_signs(site, {}), size, ({},), estimates=True)


def _signs(site: Site, found: Parameters) -> tuple[Path, float]:
    path = site.folder / "signs.u64"
    if path not in site.made:
        site.made[path] = _timed(lambda: build_binary(site.store, path))
    return path, site.made[path]


def _hnsw(site: Site) -> Iterator[Candidate]:
    store, dim = site.store, site.dim
    if store.n * (dim + 8 * _LINKS) <= site.room:  # int8 and two lists of links of 4 bytes: a lower bound
        efforts = tuple[Parameters, ...]({"connectivity": _LINKS, "expansion": e} for e in _EXPANSIONS)
        path, build_s = _graph(site, efforts[0])
        yield Candidate("hnsw", path, build_s, path.stat().st_size, efforts, estimates=True)


def _graph(site: Site, found: Parameters) -> tuple[Path, float]:
    path, stage = site.folder / f"d{site.dim}.hnsw", f"building hnsw of {site.dim}"
    links = int(found["connectivity"])
    return path, _timed(lambda: build_hnsw(site.store, site.dim, links, path, stage, site.report))


def _forests(metric: Metric, trees: Sequence[int], site: Site) -> Iterator[Candidate]:
    signs = metric == "hamming"
    row = site.dim // 8 if signs else 4 * site.dim  # a lower bound
    for n_trees in trees:
        if site.store.n * (row + _TREE_BYTES * n_trees) > site.room:
            return
        common: Parameters = {"metric": metric, "n_trees": n_trees}
        path, build_s = _forest(site, common)
        efforts = tuple[Parameters, ...](
            {**common, "search_k": visits} for visits in (_SIGN_VISITS if signs else _VISITS)
        )
        yield Candidate("annoy", path, build_s, path.stat().st_size, efforts, estimates=signs)


def _forest(site: Site, found: Parameters) -> tuple[Path, float]:
    metric = next(metric for metric in METRICS if metric == found["metric"])
    n_trees = int(found["n_trees"])
    path = site.folder / f"d{site.dim}-{n_trees}-{metric}.ann"
    return path, _timed(partial(build_annoy, StoredPrefix(site.store, site.dim), n_trees, path, metric, site.report))


_FILES: dict[str, Callable[[Site, Parameters], tuple[Path, float]]] = {
    "annoy": _forest,
    "binary": _signs,
    "hnsw": _graph,
}
_BUILDERS: dict[str, Sequence[Callable[[Site], Iterator[Candidate]]]] = {
    "ivf": (_ivf,),
    "hnsw": (_hnsw,),
    "binary": (_binary,),
    "annoy": (partial(_forests, FORESTS["annoy"], _TREES), partial(_forests, "hamming", _SIGN_TREES)),
    "annoy-dot": (partial(_forests, FORESTS["annoy-dot"], _TREES),),
    "annoy-euclidean": (partial(_forests, FORESTS["annoy-euclidean"], _TREES),),
    "scan": (_scan,),
}
KINDS = tuple(_BUILDERS)  # what may be asked for, the likely fastest first: what is slower is then soon left


def list_count(n: int) -> int:
    """Return how many lists n rows make: the power of two nearest to 4·√n, or n // 16 where that is fewer."""
    return max(1, min(int(2 ** round(math.log2(4 * math.sqrt(n)))), n // 16))


def _timed(build: Callable[[], object]) -> float:
    started = time.perf_counter()
    build()
    return time.perf_counter() - started
