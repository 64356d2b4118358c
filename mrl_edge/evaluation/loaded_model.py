"""A trained model folder, or a plain encoder's, as one object with torch inside.

`load_model` stands in for `mrl_edge.train.model.load_model`, which has the same shape.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrl_edge.nesting import Floats, default_dims
from mrl_edge.train.features import embed
from mrl_edge.train.model import Trunk, load_classifiers, load_tokenizer
from mrl_edge.train.record import read_record
from mrl_edge.train.source import EncoderSpec, read_encoder


class LoadedModel:
    """Embeds texts in fp32; its dimensions, depths and classes are those that it was trained with."""

    def __init__(self, spec: EncoderSpec, dims: tuple[int, ...], classes: tuple[str, ...] = ()) -> None:
        self.dims = dims
        self.depths = (spec.layers,)
        self.classes = classes
        self._spec = spec
        self._trunk = Trunk(spec)
        self._tokenizer = load_tokenizer(spec)
        self._heads = load_classifiers(spec.folder, dims) if classes else {}

    def embed(self, texts: list[str], role: str, depth: int) -> Floats:
        """Return [n, full] before normalisation, prompts applied."""
        return embed(self._trunk, self._tokenizer, self._spec.prompted(role, texts), bfloat16=False)

    def class_scores(self, projected: Floats, depth: int) -> dict[int, Floats]:
        """Return logits [n, classes] for every dimension."""
        return {
            dim: np.asarray(projected[:, :dim] @ weight.numpy().T + bias.numpy(), dtype=np.float32)
            for dim, (weight, bias) in self._heads.items()
        }


def load_model(folder: Path) -> LoadedModel:
    """Load what `mrl-edge train` wrote; `ModelError` when it is damaged."""
    record = read_record(folder)
    return LoadedModel(read_encoder(str(folder)), record.dims, record.classes)


def load_encoder(source: str) -> LoadedModel:
    """Load an encoder as it is, with the paper's dimensions: 8, 16, … and its width."""
    spec = read_encoder(source)
    return LoadedModel(spec, default_dims(spec.width))
