"""The texts that a bundle carries to be verified with, and PyTorch's embeddings of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mrl_edge.export.fidelity import Reference
from numpy.typing import NDArray

from mrl_edge.bundle import Samples
from mrl_edge.nesting import Floats

_COUNT = 64
_TEXTS, _EMBEDDINGS = "samples/texts.json", "samples/embeddings.f32"


def write_samples(
    folder: Path, texts: Sequence[str], order: NDArray[np.int64], wanted: Mapping[int, Reference]
) -> Samples:
    """Write some of the sample texts, spread evenly, and their embeddings at each depth, into a bundle.

    `order` says which text each row of the references is of.
    """
    chosen = np.linspace(0, len(texts) - 1, min(_COUNT, len(texts))).round().astype(np.int64)
    rows = {int(text): row for row, text in enumerate(order)}
    places = [rows[int(text)] for text in chosen]
    embeddings: list[Floats] = [
        wanted[depth].embeddings[max(wanted[depth].embeddings)][places] for depth in sorted(wanted)
    ]
    (folder / _TEXTS).parent.mkdir()
    lines = json.dumps([texts[i] for i in chosen], ensure_ascii=False, indent=0)
    (folder / _TEXTS).write_bytes(lines.encode("utf-8", "replace"))  # as the runtime replaces lone surrogates
    np.stack(embeddings).astype("<f4").tofile(folder / _EMBEDDINGS)
    return Samples(_TEXTS, _EMBEDDINGS, len(chosen))
