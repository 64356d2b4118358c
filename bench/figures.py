"""The figures of a configuration in two results files, and which of their differences are more than chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec
import numpy as np
from mrl_edge.bench.budget import Z95
from mrl_edge.bench.by_query import change_of_mean, unpacked
from mrl_edge.bench.candidates import wilson
from mrl_edge.bench.measure.intervals import interval_of_processes
from mrl_edge.bench.measure.timing import Doubt
from mrl_edge.bench.results import Measurement, Query, Results
from numpy.typing import NDArray

MEMORY_TOLERANCE = 0.05  # of the peak RSS: pages that come and go by allocation alone are less
DISK_TOLERANCE = 0.01  # graphs that another version writes differ by a few bytes
_QUALITIES = ("ndcg_at_10", "recall_at_10", "mrr_at_10", "map_at_10", "accuracy", "knn_top1", "spearman")
_OF_TEXTS = frozenset({"accuracy", "knn_top1"})
_NO_SHARE = "spearman"  # a correlation, of which the files hold no interval

Kind = Literal["latency", "rate", "memory", "disk", "quality"]
Interval = tuple[float, float] | None


class Figure(msgspec.Struct, frozen=True):
    """One figure of a configuration in both files.

    `overlap` says whether the difference may be chance: the 95% intervals overlap, or that of the change over what both
    were asked holds 0.
    """

    name: str
    kind: Kind
    a: float
    b: float
    ratio: float | None  # b / a; null where a is 0
    overlap: bool | None  # null of what has no interval
    stable: bool | None  # both medians; null of what is no median of calls
    doubts: tuple[Doubt, ...] = ()  # of either
    change_ci95: Interval = None  # of b - a, where the score of each query, or text, is known of both
    one_process: bool = False  # of a or b, whose interval knows nothing of how processes differ: it is too narrow

    @property
    def apart(self) -> bool:
        """Whether the difference is shown. A median that is not stable has a wide interval: that says it already."""
        return self.overlap is False

    @property
    def falls(self) -> bool:
        """Whether b is on the worse side of a."""
        return self.b < self.a if self.kind in ("rate", "quality") else self.b > self.a

    @property
    def worse(self) -> bool:
        """Whether b is worse than a, beyond chance or, of what is counted and not estimated, a tolerance."""
        tolerance = {"memory": MEMORY_TOLERANCE, "disk": DISK_TOLERANCE}.get(self.kind)
        return self.falls and self.apart if tolerance is None else self.b > self.a * (1 + tolerance)

    @property
    def undecided(self) -> bool:
        """Whether nothing can be said of whether b is worse: no interval, or a doubtful one that overlaps."""
        if self.a == self.b or self.kind in ("memory", "disk") or self.apart:
            return False
        if self.kind in ("quality", "rate"):
            return self.falls and self.overlap is None
        return self.stable is False or self.overlap is None


def figures_of(a: Measurement, b: Measurement, files: tuple[Results, Results]) -> Iterator[Figure]:
    """Yield what both rows have, each of its file."""
    for name, timing_a, timing_b in (("query p50 ms", a.query, b.query), ("encode p50 ms", a.encode, b.encode)):
        if timing_a and timing_b:
            doubts = tuple(dict.fromkeys((*timing_a.doubts, *timing_b.doubts)))
            stable = timing_a.stable and timing_b.stable
            figure = _figure(name, "latency", timing_a.p50_ms, timing_b.p50_ms, overlap(timing_a, timing_b))
            alone = 1 in (len(timing_a.processes), len(timing_b.processes))
            yield msgspec.structs.replace(figure, stable=stable, doubts=doubts, one_process=alone)
    if a.throughput and b.throughput:
        known = a.server is not None and b.server is not None
        overlaps = intervals_overlap(_rate_interval(a), _rate_interval(b), touching=False) if known else None
        figure = _figure("texts/s", "rate", a.throughput.texts_per_s, b.throughput.texts_per_s, overlaps)
        yield msgspec.structs.replace(figure, stable=known or None)
    if a.search and b.search and a.search.p50_ms and b.search.p50_ms:
        each = ((one.search_p50_ms for one in row.by_process) for row in (a, b))
        yield _figure("search p50 ms", "latency", a.search.p50_ms, b.search.p50_ms, _overlap_of_processes(*each))
    if a.cold_start_ms and b.cold_start_ms:
        each = ((one.cold_start_ms for one in row.by_process) for row in (a, b))
        yield _figure("cold start ms", "latency", a.cold_start_ms, b.cold_start_ms, _overlap_of_processes(*each))
    if a.memory and b.memory:
        yield _figure("peak RSS MB", "memory", a.memory.peak_rss_bytes / 1e6, b.memory.peak_rss_bytes / 1e6)
    if a.disk and b.disk:
        yield _figure("disk MB", "disk", _disk_mb(a), _disk_mb(b))
    yield from _qualities(a, b, files)


def _qualities(a: Measurement, b: Measurement, files: tuple[Results, Results]) -> Iterator[Figure]:
    hashes = [file.settings.get("data_sha256") for file in files]
    same = hashes[0] is not None and hashes[0] == hashes[1]
    for name in _QUALITIES:
        of_a, of_b = getattr(a.quality, name, None), getattr(b.quality, name, None)
        if of_a is None or of_b is None:
            continue
        each_a, each_b = _each(a, name), _each(b, name)
        if same and len(each_a) == len(each_b) > 0:
            low, high = change_of_mean(each_a, each_b)
            figure = _figure(name, "quality", of_a, of_b, low <= 0 <= high)
            yield msgspec.structs.replace(figure, change_ci95=(low, high))
            continue
        counts = [file.settings.get("texts" if name in _OF_TEXTS else "queries") for file in files]
        if name == _NO_SHARE or not counts[0] or not counts[1]:
            yield _figure(name, "quality", of_a, of_b)
        else:
            of_both = wilson(of_a, int(counts[0]), Z95), wilson(of_b, int(counts[1]), Z95)
            yield _figure(name, "quality", of_a, of_b, intervals_overlap(*of_both))


def _each(row: Measurement, name: str) -> NDArray[np.float64]:
    """Return a metric's score of each query, or text, [n]; none where the row does not say them."""
    text = row.quality.each.get(name, "") if row.quality else ""
    if not text and row.search and name == "recall_at_10":
        text = row.search.recalls
    return unpacked(text)


