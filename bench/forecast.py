"""What configurations cost and find in a corpus of another size than those that were measured, always as predicted.

Encoding is one curve of all rows of a variant, over what their search takes: the longer that is, the less of the model
it leaves in the caches. Of the search's time, memory, disk and cold start curves over the number of documents are
fitted to what was measured at two sizes or more (`curves.py`); the quality is `growth.py`'s. What is known exactly is
not fitted: the bytes of the vectors, which a scan reads all and holds in memory.

A machine is faster in one process than in the next, for searching and encoding alike. So times are taken in units of
the encoding in the same process, and stand in milliseconds by the encoding of all.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from mrl_edge.bench.candidates import ENCODE_P50, SEARCH_P50, Candidate, measured, with_depths
from mrl_edge.bench.curves import CONSTANT, LINE, LOGARITHM, POWER, Curve, Forecast, Points, Values, fit
from mrl_edge.bench.growth import RETRIEVAL, Growth, by_metric, kept, other_queries
from mrl_edge.bench.held import resized
from mrl_edge.bench.results import OneProcess, Results
from mrl_edge.bench.sized import LATENCY, Point, are_held, noise_of, own_noise, searched, share_noise, sizes_of

from mrl_edge.description import Parameters
from mrl_edge.errors import ResultsError, UsageError
from mrl_edge.index.candidates import list_count
from mrl_edge.index.kinds import kind_of

FAR = 10  # times the largest size that was measured
_SEARCH: Mapping[str, tuple[Curve, ...]] = {"annoy": (LOGARITHM, POWER), "hnsw": (LOGARITHM, POWER)}
_GROWTH = (LINE, POWER)
_READS_ALL = ("scan", "ivf")
# The least noise of a figure, as `sized.LATENCY` is that of a latency.
_TAIL, _COLD, _RSS, _ENERGY = 0.05, 0.05, 0.01, 0.05
_COUNTED, _RETUNED = 1e-3, 0.5  # of disk: it is counted, but trees or links that are tuned at each size double or halve
_LIST = 4500  # values that are read in the time that one more list takes: 3,800 at 64 dimensions, 5,400 at 384
_LEAST_SHARE = 1e-4  # of a search, whose logarithm is taken
_CACHES = 0.1  # what encoding may slow down by, as a share, where the search takes e times as long
_NO_PARAMETERS = ("scan", "binary")


@dataclass(frozen=True)
class Sized:
    """The configurations at another size, and how many were left out because they were measured at one size alone."""

    rows: list[Candidate]
    left_out: int
    largest: int  # that was measured
    retuned: int  # rows without parameters, as their index was tuned to others at each size


def at_size(results: Sequence[Results], items: int) -> Sized:
    """Return every configuration that was measured with `items` documents, or predicted for as many.

    Raises `UsageError` where no configuration with an index was measured at two sizes, and `ResultsError` where the
    files are of other data than another number of documents of one task.
    """
    _check_alike(results)
    sized: dict[tuple[object, ...], list[Point]] = {}
    for one in results:
        for row, measurement in measured(one):
            if row.n_items is not None:
                sized.setdefault(row.key, []).append(Point(row, measurement))
    pools: dict[tuple[object, ...], list[Point]] = {}
    for point in (point for points in sized.values() for point in points):
        pools.setdefault(point.pool, []).append(point)
    growth, found, left_out = Growth(items), [], 0
    for points in sized.values():
        there = [point.row for point in points if point.size == items]
        if there:
            found.append(there[-1])
        elif len({point.size for point in points}) > 1:
            points.sort(key=lambda point: point.size)
            found.append(_predicted(points, items, pools[points[0].pool], growth))
        else:
            left_out += 1
    if not found:
        raise UsageError(
            f"--corpus {items}: predicting needs the results of two corpus sizes at least: run mrl-edge bench with "
            "--max-documents 1000,2000 or others, and give the files of both"
        )
    largest = max(point.size for points in sized.values() for point in points)
    retuned = sum(row.predicted and not row.parameters and row.index not in _NO_PARAMETERS for row in found)
    return Sized(with_depths(found), left_out, largest, retuned)


def _check_alike(results: Sequence[Results]) -> None:
    first = _told(results[0])
    for one in results[1:]:
        other = _told(one)
        for name in dict.fromkeys([*first, *other]):
            if name.startswith("--") and not (_says(results[0]) and _says(one)):
                continue  # files of earlier versions do not say
            if first.get(name) != other.get(name):
                raise ResultsError(
                    f"--corpus: the results differ in more than the number of documents: {name} is "
                    f"{first.get(name)} in one and {other.get(name)} in another"
                )


def _says(results: Results) -> bool:
    return isinstance(results.settings.get("asked"), dict)


def _told(results: Results) -> dict[str, object]:
    """Return what must be the same: the task's counts, and the options that named the data and its columns."""
    settings = results.settings
    asked = settings["asked"] if _says(results) else {}
    return {**{name: settings.get(name) for name in ("data", "queries", "texts")}, **asked}


