"""The options of a budget, which `pick`, `tune` and `report` share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrl_edge.cli import console
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.bench.budget import Budget

MaxP50 = Annotated[float | None, typer.Option(min=0, help="Most p50 of a whole query, in ms.")]
MaxP99 = Annotated[float | None, typer.Option(min=0, help="Most p99 of a whole query, in ms.")]
MaxCold = Annotated[float | None, typer.Option(min=0, help="Most ms from a process' start to its first vector.")]
MaxRss = Annotated[float | None, typer.Option(min=0, help="Most peak RSS, in 10^6 bytes.")]
MaxDisk = Annotated[float | None, typer.Option(min=0, help="Most disk of model, index and vectors, in 10^6 bytes.")]
MaxEnergy = Annotated[float | None, typer.Option(min=0, help="Most energy of a query, in mJ.")]
Min = Annotated[float | None, typer.Option(min=0, max=1, help="At least.")]
Keep = Annotated[float | None, typer.Option(min=0, max=1, help="At least this share of the full model's, fp32.")]
File = Annotated[
    Path | None, typer.Option("--budget", help="Budget file (TOML); options beside it replace what it says.")
]
Confidence = Annotated[
    float | None,
    typer.Option(help="Hold limits by the one-sided bound of each interval, as in 0.95; else by the figure."),
]
Objective = Annotated[
    str | None,
    typer.Option(
        help="ndcg_at_10, recall_at_10, mrr_at_10, map_at_10, accuracy or knn_top1, to maximise; by default nDCG@10 "
        "for retrieval, else accuracy."
    ),
]


# The names of figures and of the options that bound them, which every command with a budget has.
_MAX = {
    "p50_ms": "max_p50_ms",
    "p99_ms": "max_p99_ms",
    "cold_start_ms": "max_cold_ms",
    "peak_rss_mb": "max_rss_mb",
    "disk_mb": "max_disk_mb",
    "energy_mj": "max_energy_mj",
}
_MIN = {"recall_at_10": "min_recall", "ndcg_at_10": "min_ndcg", "accuracy": "min_accuracy"}
_KEEP = {"recall_at_10": "keep_recall", "ndcg_at_10": "keep_ndcg", "accuracy": "keep_accuracy"}


def of_options(given: Mapping[str, Any], device: str | None = None, corpus: int | None = None) -> Budget:
    """Return the budget that a command's options say, by their names; otherwise as `budget_of`."""
    tables = ({name: given[option] for name, option in table.items()} for table in (_MAX, _MIN, _KEEP))
    others = {name: given[name] for name in ("confidence", "objective")}
    return budget_of(given["budget"], device, *tables, corpus=corpus, **others)


def budget_of(
    file: Path | None,
    device: str | None,
    limits: dict[str, float | None],
    floors: dict[str, float | None],
    shares: dict[str, float | None],
    **others: Any,
) -> Budget:
    """Return a file's budget with the options that were given in the place of its own; say what contradicts itself.

    `device` is a profile, whose memory for an application is a limit beside any other. Raises `UsageError` for a
    budget that cannot be.
    """
    import msgspec

    from mrl_edge.bench.budget import Budget, contradictions, read_budget

    budget = read_budget(file) if file else Budget()
    changes: dict[str, Any] = {name: value for name, value in others.items() if value is not None}
    if "objective" in changes and budget.utility:
        changes["utility"] = {}
    most = {**budget.max, **_given(limits)}
    if device is not None:
        most["peak_rss_mb"] = _fit_memory(device, most.get("peak_rss_mb"))
    budget = msgspec.structs.replace(
        budget, max=most, min={**budget.min, **_given(floors)}, keep={**budget.keep, **_given(shares)}, **changes
    )
    for line in contradictions(budget):
        console.note(f"warning: {line}")
    return budget


def _fit_memory(device: str, limit_mb: float | None) -> float:
    """Return the least of a limit and what the device leaves an application, in 10^6 bytes, and say so."""
    from mrl_edge.devices.profiles import resolve

    profile = resolve(device)
    if profile.memory is None:
        raise UsageError(f"{profile.name} is a card, and its host's memory any: give --max-rss-mb")
    left_mb = profile.memory.application_bytes / 1e6
    console.note(f"  {profile.name} leaves an application {left_mb:,.0f} MB; times are of the machine measured on")
    return left_mb if limit_mb is None else min(left_mb, limit_mb)


def _given(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
