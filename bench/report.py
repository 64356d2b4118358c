"""`results.json` → one self-contained page: the pick within a budget that the reader moves, and what it rests on.

The page is `report.html.j2` with the style and the scripts of `page/` inside and the rows as JSON. Its figures are SVG
that `page/chart.js` draws: for 200 configurations a page of 0.3 MB, where plotly.js alone was 4.5.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from mrl_edge.bench.budget import COSTS
from mrl_edge.bench.candidates import OBJECTIVES, candidates, choose_objective
from mrl_edge.bench.report_peers import Peer
from mrl_edge.bench.report_rows import Record, full_model, records, side_by_side
from mrl_edge.bench.reproduce import bench_command
from mrl_edge.bench.results import Measurement, Results

from mrl_edge.errors import ResultsError
from mrl_edge.metrics import TITLES, method_title

_SCRIPTS = ("pick.js", "chart.js", "format.js", "budget.js", "answer.js", "figures.js", "page.js")
# Metrics that the command line can set a floor on, by the name that its options end in.
_FLOORS = {"ndcg_at_10": "ndcg", "recall_at_10": "recall", "accuracy": "accuracy"}
_SHORT = {"p50_ms": "query p50", "p99_ms": "query p99"}


@dataclass(frozen=True)
class ResultsFile:
    """A results file, and what to call it: its name without its folder."""

    name: str
    results: Results


@dataclass(frozen=True)
class Baselines:
    """One metric of this model and the baselines, by dimension; None where it is not known."""

    metric: str
    title: str
    dims: list[int]
    rows: list[tuple[str, list[float | None]]]


@dataclass(frozen=True)
class Shown:
    """One file as the page shows it."""

    name: str
    label: str  # of its device
    results: Results
    rows: list[Record]
    best: Record  # the pick without a budget, for who has no JavaScript
    bench: str
    failures: list[Measurement]


def render(files: Sequence[ResultsFile], objective: str | None = None, peers: Sequence[Peer] = ()) -> str:
    """Return the page as HTML, with nothing to fetch.

    Raises `ResultsError` when a file holds nothing measured and `UsageError` for an objective that is not in all.
    """
    metric = _objective(files, objective)
    labels = _labels(files)
    shown = [_shown(file, label, metric) for file, label in zip(files, labels, strict=True)]
    baselines = _baselines(files[0].results.bundle.training)
    data = _data(shown, metric, baselines)
    script = "\n".join(_read(name) for name in _SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}}})();\n'
    page = Environment(loader=PackageLoader("mrl_edge.bench", "."), autoescape=True, trim_blocks=True)
    return page.get_template("report.html.j2").render(
        shown=shown,
        notes=_notes(shown),
        objective=metric,
        title=TITLES[metric],
        costs=data["costs"],
        floors=[name for name in _FLOORS if name in data["objectives"]],
        titles=TITLES,
        objectives=data["objectives"],
        shown_metrics=[metric, *(name for name in _FLOORS if name != metric and name in data["objectives"])],
        baselines=baselines,
        shared=side_by_side([file.rows for file in shown]) if len(shown) > 1 else [],
        peers=peers,
        slowest_ms=max((peer.p50_ms or 0.0 for peer in peers), default=0.0),
        largest_mb=max((peer.peak_rss_mb or 0.0 for peer in peers), default=0.0),
        report=shlex.join(["mrl-edge", "report", *(file.name for file in shown)]),
        style=Markup(_read("page.css")),  # noqa: S704 our own file
        script=Markup(script),  # noqa: S704 our own files
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_island(data),
    )


def _objective(files: Sequence[ResultsFile], wanted: str | None) -> str:
    rows = []
    for file in files:
        try:
            rows += candidates(file.results)
        except ResultsError as error:
            raise ResultsError(f"{file.name}: {error}") from None
    return choose_objective(rows, wanted)


def _labels(files: Sequence[ResultsFile]) -> list[str]:
    """Name the devices; two of a name also by their files."""
    names = []
    for file in files:
        device = file.results.device
        name = device.cpu if device.name == "local" else device.name
        names.append(f"{name}, held to a {device.capped_to}" if device.capped_to else name)
    twice = {name for name in names if names.count(name) > 1}
    return [f"{n} ({file.name})" if n in twice else n for n, file in zip(names, files, strict=True)]


def _shown(file: ResultsFile, label: str, metric: str) -> Shown:
    results = file.results
    rows = records(results)
    return Shown(
        name=file.name,
        label=label,
        results=results,
        rows=rows,
        best=min(rows, key=lambda row: (-row[metric], row["p50_ms"], row["peak_rss_mb"], row["disk_mb"])),
        bench=bench_command(results, file.name),
        failures=[row for row in results.measurements if row.status != "ok"],
    )


def _notes(shown: Sequence[Shown]) -> list[str]:
    """Say what a reader must know before comparing."""
    notes = []
    if len({file.results.bundle.sha256 for file in shown}) > 1:
        notes.append("These files measured different bundles: differences are not the devices' alone.")
    if len({f"{file.results.settings.get('data_sha256')}" for file in shown}) > 1:
        notes.append("These files measured different data: their qualities do not compare.")
    for file in shown:
        moving = sum(not row["stable"] for row in file.rows)
        if moving:
            notes.append(
                f"{moving} of {len(file.rows)} latencies on {file.label} are not known to within 2%: the machine was "
                "not quiet. They are marked ~."
            )
    return notes


def _costs(rows: Sequence[Record]) -> list[dict[str, str]]:
    """Return the costs that any row knows."""
    return [
        {
            "key": cost.name,
            "title": cost.title,
            "unit": cost.unit,
            "option": cost.option,
            "short": _SHORT.get(cost.name, cost.title),
        }
        for cost in COSTS
        if any(row[cost.name] is not None for row in rows)
    ]


def _data(shown: Sequence[Shown], metric: str, baselines: Sequence[Baselines]) -> dict[str, Any]:
    every = [row for file in shown for row in file.rows]
    return {
        "objective": metric,
        "objectives": [name for name in OBJECTIVES if all(name in row for row in every)],
        "titles": TITLES,
        "costs": _costs(every),
        "floors": {name: f"--min-{word}" for name, word in _FLOORS.items()},
        "keeps": {name: f"--keep-{word}" for name, word in _FLOORS.items()},
        "files": [
            {
                "label": file.label,
                "rows": file.rows,
                "full": full_model(file.rows),
                "pick": shlex.join(["mrl-edge", "pick", file.name]),
                "ship": shlex.join(["mrl-edge", "ship", file.results.bundle.name]),
            }
            for file in shown
        ],
        "baselines": [{"metric": b.metric, "title": b.title, "dims": b.dims, "rows": b.rows} for b in baselines],
    }


def _island(data: dict[str, Any]) -> Markup:
    """Return JSON that no text in it can end: neither `</script>` nor `<!--` is left."""
    text = msgspec.json.encode(data).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 escaped just now


def _read(name: str) -> str:
    return (package_files("mrl_edge.bench") / "page" / name).read_text(encoding="utf-8")


def _baselines(training: dict[str, Any]) -> list[Baselines]:
    try:
        scores = training.get("quality", {})
        quality = msgspec.convert(scores, dict[str, dict[int, dict[str, float | None]]], strict=False)
    except msgspec.ValidationError as error:
        raise ResultsError(f"the results' bundle.training.quality is damaged: {error}") from None
    tables = []
    dims = sorted(quality.get("mrl", {}))
    for metric in OBJECTIVES:
        rows = [
            (method_title(method), [by_dim.get(dim, {}).get(metric) for dim in dims])
            for method, by_dim in quality.items()
            if any(metric in by_dim.get(dim, {}) for dim in dims)
        ]
        if rows:
            tables.append(Baselines(metric, TITLES[metric], dims, rows))
    return tables