def _encoding(points: Sequence[Point], share: float) -> Forecast:
    """Return what a query takes beside its search, of all rows that encode alike, where the search is so much of it.

    A longer search has read more, so that less of the model is still in the caches when the next query comes. How much
    that costs is the slope of the rows' logarithms, drawn towards none as far as they differ for other reasons.
    """
    own = statistics.median(own_noise(point.row) for point in points)
    logs = np.log([point.rest_ms for point in points])
    far = np.log([max(point.share, _LEAST_SHARE) / max(share, _LEAST_SHARE) for point in points])
    beside, apart = logs - logs.mean(), far - far.mean()
    slope = max(0.0, float(apart @ beside) / float(apart @ apart + (_scatter(beside, own) / _CACHES) ** 2))
    rest = np.exp(logs - slope * far)  # if its search were such a share
    noise = float(np.median(rest)) * max(LATENCY, _scatter(beside - slope * apart, own))
    return fit(Points(np.ones_like(rest), rest, np.full(len(rest), noise)), (CONSTANT,), 1)


def _scatter(logarithms: Values, own: float) -> float:
    """Return how far rows differ, as a share: by their own intervals, and ever more as they are seen.

    The intervals count as two rows do.
    """
    return math.sqrt((2 * own**2 + float((logarithms**2).sum())) / (len(logarithms) + 1))


def _predicted(points: Sequence[Point], items: int, pool: Sequence[Point], growth: Growth) -> Candidate:
    """Return one configuration, measured at two sizes or more and sorted by them, as it would be with `items`.

    `pool` are all points that encode as these do.
    """
    sizes, last = sizes_of(points), points[-1].row

    def of(values: Values, noise: Values, curves: Sequence[Curve]) -> Forecast:
        return fit(Points(sizes, values, noise), curves, items)

    work, wanted = _work(points, items)

    def searching(values: Values, noise: Values) -> Forecast:
        return fit(Points(work, values, noise), _SEARCH.get(kind_of(last.index or ""), _GROWTH), wanted)

    shares = np.array([point.share for point in points])
    share = searching(shares, shares * share_noise(points))
    encode = _encoding(pool, share.value)
    search, whole = share.times(encode), share.moved(1.0).times(encode)
    costs = {
        "p99_ms": _tail(points, encode, searching),
        "cold_start_ms": _cost(points, "cold_start_ms", _COLD, of, lambda one: one.cold_start_ms),
        "peak_rss_mb": _memory(points, items, of),
        "disk_mb": _disk(points, items, of),
        "energy_mj": _cost(points, "energy_mj", _ENERGY, of, lambda one: one.energy_mj),
    }
    known = {name: cost for name, cost in costs.items() if cost is not None}
    quality = _quality(points, items, growth)
    intervals = {**quality, ENCODE_P50: encode, SEARCH_P50: search, **known}
    return replace(
        last,
        p50_ms=whole.value,
        search_p50_ms=search.value,
        encode_p50_ms=encode.value,
        p99_ms=known["p99_ms"].value if "p99_ms" in known else math.inf,
        cold_start_ms=known["cold_start_ms"].value if "cold_start_ms" in known else math.inf,
        peak_rss_mb=known["peak_rss_mb"].value,
        disk_mb=known["disk_mb"].value,
        energy_mj=known["energy_mj"].value if "energy_mj" in known else None,
        stable=all(point.row.stable for point in points),
        quality={**_of_texts(points), **{name: one.value for name, one in quality.items()}},
        p50_ci95_ms=(max(whole.low, 0.0), whole.high),
        parameters=resized(last.index, last.parameters, list_count(items)) if are_held(points) else {},
        n_items=items,
        predicted=True,
        bounds={name: (max(one.low, 0.0), one.high) for name, one in intervals.items()},
    )


