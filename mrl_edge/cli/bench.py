"""`mrl-edge bench`: a bundle and a task → `results.json`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import console, options
from mrl_edge.errors import ResultsError, UsageError

if TYPE_CHECKING:
    from mrl_edge.bench.jobs import Task
    from mrl_edge.bench.results import IndexPlan, Results

_EPILOG = """Examples:

mrl-edge bench bundle --data dev.csv --query question --positive answer --out results.json

mrl-edge bench bundle --data dev.csv --query question --positive answer --precision int8 --dims 64,384 --threads 1,2
"""

_BUSY_PERCENT = 25  # of all cores, just before a configuration was measured


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("bench", epilog=_EPILOG)(bench)


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
    index: Annotated[str, typer.Option(help="Kinds of search: annoy, exact.")] = "annoy,exact",
    rerank_dim: Annotated[
        int | None, typer.Option(help="Also measure adaptive retrieval, reranked at this dimension.")
    ] = None,
    shortlist: Annotated[int, typer.Option(min=10, help="Shortlist of adaptive retrieval.")] = 200,
    tokens: Annotated[str, typer.Option(help="Fixed lengths to measure besides the real texts; 0 for none.")] = (
        "8,32,128,256"
    ),
    recall: Annotated[float, typer.Option(min=0.01, max=1, help="Recall@10 that Annoy is sized to.")] = 0.95,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Longest measurement of one latency.")] = 4.0,
    max_queries: Annotated[int, typer.Option(min=10, help="Queries (or labelled texts) for the quality.")] = 1000,
    out: Annotated[Path, typer.Option(help="Results file; an interrupted one is continued.")] = Path("results.json"),
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Measure latency, memory, disk and quality of every configuration on this machine.

    Each configuration runs in a process of its own. Interrupted, the same command continues.
    """
    from mrl_edge.bench.sweep import Grid, discard, sweep
    from mrl_edge.bundle import open_bundle
    from mrl_edge.datasets import Columns, read_table
    from mrl_edge.nesting import parse_dims, select_dims

    opened = open_bundle(bundle)
    chosen = select_dims(parse_dims(dims) if dims else None, opened.manifest.dims, str(bundle))
    precisions = options.names(precision) or opened.precisions()
    layers = _depths(depths, opened.manifest.depths, str(bundle))
    for name in precisions:
        for depth in layers:
            opened.check_variant(opened.variant(name, depth))
    if (Path(bundle) / "fp32").is_dir() and "fp32" in opened.precisions():  # the fidelity of all others is to fp32
        opened.check_variant(opened.variant("fp32", None))
    table = read_table(data, Columns(text=text, image=image, label=label, query=query, positive=positive))
    modality = "image" if "image" in table.roles else "text"
    if modality != opened.manifest.encoder.modality:
        raise UsageError(f"{bundle} embeds {opened.manifest.encoder.modality}s, and these columns hold {modality}s")
    grid = Grid(
        precisions=precisions,
        depths=layers,
        dims=chosen,
        threads=options.numbers("--threads", threads, least=1),
        plans=_plans(index, rerank_dim, shortlist, opened.manifest.dims),
        tokens=() if tokens == "0" or modality == "image" else options.numbers("--tokens", tokens, least=1),
        max_seconds=max_seconds,
        target_recall=recall,
    )
    if overwrite:
        discard(out)
    with console.progress_bar() as report:
        results = sweep(opened, _task(table.roles, max_queries), data, grid, out, report)
    if as_json:
        console.print_json(results)
    else:
        print_results(results)
    if all(row.status != "ok" for row in results.measurements):
        raise ResultsError(f"nothing could be measured: {results.measurements[0].reason}")
    if as_json:
        return
    console.say(f"\nresults: {out}\nnext:    mrl-edge pick {out} --max-p50-ms 5 --max-rss-mb 120")


