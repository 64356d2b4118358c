"""`mrl-edge index`: a bundle and a corpus → `bundle/index`."""

from __future__ import annotations

from typing import Annotated

import typer

from mrl_edge.bundle import IndexInfo
from mrl_edge.cli import console, options
from mrl_edge.errors import UsageError

_EPILOG = "Example: mrl-edge index bundle corpus.csv --text body --recall 0.95 --max-index-mb 20"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("index", epilog=_EPILOG)(index)


def index(
    bundle: options.BundleFolder,
    corpus: Annotated[str, typer.Argument(help="Table with the documents: .csv, .jsonl, .parquet, datasets folder.")],
    text: options.Text = None,
    positive: options.Positive = None,
    query: options.Query = None,
    dims: options.Dims = None,
    precision: options.Precision = None,
    depth: options.Depth = None,
    recall: Annotated[float, typer.Option(min=0.01, max=1, help="Recall@10 to reach, against exact search.")] = 0.95,
    max_index_mb: Annotated[float | None, typer.Option(min=0, help="Largest Annoy file, in 10^6 bytes.")] = None,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> None:
    """Build an Annoy index a dimension, its trees and search_k sized to a recall within a memory limit.

    The documents are the column that --text or --positive names, by default `text`. The sizing is done on real
    queries if --query names their column, else on documents of the corpus.
    """
    from mrl_edge.bundle import open_bundle
    from mrl_edge.datasets import Columns, read_table
    from mrl_edge.index.corpus import build_index
    from mrl_edge.nesting import parse_dims

    chosen = parse_dims(dims) if dims else None
    opened = open_bundle(bundle)
    if text and positive:
        raise UsageError("--text and --positive: name one column with the documents")
    table = read_table(corpus, Columns(text=positive or text or "text", query=query))
    documents = list(dict.fromkeys(table.roles["text"]))
    with console.progress_bar() as report:
        info = build_index(
            opened,
            documents,
            table.roles.get("query"),
            corpus,
            report,
            dims=chosen,
            precision=precision,
            depth=depth,
            target_recall=recall,
            max_bytes=None if max_index_mb is None else int(max_index_mb * 1e6),
            threads=threads,
        )
    if as_json:
        console.print_json(info)
        return
    files = open_bundle(bundle).manifest.files
    print_sizes(info, {size.dim: files[size.file].bytes for size in info.sizes}, recall)
    console.say(f'\nnext: mrl-edge search {bundle} "your query" --dim {info.sizes[-1].dim}')


def print_sizes(info: IndexInfo, sizes: dict[int, int], target: float) -> None:
    """Print one line a dimension, and which of them miss the target."""
    rows = [
        [s.dim, s.n_trees, s.search_k, sizes[s.dim] / 1e6, s.p50_ms, s.recall_at_10, s.recall_at_10_full]
        for s in info.sizes
    ]
    heads = ["dim", "n_trees", "search_k", "MB", "p50 ms", "recall@10", "of full dim"]
    console.print_table(f"\n{info.n_items} documents, Annoy against exact search, {info.precision}", heads, rows)
    short = [str(s.dim) for s in info.sizes if s.recall_at_10 < target]
    if short:
        console.note(f"warning: recall {target} was not reached at dimension {', '.join(short)}")
