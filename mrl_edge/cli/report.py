"""`mrl-edge report`: `results.json` → `report.html`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrl_edge.cli import console

_EPILOG = "Example: mrl-edge report results.json --out report.html"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("report", epilog=_EPILOG)(report)


def report(
    results: Annotated[Path, typer.Argument(help="A results file, as mrl-edge bench writes it.")],
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("report.html"),
    objective: Annotated[str | None, typer.Option(help="Metric on the vertical axis.")] = None,
) -> None:
    """Write one self-contained page: quality against latency, memory and disk, and the machine."""
    from mrl_edge.atomic import write_file
    from mrl_edge.bench.report import render
    from mrl_edge.bench.results import read_results

    write_file(out, render(read_results(results), objective).encode())
    console.say(f"report: {out}")
