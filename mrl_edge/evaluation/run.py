"""One evaluation: embed once a depth, then score the model, its baselines, its cascades and its searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrl_edge.evaluation.adaptive_classification import AdaptiveClassification, adaptive_classification
from mrl_edge.evaluation.adaptive_retrieval import SearchCost, search_costs, search_plans
from mrl_edge.evaluation.baselines import Map, baselines
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
    method: str  # mrl, truncation, pca, svd, random
    depth: int
    by_dim: dict[int, Metrics]


@dataclass(frozen=True)
class Evaluation:
    """All that was found; what the data or the model have nothing for is empty."""

    model: str
    precision: str | None
    dims: tuple[int, ...]
    depths: tuple[int, ...]
    rows: dict[str, int]  # how many texts of each part of the task
    baselines_fitted_on: str
    settings: Settings
    scores: tuple[MethodScores, ...]
    adaptive_classification: dict[int, AdaptiveClassification]  # by depth
    adaptive_retrieval: dict[int, tuple[SearchCost, ...]]  # by depth


def evaluate(
    source: Source, task: Task, settings: Settings, report: Report, depths: Sequence[int] | None = None
) -> Evaluation:
    """Evaluate a model on a task at some of its depths (None: all)."""
    chosen = tuple(source.depths if depths is None else depths)
    scores: list[MethodScores] = []
    cascades: dict[int, AdaptiveClassification] = {}
    searches: dict[int, tuple[SearchCost, ...]] = {}
    for depth in chosen:
        where = "" if len(chosen) == 1 else f"depth {depth}: "
        embedded = embed_task(source, task, depth, where, report)
        scores += _scores(source, task, embedded, depth, settings, f"{where}scoring", report)
        if embedded.probabilities and task.labelled and len(source.dims) > 1:
            labels = task.labelled.labels
            cascades[depth] = adaptive_classification(embedded.probabilities, labels, source.classes, settings.seed)
        if task.retrieval and len(source.dims) > 1:
            plans = search_plans(source.dims, settings.shortlist, len(task.retrieval.documents), max(settings.ks))
            searches[depth] = search_costs(
                embedded.embeddings, task.retrieval.relevant, plans, settings.ks, f"{where}searching", report
            )
    return Evaluation(
        model=source.name,
        precision=source.precision,
        dims=source.dims,
        depths=chosen,
        rows={part: len(texts) for part, (_, texts) in task.texts().items()},
        baselines_fitted_on="the reference rows" if task.reference else "the evaluated rows themselves",
        settings=settings,
        scores=tuple(scores),
        adaptive_classification=cascades,
        adaptive_retrieval=searches,
    )


def _scores(
    source: Source, task: Task, embedded: Embedded, depth: int, settings: Settings, stage: str, report: Report
) -> list[MethodScores]:
    """Score the model and the baselines of its full embedding."""
    embeddings = embedded.embeddings
    fitting = embeddings["reference"] if task.reference else np.concatenate(list(embeddings.values()))
    methods: dict[str, list[Map]] = {source.method: [_unchanged], **baselines(fitting, settings.seed)}
    found: list[MethodScores] = []
    for number, (method, maps) in enumerate(methods.items()):
        families: dict[str, dict[int, Metrics]] = {}
        mapped = [{part: function(rows) for part, rows in embeddings.items()} for function in maps]
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
