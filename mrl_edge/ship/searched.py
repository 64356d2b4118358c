"""What a shipped level searches: the bundle's own index where it is that of the choice, else one that is built."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrl_edge.app import ShippedIndex
from mrl_edge.bundle import Bundle, Variant
from mrl_edge.choice import Configuration
from mrl_edge.description import Parameters, VectorsInfo
from mrl_edge.errors import ResultsError
from mrl_edge.index import Index
from mrl_edge.index.annoy import METRIC
from mrl_edge.index.binary import binary_bytes
from mrl_edge.index.candidates import Lists, Site, build_like
from mrl_edge.index.corpus import require_index
from mrl_edge.index.kinds import READS_COLUMNS, open_steps
from mrl_edge.index.vectors import VectorStore, VectorWriter
from mrl_edge.progress import Report
from mrl_edge.ship.embedded import Corpus, by_lists, embed, open_corpus
from mrl_edge.ship.levels import Wanted

_FILES = {"annoy": "ann", "hnsw": "hnsw", "binary": "u64", "ivf": "ivf"}
# What the file of each kind depends on; its other parameters are of a search.
_BUILT = {"annoy": ("n_trees",), "hnsw": ("connectivity",), "ivf": ("lists", "cluster_dim"), "scan": (), "binary": ()}


@dataclass(frozen=True)
class Made:
    """An index over all columns, and how the folder will have it; `index` is open, to compare answers with."""

    wanted: Wanted
    corpus: Corpus
    path: Path | None
    shipped: ShippedIndex
    index: Index
    built: bool = False  # now, and not by `mrl-edge index`

    @property
    def compared(self) -> tuple[int, ...]:
        """The dimensions at which stored vectors are compared."""
        scanned = {self.shipped.dim} if self.shipped.kind in READS_COLUMNS else set()
        return tuple(sorted(scanned | {step.dim for step in self.shipped.steps}))


def make_indexes(
    bundle: Bundle, configuration: Configuration, levels: Sequence[Wanted], work: Path, report: Report
) -> list[Made]:
    """Make what each level searches, the best one's parameters for all of its depth; a scan at other depths.

    Raises `ResultsError` for a choice that does not say its index's parameters.
    """
    if configuration.index is None:
        return []
    best = levels[0].variant
    corpus = open_corpus(bundle, best, configuration.vectors, work / "corpus", report)
    parameters = _parameters(bundle, configuration)
    lists = None
    if configuration.index == "ivf":
        corpus, lists = _lists(bundle, corpus, parameters, work, report)
    shallow = _shallow(bundle, levels, corpus.store.info.storage, work, report)
    made = []
    for level in levels:
        if level.variant.depth != best.depth:
            made.append(_scan(level, shallow[level.variant.depth]))
            continue
        path = _file(bundle, corpus, lists, level, configuration.index, parameters, work, report)
        index = _made(level, corpus, path, configuration.index, parameters)
        made.append(replace(index, built=path is not None and bundle.folder not in path.parents))
    return made


def write_indexes(made: Sequence[Made], folder: Path) -> list[ShippedIndex]:
    """Write what the indexes read into `folder`/index, of shared files the columns and words that any of them needs."""
    shipped = []
    (folder / "index").mkdir()
    for depth in dict.fromkeys(each.wanted.variant.depth for each in made):
        group = [each for each in made if each.wanted.variant.depth == depth]
        mark = "" if depth == made[0].wanted.variant.depth else f"-L{depth}"
        vectors = _write_columns(group, folder, mark)
        order = _write_order(group[0].corpus, folder, mark)
        for each in group:
            own = vectors if each.compared else None
            file = None if each.path is None else _write_file(each, group, folder)
            shipped.append(replace(each.shipped, file=file, vectors=own, order=order))
    return shipped


def read_bytes(index: ShippedIndex, folder: Path) -> int:
    """Return the bytes that queries of a shipped index read: of the columns those up to the largest it compares."""
    store, info = 0, index.vectors
    if info is not None:
        scanned = {index.dim} if index.kind in READS_COLUMNS else set()
        compared = scanned | {step.dim for step in index.steps}
        opened = VectorStore(info, folder / info.file, folder / info.lengths)
        store = opened.block_bytes(max(compared)) + 4 * info.n_rows * len(compared)
    files = [name for name in (index.file, index.order) if name]
    return store + sum((folder / name).stat().st_size for name in files)


def _parameters(bundle: Bundle, configuration: Configuration) -> Parameters:
    kind, parameters = configuration.index or "", configuration.parameters
    if not parameters:
        own = (s for s in require_index(bundle).sizes if (s.kind, s.dim) == (kind, configuration.dim))
        parameters = next((sized.parameters for sized in own), {})
    numbers = [parameters.get(name) for name in _BUILT[kind]]
    if not all(isinstance(number, int) and number > 0 for number in numbers):
        raise ResultsError(
            f"the choice does not say {', '.join(_BUILT[kind])} of its {kind} index: "
            "run mrl-edge bench and mrl-edge pick again"
        )
    return {"metric": METRIC, **parameters} if kind == "annoy" else parameters


def _lists(bundle: Bundle, corpus: Corpus, parameters: Parameters, work: Path, report: Report) -> tuple[Corpus, Lists]:
    wanted = int(parameters["lists"]), int(parameters["cluster_dim"])
    if wanted[1] not in bundle.manifest.dims:
        raise ResultsError(f"the choice's lists are of dimension {wanted[1]}, which the bundle does not have")
    for sized in require_index(bundle).sizes:
        theirs = sized.parameters.get("lists"), sized.parameters.get("cluster_dim")
        if corpus.own and sized.kind == "ivf" and sized.file and theirs == wanted:
            return corpus, Lists(bundle.checked(sized.file), *wanted, build_s=0.0)
    return by_lists(corpus, parameters, work, report)


def _file(
    bundle: Bundle,
    corpus: Corpus,
    lists: Lists | None,
    level: Wanted,
    kind: str,
    parameters: Parameters,
    work: Path,
    report: Report,
) -> Path | None:
    """Return the bundle's own file of an index, or one that is built like it."""
    for sized in require_index(bundle).sizes:
        built = [{"metric": METRIC, **sized.parameters}.get(name) for name in (*_BUILT[kind], "metric")]
        same = built == [{"metric": METRIC, **parameters}.get(name) for name in (*_BUILT[kind], "metric")]
        if corpus.own and same and sized.file and (sized.kind, sized.dim) == (kind, level.dim):
            return bundle.checked(sized.file)
    folder = work / ("signs" if kind == "binary" else f"d{level.dim}")  # signs serve every dimension
    folder.mkdir(exist_ok=True)
    made = dict.fromkeys(folder.iterdir(), 0.0) if kind == "binary" else {}
    spec = ShippedIndex(level.dim, kind, None, parameters, (), None, None)
    return build_like(spec, Site(corpus.store, lists, level.dim, folder, math.inf, report, made))[0]


