"""Every configuration of a bundle, each in processes of its own; the file grows by a row at a time.

A configuration is measured in several processes, one in each round over all of them, so that its row has seen the
machine at several times. Corpora of several sizes take turns within a round, so that what differs between them is the
size and not the time of day, and their indexes have the parameters that were tuned over the largest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from mrl_edge.bench import jobs
from mrl_edge.bench.configuration import Configuration
from mrl_edge.bench.held import Held, Like, held_in
from mrl_edge.bench.place import Place, here
from mrl_edge.bench.preparing import Grid
from mrl_edge.bench.results import Results
from mrl_edge.bench.resuming import exclusive
from mrl_edge.bench.run import Run

from mrl_edge.bundle import Bundle, Variant
from mrl_edge.progress import Report, silent
from mrl_edge.providers import TENSORRT


def sweep(
    bundle: Bundle,
    task: jobs.Task,
    source: str,
    grid: Grid,
    out: Path,
    report: Report = silent,
    place: Place | None = None,
) -> Results:
    """Measure the grid and write `out` after every process; rows that are already there are kept.

    `place` is this machine as it is where it is not said. Vectors and indexes are prepared without its limits.

    Raises `ResultsError` when `out` holds measurements of another bundle, machine, data or settings.
    """
    return sweep_sizes(bundle, [(task, out)], source, grid, report, place)[0]


def sweep_sizes(
    bundle: Bundle,
    sizes: Sequence[tuple[jobs.Task, Path]],
    source: str,
    grid: Grid,
    report: Report = silent,
    place: Place | None = None,
) -> list[Results]:
    """Measure tasks that differ in the number of documents alone, in turn, each into its own file.

    Otherwise as `sweep`. Where the grid holds no parameters, those of the largest are tuned and the others take them
    over.
    """
    place = place or here()
    with ExitStack() as stack:
        for _, out in sizes:
            stack.enter_context(exclusive(out))
        ordered = sorted(sizes, key=lambda one: -len(one[0].documents))
        largest = Run(bundle, ordered[0][0], source, grid, ordered[0][1], report, place)
        runs = {ordered[0][1]: largest}
        if len(ordered) > 1 and grid.like is None:
            grid = replace(grid, like=Like(ordered[0][1].name, _held(largest, variants_of(bundle, grid))))
        for task, out in ordered[1:]:
            runs[out] = Run(bundle, task, source, grid, out, report, place)
        _sweep(list(runs.values()), grid, report)
        return [runs[out].results for _, out in sizes]


def variants_of(bundle: Bundle, grid: Grid) -> list[Variant]:
    """Return the grid's variants in the order of measuring: the others' fidelity is to fp32 at full depth."""
    variants = [bundle.variant(precision, depth) for precision in grid.precisions for depth in grid.depths]
    return sorted(variants, key=lambda v: (v.precision != "fp32", -v.depth))


def _held(run: Run, variants: Sequence[Variant]) -> tuple[Held, ...]:
    """Return what the indexes of a run are tuned to, those of variants that only its file has among them."""
    asked = {(variant.precision, variant.depth) for variant in variants}
    others = [one for one in held_in(run.results) if (one.precision, one.depth) not in asked]
    return (*others, *(one for variant in variants for one in run.preparations.held(variant)))


def _sweep(runs: Sequence[Run], grid: Grid, report: Report) -> None:
    variants = variants_of(runs[0].bundle, grid)
    todo = [one for variant in variants for one in _lacking(runs, variant)]
    rounds = [
        (number, run, variant, configuration)
        for number in range(grid.repeats)
        for variant, configuration, lack in todo
        if number < grid.processes(configuration)
        for run in lack
    ]
    for done, (number, run, variant, configuration) in enumerate(rounds):
        if run.processes.wants(configuration, number):
            among = f" among {len(run.task.documents):,} documents" if len(runs) > 1 else ""
            report("measuring", done, len(rounds), f"{_said(configuration)}{among}")
            run.add(run.measure(variant, configuration))
    if rounds:
        report("measuring", len(rounds), len(rounds))
    for run in runs:
        run.narrowed(None)
        run.finish()


def _lacking(runs: Sequence[Run], variant: Variant) -> Iterator[tuple[Variant, Configuration, list[Run]]]:
    """Yield what is to be measured of a variant, each with the runs that lack it."""
    missing = [run.missing(variant) for run in runs]
    for one in dict.fromkeys(configuration for each in missing for configuration in each):
        yield variant, one, [run for run, each in zip(runs, missing, strict=True) if one in each]


def _said(configuration: Configuration) -> str:
    """Name what is measured now, and say why nothing seems to happen."""
    first = " (its engines are built first: minutes)" if configuration.provider == TENSORRT else ""
    return f"{configuration}{first}"
