"""`mrl-edge compare`: two results files side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import console, options
from mrl_edge.errors import ResultsError

if TYPE_CHECKING:
    from mrl_edge.bench.comparison import ConfigurationPair
    from mrl_edge.bench.figures import Figure

_EPILOG = """Examples:

mrl-edge compare before.json after.json

mrl-edge compare board-a.json board-b.json --json

Two configurations of one bundle are better measured in turn: mrl-edge bench --compare int8:d64 fp32:d384.
"""
_SHORT = {
    "query p50 ms": "query",
    "encode p50 ms": "encode",
    "search p50 ms": "search",
    "cold start ms": "cold",
    "peak RSS MB": "RSS",
    "disk MB": "disk",
    "recall_at_10": "recall",
    "ndcg_at_10": "nDCG",
    "mrr_at_10": "MRR",
    "map_at_10": "MAP",
}
_A = Annotated[Path, typer.Argument(help="A results file, as mrl-edge bench writes it.", show_default=False)]
_B = Annotated[Path, typer.Argument(help="Another.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("compare", epilog=_EPILOG)(compare)


def compare(a: _A, b: _B, as_json: options.AsJson = False) -> None:
    """Compare two results files, configuration by configuration: latency, rate, memory, disk, quality.

    Ratios are b / a, marked * where the difference is more than chance: 95% intervals that do not overlap, of scores
    the change over the queries that both were asked, of a rate of arrivals that one kept and the other exceeded.
    """
    from mrl_edge.bench.comparison import compare_files
    from mrl_edge.bench.results import read_results

    found = compare_files(read_results(a), read_results(b))
    if not found.pairs:
        raise ResultsError(f"{a} and {b} have no configuration in common")
    if as_json:
        console.print_json(found)
        return
    names = list(dict.fromkeys(figure.name for pair in found.pairs for figure in pair.figures))
    heads = ["configuration", f"{names[0]}: a", "b", *(_SHORT.get(name, name) for name in names)]
    console.print_table(f"a {a}, b {b}; then b / a of", heads, [_row(pair, names) for pair in found.pairs])
    if any(figure.apart for pair in found.pairs for figure in pair.figures):
        console.note(
            "* more than chance: 95% intervals do not overlap, or that of a change over the same queries leaves out 0"
        )
    doubtful = [figure for pair in found.pairs for figure in pair.figures if figure.apart and figure.stable is False]
    if doubtful:
        doubts = ", ".join(dict.fromkeys(doubt for figure in doubtful for doubt in figure.doubts))
        console.note(f"~ so it is, but the median is not stable in one of the files ({doubts})")
    for name, only in ((a, found.only_a), (b, found.only_b)):
        if only:
            console.note(f"only in {name}: {'; '.join(only)}")
    if found.differing:
        console.note(f"measured with another {', '.join(found.differing)}")


def _row(pair: ConfigurationPair, names: list[str]) -> list[object]:
    by_name = {figure.name: figure for figure in pair.figures}
    first = by_name.get(names[0])
    values = [first.a, first.b] if first else [None, None]
    return [pair.configuration, *values, *(_ratio(by_name.get(name)) for name in names)]


def _ratio(figure: Figure | None) -> str | None:
    if figure is None or figure.ratio is None:
        return None
    return f"{figure.ratio:.2f}{'*' if figure.apart else ''}{' ~' if figure.apart and figure.stable is False else ''}"
