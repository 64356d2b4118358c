"""Trained models and plain encoders as sources; imported only when one of them is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from mrl_edge.encoder import softmax
from mrl_edge.errors import UsageError
from mrl_edge.nesting import Floats, normalise, select_dims
from mrl_edge.train.model import LoadedModel, load_encoder, load_model


class TorchSource:
    """A loaded model that evaluates some of its dimensions."""

    def __init__(self, name: str, method: str, model: LoadedModel, dims: tuple[int, ...]) -> None:
        self.name = name
        self.precision: str | None = None
        self.method = method
        self.modality = model.modality
        self.dims = dims
        self.depths: tuple[int, ...] = model.depths
        self.classes = model.classes
        self._model = model
        self._last: tuple[tuple[list[str], str, int], Floats] | None = None

    def embed(self, texts: Sequence[str], role: str, depth: int) -> Floats:
        """Run the trunk, then normalise."""
        return normalise(self._projected(texts, role, depth))

    def classify(self, texts: Sequence[str], depth: int) -> dict[int, Floats]:
        """Run the class heads on the vectors before normalisation, on which they were trained."""
        logits = self._model.class_scores(self._projected(texts, "text", depth), depth)
        return {dim: softmax(logits[dim]) for dim in self.dims}

    def _projected(self, texts: Sequence[str], role: str, depth: int) -> Floats:
        """Return [n, full]; the last answer is kept, since texts are embedded and then classified."""
        asked = (list(texts), role, depth)
        if self._last is None or self._last[0] != asked:
            self._last = (asked, self._model.embed(*asked))
        return self._last[1]


def open_model(name: str, dims: Sequence[int] | None, threads: int | None) -> TorchSource:
    """Open what `mrl-edge train` wrote."""
    _limit(threads)
    model = load_model(Path(name))
    return TorchSource(name, "mrl", model, select_dims(dims, model.dims, name))


def open_encoder(name: str, dims: Sequence[int] | None, threads: int | None) -> TorchSource:
    """Open an encoder that was not trained to nest; any dimensions up to its width are truncations."""
    _limit(threads)
    model = load_encoder(name)
    chosen = model.dims if dims is None else tuple(dims)
    if chosen[-1] > model.dims[-1]:
        raise UsageError(f"dimension {chosen[-1]} is larger than {name}'s {model.dims[-1]}: choose others with --dims")
    return TorchSource(name, "truncation", model, chosen)


def _limit(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