_Of = Callable[[Values, Values, Sequence[Curve]], Forecast]


def _work(points: Sequence[Point], items: int) -> tuple[Values, float]:
    """Return what a search goes by, at each size and among `items`: the documents, or what held lists have it read.

    Lists are as many as a power of two, so that sizes probe as many of them or twice as many.
    """
    last = points[-1].row
    if last.index != "ivf" or not are_held(points) or "probes" not in last.parameters:
        return sizes_of(points), items

    def read(parameters: Parameters, documents: int) -> float:
        probes = int(parameters["probes"])
        return probes * (_LIST + documents / int(parameters["lists"]) * last.dim)

    there = [read(point.row.parameters, point.size) for point in points]
    return np.array(there), read(resized("ivf", last.parameters, list_count(items)), items)


def _tail(
    points: Sequence[Point], encode: Forecast, searching: Callable[[Values, Values], Forecast]
) -> Forecast | None:
    """Return the p99 of a query: what it has above the encoding's median grows as the search does."""
    tails = np.array([point.row.p99_ms / point.rest_ms for point in points])
    if not np.isfinite(tails).all():
        return None
    noise = tails * noise_of(points, lambda one: one.query_p99_ms, _TAIL)
    return searching(np.maximum(tails - 1, 0.0), noise).moved(1.0).times(encode)


def _cost(
    points: Sequence[Point], name: str, least: float, of: _Of, read: Callable[[OneProcess], float | None]
) -> Forecast | None:
    values = [getattr(point.row, name) for point in points]
    if any(value is None or not math.isfinite(value) for value in values):
        return None
    costs = np.array(values, dtype=np.float64)
    return of(costs, costs * noise_of(points, read, least), _GROWTH)


def _memory(points: Sequence[Point], items: int, of: _Of) -> Forecast:
    """Return the peak RSS: where every vector is read, its bytes grow it, and what is beside them does not fall."""
    last = points[-1].row
    reads = last.dim / (last.rerank_dim or last.dim) if last.index in _READS_ALL else 0.0
    known = np.array([reads * _vectors_mb(point) for point in points])
    peaks = np.array([point.row.peak_rss_mb for point in points])
    noise = peaks * noise_of(points, lambda one: one.peak_rss_bytes, _RSS)
    return of(peaks - known, noise, _GROWTH).moved(float(known[-1]) / points[-1].size * items)


def _disk(points: Sequence[Point], items: int, of: _Of) -> Forecast:
    """Return the disk: the vectors exactly, model and index by a line."""
    vectors = np.array([_vectors_mb(point) for point in points])
    index = np.array([point.measured.disk.index_bytes / 1e6 if point.measured.disk else 0.0 for point in points])
    beside = np.array([point.row.disk_mb for point in points]) - vectors
    noise = beside * _COUNTED + (0.0 if are_held(points) else _RETUNED) * index
    return of(beside, noise, (LINE,)).moved(float(vectors[-1]) / points[-1].size * items)


def _vectors_mb(point: Point) -> float:
    return point.measured.disk.vectors_bytes / 1e6 if point.measured.disk else 0.0


def _of_texts(points: Sequence[Point]) -> dict[str, float]:
    """Return the metrics of texts alone, which no corpus changes."""
    names = [name for name in points[0].row.quality if name not in RETRIEVAL]
    there = [name for name in names if all(name in point.row.quality for point in points)]
    return {name: statistics.median(point.row.quality[name] for point in points) for name in there}


def _quality(points: Sequence[Point], items: int, growth: Growth) -> dict[str, Forecast]:
    """Return the retrieval metrics that all rows have, and what curves and queries leave open of them."""
    rows, held = [point.row for point in points], are_held(points)
    sizes, found = searched(points), {}
    for name in RETRIEVAL:
        if not all(name in row.quality for row in rows):
            continue
        count = min(row.samples.get(name, 0) for row in rows)
        if sizes is None or not all(name in one.metrics for one in sizes):
            metric = by_metric(rows, name, items, held)
        else:
            key = rows[0].precision, rows[0].depth, rows[0].rerank_dim or rows[0].dim
            metric = kept(rows, sizes, name, growth.exact(key, sizes, count)[name], items, held)
        found[name] = other_queries(metric, count)
    return found
