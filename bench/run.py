"""One run of measuring: its rows so far and what is still missing.

Shared within a variant (depth × precision): the embedding of the task, the indexes, the quality of their
hits. Measured for each configuration alone: latency, memory, cold start.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from mrl_edge.bench import jobs
from mrl_edge.bench.agreement import compare, vectors_of
from mrl_edge.bench.candidates import Candidate, candidate
from mrl_edge.bench.configuration import Configuration, configuration_of
from mrl_edge.bench.held import held_in, refuse_others
from mrl_edge.bench.measuring import Measuring, failed
from mrl_edge.bench.place import Place, variant_name
from mrl_edge.bench.preparing import Grid, Preparations
from mrl_edge.bench.repeats import processes_of, together
from mrl_edge.bench.results import IndexPlan, Measurement, Narrowing, write_results
from mrl_edge.bench.resuming import Processes, resume, work_folder
from mrl_edge.bench.roofline import Rooflines
from mrl_edge.bench.scenarios import with_scenarios

from mrl_edge.bundle import Bundle, Variant
from mrl_edge.errors import UnsupportedError
from mrl_edge.progress import Report
from mrl_edge.providers import CPU, GPU_PACKAGE, ON_GPU, PROVIDERS

T = TypeVar("T")
_LEFT_OUT = ("cold_start_dropped_ms", "fidelity", "roofline", "search_roofline")
_TO_A_BOARD = f"to a board mrl-edge brings it with --onnxruntime '{GPU_PACKAGE}', or the path of a wheel"
_NOT_FOR_A_CHOICE = "no budget asks for it: mrl-edge bench measures it"


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
        **({"tail": grid.tail} if grid.tail else {}),
        **({"like": grid.like.as_setting()} if grid.like else {}),
        **({"asked": grid.asked} if grid.asked else {}),
    }


class Run:
    """The rows so far, and the folder with vectors and indexes that an interrupted run leaves for the next."""

    def __init__(
        self, bundle: Bundle, task: jobs.Task, source: str, grid: Grid, out: Path, report: Report, place: Place
    ) -> None:
        self.bundle = bundle
        self.task = task
        self.place = place
        self._agreements: dict[tuple[str, str], float | jobs.Failure] = {}  # by variant and provider
        self.grid = grid
        self.out = out
        self.plans: tuple[IndexPlan | None, ...] = grid.plans if task.documents else (None,)
        content = msgspec.json.encode(task)
        settings = settings_of(task, source, grid)
        self.results = resume(out, bundle, place.device, settings)
        if grid.like is not None:
            refuse_others(self.results, grid.like, out)
        self.sample = task.latency_sample()
        device = self.results.device
        held = device.capped_to, device.ram_bytes, device.cores
        run = f"{bundle.identity()}{settings}{grid.for_choice}{grid.dims}{grid.plans}{device.versions}{held}".encode()
        self.work = work_folder(out) / hashlib.sha256(run).hexdigest()[:12]
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / "task.json").write_bytes(content)
        self.preparations = Preparations(bundle, grid, self.work, held_in(self.results), self._spend, report)
        self.measuring = Measuring(bundle, task, grid, place, self.work, self._spend)
        ceilings = self.results.ceilings
        self._rooflines = Rooflines(bundle, self.sample, grid, self.results.device, ceilings, self.work, self._spend)
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
        for provider, threads, runtime in product(self.grid.providers, self.grid.threads, self.grid.runtimes):
            wanted += [
                Configuration(name, depth, dim, threads, plan, None, runtime=runtime, provider=provider)
                for dim in self.grid.dims
                for plan in self.plans
                if plan is None or plan.applies_to(dim, self.bundle.manifest.dims[-1])
            ]
            alone = Configuration(name, depth, full, threads, None, None, runtime=runtime, provider=provider)
            wanted += [replace(alone, tokens=tokens) for tokens in self.grid.tokens]
            wanted += [replace(alone, batch=batch) for batch in self.grid.batches]
            wanted += [replace(alone, callers=callers) for callers in self.grid.callers]
            limit = self.grid.p99_limit_ms
            wanted += [replace(alone, callers=callers, p99_limit_ms=limit) for callers in self.grid.servers]
        return [configuration for configuration in wanted if configuration not in there]

    def measure(self, variant: Variant, configuration: Configuration) -> Measurement:
        """Return the row of one process of a configuration."""
        row = self.row(variant, configuration)
        agreed = self._agreement(variant, configuration.provider)
        if isinstance(agreed, jobs.Failure):
            return failed(row, agreed)
        row = msgspec.structs.replace(row, host_cosine=agreed)
        if configuration.encodes_only:
            return self.measuring.row(row, None, configuration)
        prepared = self.preparations.of(variant, configuration.dim, configuration.plan)
        if isinstance(prepared, jobs.Failure):
            return failed(row, prepared)
        row = self.measuring.row(row, prepared, configuration)
        if self.grid.for_choice:
            left_out = dict.fromkeys(_LEFT_OUT, _NOT_FOR_A_CHOICE)
            return msgspec.structs.replace(row, fidelity=None, null_because={**row.null_because, **left_out})
        first = not self.processes.rows(configuration)
        return self.measuring.with_first_vector(row, prepared, configuration) if first else row

    def glimpse(self, configuration: Configuration, seconds: float) -> jobs.MeasureResult | jobs.Failure:
        """Return what a short process of encoding alone sees; it makes no row."""
        return self._with_advice(self.measuring.glimpse(configuration, seconds), configuration.provider)

    def row(self, variant: Variant, configuration: Configuration) -> Measurement:
        """Return a row without figures."""
        return Measurement(
            precision=variant.precision,
            target=self.bundle.variant(variant.precision, variant.depth, configuration.provider).target,
            depth=variant.depth,
            dim=configuration.dim,
            provider=PROVIDERS[configuration.provider],
            threads=configuration.threads,
            batch=configuration.batch,
            tokens=configuration.tokens,
            status="ok",
            plan=configuration.plan,
            runtime=configuration.runtime,
            callers=configuration.callers,
            p99_limit_ms=configuration.p99_limit_ms,
        )

    def _agreement(self, variant: Variant, provider: str) -> float | jobs.Failure | None:
        """Compare vectors with the host's, or a GPU's with this processor's, once; None where there is nothing to."""
        if self.place.expected is None and provider == CPU:
            return None
        key = variant_name(variant), provider
        if key not in self._agreements:
            self._agreements[key] = self._with_advice(self._compared(variant, provider), provider)
        return self._agreements[key]

    def _compared(self, variant: Variant, provider: str) -> float | jobs.Failure:
        name, expected = variant_name(variant), self.place.expected
        try:
            vectors = (expected or vectors_of(self.bundle, [variant], self.sample, self.work))[name]
        except UnsupportedError as error:
            return jobs.Failure("failed", str(error))
        return compare(self.bundle, variant, self.sample, vectors, self.work, provider)

    def _with_advice(self, answer: T | jobs.Failure, provider: str) -> T | jobs.Failure:
        """Say, of a GPU that a board cannot compute on, how to bring what it lacks; only a board is sent vectors."""
        if provider == CPU or self.place.expected is None:
            return answer
        if isinstance(answer, jobs.Failure) and answer.status == "unsupported":
            return jobs.Failure(answer.status, f"{answer.reason}; {_TO_A_BOARD}")
        return answer

    def add(self, row: Measurement) -> None:
        """Write the file with one more process of a configuration in its row."""
        self.processes.add(row)
        self._put(configuration_of(row))
        write_results(self.out, self.results)

    def narrowed(self, narrowing: Narrowing | None) -> None:
        """Say in the results what is left out; None of a whole sweep."""
        self.results = msgspec.structs.replace(self.results, narrowing=narrowing)

    def figures(self, configuration: Configuration) -> Candidate | None:
        """Return what a choice is made on of a row that is there; None where there is none, or it failed."""
        row = next((row for row in self.results.measurements if configuration_of(row) == configuration), None)
        return candidate(row, self.results.settings) if row else None

    def write(self) -> None:
        """Write the file as it is."""
        write_results(self.out, self.results)

    def finish(self) -> None:
        """Write the file even if nothing was missing."""
        named = tuple(with_scenarios(self.results.measurements))
        self.results = msgspec.structs.replace(self.results, measurements=named)
        write_results(self.out, self.results)

    def _complete(self, row: Measurement) -> bool:
        """Whether nothing is to be measured for a row of the results file; what failed is tried again.

        So is what no GPU computed: its libraries, or an onnxruntime of the same version for it, may be there by now. A
        row of a tuning lacks figures that a sweep has.
        """
        if not self.grid.for_choice and _NOT_FOR_A_CHOICE in row.null_because.values():
            return False
        if row.status == "unsupported" and row.provider in ON_GPU:
            return False
        return row.status not in {"ok", "failed"} or processes_of(row) == self.grid.processes(configuration_of(row))

    def _put(self, configuration: Configuration) -> None:
        rows = {configuration_of(old): old for old in self.results.measurements}  # a row keeps its place
        row = together(self.processes.rows(configuration))
        rows[configuration] = row if self.grid.for_choice else self._rooflines.of(row)
        judged = tuple(self._rooflines.judged_again(with_scenarios(tuple(rows.values()))))
        self.results = msgspec.structs.replace(self.results, measurements=judged, ceilings=self._rooflines.ceilings)

    def _spend(self, what: str, seconds: float) -> None:
        spent_s = dict(self.results.spent_s)
        spent_s[what] = spent_s.get(what, 0.0) + seconds
        self.results = msgspec.structs.replace(self.results, spent_s=spent_s)
