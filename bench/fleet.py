"""Several boards: one results file or more of each, a choice for each, or one for all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mrl_edge.bench.budget import figure
from mrl_edge.bench.candidates import (
    ENCODE_P50,
    OBJECTIVES,
    SEARCH_P50,
    Candidate,
    measured,
    none_measured,
    unmeasured,
    with_depths,
)
from mrl_edge.bench.results import BundleRef, Measurement, Results
from mrl_edge.devices.local import Device

from mrl_edge.errors import ResultsError, UsageError


@dataclass(frozen=True)
class Board:
    """One machine and the results that were measured on it."""

    name: str
    results: tuple[Results, ...]

    @property
    def bundle(self) -> BundleRef:
        """The model, which is the same in all results."""
        return self.results[0].bundle

    def rows(self) -> list[Candidate]:
        """Return the configurations of all files, a later file's in the place of an earlier one's.

        Raises `ResultsError` for files of different data: their quality is not of the same task.
        """
        return [row for row, _ in self.with_measurements()]

    def with_measurements(self) -> list[tuple[Candidate, Measurement]]:
        """Return `rows`, each with the measurement that it is of; raises as they do.

        There is none where tunings left everything out before it was measured.
        """
        if len({one.settings.get("data_sha256") for one in self.results}) > 1:
            raise ResultsError(
                f"the results of {self.name} are of different data: give one of them, or with --corpus all, to "
                "predict what a corpus of another size costs"
            )
        pairs = {pair[0].key: pair for one in self._measured() for pair in measured(one)}.values()
        return list(zip(with_depths([row for row, _ in pairs]), (row for _, row in pairs), strict=True))

    def _measured(self) -> list[Results]:
        return [one for one in self.results if not none_measured(one)]

    def unmeasured(self) -> list[Candidate]:
        """Return what tunings left out and no file measured, by the most that is known of it."""
        there = {row.key for row in self.rows()}
        found: dict[object, Candidate] = {}
        for row in (row for one in self.results for row in unmeasured(one) if row.key not in there):
            if row.key not in found or row.scored:
                found[row.key] = row
        return list(found.values())

    def left_out(self) -> int:
        """Return how many configurations tunings left out and no file measured, of whatever data the files are."""
        there = {row.key for one in self._measured() for row, _ in measured(one)}
        return len({row.key for one in self.results for row in unmeasured(one)} - there)


def check_bundles(results: Sequence[Results]) -> None:
    """Raise `ResultsError` where results are of different bundles."""
    first = results[0].bundle
    for one in results:
        if one.bundle.sha256 != first.sha256:
            raise ResultsError(
                f"the results are of different bundles, {first.name} ({first.sha256[:8]}…) and {one.bundle.name} "
                f"({one.bundle.sha256[:8]}…): choose among configurations of one"
            )


def boards_of(results: Sequence[Results]) -> list[Board]:
    """Group results by the machine that they were measured on, in the order in which each comes first.

    Raises `ResultsError` where they are of different bundles.
    """
    check_bundles(results)
    groups: dict[tuple[object, ...], list[Results]] = {}
    for one in results:
        groups.setdefault((one.device.name, one.device.cpu, one.device.capped_to), []).append(one)
    names = [name_of(group[0]) for group in groups.values()]
    return [
        Board(name if names.count(name) == 1 else f"{name} ({_told_apart(group[0].device)})", tuple(group))
        for name, group in zip(names, groups.values(), strict=True)
    ]


def _told_apart(device: Device) -> str:
    """Say of which processor a machine is, and whether it is held to the board whose name it has."""
    return f"{device.cpu}, held to it" if device.capped_to else device.cpu


def data_of(board: Board, corpora: Sequence[int]) -> tuple[object, ...]:
    """Return what says of a board's results which task they are of; with corpora that are predicted, of any size."""
    names = ("data", "queries", "texts") if corpora else ("data_sha256",)
    return tuple(board.results[0].settings.get(name) for name in names)


