"""What configurations cost and find in a corpus of another size than those that were measured, always as predicted.

Encoding does not depend on the corpus; of the search's time, memory, disk and cold start, and of the quality, curves
over the number of documents are fitted to what was measured at two sizes or more. Of the curves that are possible the
one is taken that foretells each measured size best from the others; the interval spans all of them, widened by how
far the taken one misses the sizes that it is not fitted to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from mrl_edge.bench.candidates import Candidate, candidates
from mrl_edge.bench.results import Results
from numpy.typing import NDArray

from mrl_edge.errors import UsageError

_RETRIEVAL = ("recall_at_10", "ndcg_at_10", "mrr_at_10", "map_at_10")
_NEAR_0 = 1e-4  # of a share whose logit is taken
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Two parameters over the number of documents: `to` and `back` make a straight line of it over `x`."""

    name: str
    x: Callable[[Values], Values]
    to: Callable[[Values], Values]
    back: Callable[[Values], Values]


def _same(values: Values) -> Values:
    return values


def _logit(values: Values) -> Values:
    held = np.clip(values, _NEAR_0, 1 - _NEAR_0)
    return np.asarray(np.log(held / (1 - held)))


_LINE = Curve("linear", _same, _same, _same)
_LOGARITHM = Curve("logarithmic", np.log, _same, _same)
_POWER = Curve("power", np.log, lambda y: np.log(np.maximum(y, 1e-9)), np.exp)
_LOGISTIC = Curve("logistic", np.log, _logit, lambda y: 1 / (1 + np.exp(-y)))
_SEARCH = {
    "scan": (_LINE, _POWER),
    "binary": (_LINE, _POWER),
    "ivf": (_LINE, _POWER),
    "annoy": (_LOGARITHM, _POWER),
    "hnsw": (_LOGARITHM, _POWER),
}


@dataclass(frozen=True)
class Forecast:
    """A predicted figure and its interval."""

    value: float
    low: float
    high: float


def at_size(results: Sequence[Results], items: int) -> list[Candidate]:
    """Return every configuration that was measured with `items` documents, or predicted for as many.

    Raises `UsageError` where no configuration with an index was measured at two sizes.
    """
    sized: dict[tuple[object, ...], list[Candidate]] = {}
    for one in results:
        for row in candidates(one):
            if row.n_items is not None:
                sized.setdefault(_key(row), []).append(row)
    found = []
    for rows in sized.values():
        measured = [row for row in rows if row.n_items == items]
        if measured:
            found.append(measured[-1])
        elif len({row.n_items for row in rows}) > 1:
            found.append(predict(rows, items))
    if not found:
        raise UsageError(
            f"--corpus {items}: predicting needs the results of two corpus sizes at least: run mrl-edge bench with "
            "--max-documents of two sizes into two files, and give both"
        )
    return found


def predict(rows: Sequence[Candidate], items: int) -> Candidate:
    """Return one configuration, measured at two sizes or more, as it would be with `items` documents."""
    sizes = np.array([row.n_items for row in rows], dtype=np.float64)

    def of(read: Callable[[Candidate], float], curves: Sequence[Curve]) -> Forecast:
        return fit(sizes, np.array([read(row) for row in rows]), curves, items)

    first = rows[0]
    search = of(lambda row: row.search_p50_ms, _SEARCH.get(first.index or "", (_LINE, _POWER)))
    rest = [row.p50_ms - row.search_p50_ms for row in rows]
    tail = [row.p99_ms - row.search_p50_ms for row in rows]
    rss, disk = of(lambda row: row.peak_rss_mb, (_LINE,)), of(lambda row: row.disk_mb, (_LINE,))
    cold = of(lambda row: row.cold_start_ms, (_LINE,))
    quality, bounds = {}, {}
    for name in first.quality:
        if name in _RETRIEVAL:
            scores = of(lambda row, name=name: row.quality[name], (_LOGISTIC, _LOGARITHM))  # type: ignore[misc]
            quality[name] = min(1.0, max(0.0, scores.value))
            bounds[name] = (max(0.0, scores.low), min(1.0, scores.high))
        else:  # of texts alone
            quality[name] = median(row.quality[name] for row in rows)
    whole = (min(rest) + search.low, max(rest) + search.high)
    return replace(
        first,
        p50_ms=median(rest) + search.value,
        p99_ms=median(tail) + search.value,
        search_p50_ms=search.value,
        encode_p50_ms=median(row.encode_p50_ms for row in rows),
        cold_start_ms=cold.value,
        peak_rss_mb=rss.value,
        disk_mb=disk.value,
        stable=all(row.stable for row in rows),
        quality=quality,
        p50_ci95_ms=whole,
        n_items=items,
        predicted=True,
        bounds={
            **bounds,
            "cold_start_ms": (cold.low, cold.high),
            "peak_rss_mb": (rss.low, rss.high),
            "disk_mb": (disk.low, disk.high),
        },
    )


def fit(sizes: Values, values: Values, curves: Sequence[Curve], at: float) -> Forecast:
    """Fit curves to values [n ≥ 2] at sizes [n] and return what they say at another size."""
    misses = {curve.name: _missed(sizes, values, curve) for curve in curves}
    taken = min(curves, key=lambda curve: misses[curve.name])
    said = [_at(sizes, values, curve, at) for curve in curves]
    value = _at(sizes, values, taken, at)
    miss = misses[taken.name]
    return Forecast(value, min(said) - miss * abs(value), max(said) + miss * abs(value))


def _missed(sizes: Values, values: Values, curve: Curve) -> float:
    """Return the greatest share by which a curve misses a size that it was not fitted to; 0 where none can be left."""
    if len(set(sizes.tolist())) < 3:
        return 0.0
    shares = []
    for size in sorted(set(sizes.tolist())):
        kept = sizes != size
        wanted = float(values[~kept].mean())
        shares.append(abs(_at(sizes[kept], values[kept], curve, size) - wanted) / max(abs(wanted), 1e-9))
    return max(shares)


def _at(sizes: Values, values: Values, curve: Curve, at: float) -> float:
    """Return the least-squares line through `curve.to(values)` over `curve.x(sizes)`, errors taken as shares."""
    x, y = curve.x(sizes), curve.to(values)
    weights = 1 / np.maximum(np.abs(values), 1e-9) if curve.to is _same else np.ones_like(values)
    design = np.stack([np.ones_like(x), x], axis=1) * weights[:, None]
    (offset, slope), *_ = np.linalg.lstsq(design, y * weights, rcond=None)
    found = float(curve.back(np.asarray(offset + slope * curve.x(np.array([at], dtype=np.float64))))[0])
    return found if math.isfinite(found) else math.inf


def _key(row: Candidate) -> tuple[object, ...]:
    """Return what a configuration is at whatever size: what its index was tuned to differs."""
    return row.precision, row.depth, row.dim, row.threads, row.index, row.plan, row.runtime
