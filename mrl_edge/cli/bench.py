"""`mrl-edge bench`: a bundle and a task → `results.json`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from typer.core import TyperCommand

from mrl_edge.cli import (
    bench_boards,
    bench_calls,
    bench_place,
    bench_sizes,
    bench_table,
    bench_task,
    completions,
    console,
    options,
    pair,
)
from mrl_edge.errors import ResultsError, UsageError

if TYPE_CHECKING:
    from mrl_edge.bench.jobs import Task
    from mrl_edge.bench.results import Results

_EPILOG = """Examples:

mrl-edge bench bundle --data dev.csv --query question --positive answer --out results.json

mrl-edge bench bundle --data dev.csv --query question --positive answer --precision int8 --dims 64,384 --threads 1,2

mrl-edge bench bundle --data dev.csv --query question --positive answer --index scan,ivf --rerank-dim tuned

mrl-edge bench bundle --data dev.csv --query question --positive answer --max-documents 1000,2000,4000 --out sized.json

mrl-edge bench bundle --data dev.csv --query question --positive answer --out new.json --baseline saved.json

mrl-edge bench bundle --data dev.csv --query question --positive answer --server --p99-limit-ms 50

mrl-edge bench bundle --data dev.csv --query question --positive answer --device pi@raspberrypi.local

mrl-edge bench bundle --data dev.csv --query question --positive answer --device pi-zero-2w --capped

mrl-edge bench bundle --data dev.csv --query question --positive answer --precision fp16 --provider cpu,cuda

mrl-edge bench bundle --data dev.csv --query question --positive answer --provider cpu,cuda --device me@gpu-box

mrl-edge bench bundle --data dev.csv --query question --compare int8:d64 fp32:d384

Exit code 4: something is worse than --baseline, a latency or a score whose 95% interval lies beyond the saved one's, a
recall that more of the same queries lost, a peak RSS more than 5% or a disk more than 1% above, or a configuration that
no longer runs; each is named, and what is undecided.
"""
_REGRESSED = 4


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("bench", epilog=_EPILOG, cls=_Bench)(bench)


class _Bench(TyperCommand):
    """Knows which options were on the command line, where a default and its like are the same value."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command, unless `--compare` stands beside what would do nothing."""
        if ctx.params["compare"] is not None:
            pair.refuse_idle_options(ctx)
        return super().invoke(ctx)


