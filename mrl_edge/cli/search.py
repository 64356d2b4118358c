"""`mrl-edge search`: a query → readable hits, at one dimension or at all of them side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import completions, console, options
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.search import Hit

_EPILOG = """Examples:

mrl-edge search bundle "a small musical phrase" --dim 64 -k 5

mrl-edge search bundle "a small musical phrase" --dim all

mrl-edge search bundle "a small musical phrase" --dim 32 --rerank-dim 384 --shortlist 200
"""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("search", epilog=_EPILOG)(search)


def search(
    bundle: options.BundleFolder,
    query: Annotated[str, typer.Argument(help="What to search for.", show_default=False)],
    dim: Annotated[
        str,
        typer.Option(help="A dimension, or `all` for every one side by side.", autocompletion=completions.dim),
    ] = "all",
    k: Annotated[int, typer.Option("-k", min=1, help="Number of hits.")] = 5,
    rerank_dim: Annotated[int | None, typer.Option(help="Rank a shortlist again at this dimension.")] = None,
    shortlist: Annotated[int, typer.Option(min=1, help="Length of the shortlist.")] = 200,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Compare with every vector, as stored; of equal cosines the first stored wins."),
    ] = False,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.AsJson = False,
) -> None:
    """Search the indexed corpus."""
    from mrl_edge.cli.providers import read_provider
    from mrl_edge.search import Search, search_every_dimension

    read_provider(provider)
    if dim == "all":
        if rerank_dim is not None:
            raise UsageError("--rerank-dim needs one --dim for the shortlist")
        by_dim = search_every_dimension(bundle, query, k, exact, threads, provider)
        if as_json:
            console.print_json({str(d): [asdict(hit) for hit in hits] for d, hits in by_dim.items()})
            return
        print_ranks(by_dim)
        return
    if not dim.isdecimal():
        raise UsageError(f"--dim {dim}: expected a whole number or `all`")
    hits = Search(bundle, int(dim), rerank_dim, shortlist, exact, threads, provider)(query, k)
    if as_json:
        console.print_json([asdict(hit) for hit in hits])
        return
    console.print_table("", ["", "cosine", "document"], [[i + 1, h.score, h.text] for i, h in enumerate(hits)], keys=3)


def print_ranks(by_dim: Mapping[int, Sequence[Hit]]) -> None:
    """Print a line a document: its rank at each dimension. The hits of the largest come first, in its order."""
    ranks: dict[int, dict[int, int]] = {}
    texts: dict[int, str] = {}
    for dim in sorted(by_dim, reverse=True):
        for rank, hit in enumerate(by_dim[dim], 1):
            texts[hit.id] = hit.text
            ranks.setdefault(hit.id, {})[dim] = rank
    rows = [[text, *(ranks[number].get(dim) for dim in by_dim)] for number, text in texts.items()]
    console.print_table("Rank of each hit by dimension; --dim N gives cosines", ["", *map(str, by_dim)], rows)