def in_common(
    boards: Sequence[Board], rows_of: Mapping[str, Sequence[Candidate]], corpora: Sequence[int]
) -> list[Candidate]:
    """Return the configurations that every board has, each with the worst figure that any board saw.

    `corpora` are those that the rows were predicted for, if any. Raises `UsageError` where there is none, and
    `ResultsError` where the boards measured different data.
    """
    if len({data_of(board, corpora) for board in boards}) > 1:
        raise ResultsError("the boards measured different data: bench them with one task to choose one for all")
    shared = [[row for row in rows if row is not None] for rows in side_by_side(list(rows_of.values()))]
    shared = [rows for rows in shared if len(rows) == len(rows_of)]
    if not shared:
        raise UsageError(f"no configuration was measured on all of {', '.join(rows_of)}: bench them with one --dims, …")
    return [_worst(rows) for rows in shared]


def targets_of(chosen: Candidate, rows_of: Mapping[str, Sequence[Candidate]]) -> dict[str, str]:
    """Return for each board what the precision of a configuration was made for there."""
    return {name: row.target for name, rows in rows_of.items() for row in rows if row.key == chosen.key}


def tuned_alike(chosen: Candidate, rows_of: Mapping[str, Sequence[Candidate]]) -> bool:
    """Whether all boards that have a configuration tuned its index to the same parameters."""
    rows = [row for rows in rows_of.values() for row in rows if row.key == chosen.key]
    tuned = [(row.parameters, row.shortlist, row.rerank_dim, row.funnel) for row in rows]
    return all(one == tuned[0] for one in tuned)


def side_by_side(rows_of: Sequence[Sequence[Candidate]]) -> list[list[Candidate | None]]:
    """Return each configuration that a board has as its row on every board, None where one has it not."""
    by_key = [{row.key: row for row in rows} for rows in rows_of]
    return [[rows.get(key) for rows in by_key] for key in dict.fromkeys(key for rows in by_key for key in rows)]


def name_of(results: Results) -> str:
    """Name the machine, or the one whose RAM and cores it was held to."""
    return results.device.capped_to or results.device.name


def _worst(rows: Sequence[Candidate]) -> Candidate:
    """Return the worst of each figure; where the boards' indexes were tuned to other parameters none are named.

    What is ranked again is the first board's.
    """
    ends = [row.p50_ci95_ms for row in rows if row.p50_ci95_ms is not None]
    spent = [math.inf if row.energy_mj is None else row.energy_mj for row in rows]
    first = rows[0]
    metrics = [name for name in first.quality if all(name in row.quality for row in rows)]
    return replace(
        first,
        p50_ms=max(row.p50_ms for row in rows),
        p99_ms=max(row.p99_ms for row in rows),
        encode_p50_ms=max(row.encode_p50_ms for row in rows),
        search_p50_ms=max(row.search_p50_ms for row in rows),
        cold_start_ms=max(row.cold_start_ms for row in rows),
        peak_rss_mb=max(row.peak_rss_mb for row in rows),
        disk_mb=max(row.disk_mb for row in rows),
        stable=all(row.stable for row in rows),
        quality={name: min(row.quality[name] for row in rows) for name in metrics},
        samples={name: min(row.samples.get(name, 0) for row in rows) for name in first.samples},
        p50_ci95_ms=(max(low for low, _ in ends), max(high for _, high in ends)) if len(ends) == len(rows) else None,
        energy_mj=None if max(spent) == math.inf else max(spent),
        parameters=first.parameters if all(row.parameters == first.parameters for row in rows) else {},
        processes=min((row.processes for row in rows if row.processes is not None), default=None),
        predicted=any(row.predicted for row in rows),
        bounds=_worst_bounds(rows),
    )


def _worst_bounds(rows: Sequence[Candidate]) -> dict[str, tuple[float, float]]:
    """Return the worst ends of what is predicted of any row; a measured one's are its figure, if that is known."""
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row.bounds):
        ends = [row.bounds.get(name, (_figure(row, name),) * 2) for row in rows]
        worst = min if name in OBJECTIVES else max
        found[name] = (worst(low for low, _ in ends), worst(high for _, high in ends))
    return {name: ends for name, ends in found.items() if math.isfinite(sum(ends))}


def _figure(row: Candidate, name: str) -> float:
    beside = {ENCODE_P50: row.encode_p50_ms, SEARCH_P50: row.search_p50_ms}  # no costs of their own
    return beside[name] if name in beside else figure(row, name)
