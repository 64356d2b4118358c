"""`mrl-edge index`: a bundle and a corpus → `bundle/index`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.bundle import Bundle, IndexInfo
from mrl_edge.cli import completions, console, options
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.index.build import Corpus
    from mrl_edge.progress import Report

_EPILOG = """Examples:

mrl-edge index bundle corpus.csv --text body --recall 0.95 --max-index-mb 20

mrl-edge index bundle corpus.csv --text body --tune --target-recall 0.98 --max-index-mb 40 --vectors int8-int4
"""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("index", epilog=_EPILOG)(index)


def index(
    bundle: options.BundleFolder,
    corpus: Annotated[str, typer.Argument(help="Table with the documents: .csv, .jsonl, .parquet, datasets folder.")],
    text: options.Text = None,
    positive: options.Positive = None,
    query: options.Query = None,
    max_documents: Annotated[
        int | None, typer.Option(min=1, help="Index the first so many distinct documents alone; by default all.")
    ] = None,
    dims: options.Dims = None,
    precision: options.Precision = None,
    depth: options.Depth = None,
    recall: Annotated[
        float, typer.Option("--recall", "--target-recall", min=0.01, max=1, help="Recall@10 to reach.")
    ] = 0.95,
    max_index_mb: Annotated[
        float | None,
        typer.Option(min=0, max=1e9, help="Largest Annoy file, or with --tune all that queries touch, in 10^6 bytes."),
    ] = None,
    tune: Annotated[bool, typer.Option("--tune", help="Choose among kinds of index, by latency.")] = False,
    kinds: Annotated[
        str | None,
        typer.Option(
            help="Kinds for --tune: scan, binary, annoy, annoy-dot, annoy-euclidean, hnsw, ivf; by default scan, "
            "binary, annoy, ivf. Without it one of the three of Annoy.",
            autocompletion=completions.list_of(*completions.KINDS),
        ),
    ] = None,
    vectors: Annotated[
        str | None,
        typer.Option(
            help="How vectors are stored: fp32, fp16, int8, int8-int6, int8-int4; by default fp32, with --tune int8.",
            autocompletion=completions.one_of(*completions.STORAGES),
        ),
    ] = None,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.AsJson = False,
) -> None:
    """Build an index a dimension: Annoy sized to a recall, or with --tune the fastest of several kinds.

    The documents are the column that --text or --positive names, by default `text`. Sizes are chosen on real
    queries if --query names their column, else on documents of the corpus; where there are 400, the figures are on
    200 others than those that sizes were chosen on. Without --tune the recall is against exact search at each
    dimension of what is stored, with it against exact search at the full one, over float32.
    """
    from mrl_edge.bundle import open_bundle
    from mrl_edge.cli.providers import read_provider
    from mrl_edge.datasets import Columns, read_table
    from mrl_edge.index.build import Corpus, build_index
    from mrl_edge.index.kinds import FORESTS
    from mrl_edge.index.vectors import check_storage
    from mrl_edge.nesting import parse_dims

    chosen = parse_dims(dims) if dims else None
    read_provider(provider)
    opened = open_bundle(bundle)
    if text and positive:
        raise UsageError("--text and --positive: name one column with the documents")
    if not tune and (kinds or "annoy") not in FORESTS:
        raise UsageError(f"--kinds {kinds} needs --tune: without it every dimension gets one of {', '.join(FORESTS)}")
    storage = vectors or ("int8" if tune else "fp32")
    check_storage(storage, opened.manifest.dims)
    table = read_table(corpus, Columns(text=positive or text or "text", query=query))
    documents = list(dict.fromkeys(table.roles["text"]))[:max_documents]
    what = Corpus(documents, table.roles.get("query"), corpus, precision, depth, threads, storage, provider)
    max_bytes = None if max_index_mb is None else int(max_index_mb * 1e6)
    with console.progress_bar() as report:
        if tune:
            info = _tuned(opened, what, recall, max_bytes, kinds, report, chosen)
        else:
            info = build_index(opened, what, report, chosen, recall, max_bytes, FORESTS[kinds or "annoy"])
    if as_json:
        console.print_json(info)
        return
    if tune:
        print_choices(info, recall)
    else:
        print_sizes(info, recall)
    console.say(f'\nnext: mrl-edge search {bundle} "your query" --dim {info.sizes[-1].dim}')


def _tuned(
    opened: Bundle,
    corpus: Corpus,
    recall: float,
    max_bytes: int | None,
    kinds: str | None,
    report: Report,
    dims: tuple[int, ...] | None,
) -> IndexInfo:
    from mrl_edge.index.tune import tune_index
    from mrl_edge.index.tuning import Target

    target = Target(recall, max_bytes, options.names(kinds) or ("ivf", "binary", "annoy", "scan"))
    return tune_index(opened, corpus, target, report, dims)


def print_choices(info: IndexInfo, target: float) -> None:
    """Print what was chosen at each dimension, and which of them miss the target."""
    rows = []
    for size in info.sizes:
        settings = ", ".join(f"{name} {value}" for name, value in size.parameters.items())
        reranked = ", ".join(f"{step.shortlist} → {step.dim}" for step in size.steps) or None
        figures = [size.resident_bytes / 1e6, size.p50_ms, size.recall_at_10_full]
        rows.append([size.dim, size.kind, settings or None, reranked, *figures])
    heads = ["dim", "kind", "parameters", "reranked", "MB touched", "p50 ms", "recall@10"]
    title = f"{info.n_items} documents, recall against exact search at full dimension on the {info.scored_on}"
    console.print_table(f"\n{title}, vectors in {info.vectors.storage}", heads, rows, keys=2)
    console.say(f"all that was tried: {info.tuning}")
    _warn_of([size.dim for size in info.sizes if size.recall_at_10_full < target], target)


def print_sizes(info: IndexInfo, target: float) -> None:
    """Print one line a dimension, and which of them miss the target."""
    rows = []
    for s in info.sizes:
        figures = [s.resident_bytes / 1e6, s.p50_ms, s.recall_at_10, s.recall_at_10_full]
        rows.append([s.dim, s.parameters["n_trees"], s.parameters["search_k"], *figures])
    heads = ["dim", "n_trees", "search_k", "MB", "p50 ms", "recall@10", "of full dim"]
    title = f"{info.n_items} documents, Annoy against exact search of the stored {info.vectors.storage}"
    console.print_table(f"\n{title} on the {info.scored_on}, {info.precision}", heads, rows)
    _warn_of([s.dim for s in info.sizes if s.recall_at_10 is not None and s.recall_at_10 < target], target)


def _warn_of(dims: list[int], target: float) -> None:
    if dims:
        console.note(f"warning: recall {target} was not reached at dimension {', '.join(map(str, dims))}")
