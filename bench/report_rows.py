"""Measured rows as a page reads them: a flat record each, figures by name and their 95% intervals beside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mrl_edge.bench.budget import COSTS, interval
from mrl_edge.bench.candidates import OBJECTIVES, Candidate, candidates
from mrl_edge.bench.results import Measurement, Results

Record = dict[str, Any]


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
    return [_record(row, one) for row, one in zip(candidates(results), measured, strict=True)]


def _record(row: Candidate, measured: Measurement) -> Record:
    costs = {cost.name: cost.read(row) for cost in COSTS}
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
        "intervals": _intervals(row, measured),
    }


def _search(row: Candidate, measured: Measurement) -> str | None:
    """Name the search so that rows that differ in dimension alone have the same name."""
    if row.index is None:
        return None
    if measured.plan is not None and measured.plan.tuned:
        return f"{row.index} tuned"
    return row.index if row.rerank_dim in (None, row.dim) else f"{row.index}, reranked at {row.rerank_dim}"


def _intervals(row: Candidate, measured: Measurement) -> dict[str, tuple[float, float]]:
    found = {name: held for name in ("p50_ms", *row.quality) if (held := interval(row, name)) is not None}
    if measured.encode is not None and measured.encode.ci95_ms is not None:
        found["encode_ms"] = measured.encode.ci95_ms
    return found


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
