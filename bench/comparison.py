"""Two results files, configuration by configuration: ratios, whether intervals overlap, and what got worse."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import msgspec
from mrl_edge.bench.configuration import Configuration, configuration_of
from mrl_edge.bench.results import Measurement, Query, Results
from mrl_edge.devices.local import Device

from mrl_edge.errors import ResultsError

MEMORY_TOLERANCE = 0.05  # of the peak RSS: pages that come and go by allocation alone are less
_QUALITIES = ("ndcg_at_10", "recall_at_10", "mrr_at_10", "map_at_10", "accuracy", "knn_top1", "spearman")

Kind = Literal["latency", "rate", "memory", "disk", "quality"]


class Figure(msgspec.Struct, frozen=True):
    """One figure of a configuration in both files."""

    name: str
    kind: Kind
    a: float
    b: float
    ratio: float | None  # b / a; null where a is 0
    overlap: bool | None  # of the 95% intervals; null of what has none
    stable: bool | None  # both medians; null of what has no interval

    @property
    def apart(self) -> bool:
        """Whether the difference is shown: the intervals do not overlap, and both are to be trusted."""
        return self.overlap is False and self.stable is True


class ConfigurationPair(msgspec.Struct, frozen=True):
    """A configuration that both files measured."""

    configuration: str
    figures: tuple[Figure, ...]


class FilesComparison(msgspec.Struct, frozen=True):
    """`a` and `b` side by side, and the configurations that one of them lacks, or failed to measure."""

    pairs: tuple[ConfigurationPair, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    differing: tuple[str, ...]  # of cpu, allowance, versions, bundle and data: what is not the same in both


class AgainstBaseline(msgspec.Struct, frozen=True):
    """What got worse, and what cannot be told."""

    regressions: tuple[Regression, ...]
    undecided: tuple[str, ...]  # latencies of which one of the two is not stable
    differing: tuple[str, ...]  # as of a `FilesComparison`


class Regression(msgspec.Struct, frozen=True):
    """A configuration that got worse than a baseline."""

    configuration: str
    figure: str
    baseline: float | None  # null of a configuration that could no longer be measured
    now: float | None
    text: str


def compare_files(a: Results, b: Results) -> FilesComparison:
    """Pair the rows of two files that measured the same configuration."""
    rows_a, rows_b = _measured(a), _measured(b)
    pairs = [ConfigurationPair(str(key), tuple(_figures(rows_a[key], rows_b[key]))) for key in rows_a if key in rows_b]
    return FilesComparison(
        tuple(pairs),
        tuple(str(key) for key in rows_a if key not in rows_b),
        tuple(str(key) for key in rows_b if key not in rows_a),
        tuple(_differing(a, b)),
    )


def against_baseline(baseline: Results, now: Results) -> AgainstBaseline:
    """Return what is worse than the baseline, of the configurations that were run again.

    A latency is when its interval lies wholly above the baseline's and both are stable; the rate of texts that come
    by chance when one that exceeded the limit is below one that kept it in the baseline; a peak RSS when it is more
    than 5% above; a configuration that the baseline measured and that now fails is one too. Raises `ResultsError`
    when the two share no configuration: nothing would be compared, and nothing found worse.
    """
    before = _measured(baseline)
    again = [row for row in now.measurements if configuration_of(row) in before]
    if not again:
        raise ResultsError("the baseline measured none of these configurations: there is nothing to compare with")
    found, undecided = [], []
    for row in again:
        key = configuration_of(row)
        if row.status != "ok":
            text = f"{key}: {row.status}, {row.reason}; the baseline measured it"
            found.append(Regression(str(key), "status", None, None, text))
            continue
        figures = list(_figures(before[key], row))
        found += [
            _regression(str(key), figure)
            for figure in figures
            if (figure.apart and (figure.b < figure.a if figure.kind == "rate" else figure.b > figure.a))
            or (figure.kind == "memory" and figure.b > figure.a * (1 + MEMORY_TOLERANCE))
        ]
        undecided += [f"{key}: {figure.name}" for figure in figures if figure.stable is False]
    return AgainstBaseline(tuple(found), tuple(undecided), tuple(_differing(baseline, now)))


def _regression(configuration: str, figure: Figure) -> Regression:
    change = f"{figure.a:.2f} → {figure.b:.2f}, {figure.b / figure.a:.2f} × the baseline"
    beyond = {
        "latency": "its 95% interval lies above",
        "rate": "a rate below the baseline's exceeds the limit",
        "memory": f"more than {MEMORY_TOLERANCE:.0%} above",
    }[figure.kind]
    text = f"{configuration}: {figure.name} {change}: {beyond}"
    return Regression(configuration, figure.name, figure.a, figure.b, text)


def _measured(results: Results) -> dict[Configuration, Measurement]:
    return {configuration_of(row): row for row in results.measurements if row.status == "ok"}


def _figures(a: Measurement, b: Measurement) -> Iterator[Figure]:
    for name, timing_a, timing_b in (("query p50 ms", a.query, b.query), ("encode p50 ms", a.encode, b.encode)):
        if timing_a and timing_b:
            stable = timing_a.stable and timing_b.stable
            yield _figure(name, "latency", timing_a.p50_ms, timing_b.p50_ms, overlap(timing_a, timing_b), stable)
    if a.throughput and b.throughput:
        rates = a.throughput.texts_per_s, b.throughput.texts_per_s
        known = a.server is not None and b.server is not None
        yield _figure("texts/s", "rate", *rates, _rates_overlap(a, b) if known else None, known or None)
    if a.search and b.search and a.search.p50_ms and b.search.p50_ms:
        yield _figure("search p50 ms", "latency", a.search.p50_ms, b.search.p50_ms)
    if a.cold_start_ms and b.cold_start_ms:
        yield _figure("cold start ms", "latency", a.cold_start_ms, b.cold_start_ms)
    if a.memory and b.memory:
        yield _figure("peak RSS MB", "memory", a.memory.peak_rss_bytes / 1e6, b.memory.peak_rss_bytes / 1e6)
    if a.disk and b.disk:
        yield _figure("disk MB", "disk", _disk_mb(a), _disk_mb(b))
    for name in _QUALITIES:
        of_a, of_b = getattr(a.quality, name, None), getattr(b.quality, name, None)
        if of_a is not None and of_b is not None:
            yield _figure(name, "quality", of_a, of_b)


def _figure(
    name: str, kind: Kind, a: float, b: float, intervals: bool | None = None, stable: bool | None = None
) -> Figure:
    return Figure(name, kind, a, b, b / a if a else None, intervals, stable)


def overlap(a: Query, b: Query) -> bool | None:
    """Return whether the intervals of two medians overlap, or None where one has none."""
    if a.ci95_ms is None or b.ci95_ms is None:
        return None
    return a.ci95_ms[0] <= b.ci95_ms[1] and b.ci95_ms[0] <= a.ci95_ms[1]


def _rates_overlap(a: Measurement, b: Measurement) -> bool:
    """Return whether what lies between a rate that kept the limit and one that exceeded it overlaps."""
    (low_a, high_a), (low_b, high_b) = _rate_interval(a), _rate_interval(b)
    return low_a < high_b and low_b < high_a


def _rate_interval(row: Measurement) -> tuple[float, float]:
    kept = row.throughput.texts_per_s if row.throughput else 0.0
    exceeded = row.server.exceeded_texts_per_s if row.server else None
    return kept, math.inf if exceeded is None else exceeded


def _disk_mb(row: Measurement) -> float:
    return sum(msgspec.structs.astuple(row.disk)) / 1e6 if row.disk else 0.0


def _held_to(device: Device) -> tuple[str | None, int, int]:
    return device.capped_to, device.ram_bytes, device.cores


def _differing(a: Results, b: Results) -> Iterator[str]:
    for name, of_a, of_b in (
        ("cpu", a.device.cpu, b.device.cpu),
        ("memory or cores allowed", _held_to(a.device), _held_to(b.device)),
        ("versions", a.device.versions, b.device.versions),
        ("bundle", a.bundle.sha256, b.bundle.sha256),
        ("data", a.settings.get("data_sha256"), b.settings.get("data_sha256")),
    ):
        if of_a != of_b:
            yield name
