"""One row of the processes that a configuration was measured in: what differs between them is in its intervals."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import TypeVar

import msgspec
import numpy as np
from mrl_edge.bench.measure.intervals import samples_for
from mrl_edge.bench.measure.timing import Timing, summarise_processes
from mrl_edge.bench.results import Encode, Measurement, OneProcess, Process, Query, System, Throughput

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
            shortlist_p50_ms=_median(row.search.shortlist_p50_ms for row in rows if row.search),
            rerank_p50_ms=_median(row.search.rerank_p50_ms for row in rows if row.search),
            same_hits=_over((row.search.same_hits for row in rows if row.search), min),
        )
    encode = over_processes([row.encode for row in rows if row.encode])
    query = over_processes([row.query for row in rows if row.query])
    tails = {**why_no_tails("encode", encode), **why_no_tails("query", query)}
    energy = _median(row.energy_mj for row in rows)
    rates = [row.throughput.texts_per_s for row in rows if row.throughput]
    return msgspec.structs.replace(
        first,
        encode=encode,
        query=query,
        search=search,
        cold_start_ms=_median(row.cold_start_ms for row in rows),
        load_ms=_median(row.load_ms for row in rows),
        first_ms=_median(row.first_ms for row in rows),
        memory=max((row.memory for row in rows if row.memory), key=lambda memory: memory.peak_rss_bytes, default=None),
        energy_mj=energy,
        energy_source=None if energy is None else first.energy_source,
        throughput=Throughput(statistics.median(rates)) if rates else None,
        temperature_c=_over((row.temperature_c for row in rows), max),
        throttled=_over((row.throttled for row in rows), any),
        system=_system([row.system for row in rows if row.system]),
        null_because={**{name: why for row in rows for name, why in row.null_because.items()}, **tails},
        by_process=tuple(_one_process(row) for row in rows),
    )


def why_no_tails(name: str, timing: Query | None) -> dict[str, str]:
    """Return why upper percentiles, or the upper ends of their intervals, are null, by the figures' names."""
    if timing is None:
        return {}
    if timing.loops > 1:
        because = f"a sample is the mean of {timing.loops} calls, in which a slow one vanishes"
        return {f"{name}.{figure}": because for figure in ("p90_ms", "p99_ms", "p999_ms")}
    found = {}
    if timing.p99_ci95_ms is None or timing.p99_ci95_ms[1] is None:
        found["p99_ci95_ms"] = _too_few(timing.samples, 99)
    if timing.p999_ms is None:
        found["p999_ms"] = _too_few(timing.samples, 99.9)
    return {f"{name}.{figure}": because for figure, because in found.items()}


def _too_few(samples: int, percentile: float) -> str:
    needed = samples_for(percentile)
    alike = " and more, as some are alike" if samples >= needed else ""
    return f"{samples:,} samples do not bound it from above, {needed:,}{alike} do: --tail {percentile:g} measures on"


def _one_process(row: Measurement) -> OneProcess:
    whole = row.query or row.encode
    return OneProcess(
        query_p99_ms=whole.p99_ms if whole else None,
        search_p50_ms=row.search.p50_ms if row.search else None,
        cold_start_ms=row.cold_start_ms,
        peak_rss_bytes=row.memory.peak_rss_bytes if row.memory else None,
        energy_mj=row.energy_mj,
    )


def processes_of(row: Measurement) -> int:
    """Return how many processes a row was measured in."""
    return len(row.encode.processes) if row.encode else 0


def over_processes(each: Sequence[_Q]) -> _Q | None:
    """Return the timing of all processes, without their passes; None of none."""
    if not each:
        return None
    found = vars(summarise_processes([_as_timing(one) for one in each]))
    kept = {name: value for name, value in found.items() if name != "passes"}
    if isinstance(each[0], Encode):
        kept["tokenise_p50_ms"] = _median(one.tokenise_p50_ms for one in each if isinstance(one, Encode))
    processes = tuple(Process(one.processes[0].p50_ms) for one in each)
    return msgspec.structs.replace(each[0], **kept, processes=processes)


def _as_timing(query: Query) -> Timing:
    names = (field.name for field in fields(Timing) if field.name != "passes")
    passes = np.array(query.processes[0].passes_ms) * 1e6
    return Timing(**{name: getattr(query, name) for name in names}, passes=passes)


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