def bench(
    bundle: options.BundleFolder,
    data: Annotated[str, typer.Option(help="Table with the task.")],
    text: options.Text = None,
    image: options.Image = None,
    label: options.Label = None,
    query: options.Query = None,
    positive: options.Positive = None,
    precision: options.Precisions = None,
    dims: options.Dims = None,
    depths: options.Depths = None,
    threads: Annotated[str, typer.Option(help="Intra-op threads to measure with, as in 1,2.")] = "1",
    provider: options.Providers = "cpu",
    index: Annotated[
        str,
        typer.Option(
            help="Kinds of index: scan (exact search over fp32), binary, annoy, annoy-dot, annoy-euclidean, hnsw, ivf.",
            autocompletion=completions.list_of(*completions.KINDS),
        ),
    ] = "annoy,scan",
    vectors: Annotated[
        str,
        typer.Option(
            help="How vectors are stored: fp32, fp16, int8, int8-int6, int8-int4.",
            autocompletion=completions.one_of(*completions.STORAGES),
        ),
    ] = "fp32",
    rerank_dim: Annotated[
        str | None,
        typer.Option(help="Also measure adaptive retrieval, reranked at this dimension, or at one that is `tuned`."),
    ] = None,
    shortlist: Annotated[int, typer.Option(min=10, help="Shortlist of adaptive retrieval.")] = 200,
    tokens: Annotated[str, typer.Option(help="Fixed lengths to measure besides the real texts; 0 for none.")] = (
        "8,32,128,256"
    ),
    batches: Annotated[str | None, typer.Option(help="Texts a call, as in 1,8,32, for texts a second.")] = None,
    concurrency: Annotated[str | None, typer.Option(help="Callers of one session at once, as in 1,2,4.")] = None,
    server: Annotated[
        bool, typer.Option("--server", help="Find the highest rate of texts arriving by chance within --p99-limit-ms.")
    ] = False,
    p99_limit_ms: Annotated[
        float | None,
        typer.Option(min=0, help="What a text may take at the 99th percentile, with --concurrency or --server."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="Settings of onnxruntime to sweep, as in default,no-arena,no-prepack,no-arena+no-prepack."),
    ] = None,
    pin: Annotated[
        bool, typer.Option("--pin", help="Hold each process to a core for each thread of each caller.")
    ] = False,
    new_ceilings: Annotated[
        bool, typer.Option("--new-ceilings", help="Measure again what this machine can do at most, for the roofline.")
    ] = False,
    recall: Annotated[
        float, typer.Option("--recall", "--target-recall", min=0.01, max=1, help="Recall@10 that indexes are tuned to.")
    ] = 0.95,
    max_seconds: Annotated[
        float, typer.Option(min=0.1, max=86_400, help="Longest measurement of one latency, all its processes together.")
    ] = 4.0,
    repeats: Annotated[
        int, typer.Option(min=1, help="Processes that a configuration is measured in, one in each round over all.")
    ] = 3,
    tail: Annotated[
        float | None,
        typer.Option(help="Go on, beyond --max-seconds, until this percentile is known: 99 or 99.9."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="A board to measure on, as user@host, once or often; with --capped a device's profile.",
            autocompletion=completions.devices,
        ),
    ] = None,
    fleet: Annotated[
        Path | None, typer.Option(help='A file of boards: a table [[board]] with host = "user@host" for each.')
    ] = None,
    onnxruntime: options.Onnxruntime = None,
    capped: Annotated[
        bool, typer.Option("--capped", help="Hold this machine to the RAM and cores of --device.")
    ] = False,
    max_queries: Annotated[int, typer.Option(min=10, help="Queries (or labelled texts) for the quality.")] = 1000,
    max_documents: Annotated[
        str | None,
        typer.Option(
            help="Documents to search, all answers among them; several as in 1000,2000,4000 are measured in turn."
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(help="Results file whose indexes' parameters are taken over instead of tuned, whatever the size."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Results file; an interrupted one is continued.")] = Path("results.json"),
    overwrite: options.Overwrite = False,
    baseline: Annotated[
        Path | None, typer.Option(help="Results file to compare with: exit code 4 when something got worse.")
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Only measure two in turn, as in int8:d64-L3 fp32:d384:t2."),
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Measure latency, memory, disk and quality of every configuration on this machine or a board.

    Each configuration runs in processes of its own. Interrupted, the same command continues.
    """
    given = dict(locals())
    from mrl_edge.bench.resuming import discard
    from mrl_edge.bench.sweep import sweep_sizes
    from mrl_edge.bundle import open_bundle
    from mrl_edge.cli.providers import read_onnxruntime, read_providers

    profile = bench_place.capped_profile(device or [], fleet, capped)
    boards = () if profile else bench_boards.read_boards(device or [], fleet)
    if boards and image is not None:
        raise UsageError("--device: images are files of this machine, and no board has them: measure texts there")
    brought = read_onnxruntime(onnxruntime, bool(boards))
    if boards and baseline is not None:
        raise UsageError("--baseline compares on this machine: leave --device and --fleet out")
    sizes = bench_sizes.read_sizes(max_documents, out, boards=bool(boards), baseline=baseline)
    before = _read_baseline(baseline, out, profile) if baseline else None
    opened = open_bundle(bundle)
    columns = bench_task.columns_of(given)
    if compare is not None:
        pair.compare_two(opened, compare, bench_task.read_roles(opened, data, columns), max_seconds, as_json)
        return 0
    grid = bench_task.read_grid(opened, given, pin)
    roles = bench_task.read_roles(opened, data, columns)
    tasks = [(bench_task.read_task(roles, max_queries, size), file) for size, file in sizes]
    if like is not None:
        grid = replace(grid, like=bench_sizes.read_like(opened, like, grid, searches=bool(tasks[0][0].documents)))
    if before is not None:
        _refuse_other_data(before, tasks[0][0], baseline)
    bench_calls.check_tail(tail)
    together = bench_calls.read_calls(batches, concurrency, server, p99_limit_ms, max_seconds)
    grid = replace(
        grid,
        tokens=() if tokens == "0" or "image" in roles else options.numbers("--tokens", tokens, least=1),
        batches=tuple(number for number in together.batches if number > 1),
        callers=tuple(number for number in together.callers if number > 1),
        servers=together.servers,
        p99_limit_ms=p99_limit_ms if server else None,
        new_ceilings=new_ceilings,
        providers=read_providers(provider, bool(boards)),
        tail=tail,
    )
    calls = bench_table.Calls(1 in together.batches or 1 in together.callers, p99_limit_ms)
    if boards:
        wanted = bench_boards.Sweep(opened, tasks[0][0], data, grid, onnxruntime=brought)
        bench_boards.measure_on_boards(wanted, boards, out, overwrite, as_json, calls)
        return 0
    with bench_place.open_place(profile, grid.providers) as place:
        if overwrite:
            for _, file in tasks:
                discard(file)
        with console.progress_bar() as report:
            results = sweep_sizes(opened, tasks, data, grid, report, place)
    if len(tasks) > 1:
        bench_sizes.print_sizes({str(file): one for (_, file), one in zip(tasks, results, strict=True)}, as_json, calls)
        return 0
    return _conclude(results[0], before, out, as_json, calls)


def _conclude(results: Results, before: Results | None, out: Path, as_json: bool, calls: bench_table.Calls) -> int:
    """Print the results and what is worse than a baseline; return the exit code."""
    from mrl_edge.bench.comparison import against_baseline

    beside = against_baseline(before, results) if before else None
    if as_json:
        found = msgspec.to_builtins(beside) if beside else {}
        console.print_json({**msgspec.to_builtins(results), **found} if beside else results)
        bench_table.refuse_unmeasured(results)
    else:
        bench_table.print_answer(results, out, calls)
    if beside is None:
        return 0
    for regression in beside.regressions:
        console.note(f"regression: {regression.text}")
    if beside.undecided:
        console.note(f"undecided, no interval or a doubtful one that overlaps: {'; '.join(beside.undecided)}")
    if beside.differing:
        console.note(f"the baseline was measured with another {', '.join(beside.differing)}")
    if not beside.regressions:
        rest = "nothing else" if beside.undecided else "nothing"
        console.note(f"no regression: {rest} is worse than the baseline beyond the intervals")
    return _REGRESSED if beside.regressions else 0


def _read_baseline(path: Path, out: Path, capped: str | None) -> Results:
    """Read it before anything is measured; times of another processor are nothing to compare with."""
    from mrl_edge.bench.results import read_results
    from mrl_edge.devices.local import describe

    if path.absolute() == out.absolute():
        raise UsageError(f"--baseline {path} is --out too: write the new results to another file")
    there, here = read_results(path), describe()
    if there.device.cpu != here.cpu:
        raise ResultsError(f"{path} was measured on another machine ({there.device.cpu}; this one is {here.cpu})")
    if (there.device.capped_to is None) != (capped is None):
        raise ResultsError(f"{path} was measured under another cap ({there.device.capped_to or 'none'})")
    return there


def _refuse_other_data(baseline: Results, task: Task, path: Path | None) -> None:
    from mrl_edge.bench.run import data_sha256

    if baseline.settings.get("data_sha256") != data_sha256(task):
        raise ResultsError(f"{path} was measured on other data, columns or --max-queries: nothing to compare with")
