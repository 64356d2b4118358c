"""Each row beside what this machine could do at most: the roofline of Williams, Waterman & Patterson (2009).

The least time of a call is the longer of two: its products at the machine's highest rates, and its weights read once
at the highest bandwidth for so many bytes (a working set that fits a cache is read at the cache's, as in Ilic,
Pratas & Sousa 2014). What else a call does is left out, so the least time is never too long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil
from mrl_edge.bench import jobs
from mrl_edge.bench.processes import run_job
from mrl_edge.bench.results import Ceilings, Measurement, Roofline, Work
from mrl_edge.bench.search_roofline import FIGURE as SEARCH_FIGURE
from mrl_edge.bench.search_roofline import bandwidth, bytes_of_query, judged_search

from mrl_edge.atomic import write_file
from mrl_edge.caches import cache_folder
from mrl_edge.providers import ON_GPU

if TYPE_CHECKING:
    from mrl_edge.bench.preparing import Grid
    from mrl_edge.devices.local import Device

    from mrl_edge.bundle import Bundle

_LARGEST_BYTES = 256 << 20
_FIGURE = "roofline"
_EMULATED = "an emulator's times are no machine's"


class Kept(msgspec.Struct, frozen=True):
    """Ceilings of a processor, with what they were measured with."""

    cpu: str
    arch: str
    cores: int
    versions: dict[str, str]
    ceilings: Ceilings


def cache_file() -> Path:
    """Return where the ceilings of this machine are kept: `ceilings.json` of the user's cache."""
    return cache_folder() / "ceilings.json"


def least_ms(work: Work, ceilings: Ceilings) -> tuple[float, float]:
    """Return the milliseconds that the products take at least, and those that reading the weights takes."""
    plain = work.operations - work.int8_operations - work.unrated_operations
    unrated = work.unrated_operations / max(ceilings.fp32_gops, ceilings.int8_gops)
    computing = plain / ceilings.fp32_gops + work.int8_operations / ceilings.int8_gops + unrated
    return computing / 1e6, work.bytes / bandwidth(ceilings, work.bytes) / 1e6


def judged(work: Work, ceilings: Ceilings, p50_ms: float) -> Roofline:
    """Return how much of what the machine could do a median is."""
    computing, reading = least_ms(work, ceilings)
    least = max(computing, reading)
    return Roofline(work, least, "compute" if computing >= reading else "bandwidth", least / p50_ms)


