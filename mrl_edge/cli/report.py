"""`mrl-edge report`: `results.json` → `report.html`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrl_edge.cli import console

_EPILOG = """Examples:

mrl-edge report results.json --out report.html

mrl-edge report laptop.json pi4.json --out devices.html

mrl-edge report results.json --peers peers.json

The page needs no network. Its budget stands in its address, so that a link to it shows the same pick.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("report", epilog=_EPILOG)(report)


def report(
    results: Annotated[list[Path], typer.Argument(help="Results files, as mrl-edge bench writes them.")],
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("report.html"),
    objective: Annotated[str | None, typer.Option(help="Metric to maximise, until the page is told another.")] = None,
    peers: Annotated[
        Path | None, typer.Option(help="Other software's figures, as bench/peers/compare.py --json prints them.")
    ] = None,
) -> None:
    """Write one self-contained page: the pick within a budget that you move, and all that it was chosen from."""
    from mrl_edge.atomic import write_file
    from mrl_edge.bench.report import ResultsFile, render
    from mrl_edge.bench.report_peers import read_peers
    from mrl_edge.bench.results import read_results

    files = [ResultsFile(path.name, read_results(path)) for path in results]
    page = render(files, objective, read_peers(peers) if peers else ())
    write_file(out, page.encode())
    console.say(f"report: {out}")
