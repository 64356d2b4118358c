"""Every configuration of a bundle, each in a process of its own; the file grows by a row at a time.

Shared within a variant (depth × precision): the embedding of the task, the indexes, the quality of their
hits. Measured for each configuration alone: latency, memory, cold start.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import msgspec
import psutil
from mrl_edge.bench import jobs
from mrl_edge.bench.configuration import Configuration, configuration_of
from mrl_edge.bench.jobs import Prepared
from mrl_edge.bench.page_cache import drop
from mrl_edge.bench.processes import cached, clear_cache, run_job
from mrl_edge.bench.results import IndexPlan, Measurement, Results, write_results
from mrl_edge.bench.resuming import exclusive, resume, work_folder
from mrl_edge.bench.roofline import Rooflines
from mrl_edge.bench.scenarios import with_scenarios
from mrl_edge.bench.seen import with_energy, with_system
from mrl_edge.bench.watching import watching

from mrl_edge.atomic import write_file
from mrl_edge.bundle import MANIFEST, Bundle, Variant
from mrl_edge.levers import MAPPED_PREPACK
from mrl_edge.progress import Report, silent

PROVIDER = "CPUExecutionProvider"
KINDS = ("annoy", "exact")
_BUSY_SECONDS = 0.1  # how long other work is watched before and after a configuration


@dataclass(frozen=True)
class Grid:
    """What to measure."""

    precisions: tuple[str, ...]
    depths: tuple[int, ...]
    dims: tuple[int, ...]
    threads: tuple[int, ...]
    plans: tuple[IndexPlan, ...]
    tokens: tuple[int, ...]  # fixed lengths, measured once a variant and thread count at the largest dimension
    max_seconds: float
    target_recall: float
    batches: tuple[int, ...] = ()  # texts a call, besides 1; measured as the fixed lengths are
    callers: tuple[int, ...] = ()  # threads that call one session at once, besides 1; likewise
    servers: tuple[int, ...] = ()  # threads that answer texts which arrive by chance; likewise
    p99_limit_ms: float | None = None  # of those texts
    runtimes: tuple[tuple[str, ...], ...] = ((),)  # settings of onnxruntime, each measured with everything
    new_ceilings: bool = False  # of the machine, measured again


def sweep(bundle: Bundle, task: jobs.Task, source: str, grid: Grid, out: Path, report: Report = silent) -> Results:
    """Measure the grid and write `out` after every configuration; rows that are already there are kept.

    Raises `ResultsError` when `out` holds measurements of another bundle, machine, data or settings.
    """
    with exclusive(out):
        return _sweep(_Sweep(bundle, task, source, grid, out), bundle, grid, report)


def _sweep(run: _Sweep, bundle: Bundle, grid: Grid, report: Report) -> Results:
    variants = [bundle.variant(precision, depth) for precision in grid.precisions for depth in grid.depths]
    # fp32 at full depth comes first: the others' fidelity is measured against its vectors.
    variants.sort(key=lambda v: (v.precision != "fp32", -v.depth))
    todo = [(variant, run.missing(variant)) for variant in variants]
    total = sum(len(configurations) for _, configurations in todo)
    done = 0
    for variant, configurations in todo:
        for configuration in configurations:
            report("measuring", done, total, str(configuration))
            run.add(run.measure(variant, configuration))
            done += 1
    if total:
        report("measuring", total, total)
    run.finish()
    return run.results


def data_sha256(task: jobs.Task) -> str:
    """Return what tells one task's data from another's in a results file."""
    return hashlib.sha256(msgspec.json.encode(task)).hexdigest()


class _Sweep:
    """The rows so far, and the folder with vectors and indexes that an interrupted run leaves for the next."""

    def __init__(self, bundle: Bundle, task: jobs.Task, source: str, grid: Grid, out: Path) -> None:
        self.bundle = bundle
        self.grid = grid
        self.out = out
        self._answers: dict[tuple[str, int], jobs.PrepareResult | jobs.Failure] = {}  # by weights and depth
        self.plans: tuple[IndexPlan | None, ...] = grid.plans if task.documents else (None,)
        content = msgspec.json.encode(task)
        settings = {
            "data": Path(source).name,
            "data_sha256": data_sha256(task),
            "queries": len(task.queries),
            "documents": len(task.documents),
            "texts": len(task.texts),
            "max_seconds": grid.max_seconds,
            "target_recall": grid.target_recall,
        }
        self.results = resume(out, bundle, settings)
        self.sample = task.latency_sample()
        versions = self.results.device.versions
        run = f"{bundle.identity()}{settings}{grid.dims}{grid.plans}{versions}".encode()
        self.work = work_folder(out) / hashlib.sha256(run).hexdigest()[:12]
        self.work.mkdir(parents=True, exist_ok=True)
        self._rooflines = Rooflines(bundle, self.sample, grid, self.results.device, self.results.ceilings, self.work)
        self.task = self.work / "task.json"
        self.task.write_bytes(content)

    def missing(self, variant: Variant) -> list[Configuration]:
        """Return the variant's configurations that have no row yet; failed ones are tried again."""
        there = {configuration_of(row) for row in self.results.measurements if row.status != "failed"}
        name, depth, full = variant.precision, variant.depth, self.grid.dims[-1]
        wanted = []
        for threads, runtime in product(self.grid.threads, self.grid.runtimes):
            wanted += [
                Configuration(name, depth, dim, threads, plan, None, runtime=runtime)
                for dim in self.grid.dims
                for plan in self.plans
                if plan is None or plan.applies_to(dim)
            ]
            alone = Configuration(name, depth, full, threads, None, None, runtime=runtime)
            wanted += [replace(alone, tokens=tokens) for tokens in self.grid.tokens]
            wanted += [replace(alone, batch=batch) for batch in self.grid.batches]
            wanted += [replace(alone, callers=callers) for callers in self.grid.callers]
            limit = self.grid.p99_limit_ms
            wanted += [replace(alone, callers=callers, p99_limit_ms=limit) for callers in self.grid.servers]
        return [configuration for configuration in wanted if configuration not in there]

    def measure(self, variant: Variant, configuration: Configuration) -> Measurement:
        """Return the row of one configuration."""
        row = _row(variant, configuration)
        if configuration.encodes_only:
            return self._measured(row, None, configuration)
        answer = self._prepare(variant)
        if isinstance(answer, jobs.Failure):
            return _failed(row, answer)
        wanted = (configuration.dim, configuration.plan)
        prepared = next(p for p in answer.configurations if (p.dim, p.plan) == wanted)
        return self._measured(row, prepared, configuration)

    def add(self, row: Measurement) -> None:
        """Write the file with one more row; a failed row of the same configuration goes."""
        row = self._rooflines.of(row)
        new = configuration_of(row)
        kept = [old for old in self.results.measurements if configuration_of(old) != new]
        rows = tuple(self._rooflines.judged_again(with_scenarios([*kept, row])))
        self.results = msgspec.structs.replace(self.results, measurements=rows, ceilings=self._rooflines.ceilings)
        write_results(self.out, self.results)

    def finish(self) -> None:
        """Write the file even if nothing was missing."""
        named = tuple(with_scenarios(self.results.measurements))
        self.results = msgspec.structs.replace(self.results, measurements=named)
        write_results(self.out, self.results)

    def _prepare(self, variant: Variant) -> jobs.PrepareResult | jobs.Failure:
        """Prepare a variant once, with the fp32 query vectors to compare its own with."""
        key = variant.weights, variant.depth
        if key in self._answers:
            return self._answers[key]
        full_depth = self.bundle.manifest.depths[-1]
        reference = None
        if (variant.precision, variant.depth) != ("fp32", full_depth) and "fp32" in self.bundle.precisions():
            reference = self._reference(self.bundle.variant("fp32", full_depth))
        name = f"{variant.precision}-L{variant.depth}"
        self._answers[key] = self._prepared(variant, name, self.grid.dims, reference)
        return self._answers[key]

    def _reference(self, fp32: Variant) -> str | None:
        """Return the file with the query vectors of fp32 at full depth, or None where it cannot be run."""
        answer = self._answers.get((fp32.weights, fp32.depth)) or self._prepared(fp32, "reference", (), None)
        return None if isinstance(answer, jobs.Failure) else answer.query_vectors

    def _prepared(
        self, variant: Variant, name: str, dims: tuple[int, ...], reference: str | None
    ) -> jobs.PrepareResult | jobs.Failure:
        """Run a preparation, or read what an interrupted run prepared."""
        work = self.work / name
        kept = work / "prepared.json"
        if kept.is_file():
            return msgspec.json.decode(kept.read_bytes(), type=jobs.PrepareResult)
        job = jobs.PrepareJob(
            bundle=str(self.bundle.folder.absolute()),
            precision=variant.precision,
            depth=variant.depth,
            dims=dims,
            plans=self.grid.plans,
            task=str(self.task),
            reference=reference,
            target_recall=self.grid.target_recall,
            work=str(work),
        )
        answer = run_job(job, jobs.PrepareResult, self.work, os.cpu_count() or 1)
        if isinstance(answer, jobs.PrepareResult):
            write_file(kept, msgspec.json.encode(answer))
        return answer

    def _measured(self, row: Measurement, prepared: Prepared | None, configuration: Configuration) -> Measurement:
        job = self._job(prepared, configuration)
        clear_cache(self.work)
        if MAPPED_PREPACK in configuration.runtime:  # its file is there before, as in all but a device's first start
            run_job(jobs.FirstJob(job), jobs.FirstResult, self.work, configuration.threads)
        before = psutil.cpu_percent(_BUSY_SECONDS)
        with watching(PROVIDER) as watch:
            answer = run_job(job, jobs.MeasureResult, self.work, configuration.threads)
        after = psutil.cpu_percent(_BUSY_SECONDS)
        row = with_system(row, watch, before, after)
        if isinstance(answer, jobs.Failure):
            return _failed(row, answer)
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
        dropped_ms, because = self._first_vector(prepared, job)
        row = msgspec.structs.replace(row, cold_start_dropped_ms=dropped_ms)
        if because is not None:
            row = _without(row, "cold_start_dropped_ms", because)
        search = prepared.search
        if search is not None:
            search = msgspec.structs.replace(search, p50_ms=answer.search_p50_ms, p99_ms=answer.search_p99_ms)
        disk = msgspec.structs.replace(prepared.disk, model_bytes=prepared.disk.model_bytes + answer.cached_bytes)
        return msgspec.structs.replace(
            row, disk=disk, search=search, quality=prepared.quality, fidelity=prepared.fidelity
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
            max_seconds=self.grid.max_seconds,
            batch=configuration.batch,
            callers=configuration.callers,
            p99_limit_ms=configuration.p99_limit_ms,
            runtime=configuration.runtime,
        )

    def _first_vector(self, prepared: Prepared, job: jobs.MeasureJob) -> tuple[float | None, str | None]:
        """Return the cold start with all files that it opens dropped from the page cache, or why there is none."""
        variant = self.bundle.variant(job.precision, job.depth)
        dim = prepared.plan.rerank_dim or job.dim if prepared.plan else job.dim
        names = (MANIFEST, variant.weights, self.bundle.graph(variant, dim).file, *self.bundle.input_files)
        searched = [Path(file) for file in (prepared.index_file, prepared.vectors_file) if file]
        reason = drop([*(self.bundle.folder / name for name in names), *searched, *cached(self.work)])
        if reason is not None:
            return None, reason
        answer = run_job(jobs.FirstJob(job), jobs.FirstResult, self.work, job.threads)
        return (None, answer.reason) if isinstance(answer, jobs.Failure) else (answer.cold_start_ms, None)


def _row(variant: Variant, configuration: Configuration) -> Measurement:
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


def _without(row: Measurement, figure: str, because: str) -> Measurement:
    """Say why a figure is null."""
    return msgspec.structs.replace(row, null_because={**row.null_because, figure: because})


def _failed(row: Measurement, failure: jobs.Failure) -> Measurement:
    return msgspec.structs.replace(row, status=failure.status, reason=failure.reason)
