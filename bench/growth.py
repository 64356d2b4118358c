"""What retrieval metrics become in a corpus of another size: those of exact search, and the share that an index keeps.

Which answers are among the first ten of another size is known from one search of this one: an answer before which
fewer than k of n documents stand is, on average, one before which fewer than 10 of n · exp(ψ(10) - ψ(k)) do (of n
numbers drawn evenly between 0 and 1 the logarithm of the k-th smallest is ψ(k) - ψ(n + 1) on average). So the counts of
`rivals.py` are recall@10 at sizes from an eleventh of those measured to 17 times as many, and a figure between them is
read off a curve through those that are near, rather than off one that is drawn on beyond three points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mrl_edge.bench.budget import Z95
from mrl_edge.bench.candidates import Candidate, wilson
from mrl_edge.bench.curves import (
    EVEN,
    KEPT,
    LOGARITHM,
    LOGISTIC,
    STRETCHED,
    Forecast,
    Points,
    Values,
    fit,
    logit,
    odds_share,
)
from mrl_edge.bench.held import resized

from mrl_edge.index.candidates import list_count
from mrl_edge.index.kinds import kind_of

RETRIEVAL = ("recall_at_10", "ndcg_at_10", "mrr_at_10", "map_at_10")
_CURVES = (STRETCHED, LOGISTIC, LOGARITHM)
_KEPT = (LOGARITHM, KEPT)
_POWER = 1 / 3  # how surely odds are known to go by the effort: the power is 1, give or take so much
_TUNED_RECALL = 0.01  # within which tuning meets its target
_NEAR = math.log(3)  # how much farther than the nearest a size may be, as a logarithm, for its figure to be taken
_OF_ALL = 10  # fewer documents than one in so many stand before: else a corpus cannot be drawn again
_K = 10
_HARMONIC = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, 1000))])  # ψ(k) = _HARMONIC[k - 1] - γ
# What an answer before which k others stand adds to a metric of one answer, k from 0 to 9.
_WORTH: Mapping[str, Values] = {
    "recall_at_10": np.ones(_K),
    "ndcg_at_10": 1 / np.log2(np.arange(_K) + 2),
    "mrr_at_10": 1 / (np.arange(_K) + 1),
    "map_at_10": 1 / (np.arange(_K) + 1),
}


@dataclass(frozen=True)
class Searched:
    """Exact search over one number of documents: its metrics, and shares of answers by the documents before them."""

    size: int
    metrics: Mapping[str, float]
    within: Mapping[int, float]


class Growth:
    """Exact search at one size that was not measured, of each configuration whose vectors are other ones."""

    def __init__(self, items: int) -> None:
        self._items = items
        self._made: dict[tuple[object, ...], dict[str, Forecast]] = {}

    def exact(self, key: tuple[object, ...], sizes: Sequence[Searched], count: int) -> dict[str, Forecast]:
        """Return what exact search over the same vectors scores, by metric, for as many queries; made once a key.

        The queries are those of the sizes: what others would leave open is not in the intervals.
        """
        key = (*key, *(one.size for one in sizes))
        if key not in self._made:
            self._made[key] = _exact(sizes, self._items, count)
        return self._made[key]


def _exact(sizes: Sequence[Searched], items: int, count: int) -> dict[str, Forecast]:
    shares = [_share_within(number + 1, sizes, items, count) for number in range(_K)]
    lows, values, highs = np.maximum.accumulate([(share.low, share.value, share.high) for share in shares]).T
    found = {}
    for name, worth in _WORTH.items():
        if not all(name in one.metrics for one in sizes):
            continue
        # Of queries with several answers a metric is not what one answer adds: by as much as where it was measured.
        beside = [
            one.metrics[name] / max(_metric(np.array([one.within[k + 1] for k in range(_K)]), worth), 1e-9)
            for one in sizes
        ]
        low, value, high = (float(np.mean(beside)) * _metric(each, worth) for each in (lows, values, highs))
        found[name] = Forecast(value, low, high)
    return found


def _metric(within: Values, worth: Values) -> float:
    """Return a metric of the shares of answers before which fewer than 1 to 10 stand; it rises with each of them."""
    return float((within * -np.diff(worth, append=0.0)).sum())


def _share_within(most: int, sizes: Sequence[Searched], items: int, count: int) -> Forecast:
    """Return the share of answers before which fewer than `most` documents stand, among `items`."""
    at = as_size(items, most)
    there = [
        (as_size(one.size, number), share)
        for one in sizes
        for number, share in one.within.items()
        if number <= max(_K, one.size // _OF_ALL)
    ]
    far = np.abs(np.log([size / at for size, _ in there]))
    near = far <= far.min() + _NEAR
    sized, shares = (values[near] for values in np.array(there).T)
    fall = abs(float(np.polyfit(np.log(sized), shares, 1)[0])) * math.log(2)
    noise = paired(fall, count)
    found = fit(Points(sized, shares, np.full(len(shares), noise)), _CURVES, at, rises=False)
    return found.widened(Z95 * noise, Z95 * noise)  # all counts of a size are of the same queries


def as_size(items: float, count: int) -> float:
    """Return the size whose recall@10 is the share of answers before which fewer than `count` of `items` stand."""
    return float(items * math.exp(_HARMONIC[_K - 1] - _HARMONIC[count - 1]))


def paired(fall: float, count: int) -> float:
    """Return the noise of a metric's difference between sizes: n queries whose scores fall by δ leave √(δ / n) open."""
    return math.sqrt(max(fall, 1 / count) / count) if count else _TUNED_RECALL


