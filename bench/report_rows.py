"""Measured rows as a page reads them: a flat record each, figures by name and their 95% intervals beside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mrl_edge.bench.budget import COSTS, interval, lower, upper
from mrl_edge.bench.candidates import ENCODE_P50, Candidate
from mrl_edge.bench.fleet import side_by_side
from mrl_edge.bench.results import ClassThird, Measurement

from mrl_edge.providers import CPU

Record = dict[str, Any]


@dataclass(frozen=True)
class Shared:
    """A configuration that several devices measured; None where one did not."""

    name: str
    records: list[Record | None]


@dataclass(frozen=True)
class ByClass:
    """A variant at a dimension, whatever its search: its accuracy by thirds of the classes."""

    name: str
    key: str  # of `Record`s that it is of
    thirds: tuple[ClassThird, ...]


def records(
    rows: Sequence[Candidate],
    measurements: Sequence[Measurement],
    confidences: Sequence[float],
    smaller: Sequence[Candidate] = (),
) -> list[Record]:
    """Return a record a row with what limits are held against at each confidence; an unknown figure is None.

    `smaller` are rows of a smaller corpus, whose figures stand beside as `smaller`.
    """
    small = {row.key: _figures(row) for row in smaller}
    return [
        {**_record(row, measured, confidences), "smaller": small.get(row.key)}
        for row, measured in zip(rows, measurements, strict=True)
    ]


def _figures(row: Candidate) -> Record:
    return {**{cost.name: _known(cost.read(row)) for cost in COSTS}, **row.quality}


def _record(row: Candidate, measured: Measurement, confidences: Sequence[float]) -> Record:
    whole = measured.query or measured.encode
    return {
        "name": row.name,
        "precision": row.precision,
        "depth": row.depth,
        "dim": row.dim,
        "threads": row.threads,
        "search": _search(row, measured),
        "runtime": " + ".join([*([] if row.provider == CPU else [row.provider]), *row.runtime]),
        "stable": row.stable,
        "doubts": whole.doubts if whole else (),
        "predicted": row.predicted,
        "classes": _class_key(row),
        **_figures(row),
        "encode_ms": row.encode_p50_ms,
        "search_ms": row.search_p50_ms,
        "intervals": _intervals(row, measured),
        "bounds": [_bounds(row, confidence) for confidence in confidences],
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _bounds(row: Candidate, confidence: float) -> dict[str, float | None]:
    """Return what a limit is held against at a confidence, of each figure that is not itself that."""
    held = {cost.name: _known(upper(row, cost, confidence)) for cost in COSTS}
    costs = {cost.name: held[cost.name] for cost in COSTS if held[cost.name] != _known(cost.read(row))}
    floors = {name: lower(row, name, confidence) for name in row.quality}
    return {**costs, **{name: value for name, value in floors.items() if value != row.quality[name]}}


def _search(row: Candidate, measured: Measurement) -> str | None:
    """Name the search so that rows that differ in dimension alone have the same name."""
    if row.index is None:
        return None
    if measured.plan is not None and measured.plan.tuned:
        return f"{row.index} tuned"
    return row.index if row.rerank_dim in (None, row.dim) else f"{row.index}, reranked at {row.rerank_dim}"


def _intervals(row: Candidate, measured: Measurement) -> dict[str, tuple[float, float]]:
    named = [*(cost.name for cost in COSTS), *row.quality]
    found = {name: held for name in named if (held := interval(row, name)) is not None}
    if row.predicted:  # another corpus or board: what one file measured is not the interval of it
        found |= {"encode_ms": row.bounds[ENCODE_P50]} if ENCODE_P50 in row.bounds else {}
    elif measured.encode is not None and measured.encode.ci95_ms is not None:
        found["encode_ms"] = measured.encode.ci95_ms
    return found


def shared(rows_of: Sequence[Sequence[Candidate]], records_of: Sequence[Sequence[Record]]) -> list[Shared]:
    """Return the configurations that more than one device measured, in the order of the first."""
    record_of = [
        {row.key: record for row, record in zip(rows, found, strict=True)}
        for rows, found in zip(rows_of, records_of, strict=True)
    ]
    found = []
    for line in side_by_side(rows_of):
        there = [row for row in line if row is not None]
        if len(there) > 1:
            lines = zip(line, record_of, strict=True)
            found.append(
                Shared(_common_name(there), [row if row is None else by_key[row.key] for row, by_key in lines])
            )
    return found


def _common_name(rows: Sequence[Candidate]) -> str:
    """Name a configuration; where each board's index was tuned to another shortlist, by what was asked of it."""
    first = rows[0]
    if len({(row.shortlist, row.rerank_dim, row.funnel) for row in rows}) == 1:
        return first.name
    return replace(first, index=first.plan, rerank_dim=None).name


def by_class(rows: Sequence[Candidate], measurements: Sequence[Measurement]) -> list[ByClass]:
    """Return the variants and dimensions whose labelled texts were scored by class, in the order of the rows."""
    found: dict[str, ByClass] = {}
    for row, measured in zip(rows, measurements, strict=True):
        if measured.quality is not None and measured.quality.by_class:
            name = replace(row, index=None, rerank_dim=None, threads=1, runtime=(), provider=CPU, predicted=False).name
            found.setdefault(_class_key(row), ByClass(name, _class_key(row), measured.quality.by_class))
    return list(found.values())


def _class_key(row: Candidate) -> str:
    return f"{row.precision} {row.depth} {row.dim}"
