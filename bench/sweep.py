"""Every configuration of a bundle, each in processes of its own; the file grows by a row at a time.

A configuration is measured in several processes, one in each round over all of them, so that its row has seen the
machine at several times.
"""

from __future__ import annotations

from pathlib import Path

from mrl_edge.bench import jobs
from mrl_edge.bench.configuration import Configuration
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
    with exclusive(out):
        return _sweep(Run(bundle, task, source, grid, out, report, place or here()), grid, report)


def variants_of(bundle: Bundle, grid: Grid) -> list[Variant]:
    """Return the grid's variants in the order of measuring: the others' fidelity is to fp32 at full depth."""
    variants = [bundle.variant(precision, depth) for precision in grid.precisions for depth in grid.depths]
    return sorted(variants, key=lambda v: (v.precision != "fp32", -v.depth))


def _sweep(run: Run, grid: Grid, report: Report) -> Results:
    variants = variants_of(run.bundle, grid)
    todo = [(variant, configuration) for variant in variants for configuration in run.missing(variant)]
    rounds = [(number, *one) for number in range(grid.repeats) for one in todo if number < grid.processes(one[1])]
    for done, (number, variant, configuration) in enumerate(rounds):
        if run.processes.wants(configuration, number):
            report("measuring", done, len(rounds), _said(configuration))
            run.add(run.measure(variant, configuration))
    if rounds:
        report("measuring", len(rounds), len(rounds))
    run.narrowed(None)
    run.finish()
    return run.results


def _said(configuration: Configuration) -> str:
    """Name what is measured now, and say why nothing seems to happen."""
    first = " (its engines are built first: minutes)" if configuration.provider == TENSORRT else ""
    return f"{configuration}{first}"
