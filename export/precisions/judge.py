"""How near a converted trunk is to the fp32 trunk: what precisions choose by, and what their floor is held to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrl_edge.cpu import ANY
from mrl_edge.encoder import open_session
from mrl_edge.metrics import mean_and_min_cosine
from mrl_edge.nesting import Floats
from mrl_edge.tokens import Batch

Embed = Callable[[Tensor, dict[str, Tensor]], Tensor]  # a layer's output [batch, …], inputs → vectors [batch, full]


@dataclass(frozen=True, order=True)
class Agreement:
    """Cosines of full-dimension embeddings with those of the fp32 trunk, over the texts and the worst exit."""

    mean: float
    least: float


class Judge:
    """Runs trunks on the same tokenised texts and compares their embeddings with the fp32 trunk's.

    `embeds` are those of the trunk's outputs, one an exit.
    """

    def __init__(self, fp32: Path, batches: Sequence[Batch], embeds: Sequence[Embed]) -> None:
        self._batches = batches
        self._embeds = embeds
        self._wanted = list(self._vectors(fp32, ANY))

    def measure(self, path: Path, target: str) -> Agreement:
        """Return how near a trunk is where it was made for; of several outputs (exits) the worst counts."""
        pairs = [
            mean_and_min_cosine(ours, wanted)
            for ours, wanted in zip(self._vectors(path, target), self._wanted, strict=True)
        ]
        return Agreement(min(mean for mean, _ in pairs), min(least for _, least in pairs))

    def _vectors(self, path: Path, target: str) -> Iterator[Floats]:
        """Yield the embeddings [texts, full] of each output of a trunk."""
        session = open_session(path, threads=None, target=target)
        parts = [session.run(None, batch) for batch in self._batches]
        inputs = [{name: torch.from_numpy(rows) for name, rows in batch.items()} for batch in self._batches]
        with torch.inference_mode():
            for number, embed in enumerate(self._embeds):
                states = [embed(torch.from_numpy(p[number]), i) for p, i in zip(parts, inputs, strict=True)]
                yield np.asarray(torch.cat(states).numpy(), dtype=np.float32)
