"""A bundle's dimensions and exits as levels to step down to, as a shipped folder has them (`adaptive.py`).

search = adaptive_search("bundle")
search.warm_up("a text of usual length", 10)
answer = search("a small musical phrase", 10, deadline_ms=5)  # answer.value, answer.level, answer.ms
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mrl_edge.adaptive import Adaptive, Level
from mrl_edge.bundle import Bundle, Variant, open_bundle
from mrl_edge.encoder import open_encoder
from mrl_edge.index.corpus import require_index
from mrl_edge.index.documents import Hit
from mrl_edge.nesting import Floats, select_dims
from mrl_edge.search import Search


def adaptive_search(
    bundle: str | Path, dims: Sequence[int] | None = None, threads: int | None = None
) -> Adaptive[list[Hit]]:
    """Return the indexes of a bundle as levels, called as `Search` is; `dims` are best first (None: all, descending).

    All are of the depth that the documents were embedded with. Raises `UsageError` for a dimension without an index.
    """
    opened = open_bundle(bundle)
    info = require_index(opened)
    variant = opened.variant(info.precision, info.depth)
    sizes = {sized.dim: sized for sized in info.sizes}
    levels = []
    for dim in select_dims(dims, sorted(sizes, reverse=True), f"the index of {opened.folder}"):
        size = opened.model_bytes(variant, dim) + sizes[dim].resident_bytes
        levels.append(Level(_name(variant, dim), partial(Search, bundle, dim, threads=threads), size))
    return Adaptive(levels)


def adaptive_classes(
    bundle: str | Path, levels: Sequence[tuple[int, int]], precision: str | None = None, threads: int | None = None
) -> Adaptive[Floats]:
    """Return graphs of a bundle as levels that answer class probabilities [classes]; each is a dimension and a depth.

    `levels` are best first; `precision` as of `load`. Raises `UsageError` for what the bundle does not hold.
    """
    opened = open_bundle(bundle)
    ways = []
    for dim, depth in levels:
        variant = opened.variant(precision, depth) if precision else opened.leanest(depth)
        size = opened.model_bytes(variant, dim)
        ways.append(Level(_name(variant, dim), partial(_classifier, opened, variant, dim, threads), size))
    return Adaptive(ways)


def _classifier(bundle: Bundle, variant: Variant, dim: int, threads: int | None) -> Callable[[str], Floats]:
    encoder = open_encoder(bundle, variant, dim, threads)
    return lambda text: encoder.classify([text])[0]


def _name(variant: Variant, dim: int) -> str:
    return f"d{dim}-L{variant.depth}"
