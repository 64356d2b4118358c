"""The task's texts, embedded and classified once a depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrl_edge.evaluation.source import Source
from mrl_edge.evaluation.task import Task
from mrl_edge.nesting import Floats
from mrl_edge.progress import Report, in_pieces

Embeddings = dict[str, Floats]  # by part of the task: [n, full], rows L2-normalised


@dataclass(frozen=True)
class Embedded:
    """The embeddings of every part, and the class probabilities of the labelled texts by dimension."""

    embeddings: Embeddings
    probabilities: dict[int, Floats]  # [n, classes]; empty when the model does not classify or nothing is labelled


def embed_task(source: Source, task: Task, depth: int, where: str, report: Report) -> Embedded:
    """Embed all that the task needs, and classify its labelled texts if the model can; `where` opens the stages."""
    embeddings: Embeddings = {}
    probabilities: dict[int, Floats] = {}
    for part, (role, texts) in task.texts().items():
        classify = part == "texts" and bool(source.classes)
        rows, classes = [], []

        def embed(
            piece: Sequence[str], role: str = role, classify: bool = classify
        ) -> tuple[Floats, dict[int, Floats]]:
            return source.embed(piece, role, depth), source.classify(piece, depth) if classify else {}

        for vectors, scores in in_pieces(embed, texts, f"{where}embedding the {part}", report):
            rows.append(vectors)
            classes.append(scores)
        embeddings[part] = np.concatenate(rows)
        if classify:
            probabilities = {dim: np.concatenate([piece[dim] for piece in classes]) for dim in source.dims}
    return Embedded(embeddings, probabilities)
