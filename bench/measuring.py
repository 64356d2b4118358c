"""One measured process: a configuration, or a glimpse of it, and what its row says of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import psutil
from mrl_edge.bench import jobs
from mrl_edge.bench.configuration import Configuration
from mrl_edge.bench.jobs import Prepared
from mrl_edge.bench.page_cache import drop
from mrl_edge.bench.path import HITS
from mrl_edge.bench.place import Place
from mrl_edge.bench.preparing import Grid
from mrl_edge.bench.processes import CACHE, Answer, cached, clear_cache, run_job
from mrl_edge.bench.results import Measurement, SearchResult
from mrl_edge.bench.seen import with_energy, with_system
from mrl_edge.bench.watching import watching

from mrl_edge.bundle import MANIFEST, Bundle
from mrl_edge.levers import MAPPED_PREPACK
from mrl_edge.providers import TENSORRT

_BUSY_SECONDS = 0.1  # how long other work is watched before and after a configuration


class Measuring:
    """The processes of one run, under the limits of its place; `spend` is told the seconds."""

    def __init__(
        self, bundle: Bundle, task: jobs.Task, grid: Grid, place: Place, work: Path, spend: Callable[[str, float], None]
    ) -> None:
        self._bundle, self._grid, self._place, self._work, self._spend = bundle, grid, place, work, spend
        self._sample = task.latency_sample()
        places = {text: number for number, text in enumerate(task.queries)}
        self._sampled = [places[text] for text in self._sample.texts] if task.queries else []

    def glimpse(self, configuration: Configuration, seconds: float) -> jobs.MeasureResult | jobs.Failure:
        """Return what a short process of encoding alone sees."""
        started = time.perf_counter()
        job = msgspec.structs.replace(self._job(None, configuration), max_seconds=seconds)
        self._begin(job)
        answer = self._run(job, jobs.MeasureResult, job)
        self._spend("glimpses", time.perf_counter() - started)
        return answer

    def row(self, row: Measurement, prepared: Prepared | None, configuration: Configuration) -> Measurement:
        """Return a row with the figures of one process."""
        job = self._job(prepared, configuration)
        self._begin(job)
        started = time.perf_counter()
        before = psutil.cpu_percent(_BUSY_SECONDS)
        with watching(row.provider) as watch:
            answer = self._run(job, jobs.MeasureResult, job)
        after = psutil.cpu_percent(_BUSY_SECONDS)
        self._spend("measuring", time.perf_counter() - started)
        row = with_system(row, watch, before, after)
        if isinstance(answer, jobs.Failure):
            return failed(row, answer)
        row = msgspec.structs.replace(row, null_because={**row.null_because, **answer.null_because})
        row = msgspec.structs.replace(
            row,
            encode=answer.encode,
            query=answer.query,
            cold_start_ms=answer.cold_start_ms,
            load_ms=answer.load_ms,
            first_ms=answer.first_ms,
            memory=msgspec.structs.replace(answer.memory, gpu_bytes=watch.gpu_peak_bytes),
            temperature_c=watch.temperature_max_c,
            throughput=answer.throughput,
            server=answer.server,
            nodes=answer.nodes,
        )
        row = with_energy(row, answer, watch)
        if prepared is None:
            return row
        disk = msgspec.structs.replace(prepared.disk, model_bytes=prepared.disk.model_bytes + answer.cached_bytes)
        return msgspec.structs.replace(
            row,
            disk=disk,
            search=self._search(prepared, answer.search),
            quality=prepared.quality,
            fidelity=prepared.fidelity,
        )

    def with_first_vector(self, row: Measurement, prepared: Prepared, configuration: Configuration) -> Measurement:
        """Return a row with the cold start of another process, all files that it opens dropped from the page cache."""
        if row.status != "ok":
            return row
        started = time.perf_counter()
        dropped_ms, because = self._first_vector(prepared, self._job(prepared, configuration))
        self._spend("cold starts with files dropped", time.perf_counter() - started)
        row = msgspec.structs.replace(row, cold_start_dropped_ms=dropped_ms)
        return row if because is None else _without(row, "cold_start_dropped_ms", because)

    def _begin(self, job: jobs.MeasureJob) -> None:
        """Leave in the cache what a device has there in all but its first start."""
        clear_cache(self._work)
        if job.provider == TENSORRT:
            self._run(jobs.WarmJob(job), jobs.FirstResult, job)
        elif MAPPED_PREPACK in job.runtime:
            self._run(jobs.FirstJob(job), jobs.FirstResult, job)

    def _run(self, job: jobs.Job, kind: type[Answer], measure: jobs.MeasureJob) -> Answer | jobs.Failure:
        """Run what is measured, or belongs to it, under the limits of the place."""
        return run_job(job, kind, self._work, measure.threads, self._place.command, _cache_of(measure))

    def _search(self, prepared: Prepared, times: jobs.SearchTimes | None) -> SearchResult | None:
        """Return what is known of a search; the measured process' hits are compared with those that were scored."""
        if prepared.search is None or prepared.hits is None or times is None:
            return None
        scored = np.fromfile(prepared.hits, dtype=np.int64).reshape(-1, HITS)[self._sampled].tolist()
        same = [{*ours} == {*theirs} - {-1} for ours, theirs in zip(times.hits, scored, strict=True)]
        return msgspec.structs.replace(
            prepared.search,
            p50_ms=times.p50_ms,
            p99_ms=times.p99_ms,
            shortlist_p50_ms=times.shortlist_p50_ms,
            rerank_p50_ms=times.rerank_p50_ms,
            same_hits=sum(same) / len(same),
        )

    def _job(self, prepared: Prepared | None, configuration: Configuration) -> jobs.MeasureJob:
        return jobs.MeasureJob(
            bundle=str(self._bundle.folder.absolute()),
            precision=configuration.precision,
            depth=configuration.depth,
            threads=configuration.threads,
            sample=self._sample,
            dim=configuration.dim,
            prepared=prepared,
            tokens=configuration.tokens,
            max_seconds=self._grid.max_seconds / self._grid.processes(configuration),
            batch=configuration.batch,
            callers=configuration.callers,
            p99_limit_ms=configuration.p99_limit_ms,
            runtime=configuration.runtime,
            provider=configuration.provider,
            least_samples=self._grid.least_samples(configuration),
        )

    def _first_vector(self, prepared: Prepared, job: jobs.MeasureJob) -> tuple[float | None, str | None]:
        """Return the cold start, or why there is none."""
        variant = self._bundle.variant(job.precision, job.depth, job.provider)
        names = (
            MANIFEST,
            variant.weights,
            self._bundle.graph(variant, prepared.encode_dim).file,
            *self._bundle.input_files,
        )
        searched = prepared.index.paths if prepared.index else ()
        reason = drop([*(self._bundle.folder / name for name in names), *searched, *cached(self._work, _cache_of(job))])
        if reason is not None:
            return None, reason
        answer = self._run(jobs.FirstJob(job), jobs.FirstResult, job)
        return (None, answer.reason) if isinstance(answer, jobs.Failure) else (answer.cold_start_ms, None)


def _cache_of(job: jobs.MeasureJob) -> str:
    """Return the cache's folder: TensorRT's engines take minutes, and are a configuration's for all its processes."""
    if job.provider != TENSORRT:
        return CACHE
    return f"engines-{hashlib.sha256(msgspec.json.encode(job)).hexdigest()[:12]}"


def failed(row: Measurement, failure: jobs.Failure) -> Measurement:
    """Return a row that says why it has no figures."""
    return msgspec.structs.replace(row, status=failure.status, reason=failure.reason)


def _without(row: Measurement, figure: str, because: str) -> Measurement:
    """Say why a figure is null."""
    return msgspec.structs.replace(row, null_because={**row.null_because, figure: because})
