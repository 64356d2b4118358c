"""Every configuration of a bundle, each in a process of its own; the file grows by a row at a time.

Shared within a variant (depth × precision): the embedding of the task, the indexes, the quality of their
hits. Measured for each configuration alone: latency, memory, cold start.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil
from mrl_edge.bench import jobs
from mrl_edge.bench.jobs import Prepared
from mrl_edge.bench.results import (
    SCHEMA_VERSION,
    BundleRef,
    IndexPlan,
    Measurement,
    Results,
    System,
    read_results,
    write_results,
)
from mrl_edge.devices.local import describe

from mrl_edge.atomic import write_file
from mrl_edge.bundle import Bundle, Variant
from mrl_edge.errors import ResultsError
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
    tokens: tuple[int, ...]  # fixed lengths, measured once a variant and thread count at the full dimension
    max_seconds: float
    target_recall: float


def sweep(bundle: Bundle, task: jobs.Task, source: str, grid: Grid, out: Path, report: Report = silent) -> Results:
    """Measure the grid and write `out` after every configuration; rows that are already there are kept.

    Raises `ResultsError` when `out` holds measurements of another bundle, machine, data or settings.
    """
    run = _Sweep(bundle, task, source, grid, out)
    variants = [bundle.variant(precision, depth) for precision in grid.precisions for depth in grid.depths]
    # fp32 at full depth comes first: the others' fidelity is measured against its vectors.
    variants.sort(key=lambda v: (v.precision != "fp32", -v.depth))
    todo = {variant: run.missing(variant) for variant in variants}
    total = sum(map(len, todo.values()))
    done = 0
    for variant, configurations in todo.items():
        for configuration, measurements in run.measure(variant, configurations, report):
            done += 1
            report(f"measuring ({configuration} is done)", done, total)
            run.add(measurements)
    run.finish()
    return run.results


@dataclass(frozen=True)
class Configuration:
    """What one process measures."""

    precision: str
    depth: int
    dim: int
    threads: int
    plan: IndexPlan | None

    def __str__(self) -> str:
        """Name the configuration for the progress display."""
        index = f" {self.plan.kind}" if self.plan else ""
        return f"{self.precision} d{self.dim}{index}"


class _Sweep:
    """The rows so far, and the folder with vectors and indexes that an interrupted run leaves for the next."""

    def __init__(self, bundle: Bundle, task: jobs.Task, source: str, grid: Grid, out: Path) -> None:
        self.bundle = bundle
        self.grid = grid
        self.out = out
        self.plans: tuple[IndexPlan | None, ...] = grid.plans if task.documents else (None,)
        content = msgspec.json.encode(task)
        settings = {
            "data": Path(source).name,
            "data_sha256": hashlib.sha256(content).hexdigest(),
            "queries": len(task.queries),
            "documents": len(task.documents),
            "texts": len(task.texts),
            "max_seconds": grid.max_seconds,
            "target_recall": grid.target_recall,
        }
        self.results = _resume(out, bundle, settings)
        run = f"{bundle.identity()}{settings}{grid.dims}{grid.plans}".encode()
        self.work = out.absolute().parent / f".{out.name}.{hashlib.sha256(run).hexdigest()[:12]}"
        self.work.mkdir(parents=True, exist_ok=True)
        self.task = self.work / "task.json"
        self.task.write_bytes(content)

    def missing(self, variant: Variant) -> list[Configuration]:
        """Return the variant's configurations that have no row yet; failed ones are tried again."""
        there = {_configuration_of(row) for row in self.results.measurements if row.status != "failed"}
        wanted = [
            Configuration(variant.precision, variant.depth, dim, threads, plan)
            for threads in self.grid.threads
            for dim in self.grid.dims
            for plan in self.plans
            if plan is None or plan.applies_to(dim)
        ]
        return [configuration for configuration in wanted if configuration not in there]

    def measure(
        self, variant: Variant, configurations: list[Configuration], report: Report
    ) -> Iterator[tuple[Configuration, list[Measurement]]]:
        """Yield the rows of each configuration: real texts, and the fixed lengths with the last one."""
        if not configurations:
            return
        stage = f"embedding and indexing in {variant.precision} at depth {variant.depth}"
        report(stage, 0, 1)
        answer = self._prepare(variant)
        report(stage, 1, 1)
        for configuration in configurations:
            row = self._row(variant, configuration)
            if isinstance(answer, jobs.Failure):
                yield configuration, [_failed(row, answer)]
                continue
            prepared = next(
                p for p in answer.configurations if (p.dim, p.plan) == (configuration.dim, configuration.plan)
            )
            tokens = self.grid.tokens if configuration == configurations[-1] else ()
            yield configuration, self._measured(row, prepared, configuration, tokens)

    def add(self, rows: list[Measurement]) -> None:
        """Write the file with some more rows; a failed row of the same configuration goes."""
        new = {_configuration_of(row) for row in rows}
        kept = [row for row in self.results.measurements if row.status != "failed" or _configuration_of(row) not in new]
        self.results = msgspec.structs.replace(self.results, measurements=(*kept, *rows))
        write_results(self.out, self.results)

    def finish(self) -> None:
        """Write the file even if nothing was missing, and remove the work folder."""
        write_results(self.out, self.results)
        shutil.rmtree(self.work, ignore_errors=True)

    def _prepare(self, variant: Variant) -> jobs.PrepareResult | jobs.Failure:
        full_depth = self.bundle.manifest.depths[-1]
        is_reference = variant.precision == "fp32" and variant.depth == full_depth
        reference = None
        if not is_reference and "fp32" in self.bundle.precisions():
            answer = self._prepared(self.bundle.variant("fp32", full_depth), None)
            reference = None if isinstance(answer, jobs.Failure) else answer.query_vectors
        return self._prepared(variant, reference)

    def _prepared(self, variant: Variant, reference: str | None) -> jobs.PrepareResult | jobs.Failure:
        """Prepare a variant, or read what an interrupted run prepared."""
        wanted = variant.precision in self.grid.precisions and variant.depth in self.grid.depths
        work = self.work / f"{variant.precision}-L{variant.depth}"
        kept = work / "prepared.json"
        if kept.is_file():
            return msgspec.json.decode(kept.read_bytes(), type=jobs.PrepareResult)
        job = jobs.PrepareJob(
            bundle=str(self.bundle.folder.absolute()),
            precision=variant.precision,
            depth=variant.depth,
            dims=self.grid.dims if wanted else (),
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

    def _measured(
        self, row: Measurement, prepared: Prepared, configuration: Configuration, tokens: tuple[int, ...]
    ) -> list[Measurement]:
        job = jobs.MeasureJob(
            bundle=str(self.bundle.folder.absolute()),
            precision=configuration.precision,
            depth=configuration.depth,
            threads=configuration.threads,
            task=str(self.task),
            prepared=prepared,
            tokens=tokens,
            max_seconds=self.grid.max_seconds,
        )
        before = psutil.cpu_percent(_BUSY_SECONDS)
        answer = run_job(job, jobs.MeasureResult, self.work, configuration.threads)
        system = System(before, psutil.cpu_percent(_BUSY_SECONDS))
        row = msgspec.structs.replace(row, system=system)
        if isinstance(answer, jobs.Failure):
            return [_failed(row, answer)]
        search = prepared.search
        if search is not None:
            search = msgspec.structs.replace(
                search, p50_ms=answer.search_p50_ms or 0.0, p99_ms=answer.search_p99_ms or 0.0
            )
        fixed = [
            msgspec.structs.replace(row, tokens=length, encode=encode, temperature_c=answer.temperature_c)
            for length, encode in answer.by_tokens.items()
        ]
        whole = msgspec.structs.replace(
            row,
            encode=answer.encode,
            cold_start_ms=answer.cold_start_ms,
            load_ms=answer.load_ms,
            first_ms=answer.first_ms,
            memory=answer.memory,
            disk=prepared.disk,
            search=search,
            quality=prepared.quality,
            fidelity=prepared.fidelity,
            temperature_c=answer.temperature_c,
        )
        return [*fixed, whole]

    def _row(self, variant: Variant, configuration: Configuration) -> Measurement:
        return Measurement(
            precision=variant.precision,
            target=variant.target,
            depth=variant.depth,
            dim=configuration.dim,
            provider=PROVIDER,
            threads=configuration.threads,
            batch=1,
            tokens=None,
            status="ok",
            plan=configuration.plan,
        )


Answer = TypeVar("Answer", jobs.PrepareResult, jobs.MeasureResult)


def run_job(job: jobs.Job, kind: type[Answer], work: Path, threads: int) -> Answer | jobs.Failure:
    """Run one job in a fresh process and return its answer; a killed or crashed process is a `Failure`."""
    question, reply = work / "job.json", work / "answer.json"
    reply.unlink(missing_ok=True)
    jobs.write(question, job)
    # numpy's and the tokenizer's own threads are held to what the configuration may use.
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")}
    command = [
        sys.executable,
        "-m",
        "mrl_edge.bench.child",
        str(question),
        str(reply),
        str(time.monotonic_ns()),
    ]
    process = subprocess.Popen(
        command,
        env={**os.environ, **limits},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches the parent alone, which ends the child below
    )
    try:
        _, errors = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode == -signal.SIGKILL:
        return jobs.Failure("out_of_memory", "the kernel killed the process (SIGKILL)")
    if process.returncode != 0 or not reply.is_file():
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
        return jobs.Failure("failed", f"exit code {process.returncode}: {last[0]}")
    return msgspec.json.decode(reply.read_bytes(), type=kind | jobs.Failure)


def _failed(row: Measurement, failure: jobs.Failure) -> Measurement:
    return msgspec.structs.replace(row, status=failure.status, reason=failure.reason)


def _configuration_of(row: Measurement) -> Configuration:
    return Configuration(row.precision, row.depth, row.dim, row.threads, row.plan)


def _resume(out: Path, bundle: Bundle, settings: dict[str, Any]) -> Results:
    """Return the results in `out`, or empty ones when there is no such file."""
    reference = BundleRef(bundle.manifest.name, bundle.identity(), bundle.manifest.training)
    fresh = Results(SCHEMA_VERSION, reference, describe(), settings, ())
    if not out.exists():
        return fresh
    there = read_results(out)
    for name, ours, theirs in (
        ("bundle", fresh.bundle.sha256, there.bundle.sha256),
        ("machine", (fresh.device.cpu, fresh.device.versions), (there.device.cpu, there.device.versions)),
        ("data or settings", fresh.settings, there.settings),
    ):
        if ours != theirs:
            raise ResultsError(f"{out} was measured with another {name}: choose another --out, or use --overwrite")
    return there
