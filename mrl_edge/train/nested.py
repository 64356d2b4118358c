"""The model that is trained: trunk, a head an exit, the objectives that the data call for, one loss a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrl_edge.train.heads import Head, Heads
from mrl_edge.train.lengths import embed_by_length
from mrl_edge.train.objectives import Batch, Objective
from mrl_edge.train.objectives.classification import Classification
from mrl_edge.train.objectives.contrastive import Contrastive, Distillation, similarity_divergence
from mrl_edge.train.objectives.graded import Graded
from mrl_edge.train.objectives.prefixes import prefix_cosines
from mrl_edge.train.processes import gather, gather_vectors
from mrl_edge.train.settings import Settings
from mrl_edge.train.trunk import ModelInputs, Trunk

Features = ModelInputs | Tensor  # what the trunk takes, or what it gave: [exits, batch, width]


@dataclass(frozen=True)
class Targets:
    """What the data say of a batch beside the texts; see `objectives.Batch`."""

    ids: Mapping[str, Tensor]
    labels: Tensor | None
    scores: Tensor | None
    teacher: Mapping[str, Tensor]


class NestedModel(nn.Module):
    """Trunk and heads; `forward` gives the loss of a batch, summed over exits, objectives and dimensions."""

    def __init__(
        self, trunk: Trunk, classes: int, roles: Sequence[str], aliases: Mapping[str, str], settings: Settings
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.settings = settings
        spec = trunk.spec
        self.heads = Heads(Head(spec.width, settings.dims, classes, settings.tied) for _ in trunk.depths)
        self.objectives = _objectives(roles, settings)
        self.weightings = nn.ModuleDict({name: settings.weighting() for name in self.objectives})
        self._aliases = dict(aliases)

    def compares(self) -> bool:
        """Whether an objective compares embeddings with each other, so that a batch needs two rows."""
        return set(self.objectives) != {"classification"}

    def forward(self, features: Mapping[str, Features], targets: Targets, exits: Sequence[int]) -> Tensor:
        """Return the loss of a batch by role (`query`, `document`, `negative`, `text`) over some exits.

        `exits` are places in the trunk's depths and end with the last. An exit before it, and the shorter prefixes of
        the last, may also learn to find the same texts alike as the last one does at its full dimension, each dimension
        by its weight where weights are given. With pairs and classes these prefixes also do so for the texts among
        themselves.
        """
        outputs = self._outputs(features)
        with torch.autocast(next(self.heads.parameters()).device.type, enabled=False):  # all but the trunk is fp32
            return self._loss(outputs, targets, exits)

    def _outputs(self, features: Mapping[str, Features]) -> dict[str, Tensor]:
        """Return [exits, batch, width] by role."""
        live = {role: given for role, given in features.items() if isinstance(given, dict)}
        on_cpu = next(self.trunk.parameters()).device.type == "cpu"  # a GPU is quicker in few large passes
        if live and on_cpu and self.trunk.spec.modality == "text":
            outputs = embed_by_length(self.trunk, live)
        else:
            outputs = {role: self.trunk(given) for role, given in live.items()}
        return outputs | {role: given for role, given in features.items() if not isinstance(given, dict)}

    def _loss(self, outputs: Mapping[str, Tensor], targets: Targets, exits: Sequence[int]) -> Tensor:
        projected = {role: _project(self.heads, rows.float(), exits) for role, rows in outputs.items()}
        projected |= {alias: projected[role] for alias, role in self._aliases.items()}
        own = _gathered(targets)
        total = torch.zeros((), device=next(self.heads.parameters()).device)
        everything = projected  # [exits, all, full]: of this process alone where nothing is compared
        if self.compares() or len(exits) > 1 or self.settings.self_distillation:
            everything = {role: gather_vectors(rows) for role, rows in projected.items()}
        for place, exit in enumerate(exits):
            weight = 1.0 if exit == exits[-1] else self.settings.exit_weight
            vectors = {role: rows[place] for role, rows in everything.items()}
            logits = None if own.labels is None else self.heads[exit].logits(projected["text"][place])
            batch = Batch(vectors, own.ids, own.scores, own.teacher, logits, own.labels)
            for name, objective in self.objectives.items():
                total = total + weight * self._share(name) * self.weightings[name](objective(batch))
            last = exit == exits[-1]
            learning = self.settings.self_distillation if last else self.settings.exit_distillation
            if learning:
                compared = _compared(everything)
                for first, second in compared if last else compared[:1]:
                    total = total + learning * self._divergence(everything[first], everything[second], place)
        return total

    def _share(self, name: str) -> float:
        """The weight of an objective beside the others."""
        return self.settings.label_weight if name == "classification" and self.compares() else 1.0

    def _divergence(self, first: Tensor, second: Tensor, place: int) -> Tensor:
        """The divergence of one exit's similarities at every dimension from the last exit's at the full one.

        Both are [exits, batch, full], and the same where texts are compared with each other.
        """
        with torch.no_grad():
            teacher = F.normalize(first[-1], dim=1) @ F.normalize(second[-1], dim=1).T
        student = prefix_cosines(first[place], second[place], self.settings.dims)
        divergence = similarity_divergence(student, teacher, self.settings.temperature, self_alike=first is second)
        return (self._weights(divergence) * divergence).sum()

    def _weights(self, like: Tensor) -> Tensor:
        return torch.tensor(self.settings.weights or (1.0,) * len(self.settings.dims), device=like.device)


def _objectives(roles: Sequence[str], settings: Settings) -> dict[str, Objective]:
    """Choose by what the data hold: pairs or graded pairs, classes, or else texts alone."""
    dims, temperature = settings.dims, settings.temperature
    chosen: dict[str, Objective] = {}
    if "score" in roles:
        chosen["graded"] = Graded(dims, temperature)
    elif "query" in roles:
        chosen["contrastive"] = Contrastive(dims, temperature)
    elif "label" not in roles:
        chosen["distillation"] = Distillation(dims, temperature)
    if "label" in roles:
        chosen["classification"] = Classification()
    return chosen


def _project(heads: Heads, features: Tensor, exits: Sequence[int]) -> Tensor:
    """Return [exits, batch, full] of [all exits, batch, width]."""
    return torch.stack([heads[exit].projection(features[exit]) for exit in exits])


def _compared(everything: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Return which texts are compared with which: queries with documents, and those with classes with each other."""
    pairs = [("query", "document")] if "query" in everything else []
    return [*pairs, ("text", "text")] if "text" in everything else pairs


def _gathered(targets: Targets) -> Targets:
    """Return the targets of all processes' rows; labels stay each process' own, as class heads take its own rows."""
    return Targets(
        {role: gather(rows) for role, rows in targets.ids.items()},
        targets.labels,
        None if targets.scores is None else gather(targets.scores),
        {role: gather(rows) for role, rows in targets.teacher.items()},
    )
