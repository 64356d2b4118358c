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
from mrl_edge.bench.budget import Z95
from mrl_edge.bench.candidates import Candidate, candidates, wilson, with_depths
from mrl_edge.bench.results import Results
from numpy.typing import NDArray

from mrl_edge.errors import ResultsError, UsageError

_RETRIEVAL = ("recall_at_10", "ndcg_at_10", "mrr_at_10", "map_at_10")
_NEAR_0 = 1e-4  # of a share whose logit is taken
FAR = 10  # times the largest size that was measured
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Two parameters over the number of documents: `to` and `back` make a straight line of it over `x`."""

    name: str
    x: Callable[[Values], Values]
    to: Callable[[Values], Values]
    back: Callable[[Values], Values]
    falls: bool = False  # it may: a quality does as a corpus grows, a cost does not


def _same(values: Values) -> Values:
    return values


def _logit(values: Values) -> Values:
    held = np.clip(values, _NEAR_0, 1 - _NEAR_0)
    return np.asarray(np.log(held / (1 - held)))


_CONSTANT = Curve("constant", np.zeros_like, _same, _same)
_LINE = Curve("linear", _same, _same, _same)
_LOGARITHM = Curve("logarithmic", np.log, _same, _same)
_POWER = Curve("power", np.log, lambda y: np.log(np.maximum(y, 1e-9)), np.exp)
_LOGISTIC = Curve("logistic", np.log, _logit, lambda y: 1 / (1 + np.exp(-y)), falls=True)
_FALLING = replace(_LOGARITHM, falls=True)
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


@dataclass(frozen=True)
class Sized:
    """The configurations at another size, and how many were left out because they were measured at one size alone."""

    rows: list[Candidate]
    left_out: int
    largest: int  # that was measured


def at_size(results: Sequence[Results], items: int) -> Sized:
    """Return every configuration that was measured with `items` documents, or predicted for as many.

    Raises `UsageError` where no configuration with an index was measured at two sizes, and `ResultsError` where the
    files are of other data than another number of documents of one task.
    """
    _check_alike(results)
    sized: dict[tuple[object, ...], list[Candidate]] = {}
    for one in results:
        for row in candidates(one):
            if row.n_items is not None:
                sized.setdefault(row.key, []).append(row)
    found, left_out = [], 0
    for rows in sized.values():
        measured = [row for row in rows if row.n_items == items]
        if measured:
            found.append(measured[-1])
        elif len({row.n_items for row in rows}) > 1:
            found.append(predict(rows, items))
        else:
            left_out += 1
    if not found:
        raise UsageError(
            f"--corpus {items}: predicting needs the results of two corpus sizes at least: run mrl-edge bench with "
            "--max-documents of two sizes into two files, and give both"
        )
    return Sized(with_depths(found), left_out, max(row.n_items or 0 for rows in sized.values() for row in rows))


def _check_alike(results: Sequence[Results]) -> None:
    first = results[0]
    for one in results[1:]:
        for name in ("data", "queries", "texts"):
            if one.settings.get(name) != first.settings.get(name):
                raise ResultsError(
                    f"--corpus: the results differ in more than the number of documents: {name} is "
                    f"{first.settings.get(name)} in one and {one.settings.get(name)} in another"
                )


def predict(rows: Sequence[Candidate], items: int) -> Candidate:
    """Return one configuration, measured at two sizes or more, as it would be with `items` documents."""
    sizes = np.array([row.n_items for row in rows], dtype=np.float64)

    def of(values: Sequence[float], curves: Sequence[Curve]) -> Forecast:
        return fit(sizes, np.array(values), curves, items)

    first = rows[0]
    curves = _SEARCH.get(first.index or "", (_LINE, _POWER))
    search = of([row.search_p50_ms for row in rows], curves)
    rest = [max(row.p50_ms - row.search_p50_ms, 0.0) for row in rows]
    noise = max(_noise(row) for row in rows)
    whole = ((min(rest) + search.low) * (1 - noise), (max(rest) + search.high) * (1 + noise))
    encode = median(rest)
    costs = {
        "p99_ms": _moved(of([max(row.p99_ms - encode, 0.0) for row in rows], curves), encode),
        "cold_start_ms": of([row.cold_start_ms for row in rows], (_LINE, _POWER)),
        "peak_rss_mb": of([row.peak_rss_mb for row in rows], (_LINE, _POWER)),
        "disk_mb": of([row.disk_mb for row in rows], (_LINE,)),
    }
    spent = [row.energy_mj for row in rows if row.energy_mj is not None]
    if len(spent) == len(rows):
        costs["energy_mj"] = of(spent, (_LINE, _POWER))
    quality, bounds = _quality(rows, of)
    return replace(
        first,
        p50_ms=encode + search.value,
        search_p50_ms=search.value,
        encode_p50_ms=median(row.encode_p50_ms for row in rows),
        stable=all(row.stable for row in rows),
        quality=quality,
        p50_ci95_ms=whole,
        n_items=items,
        predicted=True,
        bounds={**bounds, **{name: (one.low, one.high) for name, one in costs.items()}},
        **{"energy_mj": None, **{name: one.value for name, one in costs.items()}},  # type: ignore[arg-type]
    )


def _quality(
    rows: Sequence[Candidate], of: Callable[[Sequence[float], Sequence[Curve]], Forecast]
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Return the metrics that all rows have, and of those over documents what curves and queries leave open."""
    quality, bounds = {}, {}
    for name in rows[0].quality:
        values = [row.quality[name] for row in rows if name in row.quality]
        if len(values) < len(rows):
            continue
        if name not in _RETRIEVAL:  # of texts alone
            quality[name] = median(values)
            continue
        scores = of(values, (_LOGISTIC, _FALLING))
        value = min(1.0, max(0.0, scores.value))
        count = min(row.samples.get(name, 0) for row in rows)
        low, high = wilson(value, count, Z95) if count else (value, value)
        quality[name] = value
        bounds[name] = (max(0.0, min(scores.low, low)), min(1.0, max(scores.high, high)))
    return quality, bounds


