"""What configurations cost and find in a corpus of another size than those that were measured, always as predicted.

Encoding does not depend on the corpus; of the search's time, memory, disk and cold start, and of the quality, curves
over the number of documents are fitted to what was measured at two sizes or more (`curves.py`). What is known exactly
is not fitted: the bytes of the vectors, which a scan reads all and holds in memory.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from mrl_edge.bench.budget import Z95
from mrl_edge.bench.candidates import SEARCH_P50, Candidate, measured, wilson, with_depths
from mrl_edge.bench.curves import (
    CONSTANT,
    LINE,
    LOGARITHM,
    LOGISTIC,
    POWER,
    STRETCHED,
    Curve,
    Forecast,
    Points,
    Values,
    fit,
)
from mrl_edge.bench.results import Measurement, OneProcess, Results

from mrl_edge.errors import ResultsError, UsageError
from mrl_edge.index.kinds import kind_of

_RETRIEVAL = ("recall_at_10", "ndcg_at_10", "mrr_at_10", "map_at_10")
FAR = 10  # times the largest size that was measured
_SEARCH: Mapping[str, tuple[Curve, ...]] = {"annoy": (LOGARITHM, POWER), "hnsw": (LOGARITHM, POWER)}
_GROWTH = (LINE, POWER)
_READS_ALL = ("scan", "ivf")
# The least noise of a figure, as a standard deviation's share of it: no machine is equally fast, nor equally full, in
# two runs, whatever the processes of one say. Twice as much where they say nothing.
_LATENCY, _TAIL, _COLD, _RSS, _ENERGY = 0.03, 0.05, 0.05, 0.01, 0.05
_COUNTED, _RETUNED = 1e-3, 0.5  # of disk: it is counted, but trees or links that are tuned at each size double or halve
_TUNED_RECALL = 0.01  # within which tuning meets its target


@dataclass(frozen=True)
class Sized:
    """The configurations at another size, and how many were left out because they were measured at one size alone."""

    rows: list[Candidate]
    left_out: int
    largest: int  # that was measured
    retuned: int  # rows without parameters, as their index was tuned to others at each size


@dataclass(frozen=True)
class _Point:
    """One configuration as it was measured at one size."""

    row: Candidate
    measured: Measurement

    @property
    def size(self) -> int:
        return self.row.n_items or 0


def at_size(results: Sequence[Results], items: int) -> Sized:
    """Return every configuration that was measured with `items` documents, or predicted for as many.

    Raises `UsageError` where no configuration with an index was measured at two sizes, and `ResultsError` where the
    files are of other data than another number of documents of one task.
    """
    _check_alike(results)
    sized: dict[tuple[object, ...], list[_Point]] = {}
    for one in results:
        for row, measurement in measured(one):
            if row.n_items is not None:
                sized.setdefault(row.key, []).append(_Point(row, measurement))
    found, left_out = [], 0
    for points in sized.values():
        there = [point.row for point in points if point.size == items]
        if there:
            found.append(there[-1])
        elif len({point.size for point in points}) > 1:
            found.append(_predicted(sorted(points, key=lambda point: point.size), items))
        else:
            left_out += 1
    if not found:
        raise UsageError(
            f"--corpus {items}: predicting needs the results of two corpus sizes at least: run mrl-edge bench with "
            "--max-documents of two sizes into two files, and give both"
        )
    largest = max(point.size for points in sized.values() for point in points)
    retuned = sum(row.predicted and not row.parameters and row.index != "scan" for row in found)
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


def _predicted(points: Sequence[_Point], items: int) -> Candidate:
    """Return one configuration, measured at two sizes or more and sorted by them, as it would be with `items`."""
    sizes = np.array([point.size for point in points], dtype=np.float64)
    rows, last = [point.row for point in points], points[-1].row

    def of(values: Values, noise: Values, curves: Sequence[Curve]) -> Forecast:
        return fit(Points(sizes, values, noise), curves, items)

    searching = _SEARCH.get(kind_of(last.index or ""), _GROWTH)
    own = np.array([_own_noise(row) for row in rows])
    differs = _noise_of(points, lambda one: one.search_p50_ms, _LATENCY, 0.0)
    times, rest = np.array([row.search_p50_ms for row in rows]), np.array([_rest_ms(row) for row in rows])
    search = of(times, times * np.maximum(own, differs), searching)
    encode = of(rest, rest * own, (CONSTANT,))
    whole = search.moved(encode.value).widened(encode.value - encode.low, encode.high - encode.value)
    costs = {
        "p99_ms": _tail(points, encode.value, of, searching),
        "cold_start_ms": _cost(points, "cold_start_ms", _COLD, of, lambda one: one.cold_start_ms),
        "peak_rss_mb": _memory(points, items, of),
        "disk_mb": _disk(points, items, of),
        "energy_mj": _cost(points, "energy_mj", _ENERGY, of, lambda one: one.energy_mj),
    }
    known = {name: cost for name, cost in costs.items() if cost is not None}
    quality, bounds = _quality(rows, sizes, items)
    bounds = {**bounds, SEARCH_P50: (search.low, search.high)}
    return replace(
        last,
        p50_ms=whole.value,
        search_p50_ms=search.value,
        encode_p50_ms=statistics.median(row.encode_p50_ms for row in rows),
        p99_ms=known["p99_ms"].value if "p99_ms" in known else math.inf,
        cold_start_ms=known["cold_start_ms"].value if "cold_start_ms" in known else math.inf,
        peak_rss_mb=known["peak_rss_mb"].value,
        disk_mb=known["disk_mb"].value,
        energy_mj=known["energy_mj"].value if "energy_mj" in known else None,
        stable=all(row.stable for row in rows),
        quality=quality,
        p50_ci95_ms=(max(whole.low, 0.0), whole.high),
        parameters=last.parameters if all(row.parameters == last.parameters for row in rows) else {},
        n_items=items,
        predicted=True,
        bounds={**bounds, **{name: (max(cost.low, 0.0), cost.high) for name, cost in known.items()}},
    )


_Of = Callable[[Values, Values, Sequence[Curve]], Forecast]


def _rest_ms(row: Candidate) -> float:
    return max(row.p50_ms - row.search_p50_ms, 0.0)


def _tail(points: Sequence[_Point], encode_ms: float, of: _Of, curves: Sequence[Curve]) -> Forecast | None:
    """Return the p99 of a query: what it has above the encoding's median grows as the search does."""
    tails = np.array([point.row.p99_ms for point in points])
    if not np.isfinite(tails).all():
        return None
    noise = tails * _noise_of(points, lambda one: one.query_p99_ms, _TAIL)
    return of(np.maximum(tails - encode_ms, 0.0), noise, curves).moved(encode_ms)


