"""`mrl-edge pick`: `results.json` and a budget → one configuration, and why."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import console, options
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.bench.candidates import Candidate
    from mrl_edge.bench.pick import Choice

_EPILOG = """Examples:

mrl-edge pick results.json --max-p50-ms 5 --max-rss-mb 120 --max-disk-mb 40 --min-recall 0.5

mrl-edge pick results.json --max-rss-mb 64 --json || echo "nothing fits"

mrl-edge pick results.json --device pi-zero-2w

MB are 10^6 bytes, memory is the peak RSS. Exit code 3: nothing fits.
"""
_Max = Annotated[float | None, typer.Option(min=0)]
_Min = Annotated[float | None, typer.Option(min=0, max=1)]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("pick", epilog=_EPILOG)(pick)


def pick(
    results: Annotated[Path, typer.Argument(help="A results file, as mrl-edge bench writes it.")],
    max_p50_ms: _Max = None,
    max_p99_ms: _Max = None,
    max_cold_ms: _Max = None,
    max_rss_mb: _Max = None,
    max_disk_mb: _Max = None,
    min_recall: _Min = None,
    min_ndcg: _Min = None,
    min_accuracy: _Min = None,
    device: options.DeviceProfile = None,
    objective: Annotated[
        str | None, typer.Option(help="Metric to maximise; nDCG@10 for retrieval, else accuracy.")
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Pick the best configuration within a budget, and say what the next better one would cost."""
    from mrl_edge.bench.candidates import candidates, choose_objective
    from mrl_edge.bench.pick import Budget
    from mrl_edge.bench.pick import pick as choose
    from mrl_edge.bench.results import read_results

    if device is not None:
        max_rss_mb = _fit_memory(device, max_rss_mb)
    limits = {
        "--max-p50-ms": max_p50_ms,
        "--max-p99-ms": max_p99_ms,
        "--max-cold-ms": max_cold_ms,
        "--max-rss-mb": max_rss_mb,
        "--max-disk-mb": max_disk_mb,
    }
    floors = {"recall_at_10": min_recall, "ndcg_at_10": min_ndcg, "accuracy": min_accuracy}
    budget = Budget(_given(limits), _given(floors))
    rows = candidates(read_results(results))
    choice = choose(rows, budget, choose_objective(rows, objective))
    if as_json:
        console.print_json(_as_object(choice))
    else:
        print_choice(choice)
        print_front(choice)
    return 0 if choice.chosen else 3


def _fit_memory(device: str, limit_mb: float | None) -> float:
    """Return the least of a limit and what the device leaves an application, in 10^6 bytes, and say so."""
    from mrl_edge.devices.profiles import resolve

    profile = resolve(device)
    if profile.memory is None:
        raise UsageError(f"{profile.name} is a card, and its host's memory any: give --max-rss-mb")
    left_mb = profile.memory.application_bytes / 1e6
    console.note(f"  {profile.name} leaves an application {left_mb:,.0f} MB; times are of the machine measured on")
    return left_mb if limit_mb is None else min(left_mb, limit_mb)


def print_choice(choice: Choice) -> None:
    """Print the answer in words."""
    for line in choice.why:
        console.say(line)


def print_front(choice: Choice) -> None:
    """Print the Pareto front, the chosen row marked."""
    nested = any(row.shallow for row in choice.pareto)
    rows = [
        [
            "→" if row == choice.chosen else "",
            row.precision,
            *([row.depth] if nested else []),
            row.dim,
            row.index if row.rerank_dim is None else f"{row.index} → {row.rerank_dim}",
            row.threads,
            row.p50_ms,
            row.peak_rss_mb,
            row.disk_mb,
            row.quality[choice.objective],
        ]
        for row in choice.pareto
    ]
    heads = [
        "",
        "precision",
        *(["depth"] if nested else []),
        "dim",
        "index",
        "threads",
        "p50 ms",
        "RSS MB",
        "disk MB",
        choice.objective,
    ]
    console.print_table("\nPareto front: nothing is better in everything", heads, rows)


def _as_object(choice: Choice) -> dict[str, object]:
    """The chosen row's figures at the top, the rest beside them."""
    chosen = _figures(choice.chosen) if choice.chosen else {}
    return {
        "fits": choice.chosen is not None,
        **chosen,
        "objective": choice.objective,
        "why": choice.why,
        "next_better": _figures(choice.next_better) if choice.next_better else None,
        "nearest": _figures(choice.nearest) if choice.nearest else None,
        "over": [asdict(excess) for excess in choice.over],
        "pareto": [_figures(row) for row in choice.pareto],
    }


def _figures(row: Candidate) -> dict[str, object]:
    figures = asdict(row)
    quality: dict[str, float] = figures.pop("quality")
    return {**figures, **quality}


def _given(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
