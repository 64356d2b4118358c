"""Measured rows as a page reads them: a flat record each, figures by name and their 95% intervals beside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mrl_edge.bench.candidates import OBJECTIVES, Candidate, candidates
from mrl_edge.bench.pick import COSTS
from mrl_edge.bench.results import Measurement, Results

Record = dict[str, Any]

# The figures of a record that a budget caps, by the option that caps them.
COST_NAMES = {
    "--max-p50-ms": "p50_ms",
    "--max-p99-ms": "p99_ms",
    "--max-cold-ms": "cold_start_ms",
    "--max-rss-mb": "peak_rss_mb",
    "--max-disk-mb": "disk_mb",
}
_Z95 = 1.959964


@dataclass(frozen=True)
class Shared:
    """A configuration that several files measured; None where one did not."""

    name: str
    records: list[Record | None]


def records(results: Results) -> list[Record]:
    """Return the rows that a choice is made among, in the order of `candidates`; an unknown figure is None."""
    measured = [
        row
        for row in results.measurements
        if row.status == "ok" and row.tokens is None
        and None not in (row.encode, row.memory, row.disk, row.cold_start_ms)
    ]  # fmt: skip
    return [_record(row, one, results) for row, one in zip(candidates(results), measured, strict=True)]


def _record(row: Candidate, measured: Measurement, results: Results) -> Record:
    costs = {COST_NAMES[cost.option]: cost.read(row) for cost in COSTS if cost.option in COST_NAMES}
    return {
        "name": row.name,
        "precision": row.precision,
        "depth": row.depth,
        "dim": row.dim,
        "threads": row.threads,
        "search": _search(row, measured),
        "runtime": " + ".join(row.runtime),
        "stable": row.stable,
        **{name: value if math.isfinite(value) else None for name, value in costs.items()},
        "encode_ms": row.encode_p50_ms,
        "search_ms": row.search_p50_ms,
        **row.quality,
        "intervals": _intervals(row, measured, results.settings),
    }


def _search(row: Candidate, measured: Measurement) -> str | None:
    """Name the search so that rows that differ in dimension alone have the same name."""
    if row.index is None:
        return None
    if measured.plan is not None and measured.plan.tuned:
        return f"{row.index} tuned"
    return row.index if row.rerank_dim in (None, row.dim) else f"{row.index}, reranked at {row.rerank_dim}"


def _intervals(row: Candidate, measured: Measurement, settings: dict[str, Any]) -> dict[str, tuple[float, float]]:
    found = {}
    whole, encode = measured.query or measured.encode, measured.encode
    if whole is not None and whole.ci95_ms is not None:
        found["p50_ms"] = whole.ci95_ms
    if encode is not None and encode.ci95_ms is not None:
        found["encode_ms"] = encode.ci95_ms
    for name, value in row.quality.items():
        count = settings.get("texts" if name in ("accuracy", "knn_top1") else "queries")
        if isinstance(count, int) and count > 0:
            found[name] = wilson(value, count)
    return found


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95% score interval (1927) of a mean of `count` scores from 0 to 1.

    It is of hits and misses; scores between 0 and 1 vary less, and it is then too wide.
    """
    middle = (share + _Z95**2 / (2 * count)) / (1 + _Z95**2 / count)
    spread = max(0.0, share * (1 - share) / count + _Z95**2 / (4 * count**2))
    reach = _Z95 / (1 + _Z95**2 / count) * math.sqrt(spread)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def full_model(rows: list[Record]) -> dict[str, float]:
    """Return the best metrics of fp32 at the full depth and dimension, empty where that was not measured."""
    depth, dim = max(row["depth"] for row in rows), max(row["dim"] for row in rows)
    full = [row for row in rows if (row["precision"], row["depth"], row["dim"]) == ("fp32", depth, dim)]
    there = [name for name in OBJECTIVES if full and all(name in row for row in full)]
    return {name: max(row[name] for row in full) for name in there}


def side_by_side(files: list[list[Record]]) -> list[Shared]:
    """Return the configurations that more than one of the files measured, in the order of the first."""
    by_name: list[dict[str, Record]] = [{} for _ in files]
    for found, rows in zip(by_name, files, strict=True):
        for row in rows:
            found.setdefault(row["name"], row)
    names = dict.fromkeys(name for found in by_name for name in found)
    shared = [Shared(name, [found.get(name) for found in by_name]) for name in names]
    return [one for one in shared if sum(record is not None for record in one.records) > 1]
