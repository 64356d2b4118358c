"""`mrl-edge tune`: a bundle, a task and a budget → the choice of a whole sweep, in a part of its time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import answers, bench_boards, bench_place, bench_task, budgets, console, options
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mrl_edge.bench.budget import Budget
    from mrl_edge.bench.results import Results
    from mrl_edge.devices.reach.address import Address

_EPILOG = """Examples:

mrl-edge tune bundle --data dev.csv --query question --positive answer --budget budget.toml --out tuned.json

mrl-edge tune bundle --data dev.csv --query question --positive answer --max-p50-ms 20 --choice choice.json

mrl-edge tune bundle --data dev.csv --query question --positive answer --max-p50-ms 50 --device pi@raspberrypi.local

The rows that it measures are those that mrl-edge bench would, in the same file. Exit code 3: nothing fits.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("tune", epilog=_EPILOG)(budgets.with_budget(tune))


def tune(
    bundle: options.BundleFolder,
    data: Annotated[str, typer.Option(help="Table with the task.")],
    limits: budgets.Given,
    text: options.Text = None,
    image: options.Image = None,
    label: options.Label = None,
    query: options.Query = None,
    positive: options.Positive = None,
    precision: options.Precisions = None,
    dims: options.Dims = None,
    depths: options.Depths = None,
    threads: Annotated[str, typer.Option(help="Intra-op threads to choose among, as in 1,2.")] = "1",
    provider: options.Providers = "cpu",
    index: Annotated[
        str, typer.Option(help="Kinds of index: scan, binary, annoy, annoy-dot, annoy-euclidean, hnsw, ivf.")
    ] = "annoy,scan",
    vectors: Annotated[
        str, typer.Option(help="How vectors are stored: fp32, fp16, int8, int8-int6, int8-int4.")
    ] = "fp32",
    rerank_dim: Annotated[
        str | None, typer.Option(help="Also adaptive retrieval, reranked at this dimension, or at one that is `tuned`.")
    ] = None,
    shortlist: Annotated[int, typer.Option(min=10, help="Shortlist of adaptive retrieval.")] = 200,
    runtime: Annotated[str | None, typer.Option(help="Settings of onnxruntime, as in default,no-arena.")] = None,
    recall: Annotated[
        float, typer.Option("--recall", "--target-recall", min=0.01, max=1, help="Recall@10 that indexes are tuned to.")
    ] = 0.95,
    max_seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="Longest measurement of one latency.")] = 4.0,
    repeats: Annotated[int, typer.Option(min=1, help="Processes that a configuration is measured in.")] = 3,
    max_queries: Annotated[int, typer.Option(min=10, help="Queries (or labelled texts) for the quality.")] = 1000,
    max_documents: Annotated[int | None, typer.Option(min=10, help="Documents to search.")] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="A board, as user@host, once or often; with --capped a device's profile.")
    ] = None,
    fleet: Annotated[Path | None, typer.Option(help="A file of boards, as for mrl-edge bench.")] = None,
    onnxruntime: options.Onnxruntime = None,
    capped: Annotated[
        bool, typer.Option("--capped", help="Hold this machine to the RAM and cores of --device.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Results file; an interrupted one is continued.")] = Path("tuned.json"),
    choice: Annotated[
        Path | None, typer.Option(help="Also write the choice as JSON, for mrl-edge ship and serve.")
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> int:
    """Measure only what can still be the choice within a budget, from the best downwards, and pick it.

    What encodes too slowly is seen in a short process and not prepared; what is left is measured until one fits.
    """
    given = dict(locals())
    from mrl_edge.bench.demands import refuse_unanswerable
    from mrl_edge.bundle import open_bundle
    from mrl_edge.cli.providers import read_onnxruntime, read_providers

    options.refuse_replacing("--choice", choice, [out, limits["budget"], Path(data)])
    wanted = _budget_of(limits)
    profile = bench_place.capped_profile(device or [], fleet, capped)
    boards = () if profile else bench_boards.read_boards(device or [], fleet)
    if boards and image is not None:
        raise UsageError("--device: images are files of this machine, and no board has them: measure texts there")
    brought = read_onnxruntime(onnxruntime, bool(boards))
    if choice is not None and len(boards) > 1:
        raise UsageError("--choice writes one choice: tune each board alone")
    opened = open_bundle(bundle)
    providers = read_providers(provider, bool(boards))
    grid = replace(bench_task.read_grid(opened, given, pin=False), providers=providers)
    roles = bench_task.read_roles(opened, data, bench_task.columns_of(given))
    task = bench_task.read_task(roles, max_queries, _documents(wanted, roles, max_documents))
    refuse_unanswerable(wanted, task, opened, grid)
    what = bench_boards.Sweep(opened, task, data, grid, wanted, brought)
    if boards:
        return _on_boards(what, boards, out, overwrite, choice, as_json)
    return _here(what, profile, out, overwrite, choice, as_json)


def _budget_of(limits: budgets.Given) -> Budget:
    """Return a budget that tuning can keep to."""
    wanted = budgets.budget_of(limits)
    if not wanted.max:
        raise UsageError("tune needs a limit, as in --max-p50-ms 20: without one mrl-edge bench measures everything")
    return wanted


def _documents(wanted: Budget, roles: Mapping[str, Sequence[str]], asked: int | None) -> int | None:
    """Return how many documents to measure with: what was asked for, or the larger of the budget's corpora.

    Raises `UsageError` for a corpus that the data do not have: what is measured nowhere is `pick`'s to predict.
    """
    if not wanted.corpora:
        return asked
    largest, there = wanted.corpora[-1], len({*roles.get("positive", ())})
    if asked not in (None, largest):
        raise UsageError(f"--max-documents {asked}: the budget's corpus is of {largest}, and tune measures that")
    if largest > there:
        raise UsageError(
            f"the budget's corpus of {largest} documents: the data have {there}, and tune measures what there is. "
            "mrl-edge bench of two sizes and mrl-edge pick --corpus predict it"
        )
    for size in wanted.corpora[:-1]:
        console.note(f"  limits are held with {largest:,} documents, not with the budget's other {size:,}")
    return largest


def _here(
    what: bench_boards.Sweep, profile: str | None, out: Path, overwrite: bool, choice: Path | None, as_json: bool
) -> int:
    from mrl_edge.bench.narrowing import narrow
    from mrl_edge.bench.resuming import discard

    with bench_place.open_place(profile, what.grid.providers) as place:
        if overwrite:
            discard(out)
        with console.progress_bar() as report:
            results = narrow(what.bundle, what.task, what.source, what.grid, _budget(what), out, report, place)
    answer = _answer(results, _budget(what), out, as_json)
    if choice is not None:
        answers.write_choice(choice, answer)
    if as_json:
        console.print_json(answer)
    return 0 if answer["fits"] else 3


def _on_boards(
    what: bench_boards.Sweep,
    boards: tuple[Address, ...],
    out: Path,
    overwrite: bool,
    choice: Path | None,
    as_json: bool,
) -> int:
    from mrl_edge.errors import MrlEdgeError

    found = bench_boards.sweep_boards(what, boards, out, overwrite)
    said: dict[str, dict[str, object]] = {}
    for place, (address, file, results) in enumerate(found):
        if isinstance(results, MrlEdgeError):
            continue
        if len(boards) > 1 and not as_json:
            console.say(f"\n{address}")
        try:
            said[str(address)] = _answer(results, _budget(what), file, as_json)
        except MrlEdgeError as error:  # of one board: the others answer
            found[place] = address, file, error
    first = next(iter(said.values()), None)
    if choice is not None and first is not None:
        answers.write_choice(choice, first)
    if as_json and first is not None:
        console.print_json(first if len(boards) == 1 else {"boards": said})
    bench_boards.raise_failures(found)
    return 0 if all(answer["fits"] for answer in said.values()) else 3


def _answer(results: Results, budget: Budget, out: Path, as_json: bool) -> dict[str, object]:
    """Return what was chosen among the rows that were measured; print it, and what was not measured, unless as JSON.

    Raises `ResultsError` where nothing could be run, which no budget is to blame for.
    """
    from mrl_edge.bench.answer import answer
    from mrl_edge.bench.candidates import candidates, unmeasured
    from mrl_edge.bench.pick import pick as choose
    from mrl_edge.bench.results import Narrowing, refuse_emulated
    from mrl_edge.errors import ResultsError

    refuse_emulated(results)
    said = results.narrowing or Narrowing({})
    rows = candidates(results) if any(row.status == "ok" for row in results.measurements) else []
    left_out = unmeasured(results)
    if not rows and not left_out:
        raise ResultsError(f"nothing could be measured: {next(iter(said.failed), 'there is nothing to measure')}")
    full = answers.full_of([rows], budget, [results]) if budget.keep else None
    choice = choose(rows, budget, full=full, unmeasured=left_out)
    if not as_json:
        answers.print_choice(choice)
        console.say(f"\nmeasured {len(rows)} configurations in {sum(results.spent_s.values()):.0f} s: {out}")
        for what, counted in (
            ("not measured", said.left_out), ("in fewer processes", said.stopped), ("could not be run", said.failed),
        ):  # fmt: skip
            for why, count in counted.items():
                console.say(f"{what}: {count} {why}")
    return answer(choice, results.bundle, said)


def _budget(what: bench_boards.Sweep) -> Budget:
    if what.budget is None:
        raise AssertionError("tune has a budget")
    return what.budget
