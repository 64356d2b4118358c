"""`mrl-edge report`: `results.json` → `report.html`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from mrl_edge.cli import budgets, console, options

_EPILOG = """Examples:

mrl-edge report results.json --out report.html

mrl-edge report results.json --max-p50-ms 5 --max-rss-mb 120 --keep-recall 0.97

mrl-edge report laptop.json pi4.json --budget budget.toml --out devices.html

mrl-edge report results.json --peers peers.json

The page needs no network. It opens with the budget that is given here; another one stands in its address, so that a
link to it shows the same pick.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("report", epilog=_EPILOG)(budgets.with_budget(report))


def report(
    results: Annotated[list[Path], typer.Argument(help="Results files, as mrl-edge bench writes them.")],
    limits: budgets.Given,
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("report.html"),
    device: options.DeviceProfile = None,
    peers: Annotated[
        Path | None, typer.Option(help="Other software's figures, as bench/peers/compare.py --json prints them.")
    ] = None,
) -> None:
    """Write one self-contained page: the pick within a budget that you move, and all that it was chosen from.

    The limits are those of mrl-edge pick, and where the page's sliders stand when it is opened.
    """
    from mrl_edge.atomic import write_file
    from mrl_edge.bench.report import render
    from mrl_edge.bench.report_devices import ResultsFile
    from mrl_edge.bench.report_peers import read_peers
    from mrl_edge.bench.results import read_results

    wanted = budgets.budget_of(limits, device)
    options.refuse_replacing("--out", out, [*results, limits["budget"], peers])
    files = [ResultsFile(str(path), read_results(path)) for path in results]
    page = render(
        files,
        wanted,
        read_peers(peers) if peers else None,
        _command(results, {**limits, "out": out, "device": device, "peers": peers}),
    )
    write_file(out, page.encode())
    console.say(f"report: {out}")


def _command(results: list[Path], given: dict[str, object]) -> str:
    """Return the command that was given, for a shell."""
    words = ["mrl-edge", "report", *map(str, results)]
    for name, value in given.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                words += [f"--{name.replace('_', '-')}", f"{one:.15g}" if isinstance(one, float) else str(one)]
    return shlex.join(words)
