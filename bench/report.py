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
from mrl_edge.bench.budget import COSTS, Budget
from mrl_edge.bench.candidates import OBJECTIVES, candidates, choose_objective
from mrl_edge.bench.configuration import configuration_of
from mrl_edge.bench.corpora import when
from mrl_edge.bench.report_devices import ResultsFile, Shown, devices_of
from mrl_edge.bench.report_notes import notes
from mrl_edge.bench.report_peers import Peers
from mrl_edge.bench.report_rows import by_class, shared
from mrl_edge.bench.reproduce import command_of

from mrl_edge.errors import ResultsError, UsageError
from mrl_edge.metrics import TITLES, method_title

_SCRIPTS = ("pick.js", "chart.js", "format.js", "budget.js", "trades.js", "answer.js", "figures.js", "page.js")
# What the command line's options of a metric are before the share, in the order in which `pick` takes them.
_FLOORS = {name: f"quality {name}=" for name in ("ndcg_at_10", "accuracy", "mrr_at_10", "map_at_10", "knn_top1")}
_FLOORS = {"recall_at_10": "recall ", **_FLOORS}
_USUAL = ("recall_at_10", "ndcg_at_10", "accuracy")  # whose floors are shown though none is set
_SHORT = {"p50_ms": "query p50", "p99_ms": "query p99"}
_CONFIDENCE = 0.95
_NO_BUDGET = Budget()


@dataclass(frozen=True)
class Baselines:
    """One metric of a bundle's model and the baselines, by dimension; None where it is not known."""

    bundle: str
    metric: str
    title: str
    dims: list[int]
    rows: list[tuple[str, list[float | None]]]


def render(
    files: Sequence[ResultsFile], budget: Budget = _NO_BUDGET, peers: Peers | None = None, command: str | None = None
) -> str:
    """Return the page as HTML, with nothing to fetch; it opens with the budget, and says the command that made it.

    Raises `ResultsError` when a file holds nothing measured, and `UsageError` for a budget that the rows have no
    figure for, or that the page has no slider for.
    """
    _check(budget)
    confidences = sorted({_CONFIDENCE, *([budget.confidence] if budget.confidence is not None else [])})
    shown = devices_of(files, budget, confidences)
    metric = _objective(files, budget)
    beside = _beside(shown)
    scored = [(device, by_class(device.rows, device.measurements)) for device in shown]
    classes = [(place, device, rows) for place, (device, rows) in enumerate(scored) if rows]
    baselines = [one for device in _one_a_bundle(shown) for one in _baselines(device)]
    data = _data(shown, metric, baselines, budget, confidences)
    script = "\n".join(_read(name) for name in _SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}}})();\n'
    page = Environment(loader=PackageLoader("mrl_edge.bench", "."), autoescape=True, trim_blocks=True)
    return page.get_template("report.html.j2").render(
        shown=shown,
        bundles=list(dict.fromkeys(device.results.bundle.name for device in shown)),
        notes=notes(shown),
        objective=metric,
        costs=data["costs"],
        columns=[*data["costs"], {"key": "encode_ms", "short": "encoding alone", "unit": "ms"}],
        floors=[name for name in _FLOORS if name in data["objectives"]],
        keeps=[name for name in _FLOORS if any(name in one for device in data["devices"] for one in device["full"])],
        usual=_USUAL,
        corpora=data["corpora"],
        titles=TITLES,
        objectives=data["objectives"],
        confidences=confidences,
        baselines=baselines,
        beside=beside,
        shared=shared([device.rows for device in beside], [device.records for device in beside]),
        classes=classes,
        peers=peers,
        where=peers.where(frozenset(device.results.device.cpu for device in shown)) if peers else "",
        configuration_of=configuration_of,
        command_of=command_of,
        commands=[f"{device['pick']}{_options(budget, metric)}" for device in data["devices"]],
        report=command or shlex.join(["mrl-edge", "report", *(file.path for file in files)]),
        style=Markup(_read("page.css")),  # noqa: S704 our own file
        script=Markup(script),  # noqa: S704 our own files
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_island(data),
    )


def _check(budget: Budget) -> None:
    if budget.utility:
        raise UsageError("the budget has a utility, which the page has no slider for: mrl-edge pick answers to it")


