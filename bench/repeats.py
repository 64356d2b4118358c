"""One row of the processes that a configuration was measured in: what differs between them is in its intervals."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import TypeVar

import msgspec
from mrl_edge.bench.measure.intervals import interval_over_processes
from mrl_edge.bench.measure.timing import DRIFT, LEAST, TIGHT, Doubt
from mrl_edge.bench.results import Measurement, Query, System, Throughput

_Q = TypeVar("_Q", bound=Query)
_T = TypeVar("_T", float, bool)


def together(rows: Sequence[Measurement]) -> Measurement:
    """Return one row of the rows that a configuration's processes gave, in the order of time; a failed one is it.

    Times, energy and throughput are medians over the processes, memory is that of the process with the highest
    peak, temperature and busyness the highest seen.
    """
    failed = next((row for row in rows if row.status != "ok"), None)
    if failed is not None:
        return failed
    first = rows[0]
    search = first.search
    if search is not None:
        search = msgspec.structs.replace(
            search,
            p50_ms=_median(row.search.p50_ms for row in rows if row.search),
            p99_ms=_median(row.search.p99_ms for row in rows if row.search),
        )
    rates = [row.throughput.texts_per_s for row in rows if row.throughput]
    return msgspec.structs.replace(
        first,
        encode=_timing([row.encode for row in rows if row.encode]),
        query=_timing([row.query for row in rows if row.query]),
        search=search,
        cold_start_ms=_median(row.cold_start_ms for row in rows),
        load_ms=_median(row.load_ms for row in rows),
        first_ms=_median(row.first_ms for row in rows),
        memory=max((row.memory for row in rows if row.memory), key=lambda memory: memory.peak_rss_bytes, default=None),
        energy_mj=_median(row.energy_mj for row in rows),
        throughput=Throughput(statistics.median(rates)) if rates else None,
        temperature_c=_over((row.temperature_c for row in rows), max),
        throttled=_over((row.throttled for row in rows), any),
        system=_system([row.system for row in rows if row.system]),
        null_because={name: why for row in rows for name, why in row.null_because.items()},
    )


def processes_of(row: Measurement) -> int:
    """Return how many processes a row was measured in."""
    return len(row.encode.process_p50_ms) if row.encode else 0


def _timing(each: Sequence[_Q]) -> _Q | None:
    """Return the timing of all processes: medians over them, and an interval in which their differences count."""
    if not each:
        return None
    medians = tuple(one.p50_ms for one in each)
    if len(each) == 1:
        return msgspec.structs.replace(each[0], process_p50_ms=medians)
    p50 = statistics.median(medians)
    interval = interval_over_processes(medians, [one.ci95_ms for one in each])
    doubts = _doubts(each, p50, interval)
    apart = {
        name: _median(getattr(one, name) for one in each)
        for name in ("p90_ms", "p99_ms", "p999_ms", "mean_ms", "tokenise_p50_ms")
        if hasattr(each[0], name)
    }
    return msgspec.structs.replace(
        each[0],
        **apart,
        p50_ms=p50,
        ci95_ms=interval,
        samples=sum(one.samples for one in each),
        stable=not doubts,
        doubts=doubts,
        loops=max(one.loops for one in each),
        process_p50_ms=medians,
    )


def _doubts(each: Sequence[Query], p50: float, interval: tuple[float, float]) -> tuple[Doubt, ...]:
    """Return what speaks against the median: of what was seen within processes, what half of them or more saw."""
    found: list[Doubt] = []
    if sum(one.samples for one in each) < LEAST:
        found.append("few samples")
    if (interval[1] - interval[0]) / 2 > TIGHT * p50:
        found.append("interval")
    within: tuple[Doubt, ...] = ("drift", "bimodal", "busy")
    found += [doubt for doubt in within if 2 * sum(doubt in one.doubts for one in each) >= len(each)]
    if any(_apart(a, b, p50) for a, b in combinations(each, 2)):
        found.append("processes")
    return tuple(found)


def _apart(a: Query, b: Query, p50: float) -> bool:
    """Whether two processes' medians are further apart than 5%, and than their intervals, where they have them."""
    if abs(a.p50_ms - b.p50_ms) <= DRIFT * p50:
        return False
    if a.ci95_ms is None or b.ci95_ms is None:
        return True
    return a.ci95_ms[1] < b.ci95_ms[0] or b.ci95_ms[1] < a.ci95_ms[0]


def _median(values: Iterable[float | None]) -> float | None:
    return _over(values, statistics.median)


def _over(values: Iterable[_T | None], how: Callable[[list[_T]], _T]) -> _T | None:
    """Return a figure over all processes; null where one of them has none."""
    there = list(values)
    known = [value for value in there if value is not None]
    return how(known) if known and len(known) == len(there) else None


def _system(each: Sequence[System]) -> System | None:
    if not each:
        return None
    return System(
        max(one.busy_before_percent for one in each),
        max(one.busy_after_percent for one in each),
        _over((one.frequency_min_mhz for one in each), min),
        _median(one.frequency_median_mhz for one in each),
    )
