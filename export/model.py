"""What is exported: a trained model folder read, or an encoder that was never trained here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from mrl_edge.errors import ModelError
from mrl_edge.train.model import load_exits
from mrl_edge.train.record import read_record
from mrl_edge.train.samples import read_samples
from mrl_edge.train.source import Dense, EncoderSpec, read_encoder

Linear = tuple[Tensor, Tensor]  # weight [classes, d], bias [classes]


@dataclass(frozen=True)
class Exit:
    """One exit: its layer, the projection [full, width] on it (None: the embedding is sliced), its class heads."""

    depth: int
    projection: Tensor | None
    classifiers: dict[int, Linear]

    def projected(self, vectors: Tensor, full: int) -> Tensor:
        """Return [n, full], before normalisation, of the encoder's vectors [n, width]."""
        return vectors[:, :full] if self.projection is None else vectors @ self.projection.T


@dataclass(frozen=True)
class Model:
    """An encoder and its exits, ascending; `spec` without the projections, which the exits hold."""

    source: str  # the encoder that was trained, as the user named it
    spec: EncoderSpec
    exits: tuple[Exit, ...]
    dims: tuple[int, ...]
    classes: tuple[str, ...]
    samples: list[str]  # real texts, or paths of images, that every graph is checked on
    matryoshka: bool
    training: dict[str, Any]
    texts: tuple[str, ...] = ()  # on which the slices of an encoder never trained here are measured

    @property
    def depths(self) -> tuple[int, ...]:
        """The layers after which an embedding comes out; the last is all of them."""
        return tuple(exit.depth for exit in self.exits)


def read_model(folder: Path) -> Model:
    """Read a model folder; `ModelError` when `mrl-edge train` did not write it, or it is damaged."""
    record = read_record(folder)
    samples = read_samples(folder, record.modality)
    spec = read_encoder(str(folder))
    if not spec.modules or not isinstance(spec.modules[-1], Dense):
        raise ModelError(f"{folder}: its last module is no projection: train it again")
    exits = tuple(Exit(exit.depth, exit.projection, exit.classifiers) for exit in load_exits(folder, record))
    training = {
        "objective": record.objective,
        "settings": record.settings,
        "data": record.data,
        "quality": msgspec.to_builtins(record.quality, str_keys=True),
    }
    inner = spec.with_modules(spec.modules[:-1])
    return Model(record.source, inner, exits, record.dims, record.classes, samples, True, training)