def _objective(files: Sequence[ResultsFile], budget: Budget) -> str:
    """Return what the page maximises on all devices; `ResultsError` where the files have no metric in common."""
    rows_of = {file.path: candidates(file.results) for file in files}
    scored = {path: [name for name in OBJECTIVES if name in rows[0].quality] for path, rows in rows_of.items()}
    common = [name for name in OBJECTIVES if all(name in names for names in scored.values())]
    if all(scored.values()) and not common:
        each = "; ".join(f"{path} has {', '.join(names)}" for path, names in scored.items())
        raise ResultsError(
            f"the files have no metric in common, so that no page can choose among them: make a page of each ({each})"
        )
    return choose_objective([row for rows in rows_of.values() for row in rows], budget.objective)


def _beside(shown: Sequence[Shown]) -> list[Shown]:
    """Return the first devices that measured one bundle and data, if there are several."""
    groups = ([other for other in shown if other.compared == device.compared] for device in shown)
    return next((group for group in groups if len(group) > 1), [])


def _one_a_bundle(shown: Sequence[Shown]) -> list[Shown]:
    return list({device.results.bundle.sha256: device for device in reversed(shown)}.values())[::-1]


def _data(
    shown: Sequence[Shown],
    metric: str,
    baselines: Sequence[Baselines],
    budget: Budget,
    confidences: Sequence[float],
) -> dict[str, Any]:
    every = [record for device in shown for record in device.records]
    return {
        "objective": metric,
        "objectives": [name for name in OBJECTIVES if all(name in record for record in every)],
        "titles": TITLES,
        "costs": [
            {
                "key": cost.name,
                "title": cost.title,
                "unit": cost.unit,
                "option": cost.option,
                "short": _SHORT.get(cost.name, cost.title),
            }
            for cost in COSTS
            if cost.name in budget.max or any(record[cost.name] is not None for record in every)
        ],
        "floors": {name: f"--min-{word}" for name, word in _FLOORS.items()},
        "keeps": {name: f"--keep-{word}" for name, word in _FLOORS.items()},
        "confidences": confidences,
        "budget": {"max": budget.max, "min": budget.min, "keep": budget.keep, "confidence": budget.confidence},
        "beside": [place for place, device in enumerate(shown) if device in _beside(shown)],
        "corpora": [{"documents": size, "when": when(size, budget)} for size in budget.corpora],
        "devices": [_device(device, budget) for device in shown],
        "baselines": [{"metric": b.metric, "title": b.title, "dims": b.dims, "rows": b.rows} for b in baselines],
    }


def _device(device: Shown, budget: Budget) -> dict[str, Any]:
    sizes = {"--corpus": budget.corpus, "--corpus-now": budget.corpus_now}
    corpora = [word for option, size in sizes.items() if size is not None for word in (option, str(size))]
    ours = [*(file.path for file in device.files), *corpora]
    return {
        "label": device.label,
        "rows": device.records,
        "full": [one.quality for one in device.full],
        "full_elsewhere": device.full_elsewhere,
        "pick": shlex.join(["mrl-edge", "pick", *ours]),
        "pick_all": shlex.join(["mrl-edge", "pick", *device.compared, *corpora]),
        "ship": shlex.join(["mrl-edge", "ship", device.results.bundle.name]),
    }


def _options(budget: Budget, metric: str) -> str:
    """Return the command line's options for a budget, as the page's script writes them."""
    words = [f"{cost.option} {budget.max[cost.name]:.15g}" for cost in COSTS if cost.name in budget.max]
    for kind, floors in (("min", budget.min), ("keep", budget.keep)):
        words += [f"--{kind}-{word}{floors[name]:.15g}" for name, word in _FLOORS.items() if name in floors]
    words += [] if budget.confidence is None else [f"--confidence {budget.confidence:.15g}"]
    return "".join(f" {word}" for word in [*words, f"--objective {metric}"])


def _island(data: dict[str, Any]) -> Markup:
    """Return JSON that no text in it can end: neither `</script>` nor `<!--` is left."""
    text = msgspec.json.encode(data).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 escaped just now


def _read(name: str) -> str:
    return (package_files("mrl_edge.bench") / "page" / name).read_text(encoding="utf-8")


def _baselines(device: Shown) -> list[Baselines]:
    bundle = device.results.bundle
    try:
        scores = bundle.training.get("quality", {})
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
            tables.append(Baselines(bundle.name, metric, TITLES[metric], dims, rows))
    return tables
