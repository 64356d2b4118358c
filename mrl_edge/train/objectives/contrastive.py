"""Symmetric InfoNCE with in-batch negatives, and hard negatives where the data have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mrl_edge.train.objectives import Batch
from mrl_edge.train.objectives.prefixes import blocks, inverse_lengths, prefix_cosines


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
        if "negative" in batch.vectors:
            documents = torch.cat([documents, batch.vectors["negative"]])  # [2 · batch, full]
            answers = batch.ids["document"][:, None] == batch.ids["negative"][None, :]
            same = torch.cat([same, answers], dim=1)
        losses: Tensor = _SymmetricInfoNCE.apply(queries, documents, same, self._dims, self._temperature)  # type: ignore[no-untyped-call]
        return losses


class _SymmetricInfoNCE(torch.autograd.Function):
    """The losses [dims] of `queries` [n, full] and `documents` [m, full], whose first n answer them.

    Written out with its gradient because autograd keeps and passes over a dozen [dims, n, m] tensors where this
    one keeps one: a nested step then costs about what a step of one dimension costs. `apart` [n, m] marks what
    is no negative.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, documents: Tensor, apart: Tensor, dims: Sequence[int], temperature: float
    ) -> Tensor:
        rows = len(queries)
        scale, other = inverse_lengths(queries, dims) / temperature, inverse_lengths(documents, dims)
        hidden = apart if bool(apart.any()) else None
        inner = queries.new_zeros(rows, len(documents))
        slopes = inner.new_empty(len(dims), *inner.shape)  # of the losses by the inner products of each prefix
        along_queries, along_documents = torch.empty_like(scale), torch.empty_like(other)  # and by the lengths
        losses = queries.new_empty(len(dims))
        for k, (low, high) in enumerate(blocks(dims)):
            inner.addmm_(queries[:, low:high], documents[:, low:high].T)
            scores = (inner * scale[k, :, None]).mul_(other[k])
            if hidden is not None:
                scores.masked_fill_(hidden, float("-inf"))
            to_documents, to_queries = scores.logsumexp(dim=1), scores[:, :rows].logsumexp(dim=0)
            losses[k] = (to_documents + to_queries - 2 * scores.diagonal()).mean()
            slope = (scores - to_documents[:, None]).exp_()
            slope[:, :rows] += (scores[:, :rows] - to_queries).exp_()
            slope.diagonal().sub_(2)
            slope /= rows
            if hidden is not None:
                scores.masked_fill_(hidden, 0.0)  # their slope is 0, and 0 · ∞ is no number
            scores *= slope
            along_queries[k] = scores.sum(dim=1) * (scale[k] * temperature) ** 2
            along_documents[k] = scores.sum(dim=0) * other[k] ** 2
            torch.mul(slope.mul_(scale[k, :, None]), other[k], out=slopes[k])
        ctx.save_for_backward(queries, documents, slopes, along_queries, along_documents)
        ctx.dims = dims
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor | None, ...]:
        queries, documents, slopes, along_queries, along_documents = ctx.saved_tensors
        by_query, by_document = torch.empty_like(queries), torch.empty_like(documents)
        slope = torch.zeros_like(slopes[0])
        along_query, along_document = torch.zeros_like(along_queries[0]), torch.zeros_like(along_documents[0])
        for k, (low, high) in reversed(list(enumerate(blocks(ctx.dims)))):  # a block is in every prefix from k on
            slope.addcmul_(slopes[k], weights[k])
            along_query += weights[k] * along_queries[k]
            along_document += weights[k] * along_documents[k]
            by_query[:, low:high] = slope @ documents[:, low:high] - along_query[:, None] * queries[:, low:high]
            by_document[:, low:high] = slope.T @ queries[:, low:high] - along_document[:, None] * documents[:, low:high]
        return by_query, by_document, None, None, None


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
