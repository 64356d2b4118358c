"""One run of measuring: its rows so far, what is still missing, and the process of a configuration.

Shared within a variant (depth × precision): the embedding of the task, the indexes, the quality of their
hits. Measured for each configuration alone: latency, memory, cold start.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
from mrl_edge.bench import jobs
from mrl_edge.bench.agreement import compare
from mrl_edge.bench.configuration import Configuration, configuration_of
from mrl_edge.bench.jobs import Prepared
from mrl_edge.bench.page_cache import drop
from mrl_edge.bench.path import HITS
from mrl_edge.bench.place import Place, variant_name
from mrl_edge.bench.preparing import Grid, Preparations
from mrl_edge.bench.processes import Answer, cached, clear_cache, run_job
from mrl_edge.bench.repeats import processes_of, together
from mrl_edge.bench.results import IndexPlan, Measurement, Narrowing, SearchResult, write_results
from mrl_edge.bench.resuming import Processes, resume, work_folder
from mrl_edge.bench.roofline import Rooflines
from mrl_edge.bench.scenarios import with_scenarios
from mrl_edge.bench.seen import with_energy, with_system
from mrl_edge.bench.watching import watching

from mrl_edge.bundle import MANIFEST, Bundle, Variant
from mrl_edge.levers import MAPPED_PREPACK
from mrl_edge.progress import Report

PROVIDER = "CPUExecutionProvider"
_BUSY_SECONDS = 0.1  # how long other work is watched before and after a configuration


def data_sha256(task: jobs.Task) -> str:
    """Return what tells one task's data from another's in a results file."""
    return hashlib.sha256(msgspec.json.encode(task)).hexdigest()


def settings_of(task: jobs.Task, source: str, grid: Grid) -> dict[str, Any]:
    """Return what must be the same for rows to stand in one results file, and what was asked for."""
    return {
        "data": Path(source).name,
        "data_sha256": data_sha256(task),
        "queries": len(task.queries),
        "documents": len(task.documents),
        "texts": len(task.texts),
        "max_seconds": grid.max_seconds,
        "repeats": grid.repeats,
        "target_recall": grid.target_recall,
        "vectors": grid.storage,
        **({"asked": grid.asked} if grid.asked else {}),
    }


class Run:
    """The rows so far, and the folder with vectors and indexes that an interrupted run leaves for the next."""

    def __init__(
        self, bundle: Bundle, task: jobs.Task, source: str, grid: Grid, out: Path, report: Report, place: Place
    ) -> None:
        self.bundle = bundle
        self.place = place
        self._agreements: dict[str, float | jobs.Failure] = {}
        self.grid = grid
        self.out = out
        self.plans: tuple[IndexPlan | None, ...] = grid.plans if task.documents else (None,)
        content = msgspec.json.encode(task)
        settings = settings_of(task, source, grid)
        self.results = resume(out, bundle, place.device, settings)
        self.sample = task.latency_sample()
        places = {text: number for number, text in enumerate(task.queries)}
        self._sampled = [places[text] for text in self.sample.texts] if task.queries else []
        device = self.results.device
        held = device.capped_to, device.ram_bytes, device.cores
        run = f"{bundle.identity()}{settings}{grid.dims}{grid.plans}{device.versions}{held}".encode()
        self.work = work_folder(out) / hashlib.sha256(run).hexdigest()[:12]
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / "task.json").write_bytes(content)
        self.preparations = Preparations(bundle, grid, self.work, self._spend, report)
        self._rooflines = Rooflines(bundle, self.sample, grid, self.results.device, self.results.ceilings, self.work)
        self.processes = Processes(self.work / "processes")
        there = {configuration_of(row): processes_of(row) for row in self.results.measurements}
        for configuration in self.processes:  # the last may have been killed before its row was in the file
            if there.get(configuration) != len(self.processes.rows(configuration)):
                self._put(configuration)

    def missing(self, variant: Variant) -> list[Configuration]:
        """Return the variant's configurations that lack processes; failed ones are tried again."""
        there = {configuration_of(row) for row in self.results.measurements if self._complete(row)}
        name, depth, full = variant.precision, variant.depth, self.grid.dims[-1]
        wanted = []
        for threads, runtime in product(self.grid.threads, self.grid.runtimes):
            wanted += [
                Configuration(name, depth, dim, threads, plan, None, runtime=runtime)
                for dim in self.grid.dims
                for plan in self.plans
                if plan is None or plan.applies_to(dim, self.bundle.manifest.dims[-1])
            ]
            alone = Configuration(name, depth, full, threads, None, None, runtime=runtime)
            wanted += [replace(alone, tokens=tokens) for tokens in self.grid.tokens]
            wanted += [replace(alone, batch=batch) for batch in self.grid.batches]
            wanted += [replace(alone, callers=callers) for callers in self.grid.callers]
            limit = self.grid.p99_limit_ms
            wanted += [replace(alone, callers=callers, p99_limit_ms=limit) for callers in self.grid.servers]
        return [configuration for configuration in wanted if configuration not in there]

    def measure(self, variant: Variant, configuration: Configuration) -> Measurement:
        """Return the row of one process of a configuration."""
        row = self.row(variant, configuration)
        agreed = self._agreement(variant)
        if isinstance(agreed, jobs.Failure):
            return _failed(row, agreed)
        row = msgspec.structs.replace(row, host_cosine=agreed)
        if configuration.encodes_only:
            return self._measured(row, None, configuration)
        answer = self.preparations.of(variant)
        if isinstance(answer, jobs.Failure):
            return _failed(row, answer)
        wanted = (configuration.dim, configuration.plan)
        prepared = next(p for p in answer.configurations if (p.dim, p.plan) == wanted)
        return self._measured(row, prepared, configuration)

    def row(self, variant: Variant, configuration: Configuration) -> Measurement:
        """Return a row without figures."""
        return Measurement(
            precision=variant.precision,
            target=variant.target,
            depth=variant.depth,
            dim=configuration.dim,
            provider=PROVIDER,
            threads=configuration.threads,
            batch=configuration.batch,
            tokens=configuration.tokens,
            status="ok",
            plan=configuration.plan,
            runtime=configuration.runtime,
            callers=configuration.callers,
            p99_limit_ms=configuration.p99_limit_ms,
        )

    def glimpse(self, configuration: Configuration, seconds: float) -> jobs.MeasureResult | jobs.Failure:
        """Return what a short process of encoding alone sees; it makes no row."""
        started = time.perf_counter()
        job = msgspec.structs.replace(self._job(None, configuration), max_seconds=seconds)
        self._begin(job)
        answer = self._run(job, jobs.MeasureResult, configuration.threads)
        self._spend("glimpses", time.perf_counter() - started)
        return answer

    def _agreement(self, variant: Variant) -> float | jobs.Failure | None:
        """Compare vectors with the host's, once a variant; there is nothing to compare with on the host itself."""
        if self.place.expected is None:
            return None
        name = variant_name(variant)
        if name not in self._agreements:
            expected = self.place.expected[name]
            self._agreements[name] = compare(self.bundle, variant, self.sample, expected, self.work)
        return self._agreements[name]

    def add(self, row: Measurement) -> None:
        """Write the file with one more process of a configuration in its row."""
        self.processes.add(row)
        self._put(configuration_of(row))
        write_results(self.out, self.results)

    def narrowed(self, narrowing: Narrowing | None) -> None:
        """Say in the results what was left out; None of a whole sweep."""
        self.results = msgspec.structs.replace(self.results, narrowing=narrowing)

    def finish(self) -> None:
        """Write the file even if nothing was missing."""
        named = tuple(with_scenarios(self.results.measurements))
        self.results = msgspec.structs.replace(self.results, measurements=named)
        write_results(self.out, self.results)

    def _complete(self, row: Measurement) -> bool:
        """Whether nothing is to be measured for a row of the results file; what failed is tried again."""
        return row.status not in {"ok", "failed"} or processes_of(row) == self.grid.processes(configuration_of(row))

    def _put(self, configuration: Configuration) -> None:
        rows = {configuration_of(old): old for old in self.results.measurements}  # a row keeps its place
        rows[configuration] = self._rooflines.of(together(self.processes.rows(configuration)))
        judged = tuple(self._rooflines.judged_again(with_scenarios(tuple(rows.values()))))
        self.results = msgspec.structs.replace(self.results, measurements=judged, ceilings=self._rooflines.ceilings)

    def _spend(self, what: str, seconds: float) -> None:
        spent_s = dict(self.results.spent_s)
        spent_s[what] = spent_s.get(what, 0.0) + seconds
        self.results = msgspec.structs.replace(self.results, spent_s=spent_s)

    def _measured(self, row: Measurement, prepared: Prepared | None, configuration: Configuration) -> Measurement:
        job = self._job(prepared, configuration)
        self._begin(job)
        started = time.perf_counter()
        before = psutil.cpu_percent(_BUSY_SECONDS)
        with watching(PROVIDER) as watch:
            answer = self._run(job, jobs.MeasureResult, configuration.threads)
        after = psutil.cpu_percent(_BUSY_SECONDS)
        self._spend("measuring", time.perf_counter() - started)
        row = with_system(row, watch, before, after)
        if isinstance(answer, jobs.Failure):
            return _failed(row, answer)
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
        )
        row = with_energy(row, answer, watch)
        if prepared is None:
            return row
        if not self.processes.rows(configuration):  # its first process
            started = time.perf_counter()
            dropped_ms, because = self._first_vector(prepared, job)
            self._spend("cold starts with files dropped", time.perf_counter() - started)
            row = msgspec.structs.replace(row, cold_start_dropped_ms=dropped_ms)
            if because is not None:
                row = _without(row, "cold_start_dropped_ms", because)
        disk = msgspec.structs.replace(prepared.disk, model_bytes=prepared.disk.model_bytes + answer.cached_bytes)
        return msgspec.structs.replace(
            row,
            disk=disk,
            search=self._search(prepared, answer.search),
            quality=prepared.quality,
            fidelity=prepared.fidelity,
        )

    def _begin(self, job: jobs.MeasureJob) -> None:
        """Leave in the cache what a device has there in all but its first start."""
        clear_cache(self.work)
        if MAPPED_PREPACK in job.runtime:
            self._run(jobs.FirstJob(job), jobs.FirstResult, job.threads)

    def _run(self, job: jobs.Job, kind: type[Answer], threads: int) -> Answer | jobs.Failure:
        """Run what is measured under the limits of the place."""
        return run_job(job, kind, self.work, threads, self.place.command)

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
            bundle=str(self.bundle.folder.absolute()),
            precision=configuration.precision,
            depth=configuration.depth,
            threads=configuration.threads,
            sample=self.sample,
            dim=configuration.dim,
            prepared=prepared,
            tokens=configuration.tokens,
            max_seconds=self.grid.max_seconds / self.grid.processes(configuration),
            batch=configuration.batch,
            callers=configuration.callers,
            p99_limit_ms=configuration.p99_limit_ms,
            runtime=configuration.runtime,
        )

    def _first_vector(self, prepared: Prepared, job: jobs.MeasureJob) -> tuple[float | None, str | None]:
        """Return the cold start with all files that it opens dropped from the page cache, or why there is none."""
        variant = self.bundle.variant(job.precision, job.depth)
        names = (
            MANIFEST,
            variant.weights,
            self.bundle.graph(variant, prepared.encode_dim).file,
            *self.bundle.input_files,
        )
        searched = prepared.index.paths if prepared.index else ()
        reason = drop([*(self.bundle.folder / name for name in names), *searched, *cached(self.work)])
        if reason is not None:
            return None, reason
        answer = self._run(jobs.FirstJob(job), jobs.FirstResult, job.threads)
        return (None, answer.reason) if isinstance(answer, jobs.Failure) else (answer.cold_start_ms, None)


def _without(row: Measurement, figure: str, because: str) -> Measurement:
    """Say why a figure is null."""
    return msgspec.structs.replace(row, null_because={**row.null_because, figure: because})


def _failed(row: Measurement, failure: jobs.Failure) -> Measurement:
    return msgspec.structs.replace(row, status=failure.status, reason=failure.reason)
