"""The figures of one embedding at one dimension, in families that are each printed as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrl_edge.evaluation.embeddings import Embeddings
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
        neighbours = _neighbour_labels(small, task.labelled, task.reference, settings.knn)
        scored = [_label_scores(knn_name(k), task, predicted) for k, predicted in neighbours.items()]
        families[CLASSES] = {name: value for classes, _ in scored for name, value in classes.items()}
        families[FREQUENCY] = scored[0][1]
        families[FEW_SHOT] = _few_shot(small, task.labelled, task.reference, settings)
    return families


def head_scores(task: Task, probabilities: Floats, classes: Sequence[str]) -> dict[str, Metrics]:
    """Score the class heads of one dimension, [n, classes]; a label that training never saw is a miss."""
    predicted = np.asarray(classes)[probabilities.argmax(axis=1)]
    scores, frequency = _label_scores("accuracy", task, predicted)
    return {CLASSES: scores, FREQUENCY: frequency}


def knn_name(k: int) -> str:
    """Name the accuracy of the commonest label among k neighbours."""
    return "knn_top1" if k == 1 else f"knn{k}_top1"


def _label_scores(name: str, task: Task, predicted: Labels) -> tuple[Metrics, Metrics]:
    """Return how often the predicted classes [n] are right, and the same by class frequency."""
    if task.labelled is None:
        raise AssertionError("there are labels")
    labels = task.labelled.labels
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


def _few_shot(small: Embeddings, labelled: Labelled, reference: Labelled | None, settings: Settings) -> Metrics:
    """Draw the examples from the reference rows, or from one half of the labelled rows to score the other."""
    texts, names = small["texts"], np.asarray(labelled.labels)
    if reference is not None:
        found = few_shot(texts, names.tolist(), small["reference"], reference.labels, settings.shots, settings.seed)
    else:
        pool, scored = halves(len(names), settings.seed)
        found = few_shot(
            texts[scored], names[scored].tolist(), texts[pool], names[pool].tolist(), settings.shots, settings.seed
        )
    return {f"few_shot_{shot}": value for shot, value in found.items()}
