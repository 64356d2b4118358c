"""Two results files, configuration by configuration: ratios, which differences are shown, and what got worse."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from mrl_edge.bench.configuration import Configuration, configuration_of
from mrl_edge.bench.figures import DISK_TOLERANCE, MEMORY_TOLERANCE, Figure, figures_of
from mrl_edge.bench.results import Measurement, Results
from mrl_edge.devices.local import Device

from mrl_edge.errors import ResultsError


class ConfigurationPair(msgspec.Struct, frozen=True):
    """A configuration that both files measured."""

    configuration: str
    figures: tuple[Figure, ...]


class FilesComparison(msgspec.Struct, frozen=True):
    """`a` and `b` side by side, and the configurations that one of them lacks, or failed to measure."""

    pairs: tuple[ConfigurationPair, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    differing: tuple[str, ...]  # of machine, versions, bundle, data and settings: what is not the same in both


class AgainstBaseline(msgspec.Struct, frozen=True):
    """What got worse, and what cannot be told."""

    regressions: tuple[Regression, ...]
    undecided: tuple[str, ...]  # figures without an interval, or with a doubtful one that overlaps
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
    pairs = [
        ConfigurationPair(str(key), tuple(figures_of(rows_a[key], rows_b[key], (a, b))))
        for key in rows_a
        if key in rows_b
    ]
    return FilesComparison(
        tuple(pairs),
        tuple(str(key) for key in rows_a if key not in rows_b),
        tuple(str(key) for key in rows_b if key not in rows_a),
        tuple(_differing(a, b)),
    )


def against_baseline(baseline: Results, now: Results) -> AgainstBaseline:
    """Return what is worse than the baseline, of the configurations that were run again.

    A latency is when its 95% interval lies wholly above the baseline's: that of a query's or an encoding's median,
    stable or not (that stands beside it), that of the processes' search medians and cold starts. The rate of texts that
    come by chance is when one that exceeded the limit is below one that kept it in the baseline; a score when the 95%
    interval of its change over the same queries, or texts, lies wholly below 0, or, where a file does not say each
    one's, its own interval wholly below; a peak RSS when it is more than 5% above, a disk 1%; so is a configuration
    that the baseline measured and that now fails. Raises `ResultsError` when the two share no configuration: nothing
    would be compared, or found worse.
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
        figures = list(figures_of(before[key], row, (baseline, now)))
        found += [_regression(str(key), figure) for figure in figures if figure.worse]
        undecided += [f"{key}: {figure.name}" for figure in figures if figure.undecided]
    return AgainstBaseline(tuple(found), tuple(undecided), tuple(_differing(baseline, now)))


def _regression(configuration: str, figure: Figure) -> Regression:
    digits = 3 if figure.kind == "quality" else 2
    change = f"{figure.a:.{digits}f} → {figure.b:.{digits}f}, {figure.b / figure.a:.2f} × the baseline"
    beyond = {
        "latency": "its 95% interval lies above",
        "rate": "a rate below the baseline's exceeds the limit",
        "memory": f"more than {MEMORY_TOLERANCE:.0%} above",
        "disk": f"more than {DISK_TOLERANCE:.0%} above",
        "quality": "its 95% interval lies below",
    }[figure.kind]
    if figure.change_ci95 is not None:
        low, high = figure.change_ci95
        beyond = f"of the same queries or texts by {-high:.3f} to {-low:.3f}, 95% interval"
    remarks = [f"not stable in both: {', '.join(figure.doubts)}"] if figure.stable is False else []
    remarks += ["of one process, whose interval is too narrow: --repeats 3"] if figure.one_process else []
    said = f" ({'; '.join(remarks)})" if remarks else ""
    text = f"{configuration}: {figure.name} {change}: {beyond}{said}"
    return Regression(configuration, figure.name, figure.a, figure.b, text)


def _measured(results: Results) -> dict[Configuration, Measurement]:
    return {configuration_of(row): row for row in results.measurements if row.status == "ok"}


def _held_to(device: Device) -> tuple[str | None, int, int]:
    return device.capped_to, device.ram_bytes, device.cores


def _like(results: Results) -> str | None:
    like = results.settings.get("like")
    return like["sha256"] if like else None


def _differing(a: Results, b: Results) -> Iterator[str]:
    for name, of_a, of_b in (
        ("cpu", a.device.cpu, b.device.cpu),
        ("memory or cores allowed", _held_to(a.device), _held_to(b.device)),
        ("versions", a.device.versions, b.device.versions),
        ("bundle", a.bundle.sha256, b.bundle.sha256),
        ("data", a.settings.get("data_sha256"), b.settings.get("data_sha256")),
        ("--vectors", a.settings.get("vectors"), b.settings.get("vectors")),
        ("--recall", a.settings.get("target_recall"), b.settings.get("target_recall")),
        ("--like", _like(a), _like(b)),
    ):
        if of_a != of_b:
            yield name
