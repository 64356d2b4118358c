"""Measuring only what can still be the choice: a budget and a grid → the pick of the whole sweep, in less time.

Of every configuration there is a bound on the objective, and the one with the highest is looked at more closely, step
by step (`known.Stage`), each dearer than the one before: encoding alone, exact search, its own index, a measured
process. What misses a limit whatever comes is left out. When nothing that was not measured can be better than what
fits, the best that were measured get their other processes in rounds, and it goes on if that changes which fits.

Where an index takes over what was tuned on another precision in a sweep, it is tuned anew where that one's documents
are not embedded.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import msgspec
from mrl_edge.bench import jobs
from mrl_edge.bench.budget import Budget, Objective, objective_of, order_of
from mrl_edge.bench.candidates import OBJECTIVES, Candidate, candidate
from mrl_edge.bench.configuration import Configuration
from mrl_edge.bench.demands import full_quality, refuse_unanswerable, refuse_without_sensor
from mrl_edge.bench.in_play import InPlay
from mrl_edge.bench.known import Known, Margin, Stage, glimpsed, metrics_of
from mrl_edge.bench.limits import NO_ENERGY, FullModel, Limits, excesses
from mrl_edge.bench.place import Place, here
from mrl_edge.bench.played import Played
from mrl_edge.bench.preparing import Grid
from mrl_edge.bench.results import HeldLimits, Measurement, Narrowing, Results
from mrl_edge.bench.resuming import exclusive
from mrl_edge.bench.run import Run
from mrl_edge.bench.sweep import variants_of

from mrl_edge.bundle import Bundle
from mrl_edge.errors import UsageError
from mrl_edge.progress import Report, silent

_GLIMPSES, _GLIMPSE_SECONDS = 2, 0.3
_MULTIPLE = 4  # documents an answer, from which it pays to look at the answers first


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

    Raises what `sweep` and `pick` raise, and `UsageError` for a budget that the task or the machine cannot answer.
    """
    refuse_unanswerable(budget, task, bundle, grid)
    refuse_without_sensor(budget, grid.providers)
    with exclusive(out):
        run = Run(bundle, task, source, replace(grid, for_choice=True), out, report, place or here())
        return Search(run, budget, report).run()


