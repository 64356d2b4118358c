"""One evaluation: embed once a depth, then score the model, its baselines, its cascades and its searches.

Models beside it are scored at their full depth; one that was not trained to nest brings its own baselines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mrl_edge.evaluation.adaptive_classification import AdaptiveClassification, adaptive_classification
from mrl_edge.evaluation.adaptive_retrieval import SearchCost, search_costs, search_plans
from mrl_edge.evaluation.baselines import Map, baselines
from mrl_edge.evaluation.beside import Beside
from mrl_edge.evaluation.embeddings import Embedded, Embeddings, embed_task
from mrl_edge.evaluation.scores import Metrics, Settings, embedding_scores, head_scores
from mrl_edge.evaluation.source import Source
from mrl_edge.evaluation.task import Task
from mrl_edge.nesting import Floats
from mrl_edge.progress import Report


@dataclass(frozen=True)
class MethodScores:
    """The metrics of one family for one method at one depth, by dimension."""

    family: str
    method: str  # mrl, truncation, ff, pca, svd, random
    depth: int
    by_dim: dict[int, Metrics]
    beside: str | None = None  # the name of the model that they are of; None: the evaluated one


@dataclass(frozen=True)
class Evaluation:
    """All that was found; what the data or the model have nothing for is empty."""

    model: str
    precision: str | None
    beside: dict[str, str]  # other models in the same tables: name → folder
    dims: tuple[int, ...]
    depths: tuple[int, ...]
    rows: dict[str, int]  # how many texts of each part of the task
    baselines_fitted_on: str
    settings: Settings
    scores: tuple[MethodScores, ...]
    adaptive_classification: dict[int, AdaptiveClassification]  # by depth
    adaptive_retrieval: dict[int, tuple[SearchCost, ...]]  # by depth


def evaluate(
    source: Source,
    task: Task,
    settings: Settings,
    report: Report,
    depths: Sequence[int] | None = None,
    beside: Sequence[Beside] = (),
) -> Evaluation:
    """Evaluate a model on a task at some of its depths (None: all), beside other models at their full depth."""
    chosen = tuple(source.depths if depths is None else depths)
    scores: list[MethodScores] = []
    cascades: dict[int, AdaptiveClassification] = {}
    searches: dict[int, tuple[SearchCost, ...]] = {}
    for depth in chosen:
        where = "" if len(chosen) == 1 else f"depth {depth}: "
        embedded = embed_task(source, task, depth, where, report)
        methods: dict[str, list[Map]] = {source.method: [_unchanged], **_baselines(task, embedded, settings)}
        scores += _scores(source, methods, task, embedded, depth, settings, f"{where}scoring", report)
        if embedded.probabilities and task.labelled and len(source.dims) > 1:
            labels = task.labelled.labels
            cascades[depth] = adaptive_classification(embedded.probabilities, labels, source.classes, settings.seed)
        if task.retrieval and len(source.dims) > 1:
            plans = search_plans(source.dims, settings.shortlist, len(task.retrieval.documents), max(settings.ks))
            searches[depth] = search_costs(
                embedded.embeddings, task.retrieval.relevant, plans, settings.ks, f"{where}searching", report
            )
    for other in beside:
        scores += _beside_scores(other, task, settings, report)
    return Evaluation(
        model=source.name,
        precision=source.precision,
        beside={other.name: other.folder for other in beside},
        dims=source.dims,
        depths=chosen,
        rows={part: len(texts) for part, (_, texts) in task.texts().items()},
        baselines_fitted_on="the reference rows" if task.reference else "the evaluated rows themselves",
        settings=settings,
        scores=tuple(scores),
        adaptive_classification=cascades,
        adaptive_retrieval=searches,
    )


def _beside_scores(other: Beside, task: Task, settings: Settings, report: Report) -> list[MethodScores]:
    """Score another model; where each dimension has a model of its own, the rows are put together of all."""
    found: dict[tuple[str, str], MethodScores] = {}
    for source in other.sources:
        where = f"{other.name}: " if len(other.sources) == 1 else f"{other.name}, dimension {source.dims[0]}: "
        depth = source.depths[-1]
        embedded = embed_task(source, task, depth, where, report)
        methods: dict[str, list[Map]] = {source.method: [_unchanged]}
        if source.method == "truncation":
            methods |= _baselines(task, embedded, settings)
        for scores in _scores(source, methods, task, embedded, depth, settings, f"{where}scoring", report):
            key = scores.family, scores.method
            before = found[key].by_dim if key in found else {}
            found[key] = replace(scores, by_dim=before | scores.by_dim, beside=other.name)
    return list(found.values())


def _baselines(task: Task, embedded: Embedded, settings: Settings) -> dict[str, list[Map]]:
    """Fit the baselines of a full embedding."""
    embeddings = embedded.embeddings
    fitting = embeddings["reference"] if task.reference else np.concatenate(list(embeddings.values()))
    return baselines(fitting, settings.seed)


def _scores(
    source: Source,
    methods: Mapping[str, list[Map]],
    task: Task,
    embedded: Embedded,
    depth: int,
    settings: Settings,
    stage: str,
    report: Report,
) -> list[MethodScores]:
    """Score maps of the model's full embedding by the name of their method, class heads with its own."""
    found: list[MethodScores] = []
    for number, (method, maps) in enumerate(methods.items()):
        families: dict[str, dict[int, Metrics]] = {}
        mapped = [{part: function(rows) for part, rows in embedded.embeddings.items()} for function in maps]
        for place, dim in enumerate(source.dims):
            report(stage, number * len(source.dims) + place, len(methods) * len(source.dims))
            scored = _mean_scores(task, mapped, dim, settings)
            if method == source.method and embedded.probabilities:
                for family, metrics in head_scores(task, embedded.probabilities[dim], source.classes).items():
                    scored[family] = metrics | scored[family]
            for family, metrics in scored.items():
                families.setdefault(family, {})[dim] = metrics
        found += [MethodScores(family, method, depth, by_dim) for family, by_dim in families.items() if by_dim[dim]]
    report(stage, len(methods) * len(source.dims), len(methods) * len(source.dims))
    return found


def _mean_scores(task: Task, mapped: Sequence[Embeddings], dim: int, settings: Settings) -> dict[str, Metrics]:
    draws = [embedding_scores(task, embeddings, dim, settings) for embeddings in mapped]
    return {
        family: {name: float(np.mean([draw[family][name] for draw in draws])) for name in metrics}
        for family, metrics in draws[0].items()
    }


def _unchanged(embeddings: Floats) -> Floats:
    return embeddings
