"""What a table asks of a model: retrieval, graded pairs, labelled texts, or several of them at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrl_edge.datasets import Table
from mrl_edge.errors import DataError, UsageError
from mrl_edge.metrics import RetrievalTask, retrieval_task


@dataclass(frozen=True)
class GradedPairs:
    """Pairs of texts and how alike they are, one score a pair."""

    queries: list[str]
    positives: list[str]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """Texts, or paths of images, and the class of each."""

    texts: list[str]
    labels: list[str]


@dataclass(frozen=True)
class Task:
    """The parts of an evaluation; those that the data do not have are None."""

    retrieval: RetrievalTask | None
    graded: GradedPairs | None
    labelled: Labelled | None
    reference: Labelled | None  # neighbours and few-shot examples come from these rows, not from `labelled`
    superclasses: Mapping[str, str]  # by label; empty without a hierarchy
    modality: str = "text"  # `image`: paths stand where texts do

    def texts(self) -> dict[str, tuple[str, list[str]]]:
        """Return what must be embedded: part → (role, texts)."""
        parts: dict[str, tuple[str, list[str]]] = {}
        if self.retrieval:
            parts["queries"] = ("query", self.retrieval.queries)
            parts["documents"] = ("document", self.retrieval.documents)
        if self.graded:
            parts["graded queries"] = ("query", self.graded.queries)
            parts["graded positives"] = ("document", self.graded.positives)
        if self.labelled:
            parts["texts"] = ("text", self.labelled.texts)
        if self.reference:
            parts["reference"] = ("text", self.reference.texts)
        return parts


def make_task(table: Table, reference: Table | None = None, max_queries: int | None = None) -> Task:
    """Make the task that the table's columns describe; `max_queries` of its queries are asked of all documents.

    Raises `UsageError` for columns that make no task together, `DataError` for rows that nothing can be scored on.
    """
    roles = table.roles
    _check_roles(set(roles), reference is not None)
    if len(table) < 2:
        raise DataError(f"{table.source}: one row is too few to score a model on")
    retrieval = graded = labelled = None
    if "score" in roles:
        graded = _graded(table)
    elif "query" in roles:
        pairs = retrieval_task(roles["query"], roles["positive"])
        retrieval = RetrievalTask(pairs.queries[:max_queries], pairs.documents, pairs.relevant[:max_queries])
    if "label" in roles:
        labelled = _labelled(table)
    tables = [table] if reference is None else [table, reference]
    modality = "image" if "image" in roles else "text"
    return Task(
        retrieval, graded, labelled, _labelled(reference) if reference else None, _superclasses(tables), modality
    )


def _check_roles(roles: set[str], reference: bool) -> None:
    pair, labelled = {"query", "positive"}, {"image" if "image" in roles else "text", "label"}
    if {"text", "image"} <= roles or ("image" in roles and roles & {"query", "positive", "score"}):
        raise UsageError("--image goes with --label alone: an image model is scored on the classes of images")
    if not (pair <= roles or labelled <= roles) or len(roles & pair) == 1 or len(roles & labelled) == 1:
        raise UsageError("evaluation needs --query with --positive (pairs), or --text with --label (classes), or both")
    if "score" in roles and not pair <= roles:
        raise UsageError("--score grades pairs: name their columns with --query and --positive")
    if "superclass" in roles and not labelled <= roles:
        raise UsageError("--superclass groups labels: name their columns with --text and --label")
    if reference and not labelled <= roles:
        raise UsageError("--reference holds labelled rows: name the columns with --text and --label")


def _graded(table: Table) -> GradedPairs:
    roles = table.roles
    scores = np.array([float(score) for score in roles["score"]])
    if (scores == scores[0]).all():
        raise DataError(f"{table.source}: all pairs have the same score: there is no order to compare with")
    return GradedPairs(roles["query"], roles["positive"], scores)


def _labelled(table: Table) -> Labelled:
    if len(set(table.roles["label"])) < 2:
        raise DataError(f"{table.source}: all rows have the same label: there is nothing to tell apart")
    return Labelled(table.roles.get("text") or table.roles["image"], table.roles["label"])


def _superclasses(tables: list[Table]) -> dict[str, str]:
    """Return label → superclass; `DataError` for a label with two."""
    found: dict[str, str] = {}
    for table in tables:
        if "superclass" not in table.roles:
            continue
        for label, superclass in zip(table.roles["label"], table.roles["superclass"], strict=True):
            if found.setdefault(label, superclass) != superclass:
                both = f"{found[label]!r} and {superclass!r}"
                raise DataError(f"{table.source}: label {label!r} has two superclasses, {both}")
    return found
