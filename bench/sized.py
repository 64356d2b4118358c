"""One configuration as it was measured at several sizes, and how far its figures can be trusted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from mrl_edge.bench.budget import Z95
from mrl_edge.bench.candidates import Candidate
from mrl_edge.bench.curves import Values
from mrl_edge.bench.growth import Searched
from mrl_edge.bench.held import alike
from mrl_edge.bench.results import Measurement, OneProcess

# The least noise of a latency, as a standard deviation's share of it: no machine is equally fast in two runs, whatever
# the processes of one say. Twice as much where they say nothing.
LATENCY = 0.03
_RETUNED = 0.25  # of the search of an index that was tuned to other parameters at each size
_LEAST_MS = 1e-6  # of encoding, which times are divided by


@dataclass(frozen=True)
class Point:
    """One configuration as it was measured at one size."""

    row: Candidate
    measured: Measurement

    @property
    def size(self) -> int:
        """The number of documents."""
        return self.row.n_items or 0

    @property
    def pool(self) -> tuple[object, ...]:
        """What encodes alike, whatever is searched."""
        return self.row.precision, self.row.depth, self.row.threads, self.row.runtime, self.row.provider

    @property
    def rest_ms(self) -> float:
        """What the p50 of a query is beside its search."""
        return max(self.row.p50_ms - self.row.search_p50_ms, _LEAST_MS)

    @property
    def shares(self) -> list[float]:
        """Return what the search takes in units of the rest, by process; of files that do not say none."""
        whole = self.measured.query.processes if self.measured.query else ()
        search = [one.search_p50_ms for one in self.measured.by_process]
        if len(whole) != len(search):
            return []
        pairs = [(one.p50_ms, part) for one, part in zip(whole, search, strict=True) if part is not None]
        return [part / (all_ms - part) for all_ms, part in pairs if 0 < part < all_ms]

    @property
    def share(self) -> float:
        """What the search takes in units of the rest."""
        return statistics.median(self.shares or [self.row.search_p50_ms / self.rest_ms])


def sizes_of(points: Sequence[Point]) -> Values:
    """Return the numbers of documents [n]."""
    return np.array([point.size for point in points], dtype=np.float64)


def are_held(points: Sequence[Point]) -> bool:
    """Whether the parameters of the index were held, and how many of its hits are ranked again at which dimension."""
    last = points[-1].row
    return all(
        (row.shortlist, row.rerank_dim, row.funnel) == (last.shortlist, last.rerank_dim, last.funnel)
        and alike(last.index, row.parameters, last.parameters)
        for row in (point.row for point in points)
    )


def share_noise(points: Sequence[Point]) -> Values:
    """Return the noise of each point's search in units of the rest, as a share of it.

    It is the median of its processes; where those are not known, both of its parts are as uncertain as they are.
    """
    retuned = 0.0 if are_held(points) else _RETUNED
    between = _spread(point.shares for point in points)
    if between is not None:
        count = np.array([max(1, len(point.shares)) for point in points])
        return np.asarray(np.hypot(np.maximum(LATENCY, between / np.sqrt(count)), retuned))
    own = np.array([own_noise(point.row) for point in points])
    differs = np.maximum(own, noise_of(points, lambda one: one.search_p50_ms, LATENCY, 0.0))
    return np.asarray(np.sqrt(own**2 + differs**2 + retuned**2))


def own_noise(row: Candidate) -> float:
    """Return the standard deviation of a p50 by its own interval, as a share."""
    if row.p50_ci95_ms is None or min(row.p50_ci95_ms) <= 0:
        return 2 * LATENCY
    low, high = row.p50_ci95_ms
    return max(LATENCY, math.log(high / low) / (2 * Z95))


def noise_of(
    points: Sequence[Point],
    read: Callable[[OneProcess], float | None],
    least: float,
    unknown: float | None = None,
) -> float:
    """Return how far processes of one configuration differ, as a standard deviation of logarithms over all sizes.

    `least` at least; `unknown`, or twice as much, where no two processes are known.
    """
    between = _spread(
        [value for one in point.measured.by_process if (value := read(one)) is not None and value > 0]
        for point in points
    )
    if between is None:
        return 2 * least if unknown is None else unknown
    return max(least, between)


def _spread(each: Iterable[Sequence[float]]) -> float | None:
    """Return how far the values of one group differ, as a standard deviation of logarithms over all groups."""
    squares, freedom = 0.0, 0
    for values in each:
        if len(values) > 1:
            logs = np.log(values)
            squares += float(((logs - logs.mean()) ** 2).sum())
            freedom += len(values) - 1
    return math.sqrt(squares / freedom) if freedom else None


def searched(points: Sequence[Point]) -> list[Searched] | None:
    """Return what exact search finds at each size; None where a file does not say, or another dimension ranks last."""
    searches = [point.measured.search for point in points]
    there = [search for search in searches if search is not None and search.exact_within]
    if len(there) < len(points) or len({search.rerank_dim for search in there}) > 1:
        return None
    return [Searched(search.n_items, search.exact, search.exact_within) for search in there]