def _cost(
    points: Sequence[_Point], name: str, least: float, of: _Of, read: Callable[[OneProcess], float | None]
) -> Forecast | None:
    values = [getattr(point.row, name) for point in points]
    if any(value is None or not math.isfinite(value) for value in values):
        return None
    costs = np.array(values, dtype=np.float64)
    return of(costs, costs * _noise_of(points, read, least), _GROWTH)


def _memory(points: Sequence[_Point], items: int, of: _Of) -> Forecast:
    """Return the peak RSS: where every vector is read, its bytes grow it, and what is beside them does not fall."""
    last = points[-1].row
    reads = last.dim / (last.rerank_dim or last.dim) if last.index in _READS_ALL else 0.0
    known = np.array([reads * _vectors_mb(point) for point in points])
    peaks = np.array([point.row.peak_rss_mb for point in points])
    noise = peaks * _noise_of(points, lambda one: one.peak_rss_bytes, _RSS)
    return of(peaks - known, noise, _GROWTH).moved(float(known[-1]) / points[-1].size * items)


def _disk(points: Sequence[_Point], items: int, of: _Of) -> Forecast:
    """Return the disk: the vectors exactly, model and index by a line."""
    vectors = np.array([_vectors_mb(point) for point in points])
    index = np.array([point.measured.disk.index_bytes / 1e6 if point.measured.disk else 0.0 for point in points])
    beside = np.array([point.row.disk_mb for point in points]) - vectors
    alike = all(point.row.parameters == points[0].row.parameters for point in points)
    noise = beside * _COUNTED + (0.0 if alike else _RETUNED) * index
    return of(beside, noise, (LINE,)).moved(float(vectors[-1]) / points[-1].size * items)


def _vectors_mb(point: _Point) -> float:
    return point.measured.disk.vectors_bytes / 1e6 if point.measured.disk else 0.0


def _own_noise(row: Candidate) -> float:
    """Return the standard deviation of a p50 by its own interval, as a share."""
    if row.p50_ci95_ms is None or min(row.p50_ci95_ms) <= 0:
        return 2 * _LATENCY
    low, high = row.p50_ci95_ms
    return max(_LATENCY, math.log(high / low) / (2 * Z95))


def _noise_of(
    points: Sequence[_Point],
    read: Callable[[OneProcess], float | None],
    least: float,
    unknown: float | None = None,
) -> float:
    """Return how far processes of one configuration differ, as a standard deviation of logarithms over all sizes.

    `least` at least; `unknown`, or twice as much, where no two processes are known.
    """
    squares, freedom = 0.0, 0
    for point in points:
        values = [value for one in point.measured.by_process if (value := read(one)) is not None and value > 0]
        if len(values) > 1:
            logs = np.log(values)
            squares += float(((logs - logs.mean()) ** 2).sum())
            freedom += len(values) - 1
    if not freedom:
        return 2 * least if unknown is None else unknown
    return max(least, math.sqrt(squares / freedom))


def _quality(
    rows: Sequence[Candidate], sizes: Values, items: int
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Return the metrics that all rows have, and of those over documents what curves and queries leave open.

    All sizes are asked the same queries, so that their differences are known better than any of the values: n queries
    whose scores fall by δ on average leave √(δ / n) of it open at most. What n queries leave open of the value, as
    others might be asked, is Wilson's.
    """
    quality, bounds = {}, {}
    for name in rows[0].quality:
        values = np.array([row.quality[name] for row in rows if name in row.quality])
        if len(values) < len(rows):
            continue
        if name not in _RETRIEVAL:  # of texts alone
            quality[name] = statistics.median(values.tolist())
            continue
        count = min(row.samples.get(name, 0) for row in rows)
        exact = rows[0].index == "scan" and rows[0].rerank_dim is None
        paired = math.sqrt(max(float(np.ptp(values)), 1 / count) / count) if count else _TUNED_RECALL
        noise = np.full(len(values), math.hypot(paired, 0.0 if exact else _TUNED_RECALL))
        scores = fit(Points(sizes, values, noise), (STRETCHED, LOGISTIC, LOGARITHM), items, rises=False)
        value = min(1.0, scores.value)
        low, high = wilson(value, count, Z95) if count else (value, value)
        scores = replace(scores, value=value).widened(value - low, high - value)
        quality[name] = value
        bounds[name] = (max(0.0, scores.low), min(1.0, scores.high))
    return quality, bounds