class Rooflines:
    """The ceilings and counts of one sweep, each found once."""

    def __init__(
        self,
        bundle: Bundle,
        sample: jobs.LatencySample,
        grid: Grid,
        device: Device,
        there: Iterable[Ceilings],
        work: Path,
        spend: Callable[[str, float], None] = lambda what, seconds: None,
    ) -> None:
        self._bundle = bundle
        self._sample = sample
        self._grid = grid
        self._device = device
        self._work = work
        self._spend = spend
        self._ceilings: dict[int, Ceilings] = {one.threads: one for one in there}
        self._asked: dict[int, Ceilings | str] = {} if grid.new_ceilings else {**self._ceilings}
        self._counts: dict[tuple[str, int], tuple[jobs.CountedCalls, ...] | str] = {}

    @property
    def ceilings(self) -> tuple[Ceilings, ...]:
        """Those that rows are judged by, by threads."""
        return tuple(self._ceilings[threads] for threads in sorted(self._ceilings))

    def of(self, row: Measurement) -> Measurement:
        """Return the row with its rooflines, or with the reason why there is none."""
        if row.status != "ok" or row.encode is None:
            return row
        p50_ms = row.encode.p50_ms
        row = self._with_search(row)
        work = self._work_of(row)
        ceilings = self._ceilings_of(row.threads) if isinstance(work, Work) else None
        if isinstance(work, Work) and isinstance(ceilings, Ceilings):
            return msgspec.structs.replace(row, roofline=judged(work, ceilings, p50_ms))
        because = work if isinstance(work, str) else str(ceilings)
        return msgspec.structs.replace(row, roofline=None, null_because={**row.null_because, _FIGURE: because})

    def _with_search(self, row: Measurement) -> Measurement:
        """Return the row with how near its search comes to reading what it reads, or why that is not known."""
        if row.search is None:
            return row
        read = _EMULATED if self._device.emulated else bytes_of_query(row, self._bundle.manifest.dims)
        ceilings = self._ceilings_of(row.threads) if isinstance(read, int) else str(read)
        if isinstance(read, int) and isinstance(ceilings, Ceilings) and row.search.p50_ms:
            return msgspec.structs.replace(row, search_roofline=judged_search(read, ceilings, row.search.p50_ms))
        null_because = {**row.null_because, SEARCH_FIGURE: str(ceilings)}
        return msgspec.structs.replace(row, search_roofline=None, null_because=null_because)

    def judged_again(self, rows: Iterable[Measurement]) -> Iterator[Measurement]:
        """Yield the rows by the ceilings that there are now, which may be newer than theirs."""
        for row in rows:
            ceilings = self._ceilings.get(row.threads)
            if ceilings and row.roofline and row.encode:
                row = msgspec.structs.replace(row, roofline=judged(row.roofline.work, ceilings, row.encode.p50_ms))
            if ceilings and row.search_roofline and row.search and row.search.p50_ms:
                again = judged_search(row.search_roofline.bytes, ceilings, row.search.p50_ms)
                row = msgspec.structs.replace(row, search_roofline=again)
            yield row

    def _work_of(self, row: Measurement) -> Work | str:
        if self._device.emulated:  # counting and measuring would take minutes there, for a figure that says nothing
            return _EMULATED
        if row.callers > 1:
            return "the ceilings are of one caller"
        if row.provider in ON_GPU:
            return "the ceilings are of the processor, and a GPU computed this"
        key = row.precision, row.depth
        if key not in self._counts:
            self._counts[key] = self._counted(*key)
        counts = self._counts[key]
        if isinstance(counts, str):
            return counts
        for one in counts:
            if (one.dim, one.tokens, one.batch) == (_encoded_dim(row), row.tokens, row.batch):
                return one.work
        return "its operations were not counted"

    def _counted(self, precision: str, depth: int) -> tuple[jobs.CountedCalls, ...] | str:
        grid = self._grid
        larger = {plan.rerank_dim for plan in grid.plans if plan.rerank_dim}
        if any(plan.tuned or plan.kind == "ivf" for plan in grid.plans):
            larger |= set(self._bundle.manifest.dims)
        job = jobs.CountJob(
            bundle=str(self._bundle.folder.absolute()),
            precision=precision,
            depth=depth,
            dims=(*sorted({*grid.dims, *larger} - {grid.dims[-1]}), grid.dims[-1]),
            sample=self._sample,
            tokens=grid.tokens,
            batches=grid.batches,
            work=str(self._work),
        )
        started = time.perf_counter()
        answer = run_job(job, jobs.CountResult, self._work, os.cpu_count() or 1)
        self._spend("counting operations", time.perf_counter() - started)
        return f"counting: {answer.reason}" if isinstance(answer, jobs.Failure) else answer.calls

    def _ceilings_of(self, threads: int) -> Ceilings | str:
        if threads not in self._asked:
            kept = None if self._grid.new_ceilings else _kept(self._device, threads)
            found = self._asked[threads] = kept or self._measured(threads)
            if isinstance(found, Ceilings):
                self._ceilings[threads] = found
        return self._asked[threads]

    def _measured(self, threads: int) -> Ceilings | str:
        largest = min(_LARGEST_BYTES, psutil.virtual_memory().available // 4)
        job = jobs.CeilingsJob(threads, largest)
        started = time.perf_counter()
        answer = run_job(job, jobs.CeilingsResult, self._work, 1)
        self._spend("the machine's ceilings", time.perf_counter() - started)
        if isinstance(answer, jobs.Failure):
            return f"measuring the ceilings: {answer.reason}"
        _keep(self._device, answer.ceilings)
        return answer.ceilings


def _encoded_dim(row: Measurement) -> int:
    """Return the dimension of a row's queries: what ranks them again, or finds their nearest lists, may need more."""
    if row.search is None:
        return row.dim
    return row.search.rerank_dim or max(row.dim, int(row.search.parameters.get("cluster_dim", 0)))


def _entry(device: Device, ceilings: Ceilings) -> Kept:
    versions = {name: device.versions[name] for name in ("numpy", "onnxruntime")}
    return Kept(device.cpu, device.arch, device.cores, versions, ceilings)


def _read() -> list[Kept]:
    try:
        return msgspec.json.decode(cache_file().read_bytes(), type=list[Kept])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []  # there is none, or of another version: it can be measured again


def _kept(device: Device, threads: int) -> Ceilings | None:
    there = [one.ceilings for one in _read() if one.ceilings.threads == threads and one == _entry(device, one.ceilings)]
    return there[0] if there else None


def _keep(device: Device, ceilings: Ceilings) -> None:
    new = _entry(device, ceilings)
    others = [one for one in _read() if one.ceilings.threads != ceilings.threads or one != _entry(device, one.ceilings)]
    try:
        write_file(cache_file(), msgspec.json.format(msgspec.json.encode([*others, new]), indent=1))
    except OSError:
        return  # a home that cannot be written to: the next run measures again