def print_results(results: Results) -> None:
    """Print one line a configuration on real texts, and what could not be measured."""
    rows: list[list[object]] = []
    failed = []
    nested = len({row.depth for row in results.measurements}) > 1
    for row in results.measurements:
        if row.status != "ok" or row.encode is None:
            length = f" with {row.tokens} tokens" if row.tokens else ""
            failed.append(f"{row.precision} d{row.dim} of {row.depth} layers{length}: {row.status}, {row.reason}")
        elif row.tokens is None and row.memory and row.disk and row.quality:
            search, quality = row.search, row.quality
            mark = "" if row.encode.stable else " ~"
            rows.append(
                [
                    f"{row.precision}{f'×{row.threads}' if row.threads > 1 else ''}",
                    *([row.depth] if nested else []),
                    row.dim,
                    _index_name(row.plan),
                    f"{row.encode.p50_ms:.2f}{mark}",
                    search.p50_ms if search else None,
                    round(row.cold_start_ms or 0),
                    round(row.memory.peak_rss_bytes / 1e6),
                    (row.disk.model_bytes + row.disk.index_bytes + row.disk.vectors_bytes) / 1e6,
                    search.recall_at_10 if search else None,
                    quality.recall_at_10,
                    quality.ndcg_at_10,
                    quality.accuracy,
                ]
            )
    figures = ["dim", "index", "encode", "search", "cold", "RSS", "disk", "exact", "recall", "nDCG", "acc."]
    heads = ["", *(["depth"] if nested else []), *figures]
    title = "p50 in ms, memory and disk in MB, hits shared with exact search, scores@10"
    console.print_table(f"\n{results.device.cpu}: {title}", heads, rows)
    if any("~" in str(row[4]) for row in rows):
        console.note("~ the median is not known to within 2%: the machine is busy, or give it a longer --max-seconds")
    busy = max((row.system.busy_before_percent for row in results.measurements if row.system), default=0.0)
    if busy > _BUSY_PERCENT:
        console.note(f"warning: other work took up to {busy:.0f}% of this machine: its latencies are too high")
    for line in failed:
        console.note(f"not measured: {line}")


def _depths(text: str | None, there: tuple[int, ...], where: str) -> tuple[int, ...]:
    from mrl_edge.nesting import parse_ascending

    chosen = parse_ascending("--depths", text) if text else there
    for depth in chosen:
        if depth not in there:
            raise UsageError(f"--depths {text}: {where} has depth {', '.join(map(str, there))}")
    return chosen


def _index_name(plan: IndexPlan | None) -> str | None:
    if plan is None:
        return None
    return plan.kind if plan.rerank_dim is None else f"{plan.kind} → {plan.rerank_dim}"


def _task(roles: dict[str, list[str]], limit: int) -> Task:
    from mrl_edge.bench.jobs import Task
    from mrl_edge.datasets import spread
    from mrl_edge.metrics import retrieval_task

    items = roles.get("text") or roles.get("image") or []  # paths of images stand where texts do
    if ("query" in roles) != ("positive" in roles) or ("label" in roles and not items):
        raise UsageError(
            "a task needs --query with --positive (retrieval), or --text (or --image) with --label (classes), or both"
        )
    places = spread(len(items), limit) if "image" in roles else range(len(items))[:limit]  # a class after the other
    texts = [items[i] for i in places]
    labels = [roles["label"][i] for i in places] if "label" in roles else []
    if "query" not in roles:
        return Task([], [], [], texts, labels)
    task = retrieval_task(roles["query"], roles["positive"])
    relevant = [sorted(answers) for answers in task.relevant[:limit]]
    return Task(task.queries[:limit], task.documents, relevant, texts, labels)


def _plans(kinds: str, rerank_dim: int | None, shortlist: int, dims: tuple[int, ...]) -> tuple[IndexPlan, ...]:
    from mrl_edge.bench.results import IndexPlan
    from mrl_edge.bench.sweep import KINDS

    names = options.names(kinds) or ()
    if not names or len(set(names)) < len(names):
        raise UsageError(f"--index {kinds}: name each kind of search once, as in annoy,exact")
    for name in names:
        if name not in KINDS:
            raise UsageError(f"--index {name}: unknown; there is {', '.join(KINDS)}")
    plans = [IndexPlan(name) for name in names]
    if rerank_dim is not None:
        if rerank_dim not in dims:
            raise UsageError(f"--rerank-dim {rerank_dim} is none of the bundle's dimensions")
        plans += [IndexPlan(name, shortlist, rerank_dim) for name in names]
    return tuple(plans)
