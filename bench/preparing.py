"""What a sweep measures, and the preparation of each variant: shared by all of its configurations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from mrl_edge.bench import jobs
from mrl_edge.bench.configuration import Configuration
from mrl_edge.bench.processes import run_job
from mrl_edge.bench.results import IndexPlan

from mrl_edge.atomic import write_file
from mrl_edge.bundle import Bundle, Variant
from mrl_edge.progress import Report

_KEPT = "prepared.json"


@dataclass(frozen=True)
class Grid:
    """What to measure."""

    precisions: tuple[str, ...]
    depths: tuple[int, ...]
    dims: tuple[int, ...]
    threads: tuple[int, ...]
    plans: tuple[IndexPlan, ...]
    tokens: tuple[int, ...]  # fixed lengths, measured once a variant and thread count at the largest dimension
    max_seconds: float  # of all processes of a configuration together
    target_recall: float
    storage: str = "fp32"
    repeats: int = 1  # processes a configuration
    batches: tuple[int, ...] = ()  # texts a call, besides 1; measured as the fixed lengths are
    callers: tuple[int, ...] = ()  # threads that call one session at once, besides 1; likewise
    servers: tuple[int, ...] = ()  # threads that answer texts which arrive by chance; likewise
    p99_limit_ms: float | None = None  # of those texts
    runtimes: tuple[tuple[str, ...], ...] = ((),)  # settings of onnxruntime, each measured with everything
    new_ceilings: bool = False  # of the machine, measured again
    asked: dict[str, str] = field(default_factory=dict)  # the data and its columns, by option: for who measures again

    def processes(self, configuration: Configuration) -> int:
        """Return how many processes a configuration is measured in: the search for a server's rate is a long one."""
        return 1 if configuration.p99_limit_ms is not None else self.repeats


class Preparations:
    """The embedding of the task, the indexes and their hits, of one variant after the other.

    They lie in a work folder with `task.json`, from which an interrupted sweep goes on; `spend` is told the seconds.
    """

    def __init__(
        self, bundle: Bundle, grid: Grid, work: Path, spend: Callable[[str, float], None], report: Report
    ) -> None:
        self._bundle, self._grid, self._work, self._spend, self._report = bundle, grid, work, spend, report
        self._answers: dict[tuple[str, int], jobs.PrepareResult | jobs.Failure] = {}  # by precision and depth

    def of(self, variant: Variant) -> jobs.PrepareResult | jobs.Failure:
        """Prepare a variant once, with the fp32 query vectors to compare its own with."""
        key = variant.precision, variant.depth
        if key in self._answers:
            return self._answers[key]
        full_depth = self._bundle.manifest.depths[-1]
        reference = None
        if (variant.precision, variant.depth) != ("fp32", full_depth) and "fp32" in self._bundle.precisions():
            reference = self._reference(self._bundle.variant("fp32", full_depth))
        self._answers[key] = self._prepared(variant, _name(*key), self._grid.dims, reference)
        return self._answers[key]

    def _reference(self, fp32: Variant) -> str | None:
        """Return the file with the query vectors of fp32 at full depth, or None where it cannot be run."""
        answer = self._there(fp32.precision, fp32.depth) or self._prepared(fp32, "reference", (), None)
        return None if isinstance(answer, jobs.Failure) else answer.query_vectors

    def _prepared(
        self, variant: Variant, name: str, dims: tuple[int, ...], reference: str | None
    ) -> jobs.PrepareResult | jobs.Failure:
        """Run a preparation, or read what an interrupted run prepared."""
        if kept := self._kept(name):
            return kept
        work = self._work / name
        job = jobs.PrepareJob(
            bundle=str(self._bundle.folder.absolute()),
            precision=variant.precision,
            depth=variant.depth,
            dims=dims,
            plans=self._grid.plans,
            task=str(self._work / "task.json"),
            reference=reference,
            target_recall=self._grid.target_recall,
            storage=self._grid.storage,
            like=self._like(variant) if dims else (),
            work=str(work),
        )
        self._report("preparing", 0, 1, name)
        # numpy's threads are those that are measured with: indexes are tuned by their latency.
        answer = run_job(job, jobs.PrepareResult, self._work, self._grid.threads[0])
        self._report("preparing", 1, 1, name)
        if isinstance(answer, jobs.PrepareResult):
            for what, seconds in answer.spent_s.items():
                self._spend(what, seconds)
            write_file(work / _KEPT, msgspec.json.encode(answer))
        return answer

    def _kept(self, name: str) -> jobs.PrepareResult | None:
        file = self._work / name / _KEPT
        return msgspec.json.decode(file.read_bytes(), type=jobs.PrepareResult) if file.is_file() else None

    def _there(self, precision: str, depth: int) -> jobs.PrepareResult | jobs.Failure | None:
        """Return what was prepared by this run, or by an interrupted one whose rows of it are complete."""
        return self._answers.get((precision, depth)) or self._kept(_name(precision, depth))

    def _like(self, variant: Variant) -> tuple[jobs.Prepared, ...]:
        """Return what was made at a depth of the first precision before this: the vectors are nearly the same."""
        for precision in sorted(self._grid.precisions, key=lambda name: name != "fp32"):  # as they are measured
            if precision == variant.precision:
                break
            answer = self._there(precision, variant.depth)
            if isinstance(answer, jobs.PrepareResult):
                return answer.configurations
        return ()


def _name(precision: str, depth: int) -> str:
    return f"{precision}-L{depth}"
