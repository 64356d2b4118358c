"""Symmetric InfoNCE with in-batch negatives, and hard negatives where the data have them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mrl_edge.train.objectives import Batch
from mrl_edge.train.objectives.prefixes import prefix_cosines


class Contrastive:
    """Row i's document against the other documents of the batch, and row i's query against the other queries.

    A hard negative (role `negative`) is one more document that answers no query. Where two rows hold the same
    text, neither is a negative of the other.
    """

    def __init__(self, dims: Sequence[int], temperature: float) -> None:
        self._dims = tuple(dims)
        self._temperature = temperature

    def __call__(self, batch: Batch) -> Tensor:
        """Return [dims] losses."""
        queries, documents = batch.vectors["query"], batch.vectors["document"]
        same = _same(batch.ids["query"]) | _same(batch.ids["document"])  # [batch, batch]
        same.fill_diagonal_(False)
        rows = len(queries)
        if "negative" in batch.vectors:
            documents = torch.cat([documents, batch.vectors["negative"]])  # [2 · batch, full]
            answers = batch.ids["document"][:, None] == batch.ids["negative"][None, :]
            same = torch.cat([same, answers], dim=1)
        scores = prefix_cosines(queries, documents, self._dims) / self._temperature  # [dims, batch, documents]
        scores = scores.masked_fill(same, float("-inf"))
        own = scores.diagonal(dim1=1, dim2=2)  # [dims, batch]
        to_documents = scores.logsumexp(dim=2) - own
        to_queries = scores[:, :, :rows].logsumexp(dim=1) - own
        return (to_documents + to_queries).mean(dim=1)


class Distillation:
    """The encoder's own full embedding as the teacher: which texts of a batch are alike, at every dimension.

    No labels are needed. For each text, the distribution over the others of the batch by the student's cosines
    at d dimensions follows the one by the teacher's: the cross-entropy of the two, less the teacher's entropy
    (Fang et al. 2021, SEED, arXiv 2101.04731, over a batch instead of a queue).
    """

    def __init__(self, dims: Sequence[int], temperature: float) -> None:
        self._dims = tuple(dims)
        self._temperature = temperature

    def __call__(self, batch: Batch) -> Tensor:
        """Return [dims] losses."""
        (teacher,) = (F.normalize(vectors, dim=1) for vectors in batch.teacher.values())
        (student,) = (batch.vectors[role] for role in batch.teacher)
        return similarity_divergence(
            prefix_cosines(student, student, self._dims), teacher @ teacher.T, self._temperature, self_alike=True
        )


def similarity_divergence(student: Tensor, teacher: Tensor, temperature: float, self_alike: bool) -> Tensor:
    """Return [dims] mean Kullback-Leibler divergences of the rows of cosines, teacher from student.

    `student` is [dims, n, m] and `teacher` [n, m]; with `self_alike` the diagonal compares a text with itself and
    does not count.
    """
    wanted, given = teacher / temperature, student / temperature
    if self_alike:
        diagonal = torch.eye(len(teacher), dtype=torch.bool, device=teacher.device)
        wanted, given = wanted.masked_fill(diagonal, -1e4), given.masked_fill(diagonal, -1e4)
    target = wanted.log_softmax(dim=1)
    divergence = (target.exp() * (target - given.log_softmax(dim=2))).sum(dim=2)  # [dims, n]
    return divergence.mean(dim=1)


def _same(ids: Tensor) -> Tensor:
    return ids[:, None] == ids[None, :]
