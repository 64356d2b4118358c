"""MLPerf's names for what rows measured of the encoder alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec
from mrl_edge.bench.results import Measurement, Scenario

_STREAMS = 8  # samples a query of MultiStream


def with_scenarios(rows: Sequence[Measurement]) -> Iterator[Measurement]:
    """Yield the rows with their scenario: SingleStream, Server, MultiStream of 8, Offline the largest other batch.

    None of a fixed length, whose texts are not the task's, and of callers, who wait for their answer. The largest
    batch is known only of all rows, and may be another after a resumption.
    """
    largest: dict[tuple[object, ...], int] = defaultdict(int)
    for row in rows:
        if row.status == "ok":
            largest[_sweep_of(row)] = max(largest[_sweep_of(row)], row.batch)
    for row in rows:
        yield msgspec.structs.replace(row, scenario=_scenario(row, largest[_sweep_of(row)]))


def _sweep_of(row: Measurement) -> tuple[object, ...]:
    return row.precision, row.depth, row.provider, row.threads, row.runtime


def _scenario(row: Measurement, largest: int) -> Scenario | None:
    if row.status != "ok" or row.tokens is not None:
        return None
    if row.p99_limit_ms is not None:
        return "Server"
    if row.callers > 1:
        return None
    if row.batch == 1:
        return "SingleStream"
    if row.batch == _STREAMS:
        return "MultiStream"
    return "Offline" if row.batch == largest else None
