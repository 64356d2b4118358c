"""The training table as a run uses it: prompted texts (or image paths) by role, and what the data say of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mrl_edge.datasets import Table
from mrl_edge.nesting import Floats
from mrl_edge.train.nested import Targets
from mrl_edge.train.source import EncoderSpec

_ROLES = {"query": "query", "positive": "document", "negative": "negative", "text": "text", "image": "text"}
_PROMPTS = {"negative": "document"}


class TrainingRows:
    """Texts and targets of the rows of a table.

    `texts` are by role (`query`, `document`, `negative`, `text`; images too are `text`). Equal roles, as when a
    gloss is both what is classified and the query, run through the encoder once: `aliases` says which stands for
    which.
    """

    def __init__(self, spec: EncoderSpec, data: Table) -> None:
        self.texts = {
            name: spec.prompted(_PROMPTS.get(name, name), data.roles[role])
            for role, name in _ROLES.items()
            if role in data.roles
        }
        self.aliases: dict[str, str] = {}
        if "query" in self.texts and self.texts["query"] == self.texts.get("text"):
            del self.texts["text"]
            self.aliases["text"] = "query"
        self.classes = sorted(set(data.roles.get("label", ())))
        places = {name: number for number, name in enumerate(self.classes)}
        self._labels = torch.tensor([places[label] for label in data.roles.get("label", ())])
        self._scores = torch.tensor([float(score) for score in data.roles.get("score", ())])
        self._ids = _ids(data)
        self._count = len(data)
        self._teacher: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return self._count

    def teach(self, features: Mapping[str, Floats]) -> None:
        """Keep the untouched encoder's embeddings by role, [n, width], to be distilled."""
        self._teacher = {role: torch.from_numpy(table) for role, table in features.items()}

    def targets(self, rows: Sequence[int], device: torch.device) -> Targets:
        """Return what the data say of some rows."""
        chosen = torch.as_tensor(rows)
        return Targets(
            ids={role: ids[chosen].to(device) for role, ids in self._ids.items()},
            labels=self._labels[chosen].to(device) if len(self._labels) else None,
            scores=self._scores[chosen].to(device) if len(self._scores) else None,
            teacher={role: table[chosen].to(device) for role, table in self._teacher.items()},
        )


def _ids(data: Table) -> dict[str, Tensor]:
    """Number equal texts: queries among queries; positives and negatives together, since both are documents."""
    found: dict[str, Tensor] = {}
    for roles in (("query",), ("positive", "negative")):
        numbers: dict[str, int] = {}
        for role in roles:
            texts = data.roles.get(role)
            if texts is not None:
                found[_ROLES[role]] = torch.tensor([numbers.setdefault(text, len(numbers)) for text in texts])
    return found