def overlap(a: Query, b: Query) -> bool | None:
    """Return whether the intervals of two medians overlap, or None where one has none."""
    return intervals_overlap(a.ci95_ms, b.ci95_ms)


def intervals_overlap(a: Interval, b: Interval, touching: bool = True) -> bool | None:
    """Return whether two intervals overlap, `touching` ones among them, or None where one of them is missing."""
    if a is None or b is None:
        return None
    return (a[0] <= b[1] and b[0] <= a[1]) if touching else (a[0] < b[1] and b[0] < a[1])


def _overlap_of_processes(a: Iterable[float | None], b: Iterable[float | None]) -> bool | None:
    known = [[value for value in values if value is not None] for values in (a, b)]
    return intervals_overlap(interval_of_processes(known[0]), interval_of_processes(known[1]))


def _figure(name: str, kind: Kind, a: float, b: float, overlaps: bool | None = None) -> Figure:
    return Figure(name, kind, a, b, b / a if a else None, overlaps, None)


def _rate_interval(row: Measurement) -> tuple[float, float]:
    """Return a rate that kept the limit and one that exceeded it: what can be kept lies between."""
    kept = row.throughput.texts_per_s if row.throughput else 0.0
    exceeded = row.server.exceeded_texts_per_s if row.server else None
    return kept, math.inf if exceeded is None else exceeded


def _disk_mb(row: Measurement) -> float:
    return sum(msgspec.structs.astuple(row.disk)) / 1e6 if row.disk else 0.0