def _shallow(bundle: Bundle, levels: Sequence[Wanted], storage: str, work: Path, report: Report) -> dict[int, Corpus]:
    """Embed the documents at each depth but the best one's, at the dimensions of its levels alone."""
    found: dict[int, Corpus] = {}
    variants: dict[int, Variant] = {level.variant.depth: level.variant for level in levels[1:]}
    variants.pop(levels[0].variant.depth, None)
    for depth, variant in variants.items():
        dims = tuple(sorted(level.dim for level in levels if level.variant.depth == depth))
        plain = "int8" if storage.startswith("int8") else storage
        store = embed(bundle, variant, dims, plain, work / f"L{depth}", report)
        found[depth] = Corpus(store, None, own=False)
    return found


def _scan(level: Wanted, corpus: Corpus) -> Made:
    return _made(replace(level, steps=()), corpus, None, "scan", {})


def _made(level: Wanted, corpus: Corpus, path: Path | None, kind: str, parameters: Parameters) -> Made:
    shipped = ShippedIndex(level.dim, kind, path.name if path else None, parameters, level.steps, None, None)
    index = open_steps(shipped, corpus.store, path or Path(), level.steps, corpus.order)
    return Made(level, corpus, path, shipped, index)


def _write_columns(group: Sequence[Made], folder: Path, mark: str) -> VectorsInfo | None:
    needed = sorted({dim for each in group for dim in each.compared})
    if not needed:
        return None
    store = group[0].corpus.store
    storage = store.info.storage
    if storage not in ("fp32", "fp16", "int8"):  # the last block alone is packed
        if needed[-1] == store.dims[-1]:
            needed = sorted({*needed, store.dims[-2]})
        else:
            storage = "int8"
    info = VectorsInfo(f"index/vectors{mark}.bin", f"index/lengths{mark}.f32", storage, tuple(needed), store.n)
    writer = VectorWriter(info, folder / info.file, folder / info.lengths)
    writer.select(store)
    writer.close()
    return info


def _write_order(corpus: Corpus, folder: Path, mark: str) -> str | None:
    if corpus.order is None:
        return None
    name = f"index/order{mark}.i32"
    np.asarray(corpus.order, dtype="<i4").tofile(folder / name)
    return name


def _write_file(each: Made, group: Sequence[Made], folder: Path) -> str:
    kind, path = each.shipped.kind, each.path
    shared = kind in ("binary", "ivf")  # one file serves every dimension
    name = f"index/{'signs' if kind == 'binary' else 'lists' if shared else f'd{each.wanted.dim}'}.{_FILES[kind]}"
    if path is None or (folder / name).exists():
        return name
    if kind == "binary":
        size = binary_bytes(each.corpus.store.n, max(other.wanted.dim for other in group))
        with path.open("rb") as file:
            (folder / name).write_bytes(file.read(size))
    else:
        shutil.copyfile(path, folder / name)
    return name
