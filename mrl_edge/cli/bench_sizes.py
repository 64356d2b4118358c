"""`mrl-edge bench --max-documents 1000,2000,4000` and `--like`: what is measured of corpora of several sizes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mrl_edge.cli import bench_table, console, options
from mrl_edge.errors import ResultsError, UsageError

if TYPE_CHECKING:
    from mrl_edge.bench.held import Like
    from mrl_edge.bench.preparing import Grid
    from mrl_edge.bench.results import Results
    from mrl_edge.bundle import Bundle

_LEAST = 10  # documents, of which a metric looks at as many


def read_sizes(text: str | None, out: Path, *, boards: bool, baseline: Path | None) -> list[tuple[int | None, Path]]:
    """Return how many documents there are to be (None: all) and the results file of each; `out` itself of one alone."""
    if text is None:
        return [(None, out)]
    sizes = sorted(options.numbers("--max-documents", text, least=_LEAST))
    if len(sizes) == 1:
        return [(sizes[0], out)]
    if boards:
        raise UsageError(
            f"--max-documents {text}: several sizes are measured in turn on this machine alone: on a board measure the "
            "largest first, and the others with --like its results"
        )
    if baseline is not None:
        raise UsageError(f"--max-documents {text}: --baseline compares one size: name one alone")
    return [(size, out.with_name(f"{out.stem}-{size}{out.suffix}")) for size in sizes]


def read_like(bundle: Bundle, path: Path, grid: Grid, *, searches: bool) -> Like:
    """Return the parameters of a results file, where the task `searches` of every index that the grid asks for."""
    from mrl_edge.bench.held import Like, cluster_dim_of, held_in, plain
    from mrl_edge.bench.results import read_results

    held = held_in(read_results(path))
    there = {(one.dim, one.plan) for one in held}
    full = bundle.manifest.dims[-1]
    for dim in grid.dims if searches else ():
        for plan in grid.plans:
            if plan.applies_to(dim, full) and (dim, plain(plan)) not in there:
                raise ResultsError(
                    f"--like {path} has no {plain(plan)} index at dimension {dim}: measure it there first"
                )
    found_at = cluster_dim_of(held)
    if found_at is not None and found_at not in bundle.manifest.dims:
        raise ResultsError(
            f"--like {path}: its inverted lists are found at dimension {found_at}, which the bundle does not export"
        )
    return Like(path.name, held)


def print_sizes(found: dict[str, Results], as_json: bool, calls: bench_table.Calls) -> None:
    """Print what each size costs and finds, by its file, and what to do with them."""
    if as_json:
        console.print_json(found)
    for file, results in found.items():
        if not as_json:
            console.say(f"\n{file}: {results.settings['documents']:,} documents")
            bench_table.print_results(results, calls)
        bench_table.refuse_unmeasured(results)
    if not as_json:
        console.say(f"\nresults: {' '.join(found)}\nnext:    mrl-edge pick {' '.join(found)} --corpus 100000")
