"""The figures of one embedding at one dimension, in families that are each printed as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrl_edge.evaluation.embeddings import Embeddings
from mrl_edge.evaluation.probe import linear_probe
from mrl_edge.evaluation.slices import by_frequency, few_shot, halves, superclass_accuracy
from mrl_edge.evaluation.task import Labelled, Task
from mrl_edge.metrics import Labels, exact_top_k, majority, nearest_others, paired_cosines, retrieval_metrics, spearman
from mrl_edge.nesting import Floats, prefix

Metrics = dict[str, float]
RETRIEVAL, GRADED, CLASSES, FEW_SHOT, FREQUENCY = (
    "retrieval", "graded pairs", "classes", "few examples a class", "class frequency",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What to score, beside what the data say."""

    ks: tuple[int, ...] = (10,)  # of recall@k and its kin
    knn: tuple[int, ...] = (1, 8)  # neighbours that vote
    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    shortlist: int = 200  # the first of adaptive and of funnel retrieval
    linear_probe: bool = True  # fit one to every method and dimension
    seed: int = 0  # of the halves, the few examples and the random features


def embedding_scores(task: Task, embeddings: Embeddings, dim: int, settings: Settings) -> dict[str, Metrics]:
    """Score the first `dim` columns of the embeddings: family → metric → value."""
    small = {part: prefix(rows, dim) for part, rows in embeddings.items()}
    families: dict[str, Metrics] = {}
    if task.retrieval:
        found = exact_top_k(small["queries"], small["documents"], max(settings.ks))
        families[RETRIEVAL] = retrieval_metrics(found, task.retrieval.relevant, settings.ks)
    if task.graded:
        cosines = paired_cosines(small["graded queries"], small["graded positives"])
        families[GRADED] = {"spearman": spearman(cosines, task.graded.scores)}
    if task.labelled:
        families |= _class_scores(task, task.labelled, small, settings)
    return families


def head_scores(task: Task, probabilities: Floats, classes: Sequence[str]) -> dict[str, Metrics]:
    """Score the class heads of one dimension, [n, classes]; a label that training never saw is a miss."""
    if task.labelled is None:
        raise AssertionError("there are labels")
    predicted = np.asarray(classes)[probabilities.argmax(axis=1)]
    scores, frequency = _label_scores("accuracy", task, predicted, task.labelled.labels)
    return {CLASSES: scores, FREQUENCY: frequency}


def knn_name(k: int) -> str:
    """Name the accuracy of the commonest label among k neighbours."""
    return "knn_top1" if k == 1 else f"knn{k}_top1"


def _class_scores(task: Task, labelled: Labelled, small: Embeddings, settings: Settings) -> dict[str, Metrics]:
    examples = _examples(small, labelled, task.reference, settings.seed)
    classes: Metrics = {}
    frequency: Metrics = {}
    if settings.linear_probe:
        predicted = linear_probe(examples.pool, examples.pool_labels, examples.texts)
        classes, frequency = _label_scores("linear_accuracy", task, predicted, examples.labels)
    neighbours = _neighbour_labels(small, labelled, task.reference, settings.knn)
    for place, (k, predicted) in enumerate(neighbours.items()):
        scores, by_third = _label_scores(knn_name(k), task, predicted, labelled.labels)
        classes |= scores
        frequency |= {} if place else by_third
    return {CLASSES: classes, FREQUENCY: frequency, FEW_SHOT: _few_shot(examples, settings)}


def _label_scores(name: str, task: Task, predicted: Labels, labels: Sequence[str]) -> tuple[Metrics, Metrics]:
    """Return how often the predicted classes [n] are the rows' `labels`, and the same by class frequency."""
    if task.labelled is None:
        raise AssertionError("there are labels")
    scores = {name: float(np.mean(predicted == np.asarray(labels)))}
    if task.superclasses:
        scores[f"{name}_superclass"] = superclass_accuracy(predicted, labels, task.superclasses)
    counted = (task.reference or task.labelled).labels
    return scores, {f"{name}_{third}": value for third, value in by_frequency(predicted, labels, counted).items()}


def _neighbour_labels(
    small: Embeddings, labelled: Labelled, reference: Labelled | None, ks: Sequence[int]
) -> dict[int, Labels]:
    """Return what the k nearest reference rows, or the other labelled rows, say of each labelled row."""
    if reference is None:
        nearest, names = nearest_others(small["texts"], max(ks)), labelled.labels
    else:
        nearest, names = exact_top_k(small["texts"], small["reference"], max(ks)), reference.labels
    return {k: majority(nearest[:, :k], names) for k in ks}


@dataclass(frozen=True)
class _Examples:
    """Labelled rows to learn from, `pool` [m, d], and the rows that are then scored, `texts` [n, d]."""

    texts: Floats
    labels: list[str]
    pool: Floats
    pool_labels: list[str]


def _examples(small: Embeddings, labelled: Labelled, reference: Labelled | None, seed: int) -> _Examples:
    """Learn from the reference rows, or from one half of the labelled rows to score the other."""
    texts, names = small["texts"], np.asarray(labelled.labels)
    if reference is not None:
        return _Examples(texts, labelled.labels, small["reference"], reference.labels)
    pool, scored = halves(len(names), seed)
    return _Examples(texts[scored], names[scored].tolist(), texts[pool], names[pool].tolist())


def _few_shot(examples: _Examples, settings: Settings) -> Metrics:
    found = few_shot(
        examples.texts, examples.labels, examples.pool, examples.pool_labels, settings.shots, settings.seed
    )
    return {f"few_shot_{shot}": value for shot, value in found.items()}
