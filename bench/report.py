"""`results.json` → one self-contained page: quality against cost, curves by dimension, baselines, the machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader
from mrl_edge.bench.candidates import Candidate, candidates, choose_objective
from mrl_edge.bench.results import Results

from mrl_edge.errors import ResultsError
from mrl_edge.metrics import TITLES, method_title

_BASELINE_METRICS = ("recall_at_10", "ndcg_at_10", "accuracy", "knn_top1")


@dataclass(frozen=True)
class Axis:
    """A cost on the horizontal axis of a figure."""

    title: str
    read: Callable[[Candidate], float]


_AXES = (
    Axis("query p50, ms", lambda row: row.p50_ms),
    Axis("peak RSS, MB", lambda row: row.peak_rss_mb),
    Axis("disk, MB", lambda row: row.disk_mb),
)


@dataclass(frozen=True)
class BaselineTable:
    """One metric of this model and the baselines, by dimension."""

    title: str
    dims: list[int]
    rows: list[tuple[str, list[float | None]]]  # None: not known at that dimension


def render(results: Results, objective: str | None = None) -> str:
    """Return the page as HTML, with plotly.js inside and nothing to fetch.

    Raises `ResultsError` when nothing was measured and `UsageError` for an objective that is not there.
    """
    rows = candidates(results)
    metric = choose_objective(rows, objective)
    figures = [_scatter(rows, axis, metric) for axis in _AXES]
    page = Environment(loader=PackageLoader("mrl_edge.bench", "."), autoescape=True).get_template("report.html.j2")
    return page.render(
        bundle=results.bundle,
        device=results.device,
        settings=results.settings,
        rows=sorted(rows, key=lambda row: -row.quality[metric]),
        failures=[row for row in results.measurements if row.status != "ok"],
        objective=metric,
        title=TITLES[metric],
        scatters=[_html(figure, with_library=number == 0) for number, figure in enumerate(figures)],
        curves=_html(_curves(rows, metric), with_library=False),
        baselines=_baselines(results.bundle.training),
    )


def _scatter(rows: Sequence[Candidate], axis: Axis, metric: str) -> go.Figure:
    figure = go.Figure()
    for precision in dict.fromkeys(row.precision for row in rows):
        points = [row for row in rows if row.precision == precision]
        figure.add_scatter(
            x=[axis.read(row) for row in points],
            y=[row.quality[metric] for row in points],
            text=[row.name for row in points],
            name=precision,
            mode="markers",
            marker={"size": 9},
            hovertemplate="%{text}<br>%{x:.2f}, %{y:.4f}<extra></extra>",
        )
    front = _front(rows, axis, metric)
    figure.add_scatter(
        x=[axis.read(row) for row in front],
        y=[row.quality[metric] for row in front],
        name="Pareto front",
        mode="lines",
        line={"shape": "hv", "dash": "dot", "color": "#57606a"},
        hoverinfo="skip",
    )
    return _styled(figure, axis.title, TITLES[metric])


def _front(rows: Sequence[Candidate], axis: Axis, metric: str) -> list[Candidate]:
    """Return the rows that no cheaper row equals on this figure's two axes, cheapest first."""
    front: list[Candidate] = []
    for row in sorted(rows, key=lambda row: (axis.read(row), -row.quality[metric])):
        if not front or row.quality[metric] > front[-1].quality[metric]:
            front.append(row)
    return front


def _curves(rows: Sequence[Candidate], metric: str) -> go.Figure:
    figure = go.Figure()
    for precision, depth, index in dict.fromkeys((row.precision, row.depth, row.index) for row in rows):
        same = [r for r in rows if (r.precision, r.depth, r.index) == (precision, depth, index)]
        points = sorted((r for r in same if r.rerank_dim in (None, r.dim)), key=lambda row: row.dim)
        where = f", layer {depth}" if any(row.shallow for row in points) else ""
        figure.add_scatter(
            x=[str(row.dim) for row in points],
            y=[row.quality[metric] for row in points],
            name=f"{precision}{where}, {index}" if index else f"{precision}{where}",
            mode="lines+markers",
        )
    return _styled(figure, "dimension", TITLES[metric])


def _styled(figure: go.Figure, x_title: str, y_title: str) -> go.Figure:
    margin = {"l": 60, "r": 20, "t": 20, "b": 50}
    return figure.update_layout(
        template="simple_white", height=420, margin=margin, xaxis_title=x_title, yaxis_title=y_title
    )


def _html(figure: go.Figure, with_library: bool) -> str:
    return str(figure.to_html(full_html=False, include_plotlyjs=with_library, config={"displaylogo": False}))


def _baselines(training: dict[str, Any]) -> list[BaselineTable]:
    try:
        scores = training.get("quality", {})
        quality = msgspec.convert(scores, dict[str, dict[int, dict[str, float | None]]], strict=False)
    except msgspec.ValidationError as error:
        raise ResultsError(f"the results' bundle.training.quality is damaged: {error}") from None
    tables = []
    dims = sorted(quality.get("mrl", {}))
    for metric in _BASELINE_METRICS:
        rows = [
            (method_title(method), [by_dim.get(dim, {}).get(metric) for dim in dims])
            for method, by_dim in quality.items()
            if any(metric in by_dim.get(dim, {}) for dim in dims)
        ]
        if rows:
            tables.append(BaselineTable(TITLES[metric], dims, rows))
    return tables
