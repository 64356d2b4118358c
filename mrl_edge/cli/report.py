"""`mrl-edge report`: `results.json` → `report.html`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from mrl_edge.cli import budgets, console, options
from mrl_edge.errors import UsageError

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
    app.command("report", epilog=_EPILOG)(report)


def report(
    results: Annotated[list[Path], typer.Argument(help="Results files, as mrl-edge bench writes them.")],
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("report.html"),
    budget: budgets.File = None,
    max_p50_ms: budgets.MaxP50 = None,
    max_p99_ms: budgets.MaxP99 = None,
    max_cold_ms: budgets.MaxCold = None,
    max_rss_mb: budgets.MaxRss = None,
    max_disk_mb: budgets.MaxDisk = None,
    max_energy_mj: budgets.MaxEnergy = None,
    min_recall: budgets.Min = None,
    min_ndcg: budgets.Min = None,
    min_accuracy: budgets.Min = None,
    keep_recall: budgets.Keep = None,
    keep_ndcg: budgets.Keep = None,
    keep_accuracy: budgets.Keep = None,
    confidence: budgets.Confidence = None,
    device: options.DeviceProfile = None,
    objective: budgets.Objective = None,
    peers: Annotated[
        Path | None, typer.Option(help="Other software's figures, as bench/peers/compare.py --json prints them.")
    ] = None,
) -> None:
    """Write one self-contained page: the pick within a budget that you move, and all that it was chosen from.

    The limits are those of mrl-edge pick, and where the page's sliders stand when it is opened.
    """
    given = {name: value for name, value in locals().items() if name != "results"}

    from mrl_edge.atomic import write_file
    from mrl_edge.bench.report import render
    from mrl_edge.bench.report_devices import ResultsFile
    from mrl_edge.bench.report_peers import read_peers
    from mrl_edge.bench.results import read_results

    wanted = budgets.budget_of(
        budget,
        device,
        {
            "p50_ms": max_p50_ms, "p99_ms": max_p99_ms, "cold_start_ms": max_cold_ms, "peak_rss_mb": max_rss_mb,
            "disk_mb": max_disk_mb, "energy_mj": max_energy_mj,
        },
        {"recall_at_10": min_recall, "ndcg_at_10": min_ndcg, "accuracy": min_accuracy},
        {"recall_at_10": keep_recall, "ndcg_at_10": keep_ndcg, "accuracy": keep_accuracy},
        confidence=confidence,
        objective=objective,
    )  # fmt: skip
    _check_out(out, [*results, *(path for path in (budget, peers) if path is not None)])
    files = [ResultsFile(str(path), read_results(path)) for path in results]
    page = render(files, wanted, read_peers(peers) if peers else None, _command(results, given))
    write_file(out, page.encode())
    console.say(f"report: {out}")


def _check_out(out: Path, read: list[Path]) -> None:
    """Raise `UsageError` where the page would be written over what it is made of."""
    for path in read:
        if out.resolve() == path.resolve():
            raise UsageError(f"--out {out}: the page would replace what it is made of; choose another file")


def _command(results: list[Path], given: dict[str, object]) -> str:
    """Return the command that was given, for a shell."""
    words = ["mrl-edge", "report", *map(str, results)]
    for name, value in given.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", f"{value:.15g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)