def kept(
    rows: Sequence[Candidate], sizes: Sequence[Searched], name: str, exact: Forecast, items: int, held: bool
) -> Forecast:
    """Return a metric of an index: exact search's, and the share of it that the index keeps, which is a curve too.

    Unless its parameters are `held` the share is known within what tuning meets its target by.
    """
    shares = np.array([row.quality[name] / max(one.metrics[name], 1e-9) for row, one in zip(rows, sizes, strict=True)])
    if np.all(shares == 1):
        return exact
    count = min(row.samples.get(name, 0) for row in rows)
    lost = max(float(1 - shares.min()), 0.0)
    noise = math.hypot(paired(lost, count), 0.0 if held else _TUNED_RECALL)
    there = np.array([one.size for one in sizes], dtype=np.float64)
    most = 1 - 0.5 / max(count, 1)  # all hits of so many queries are no proof that none is ever lost
    shares, noises = np.minimum(shares, most), np.full(len(shares), noise)
    if held and (effort := _effort(rows, there, items)) is not None:
        return exact.times(_tried_as_hard(Points(there, shares, noises), effort))
    curves = _KEPT if len({*there}) > 2 else _KEPT[:1]  # two sizes do not say when it begins to fall
    return exact.times(fit(Points(there, shares, noises), curves, items, rises=False))


def _effort(rows: Sequence[Candidate], sizes: Values, items: int) -> Values | None:
    """Return how much harder each search tries than one among `items` with the same parameters, None of other kinds.

    A forest visits so many of its nodes whatever the size; of inverted lists so many are probed as there are, which
    are whole ones.
    """
    first = rows[0]
    if kind_of(first.index or "") == "annoy":
        return items / sizes
    if first.index == "ivf" and "probes" in first.parameters:
        there = resized("ivf", rows[-1].parameters, list_count(items))
        return np.array([int(row.parameters["probes"]) for row in rows]) / float(there["probes"])
    return None


def _tried_as_hard(points: Points, effort: Values) -> Forecast:
    """Return the share that is kept, by those that each size would keep if it tried as hard: odds are as the effort is.

    That was seen of lists whose probes were 1 to 16, where odds grew as their power of 0.84 to 1.02, whatever the
    number of lists. So a power of 1 is known within a third.
    """
    by, there = np.log(effort), odds_share(logit(points.values))  # neither none nor all
    shares = odds_share(logit(points.values) - by)
    noise = points.noise * shares * (1 - shares) / (there * (1 - there))
    found = fit(Points(points.sizes, shares, noise), (EVEN,), points.sizes[-1], rises=None)
    reach = Z95 * _POWER * abs(float(by.mean())) * found.value * (1 - found.value)
    wide = found.widened(reach, reach)
    return Forecast(wide.value, wide.low, min(wide.high, 1.0))


def by_metric(rows: Sequence[Candidate], name: str, items: int, held: bool) -> Forecast:
    """Return a metric of files that say nothing of exact search: a curve through its values."""
    values = np.array([row.quality[name] for row in rows])
    count = min(row.samples.get(name, 0) for row in rows)
    sizes = np.array([row.n_items for row in rows], dtype=np.float64)
    exact = rows[0].index == "scan" and rows[0].rerank_dim is None
    noise = math.hypot(paired(float(np.ptp(values)), count), 0.0 if exact or held else _TUNED_RECALL)
    return fit(Points(sizes, values, np.full(len(values), noise)), _CURVES, items, rises=False)


def other_queries(found: Forecast, count: int) -> Forecast:
    """Return a metric with what others than the queries that were asked leave open, which is Wilson's."""
    value = min(1.0, found.value)
    low, high = wilson(value, count, Z95) if count else (value, value)
    wide = Forecast(value, min(found.low, value), max(found.high, value)).widened(value - low, high - value)
    return Forecast(value, max(0.0, wide.low), min(1.0, wide.high))
