"""Several boards: one results file or more of each, a choice for each, or one for all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mrl_edge.bench.candidates import Candidate, candidates
from mrl_edge.bench.results import BundleRef, Results

from mrl_edge.errors import ResultsError, UsageError

_Key = tuple[object, ...]


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
        if len({one.settings.get("data_sha256") for one in self.results}) > 1:
            raise ResultsError(
                f"the results of {self.name} are of different data: give one of them, or with --corpus all, to "
                "predict what a corpus of another size costs"
            )
        found: dict[_Key, Candidate] = {}
        for one in self.results:
            for row in candidates(one):
                found[key_of(row)] = row
        return list(found.values())


def boards_of(results: Sequence[Results]) -> list[Board]:
    """Group results by the machine that they were measured on, in the order in which each comes first.

    Raises `ResultsError` where they are of different bundles.
    """
    first = results[0].bundle
    for one in results:
        if one.bundle.sha256 != first.sha256:
            raise ResultsError(
                f"the results are of different bundles, {first.name} ({first.sha256[:8]}…) and {one.bundle.name} "
                f"({one.bundle.sha256[:8]}…): choose among configurations of one"
            )
    groups: dict[tuple[object, ...], list[Results]] = {}
    for one in results:
        device = one.device
        groups.setdefault((device.name, device.cpu, device.capped_to, device.ram_bytes), []).append(one)
    names = [_name(group[0]) for group in groups.values()]
    return [
        Board(name if names.count(name) == 1 else f"{name} ({group[0].device.cpu})", tuple(group))
        for name, group in zip(names, groups.values(), strict=True)
    ]


def in_common(rows_of: Mapping[str, Sequence[Candidate]]) -> list[Candidate]:
    """Return the configurations that every board has measured, each with the worst figure that any board saw.

    Raises `UsageError` where there is none.
    """
    by_key = [{key_of(row): row for row in rows} for rows in rows_of.values()]
    shared = [key for key in by_key[0] if all(key in rows for rows in by_key[1:])]
    if not shared:
        raise UsageError(f"no configuration was measured on all of {', '.join(rows_of)}: bench them with one --dims, …")
    return [_worst([rows[key] for rows in by_key]) for key in shared]


def key_of(row: Candidate) -> _Key:
    """Return what a configuration is on whatever board: the targets of its integers may differ."""
    return row.precision, row.depth, row.dim, row.threads, row.plan, row.runtime


def _worst(rows: Sequence[Candidate]) -> Candidate:
    ends = [row.p50_ci95_ms for row in rows if row.p50_ci95_ms is not None]
    spent = [math.inf if row.energy_mj is None else row.energy_mj for row in rows]
    first = rows[0]
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
        quality={name: min(row.quality.get(name, 0.0) for row in rows) for name in first.quality},
        samples={name: min(row.samples.get(name, 0) for row in rows) for name in first.samples},
        p50_ci95_ms=(max(low for low, _ in ends), max(high for _, high in ends)) if len(ends) == len(rows) else None,
        energy_mj=None if max(spent) == math.inf else max(spent),
    )


def _name(results: Results) -> str:
    return results.device.capped_to or results.device.name
