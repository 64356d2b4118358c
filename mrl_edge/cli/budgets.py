"""The options of a budget, which `pick`, `tune` and `report` take alike, and the budget that they say."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mrl_edge.cli import console
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.bench.budget import Budget

Given = Mapping[str, Any]  # what was given to the options below, by their names
_Answer = TypeVar("_Answer")


def _most(what: str) -> Any:
    return Annotated[float | None, typer.Option(min=0, help=f"Most {what}.")]


def _share(what: str) -> Any:
    return Annotated[float | None, typer.Option(min=0, max=1, help=what)]


def _shares(what: str) -> Any:
    return Annotated[list[str] | None, typer.Option(metavar="METRIC=SHARE", help=f"{what} Repeatable.")]


_OPTIONS: dict[str, Any] = {
    "budget": Annotated[Path | None, typer.Option(help="Budget file (TOML); options replace what it says.")],
    "max_p50_ms": _most("p50 of a whole query, in ms"),
    "max_p99_ms": _most("p99 of a whole query, in ms"),
    "max_cold_ms": _most("ms from a process' start to its first vector"),
    "max_rss_mb": _most("peak RSS, in 10^6 bytes"),
    "max_disk_mb": _most("disk of model, index and vectors, in 10^6 bytes"),
    "max_energy_mj": _most("energy of a query, in mJ"),
    "min_recall": _share("Least recall@10."),
    "min_quality": _shares("Least of any metric, as in mrr_at_10=0.3."),
    "keep_recall": _share("Least share of the full model's (fp32) recall@10."),
    "keep_quality": _shares("The same of any metric, as in ndcg_at_10=0.97."),
    "corpus": Annotated[
        int | None, typer.Option(min=1, help="Documents that there will be: the larger of this and the next decides.")
    ],
    "corpus_now": Annotated[int | None, typer.Option(min=1, help="Documents that there are now.")],
    "confidence": Annotated[
        float | None,
        typer.Option(help="Hold limits by the one-sided bound of each interval, as in 0.95; else by the figure."),
    ],
    "objective": Annotated[
        str | None,
        typer.Option(
            help="ndcg_at_10, recall_at_10, mrr_at_10, map_at_10, accuracy or knn_top1, to maximise; by default "
            "nDCG@10 for retrieval, else accuracy."
        ),
    ],
}
NOTHING: Given = dict.fromkeys(_OPTIONS)  # none of them
_PLAIN = ("confidence", "objective", "corpus", "corpus_now")  # as in a budget
# The names of costs in a budget and of the options that bound them.
_MAX = {
    "p50_ms": "max_p50_ms",
    "p99_ms": "max_p99_ms",
    "cold_start_ms": "max_cold_ms",
    "peak_rss_mb": "max_rss_mb",
    "disk_mb": "max_disk_mb",
    "energy_mj": "max_energy_mj",
}


def with_budget(command: Callable[..., _Answer]) -> Callable[..., _Answer]:
    """Return a command that takes a budget's options where this one takes `limits`, a mapping of them by name."""
    own = inspect.signature(command, eval_str=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    options = [inspect.Parameter(name, kind, default=None, annotation=what) for name, what in _OPTIONS.items()]
    parameters: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        parameters += options if parameter.name == "limits" else [parameter.replace(kind=kind)]

    @functools.wraps(command)
    def run(**given: Any) -> _Answer:
        limits = {name: given.pop(name) for name in _OPTIONS}
        return command(limits=limits, **given)

    signature = own.replace(parameters=parameters)
    vars(run)["__signature__"] = signature
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def budget_of(limits: Given, device: str | None = None) -> Budget:
    """Return a file's budget with the options that were given in the place of its own; say what contradicts itself.

    `device` is a profile, whose memory for an application is a limit beside any other. Raises `UsageError` for a
    budget that cannot be.
    """
    import msgspec

    from mrl_edge.bench.budget import Budget, contradictions, read_budget

    budget = read_budget(limits["budget"]) if limits["budget"] else Budget()
    changes = {name: limits[name] for name in _PLAIN if limits[name] is not None}
    if "objective" in changes and budget.utility:
        changes["utility"] = {}
    most = {name: limits[option] for name, option in _MAX.items() if limits[option] is not None}
    most = {**budget.max, **most}
    if device is not None:
        most["peak_rss_mb"] = _fit_memory(device, most.get("peak_rss_mb"))
    floors, shares = ({**getattr(budget, table), **_floors(table, limits)} for table in ("min", "keep"))
    budget = msgspec.structs.replace(budget, max=most, min=floors, keep=shares, **changes)
    for line in contradictions(budget):
        console.note(f"warning: {line}")
    return budget


def _floors(table: str, limits: Given) -> dict[str, float]:
    """Return the floors that `--min-recall` and `--min-quality` give, or those of `--keep-…`, by metric."""
    recall = limits[f"{table}_recall"]
    found = {} if recall is None else {"recall_at_10": recall}
    for name, share in _qualities(f"--{table}-quality", limits[f"{table}_quality"] or ()):
        if name in found:
            raise UsageError(f"--{table}-quality {name}={share:g}: {name} has a floor of {found[name]:g} already")
        found[name] = share
    return found


def _qualities(option: str, given: Sequence[str]) -> list[tuple[str, float]]:
    from mrl_edge.bench.candidates import OBJECTIVES

    found = []
    for one in given:
        name, _, text = one.partition("=")
        try:
            share = float(text)
        except ValueError:
            raise UsageError(f"{option} {one}: expected a metric and its share, as in mrr_at_10=0.3") from None
        if name not in OBJECTIVES:
            raise UsageError(f"{option} {one}: no such metric; there is {', '.join(OBJECTIVES)}")
        if not 0 <= share <= 1:
            raise UsageError(f"{option} {one}: expected a share from 0 to 1")
        found.append((name, share))
    return found


def _fit_memory(device: str, limit_mb: float | None) -> float:
    """Return the least of a limit and what the device leaves an application, in 10^6 bytes, and say so."""
    from mrl_edge.devices.profiles import resolve

    profile = resolve(device)
    if profile.memory is None:
        raise UsageError(f"{profile.name} is a card, and its host's memory any: give --max-rss-mb")
    left_mb = profile.memory.application_bytes / 1e6
    console.note(f"  {profile.name} leaves an application {left_mb:,.0f} MB; times are of the machine measured on")
    return left_mb if limit_mb is None else min(left_mb, limit_mb)
