"""The training objectives, nested over dimensions: each gives one loss a nesting dimension (paper eq. 1's terms).

An objective is one module with one call; which ones a run uses follows from the columns of its data
(`mrl_edge.train.nested`). A new objective is a new module here and a line there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What one exit of the model gives for a batch, and what the data say of it.

    `vectors` are by role (`query`, `document`, `negative`, `text`), each [batch, full] before normalisation;
    `teacher` are the untouched encoder's, [batch, width]; `ids` number equal texts of a role, [batch].
    """

    vectors: Mapping[str, Tensor]
    ids: Mapping[str, Tensor]
    scores: Tensor | None  # [batch] float32, graded similarity of query and document
    teacher: Mapping[str, Tensor]
    logits: Tensor | None = None  # [dims, own, classes], of this process' rows alone
    labels: Tensor | None = None  # [own]


class Objective(Protocol):
    """A loss of a batch at every nesting dimension."""

    def __call__(self, batch: Batch) -> Tensor:
        """Return [dims] losses, means over the batch."""