def _noise(row: Candidate) -> float:
    """Return how far the measured interval reaches from the p50, as a share of it."""
    if row.p50_ci95_ms is None or row.p50_ms <= 0:
        return 0.0
    low, high = row.p50_ci95_ms
    return max(high / row.p50_ms - 1, 1 - low / row.p50_ms, 0.0)


def _moved(one: Forecast, by: float) -> Forecast:
    return Forecast(one.value + by, one.low + by, one.high + by)


def fit(sizes: Values, values: Values, curves: Sequence[Curve], at: float) -> Forecast:
    """Fit curves to values [n ≥ 2] at sizes [n] and return what they say at another size, at least 0.

    Costs do not fall as a corpus grows: where they were measured to, the noise is the greater, and they stay.
    """
    rises = _slope(sizes, values, _LINE) >= 0
    able = [curve if rises or curve.falls else _CONSTANT for curve in curves]
    misses = {curve.name: _missed(sizes, values, curve) for curve in able}
    taken = min(able, key=lambda curve: misses[curve.name])
    said = [max(_at(sizes, values, curve, at), 0.0) for curve in able]
    value = max(_at(sizes, values, taken, at), 0.0)
    miss = misses[taken.name]
    spread = (float(values.min()), float(values.max())) if taken is _CONSTANT else (value, value)
    low, high = min(*said, spread[0]), max(*said, spread[1])
    return Forecast(value, low - miss * value, high + miss * value)


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
    """Return what the least-squares line through `curve.to(values)` over `curve.x(sizes)` says at another size."""
    offset, slope = _line(sizes, values, curve)
    with np.errstate(over="ignore"):
        found = float(curve.back(np.asarray(offset + slope * curve.x(np.array([at], dtype=np.float64))))[0])
    return found if math.isfinite(found) else math.inf


def _slope(sizes: Values, values: Values, curve: Curve) -> float:
    return _line(sizes, values, curve)[1]


def _line(sizes: Values, values: Values, curve: Curve) -> tuple[float, float]:
    """Return offset and slope by least squares, errors taken as shares where values are not transformed."""
    x, y = curve.x(sizes), curve.to(values)
    weights = 1 / np.maximum(np.abs(values), 1e-9) if curve.to is _same else np.ones_like(values)
    design = np.stack([np.ones_like(x), x], axis=1) * weights[:, None]
    (offset, slope), *_ = np.linalg.lstsq(design, y * weights, rcond=None)
    return float(offset), float(slope)