class Search:
    """The search, with what is in play and the rows that it has begun."""

    def __init__(self, run: Run, budget: Budget, report: Report) -> None:
        self._run, self._budget, self._report = run, budget, report
        grid = run.grid
        self._missing = {
            configuration: variant
            for variant in variants_of(run.bundle, grid)
            for configuration in run.missing(variant)
        }
        self._played = Played(run, self._missing)
        self._in_play = InPlay(run.results.settings)
        self._objective = Objective("", "", {})  # until there are rows to say what there is to maximise
        self._margin = Margin(grid.target_recall, len(run.task.queries), grid.storage)
        self._limits = Limits(dict(budget.max), dict(budget.min), budget.confidence)
        for configuration in self._missing:  # what an interrupted run has seen
            for row in run.processes.rows(configuration):
                self._learn(row)

    def run(self) -> Results:
        """Measure, and return all rows."""
        run, grid = self._run, self._run.grid
        asked = _asked(self._budget, grid)
        before = run.results.narrowing
        if before is not None and before.finished and before.asked == asked and not before.failed:
            return run.results
        said = Narrowing({}, grid.depths[-1], grid.dims[-1], finished=False)
        run.narrowed(said)
        run.write()
        self._glimpse()
        full = self._full()
        rows = [*(self._in_play.least(one) for one in self._in_play.all()), *self._rows()]
        if rows:
            self._objective = objective_of(rows, self._budget)
            self._descend()
        said = msgspec.structs.replace(said, full_quality=full.quality if full else {}, finished=True, asked=asked)
        said = msgspec.structs.replace(
            said, threads=grid.threads, held=HeldLimits(**msgspec.structs.asdict(self._budget))
        )
        stopped = dict(Counter(self._played.stopped()))
        run.narrowed(self._in_play.said(msgspec.structs.replace(said, stopped=stopped)))
        run.finish()
        return run.results

    def _glimpse(self) -> None:
        """Look at encoding alone, each variant with what it is run with once in a round; drop what no limit allows."""
        run, grid = self._run, self._run.grid
        metrics = metrics_of(run.task, run.bundle)
        for configuration, variant in self._missing.items():
            if run.figures(configuration) is None:
                self._in_play.put(glimpsed(run.bundle, variant, configuration, run.results, metrics))
        self._in_play.sift(self._limits, "the model and its vectors alone: ")
        every = [
            Configuration(name, depth, grid.dims[-1], threads, None, None, runtime=runtime, provider=provider)
            for name, depth in ((variant.precision, variant.depth) for variant in variants_of(run.bundle, grid))
            for provider, threads, runtime in product(grid.providers, grid.threads, grid.runtimes)
        ] * _GLIMPSES
        for number, alone in enumerate(every):
            those = self._in_play.run_as(alone)
            if not those:
                continue
            self._report("a glimpse of each variant", number, len(every), str(alone))
            seen = run.glimpse(alone, _GLIMPSE_SECONDS)
            if isinstance(seen, jobs.Failure):
                self._in_play.fail(those, seen.reason)
            else:
                self._in_play.glimpse(alone, seen)
        if self._in_play.all():
            self._report("a glimpse of each variant", len(every), len(every))
        self._in_play.sift(self._limits, "encoding alone: ")

    def _full(self) -> FullModel | None:
        """Return the model that shares are of; it is prepared first, at its dimension alone, whatever fits."""
        budget, grid = self._budget, self._run.grid
        if not budget.keep:
            return None
        quality = full_quality(self._run, budget)
        shares = {metric: share * quality[metric] for metric, share in budget.keep.items()}
        self._limits = replace(self._limits, shares=shares)
        return FullModel(grid.depths[-1], grid.dims[-1], quality)

    def _descend(self) -> None:
        """Look at the highest bound more closely until what fits is not below any, and is measured in full."""
        while True:
            self._in_play.sift(self._limits)
            leader = self._leader()
            one = self._highest(leader)
            if one is not None:
                self._look_closer(one)
                continue
            contenders = self._played.contenders(self._objective, leader, self._limits)
            if not contenders:
                break
            for configuration in contenders:
                self._measure(configuration)
        self._in_play.leave_the_rest()
        if self._played.measured:
            self._report("measuring", len(self._missing), len(self._missing))

    def _leader(self) -> Candidate | None:
        fitting = [row for row in self._rows() if not excesses(row, self._limits)]
        return min(fitting, key=lambda row: order_of(row, self._objective), default=None)

    def _rows(self) -> list[Candidate]:
        found = (candidate(row, self._run.results.settings) for row in self._run.results.measurements)
        return [row for row in found if row is not None]

    def _highest(self, leader: Candidate | None) -> Known | None:
        """Return what can be the best of all, or None where nothing can be better than the leader.

        What can only equal it is looked at while it may be faster: equals are decided by time.
        """
        best, found = None, None
        for one in self._in_play.all():
            least = self._in_play.least(one)
            value = self._objective.value(least)
            if leader is not None:
                theirs = self._objective.value(leader)
                if value < theirs or (value == theirs and least.p50_ms > leader.p50_ms):
                    continue
            order = (value, one.stage, -least.p50_ms, -one.disk_mb)
            if best is None or order > best:
                best, found = order, one
        return found

    def _look_closer(self, one: Known) -> None:
        if one.stage is Stage.SCORED:
            self._measure(self._in_play.take(one))
        elif one.stage is Stage.EMBEDDED:
            self._index(one)
        else:
            self._embed(one)

    def _embed(self, one: Known) -> None:
        """Embed of a variant what comes next: the answers where there are many more documents, else all."""
        task, those = self._run.task, self._in_play.of_variant(one)
        documents: jobs.Documents = "none"
        if task.documents:
            answers = {answer for each in task.relevant for answer in each}
            few = one.stage is Stage.GLIMPSED and len(task.documents) >= _MULTIPLE * len(answers)
            documents = "answers" if few else "all"
        found = self._run.preparations.embedded(one.variant, documents)
        if isinstance(found, jobs.Failure):
            self._in_play.fail([other.configuration for other in those], found.reason)
            return
        for other in those:
            self._in_play.put(other.with_answers(found, self._margin))

    def _index(self, one: Known) -> None:
        """Build, at a dimension of a variant, what may score as this one: a margin of its search lies between them."""
        dim, weights = one.configuration.dim, self._objective.weights
        slack = self._margin.widest * sum(weight for name, weight in weights.items() if name in OBJECTIVES)
        floor = self._objective.value(self._in_play.least(one)) - slack
        there = [other for other in self._in_play.of_variant(one) if other.configuration.dim == dim]
        those = [other for other in there if self._objective.value(self._in_play.least(other)) >= floor]
        plans = [plan for plan in self._run.grid.plans if any(o.configuration.plan == plan for o in those)]
        self._report("building indexes", 0, 1, f"{one.variant.precision} d{dim}-L{one.variant.depth}")
        found = self._run.preparations.indexed(one.variant, [(dim, plan) for plan in plans])
        self._report("building indexes", 1, 1)
        if isinstance(found, jobs.Failure):
            self._in_play.fail([other.configuration for other in those], found.reason)
            return
        by_plan = {prepared.plan: prepared for prepared in found if prepared.dim == dim}
        for other in those:
            self._in_play.put(other.with_index(by_plan[other.configuration.plan]))

    def _measure(self, configuration: Configuration) -> None:
        """Measure a configuration in one more process, and learn from it what its variant's others cost at least."""
        self._report("measuring", self._played.measured, len(self._missing), str(configuration))
        row = self._run.measure(self._missing[configuration], configuration)
        self._run.add(row)
        if row.status != "ok":
            self._in_play.fail([configuration], row.reason or row.status)
            return
        if "energy_mj" in self._budget.max and row.energy_mj is None:
            because = f"{NO_ENERGY}: {row.null_because.get('energy_mj', 'it did not')}"
            if len(self._run.grid.providers) == 1:
                raise UsageError(because)
            self._in_play.fail([configuration], because)  # another provider may have a sensor
        self._learn(row)

    def _learn(self, row: Measurement) -> None:
        self._in_play.learn(row)
        self._played.judge(row, self._limits)


def _asked(budget: Budget, grid: Grid) -> str:
    """Return what tells one narrowing from another of the same bundle, data and settings, in whatever order it is.

    But for the threads: indexes are tuned with the first of them.
    """
    parts = grid.precisions, grid.depths, grid.dims, grid.plans, grid.runtimes, grid.providers
    among = [sorted(map(str, part)) for part in parts]
    return hashlib.sha256(msgspec.json.encode((budget, among, grid.threads), order="sorted")).hexdigest()[:16]
