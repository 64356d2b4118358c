"""`mrl-edge evaluate`: a model, bundle or encoder and data → its quality at every dimension, beside others'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import console, options
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.evaluation.adaptive_classification import AdaptiveClassification
    from mrl_edge.evaluation.adaptive_retrieval import SearchCost
    from mrl_edge.evaluation.run import Evaluation, MethodScores

_EPILOG = """Examples:

mrl-edge evaluate bundle --data dev.csv --query question --positive answer --precision int8

mrl-edge evaluate model --data dev.csv --text body --label topic --superclass field --reference train.csv --knn 1,8

mrl-edge evaluate model --data sts.csv --query sentence1 --positive sentence2 --score similarity

mrl-edge evaluate sentence-transformers/all-MiniLM-L6-v2 --data dev.csv --query question --positive answer --k 1,10

mrl-edge evaluate model --beside untouched=./my-encoder --beside FF=model-ff --data dev.csv --text body --label topic
"""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("evaluate", epilog=_EPILOG)(evaluate)


def evaluate(
    model: Annotated[str, typer.Argument(help="Model folder, bundle, or encoder (folder or hub id).")],
    data: Annotated[str, typer.Option(help="Table to score on: .csv, .jsonl, .parquet (or .gz), datasets folder.")],
    text: options.Text = None,
    image: options.Image = None,
    label: options.Label = None,
    query: options.Query = None,
    positive: options.Positive = None,
    score: options.Score = None,
    superclass: options.Superclass = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Labelled table that neighbours, few examples and the linear probe learn from; by default other rows"
            " of --data."
        ),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="Another model in the same tables, NAME=FOLDER or FOLDER: a model, bundle, untouched encoder, or the"
            " models that mrl-edge train --fixed-out keeps. Repeatable."
        ),
    ] = None,
    dims: options.Dims = None,
    depth: options.Depth = None,
    precision: options.Precision = None,
    k: Annotated[str, typer.Option("--k", help="Ranks that retrieval is cut at, as in 1,5,10.")] = "10",
    knn: Annotated[str, typer.Option(help="Neighbours that vote on a class, as in 1,8.")] = "1,8",
    linear_probe: Annotated[
        bool,
        typer.Option(help="Fit a logistic regression a method and dimension; the slowest score with many classes."),
    ] = True,
    shortlist: Annotated[int, typer.Option(min=1, help="First shortlist of adaptive and funnel retrieval.")] = 200,
    max_queries: Annotated[int | None, typer.Option(min=1, help="Ask the first queries only, of all documents.")] = (
        None
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the halves, the few examples and the random features.")] = 0,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.AsJson = False,
) -> None:
    """Score every dimension and depth on a task's own labels, beside PCA, SVD and random features.

    Pairs (--query, --positive) are scored as retrieval, or with --score by rank correlation; classes (--text,
    --label; --image of an image model) by class heads, a linear probe, neighbours, few examples and class frequency.
    Cascades over dimensions, adaptive and funnel retrieval come with their cost. Models of --beside are scored at
    their full depth; an untouched encoder's rows are its plain truncation, PCA, SVD and random features.
    """
    from mrl_edge.cli.providers import read_provider
    from mrl_edge.datasets import Columns, read_table
    from mrl_edge.evaluation.beside import open_beside
    from mrl_edge.evaluation.run import evaluate as run
    from mrl_edge.evaluation.scores import Settings
    from mrl_edge.evaluation.source import open_source
    from mrl_edge.evaluation.task import make_task
    from mrl_edge.nesting import parse_dims

    settings = Settings(
        ks=options.numbers("--k", k),
        knn=options.numbers("--knn", knn),
        shortlist=shortlist,
        linear_probe=linear_probe,
        seed=seed,
    )
    read_provider(provider)
    wanted = parse_dims(dims) if dims else None
    columns = Columns(
        text=text, image=image, label=label, query=query, positive=positive, score=score, superclass=superclass
    )
    table = read_table(data, columns)
    labelled = Columns(text=text, image=image, label=label, superclass=superclass)
    task = make_task(table, read_table(reference, labelled) if reference else None, max_queries)
    source = open_source(model, precision, wanted, threads, provider)
    if source.modality != task.modality:
        raise UsageError(f"{model} embeds {source.modality}s, and these columns hold {task.modality}s")
    if depth is not None and depth not in source.depths:
        there = ", ".join(map(str, source.depths))
        raise UsageError(f"--depth {depth}: {model} has no such depth; it has {there}")
    others = open_beside(beside or (), source, task, precision, threads, provider)
    with console.progress_bar() as report:
        found = run(source, task, settings, report, None if depth is None else (depth,), others)
    if as_json:
        console.print_json(found)
    else:
        print_evaluation(found)


def print_evaluation(found: Evaluation) -> None:
    """Print a table a family of metrics, then one a depth for cascades and for searches."""
    from mrl_edge.evaluation.baselines import DRAWS

    counts = ", ".join(f"{count:,} {part}" for part, count in found.rows.items())
    precision = f" in {found.precision}" if found.precision else ""
    console.say(f"{found.model}{precision}: {counts}")
    alone = {scores.beside for scores in found.scores if scores.method == "ff"}
    for name, folder in found.beside.items():
        each = ", a model trained at each dimension alone" if name in alone else ""
        console.say(f"Beside it, at full depth: {name} ({folder}{each})")
    console.say(f"Baselines of a full embedding: random features, the mean of {DRAWS} draws;")
    console.say(f"PCA and SVD, fitted on {found.baselines_fitted_on}")
    for family in dict.fromkeys(scores.family for scores in found.scores):
        _print_family(family, [scores for scores in found.scores if scores.family == family], found)
    for depth, curve in found.adaptive_classification.items():
        _print_cascades(curve, _at(found, depth))
    for depth, costs in found.adaptive_retrieval.items():
        _print_searches(costs, _at(found, depth), max(found.settings.ks))


def _print_family(family: str, methods: list[MethodScores], found: Evaluation) -> None:
    from mrl_edge.evaluation.titles import metric_title

    rows: list[list[object]] = []
    names = dict.fromkeys(name for scores in methods for name in scores.by_dim[found.dims[-1]])
    for name in names:
        title = metric_title(name)
        for scores in methods:
            values = [metrics.get(name) for metrics in scores.by_dim.values()]
            if any(value is not None for value in values):
                rows.append([title, f"{_method(scores)}{_at(found, scores.depth)}", *values])
                title = ""
    console.print_table(f"\n{family.capitalize()}, by dimension", ["", "", *map(str, found.dims)], rows, keys=2)


def _method(scores: MethodScores) -> str:
    """Name a row; a model beside the evaluated one is called by its name, and what was made of it by both."""
    from mrl_edge.metrics import method_title

    if scores.beside is None:
        return method_title(scores.method)
    return scores.beside if scores.method in ("mrl", "ff") else f"{scores.beside}: {method_title(scores.method)}"


def _print_cascades(curve: AdaptiveClassification, where: str) -> None:
    title = (
        f"\nAdaptive classification{where}: the smallest dimension that is sure enough answers "
        f"(fitted on {curve.fitted_rows:,} rows, scored on {curve.scored_rows:,} others)"
    )
    dims = list(curve.points[0].shares)
    rows: list[list[object]] = []
    for point in curve.points:
        shares = [f"{share:.0%}" for share in point.shares.values()]
        rows.append(["✓" if point.cheapest_as_good else "", point.expected_dim, point.accuracy, *shares])
    rows.append(["oracle", curve.oracle.expected_dim, curve.oracle.accuracy, *(None for _ in dims)])
    heads = ["", "expected dim", "accuracy", *(f"by {dim}" for dim in dims)]
    console.print_table(title, heads, rows, keys=3)
    console.say(f"✓ the cheapest that keeps the full dimension's accuracy of {console.cell(curve.full_accuracy)}")


def _print_searches(costs: tuple[SearchCost, ...], where: str, k: int) -> None:
    from mrl_edge.evaluation.titles import metric_title

    names = [f"{name}_at_{k}" for name in ("recall", "ndcg", "map")]
    rows: list[list[object]] = [
        [cost.kind, _arrows(cost.dims), _arrows(cost.shortlists), cost.mflops, *(cost.metrics[name] for name in names)]
        for cost in costs
    ]
    heads = ["", "dimensions", "shortlists", "MFLOPs", *map(metric_title, names)]
    console.print_table(f"\nSearch{where}: quality and millions of multiply-adds a query", heads, rows, keys=3)


def _arrows(steps: tuple[int, ...]) -> str:
    """Write the ends of a funnel; its steps between are the dimensions between, or halvings."""
    return "→".join(map(str, steps if len(steps) < 3 else (steps[0], "…", steps[-1])))


def _at(found: Evaluation, depth: int) -> str:
    return "" if len(found.depths) == 1 else f", depth {depth}"
