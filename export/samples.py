"""The texts or images that a bundle carries to be verified with, and PyTorch's embeddings of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from mrl_edge.export.fidelity import Reference
from mrl_edge.export.model import Model
from numpy.typing import NDArray

from mrl_edge.bundle import Samples
from mrl_edge.datasets import spread
from mrl_edge.nesting import Floats
from mrl_edge.train.samples import write_images

_COUNT = 64
_FOLDER = "samples"
_TEXTS, _EMBEDDINGS = f"{_FOLDER}/texts.json", f"{_FOLDER}/embeddings.f32"


def with_image_copies(model: Model, folder: Path) -> Model:
    """Return an image model whose samples are small copies in the bundle; a model of texts as it is."""
    if model.spec.modality == "text":
        return model
    return replace(model, samples=write_images(folder / _FOLDER, model.samples))


def write_samples(folder: Path, model: Model, order: NDArray[np.int64], wanted: Mapping[int, Reference]) -> Samples:
    """Write some sample texts, spread evenly, or all images, and their embeddings at each depth, into a bundle.

    `order` says which sample each row of the references is of.
    """
    are_texts = model.spec.modality == "text"
    chosen = spread(len(model.samples), _COUNT if are_texts else None)
    rows = {int(text): row for row, text in enumerate(order)}
    places = [rows[text] for text in chosen]
    embeddings: list[Floats] = [
        wanted[depth].embeddings[max(wanted[depth].embeddings)][places] for depth in sorted(wanted)
    ]
    (folder / _FOLDER).mkdir(exist_ok=True)
    np.stack(embeddings).astype("<f4").tofile(folder / _EMBEDDINGS)
    if not are_texts:
        images = tuple(f"{_FOLDER}/{Path(path).name}" for path in model.samples)
        return Samples("", _EMBEDDINGS, len(chosen), images)
    lines = json.dumps([model.samples[i] for i in chosen], ensure_ascii=False, indent=0)
    (folder / _TEXTS).write_bytes(lines.encode("utf-8", "replace"))  # as the runtime replaces lone surrogates
    return Samples(_TEXTS, _EMBEDDINGS, len(chosen))
