"""A search beside what this machine could do at most: the bytes that a query reads, at the highest bandwidth for them.

Of kinds whose reads are known from their parameters: a scan and signs read every row at their dimension, lists the
share of them that are probed, and a rerank its shortlist's rows. What else a search does (products, partial sorts,
turning bytes into numbers) is left out, and the bytes are at most those that all queries together touched, so that the
least time is never too long.
"""

from __future__ import annotations

from collections.abc import Sequence

from mrl_edge.bench.results import Ceilings, Measurement, SearchResult, SearchRoofline

from mrl_edge.description import VectorsInfo, steps_of
from mrl_edge.index.binary import binary_bytes
from mrl_edge.index.vectors import block_bytes

FIGURE = "search_roofline"
_TOUCHED = "memory.index_touched_bytes"
_KNOWN = ("scan", "binary", "ivf")


def bytes_of_query(row: Measurement, dims: Sequence[int]) -> int | str:
    """Return the bytes of an index that a query reads, or why they are not known; `dims` are the nesting dimensions."""
    if row.search is None or row.search.p50_ms is None:
        return "nothing is searched"
    touched = row.memory.index_touched_bytes if row.memory else None
    if row.search.index not in _KNOWN:
        return f"what a query reads of {row.search.index} depends on the query: only of {', '.join(_KNOWN)} it is known"
    if touched is None:
        return row.null_because.get(_TOUCHED, "what is touched of the index was not measured")
    info = VectorsInfo("", "", row.search.vectors, tuple(dims), row.search.n_items)
    return min(touched, round(_shortlisting(row.search, row.dim, info) + _reranking(row.search, info)))


def _shortlisting(search: SearchResult, dim: int, info: VectorsInfo) -> float:
    """Return the bytes of all rows' signs or columns and lengths at a dimension, or of the probed lists' alone."""
    if search.index == "binary":
        return binary_bytes(info.n_rows, dim)
    columns = block_bytes(info, dim) + 4 * info.n_rows
    if search.index == "scan":
        return columns
    lists, probes, cluster_dim = (int(search.parameters[name]) for name in ("lists", "probes", "cluster_dim"))
    return columns * min(1.0, probes / lists) + 4 * lists * cluster_dim  # on average, and the centroids


def _reranking(search: SearchResult, info: VectorsInfo) -> float:
    """Return the bytes of the shortlist's rows at the dimensions that rank them again.

    Of a later step they are the columns and lengths that the step before has not just read.
    """
    read, seen = 0.0, 0
    for step in steps_of(search.shortlist, search.rerank_dim, search.funnel):
        columns = block_bytes(info, step.dim)
        if columns > seen:
            read += min(step.shortlist, info.n_rows) * ((columns - seen) / info.n_rows + 4)
        seen = columns
    return read


def bandwidth(ceilings: Ceilings, size: int) -> float:
    """Return the highest GB/s at which so many bytes were read: that of the largest measured size within them."""
    within = [place for place, one in enumerate(ceilings.bandwidths) if one.bytes <= size]
    return max(one.gb_per_s for one in ceilings.bandwidths[within[-1] if within else 0 :])


def judged_search(read: int, ceilings: Ceilings, p50_ms: float) -> SearchRoofline:
    """Return how much of what the machine could read a median search is."""
    least = read / bandwidth(ceilings, read) / 1e6
    return SearchRoofline(read, least, least / p50_ms)
