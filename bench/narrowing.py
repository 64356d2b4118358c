"""Measuring only what can still be the choice: a budget and a grid → the pick of the whole sweep, in less time.

1. A short process encodes with each variant, threads and runtime: what is over a limit there is over it with any
   index, and where every one of a variant's is, its task is not embedded at all.
2. The others' quality and disk are known from their preparation, before anything is timed; floors decide.
3. What remains is measured from the best objective downwards until one fits: nothing below it can be better.

A first process whose p50 or memory is far over a limit is not followed by others. Of equals all are measured, as
`pick` decides them by time, memory and disk. Where an index takes over what was tuned on another precision in a
sweep, it may be tuned anew here: that one may not have been prepared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import msgspec
from mrl_edge.bench import jobs
from mrl_edge.bench.budget import Budget, Objective, objective_of
from mrl_edge.bench.candidates import Candidate, candidate, scores_of
from mrl_edge.bench.configuration import Configuration, configuration_of
from mrl_edge.bench.limits import NO_ENERGY, Excess, FullModel, Limits, excesses, resolve
from mrl_edge.bench.place import Place, here
from mrl_edge.bench.preparing import Grid
from mrl_edge.bench.results import Disk, Measurement, Narrowing, Results
from mrl_edge.bench.resuming import exclusive
from mrl_edge.bench.run import Run
from mrl_edge.bench.sweep import variants_of

from mrl_edge.bundle import Bundle, Variant
from mrl_edge.errors import ResultsError, UsageError
from mrl_edge.metrics import TITLES
from mrl_edge.progress import Report, silent

_GLIMPSE_SECONDS = 0.3
# What a short process of encoding alone shows of a configuration is at least so much of its own figure.
_LEAST_P50, _LEAST_RSS, _LEAST_COLD = 0.95, 0.95, 0.8
_FAR_OVER = 0.25  # of a limit: one process is enough to see it
_SETTLED = ("p50_ms", "peak_rss_mb", "disk_mb")  # figures that one process shows well enough; of the others three do


@dataclass(frozen=True)
class _Known:
    """A configuration before it is measured: its quality and disk, and the least that its costs can be."""

    variant: Variant
    configuration: Configuration
    least: Candidate


def narrow(
    bundle: Bundle,
    task: jobs.Task,
    source: str,
    grid: Grid,
    budget: Budget,
    out: Path,
    report: Report = silent,
    place: Place | None = None,
) -> Results:
    """Measure what can still be the choice and write `out` after every process, as a sweep does.

    `narrowing` of the results says what was left out, and what shares are of.

    Raises what `sweep` and `pick` raise.
    """
    with exclusive(out):
        return _Narrowing(Run(bundle, task, source, grid, out, report, place or here()), budget, report).run()


class _Narrowing:
    """The search, and what it has left out so far."""

    def __init__(self, run: Run, budget: Budget, report: Report) -> None:
        self._run, self._budget, self._report = run, budget, report
        self._left_out: dict[Configuration, str] = {}
        self._missing = {
            configuration: variant
            for variant in variants_of(run.bundle, run.grid)
            for configuration in run.missing(variant)
        }

    def run(self) -> Results:
        """Measure, and return all rows."""
        glimpsed = self._glimpses()
        known = [one for row in glimpsed for one in self._prepared(*row)]
        complete = [row for row in self._run.results.measurements if configuration_of(row) not in self._missing]
        measured = [found for row in complete if (found := self._candidate(row))]
        everything = [*(one.least for one in known), *measured]
        full = self._full(everything) if self._budget.keep and everything else None
        if everything:
            limits, objective = resolve(everything, self._budget, full), objective_of(everything, self._budget)
            self._measure(self._able(known, limits), measured, limits, objective)
        self._run.narrowed(Narrowing(dict(Counter(self._left_out.values())), *_said(full)))
        self._run.finish()
        return self._run.results

    def _able(self, known: Sequence[_Known], limits: Limits) -> list[_Known]:
        """Return what no limit rules out by what is known before it is measured."""
        able = []
        for one in known:
            over = excesses(one.least, limits)
            if over:
                self._left_out[one.configuration] = _reason(over)
            else:
                able.append(one)
        return able

    def _glimpses(self) -> list[tuple[Variant, Configuration, jobs.MeasureResult]]:
        """Return what short processes saw of encoding, of those that no limit rules out yet."""
        grid, full = self._run.grid, self._run.bundle.manifest.dims[-1]
        every = [
            (variant, Configuration(variant.precision, variant.depth, full, threads, None, None, runtime=runtime))
            for variant in variants_of(self._run.bundle, grid)
            for threads, runtime in product(grid.threads, grid.runtimes)
        ]
        limits = Limits(dict(self._budget.max), {}, self._budget.confidence)
        found = []
        for number, (variant, configuration) in enumerate(every):
            self._report("a glimpse of each variant", number, len(every), str(configuration))
            answer = self._run.glimpse(configuration, _GLIMPSE_SECONDS)
            if isinstance(answer, jobs.Failure):
                self._leave_all(configuration, answer.reason)
                continue
            alone = candidate(_as_row(self._run.row(variant, configuration), answer, None), {})
            over = excesses(_at_least(alone), limits) if alone else []
            if over:
                self._leave_all(configuration, f"encoding alone: {_reason(over)}")
            else:
                found.append((variant, configuration, answer))
        self._report("a glimpse of each variant", len(every), len(every))
        return found

    def _prepared(self, variant: Variant, alone: Configuration, glimpse: jobs.MeasureResult) -> Iterator[_Known]:
        """Yield the configurations of a variant, threads and runtime, with what their preparation says."""
        answer = self._run.preparations.of(variant)
        if isinstance(answer, jobs.Failure):
            self._leave_all(alone, answer.reason)
            return
        for prepared in answer.configurations:
            configuration = replace(alone, dim=prepared.dim, plan=prepared.plan)
            if configuration in self._missing:
                row = _as_row(self._run.row(variant, configuration), glimpse, prepared)
                if (found := candidate(row, self._run.results.settings)) is not None:
                    yield _Known(variant, configuration, _at_least(found))

    def _full(self, rows: Sequence[Candidate]) -> FullModel:
        """Return the model that shares are of, prepared for its quality alone where no budget fits it."""
        run, manifest = self._run, self._run.bundle.manifest
        depth, dim = manifest.depths[-1], manifest.dims[-1]
        there = [row.quality for row in rows if (row.precision, row.dim, row.depth) == ("fp32", dim, depth)]
        if not there:
            answer = run.preparations.of(run.bundle.variant("fp32", None))
            if isinstance(answer, jobs.Failure):
                raise ResultsError(f"the full model, whose share is to be kept, could not be run: {answer.reason}")
            there = [_quality(one) for one in answer.configurations if one.dim == dim]
        metric = next(iter(self._budget.keep))
        scored = [quality for quality in there if metric in quality]
        if not scored:
            raise ResultsError(
                f"a share of the full model's {TITLES[metric]} is to be kept, and it is not scored: leave dimension "
                f"{dim} among --dims, and see that the task has what the metric needs"
            )
        return FullModel(depth, dim, max(scored, key=lambda quality: quality[metric]))

    def _measure(
        self, able: Sequence[_Known], measured: Sequence[Candidate], limits: Limits, objective: Objective
    ) -> None:
        """Measure from the best objective downwards until nothing that is left can be better than what fits."""
        fitting = [objective.value(row) for row in measured if not excesses(row, limits)]
        best = max(fitting, default=None)
        order = sorted(able, key=lambda one: (-objective.value(one.least), one.least.p50_ms, one.least.disk_mb))
        for number, one in enumerate(order):
            if best is not None and objective.value(one.least) < best:
                for other in order[number:]:
                    self._left_out[other.configuration] = "cannot be better than what fits"
                break
            self._report("measuring", number, len(order), str(one.configuration))
            row = self._row(one, limits)
            if row is not None and not excesses(row, limits):
                best = objective.value(row) if best is None else max(best, objective.value(row))
        if order:
            self._report("measuring", len(order), len(order))

    def _row(self, one: _Known, limits: Limits) -> Candidate | None:
        """Measure a configuration in all its processes, or until one is far over a limit; return its figures."""
        found = None
        for number in range(self._run.grid.processes(one.configuration)):
            if self._run.processes.wants(one.configuration, number):
                self._run.add(self._run.measure(one.variant, one.configuration))
            (row,) = [r for r in self._run.results.measurements if configuration_of(r) == one.configuration]
            found = self._candidate(row)
            if found is None:
                self._left_out[one.configuration] = row.reason or row.status
                return None
            if "energy_mj" in limits.max and found.energy_mj is None:
                raise UsageError(NO_ENERGY)
            far = [
                over
                for over in excesses(replace(found, p50_ci95_ms=(found.p50_ms, found.p50_ms)), limits)
                if over.figure in _SETTLED and over.share > _FAR_OVER
            ]
            if far:
                self._left_out[one.configuration] = f"in one process far {_reason(far)}"
                return None
        return found

    def _candidate(self, row: Measurement) -> Candidate | None:
        return candidate(row, self._run.results.settings)

    def _leave_all(self, alone: Configuration, why: str) -> None:
        """Leave out whatever is measured with a variant, threads and runtime."""
        same = (alone.precision, alone.depth, alone.threads, alone.runtime)
        for other in self._missing:
            if (other.precision, other.depth, other.threads, other.runtime) == same:
                self._left_out[other] = why


def _as_row(row: Measurement, glimpse: jobs.MeasureResult, prepared: jobs.Prepared | None) -> Measurement:
    """Return a row with the figures of a short process of encoding alone, and what a preparation knows."""
    disk = prepared.disk if prepared else Disk(0, 0, 0)
    row = msgspec.structs.replace(
        row, encode=glimpse.encode, memory=glimpse.memory, cold_start_ms=glimpse.cold_start_ms, disk=disk
    )
    if prepared is None:
        return row
    return msgspec.structs.replace(row, search=prepared.search, quality=prepared.quality)


def _at_least(row: Candidate) -> Candidate:
    """Return the least that a configuration's costs can be, where `row` is of encoding alone and of a short process."""
    low = (row.p50_ci95_ms[0] if row.p50_ci95_ms else row.p50_ms) * _LEAST_P50
    return replace(
        row,
        p50_ms=low,
        p99_ms=low,
        p50_ci95_ms=(low, low),
        cold_start_ms=row.cold_start_ms * _LEAST_COLD,
        peak_rss_mb=row.peak_rss_mb * _LEAST_RSS,
        energy_mj=0.0,
    )


def _said(full: FullModel | None) -> tuple[int | None, int | None, dict[str, float]]:
    return (full.depth, full.dim, full.quality) if full else (None, None, {})


def _quality(prepared: jobs.Prepared) -> dict[str, float]:
    return scores_of(prepared.quality)


def _reason(missed: Sequence[Excess]) -> str:
    """Name the limits without the values: configurations are counted by it."""
    return f"beyond the budget's {' and '.join(one.figure for one in missed)}"
