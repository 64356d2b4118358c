"""Texts through a variant on all cores: as many calls at once as there are cores, each call on one thread.

That is how a configuration of one thread computes them, and no slower than one call on all cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mrl_edge.cpu import allowed_cores
from mrl_edge.encoder import NestedEncoder
from mrl_edge.nesting import Floats

_BATCH = 32  # texts in flight, of all cores together


def encode_singly(
    encoder: NestedEncoder, texts: Sequence[str], role: str
) -> tuple[dict[int, Floats], dict[int, Floats]]:
    """Return embeddings [n, dim] and class probabilities [n, classes] by dimension, from one text a call.

    Equal texts are encoded once. Where the model does not classify there are no probabilities.
    """
    distinct = list(dict.fromkeys(texts))
    place = {text: number for number, text in enumerate(distinct)}
    rows = [place[text] for text in texts]
    cores = allowed_cores()
    embeddings = {dim: np.empty((len(distinct), dim), dtype=np.float32) for dim in encoder.dims}
    probabilities = {
        dim: np.empty((len(distinct), len(encoder.classes)), dtype=np.float32)
        for dim in encoder.dims
        if encoder.classes
    }

    def encode(first: int) -> None:
        found, likely = encoder.encode_and_classify(distinct[first::cores], role, batch_size=1)
        for dim in encoder.dims:
            embeddings[dim][first::cores] = found[dim]
            if likely:
                probabilities[dim][first::cores] = likely[dim]

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(encode, range(cores)))
    return _at(embeddings, rows), _at(probabilities, rows)


def encode_documents(encoder: NestedEncoder, documents: Sequence[str]) -> Floats:
    """Return the documents' embeddings float32 [n, full], encoded in batches."""
    cores = allowed_cores()
    full = encoder.dims[-1]
    found = np.empty((len(documents), full), dtype=np.float32)

    def encode(first: int) -> None:
        found[first::cores] = encoder.encode(documents[first::cores], "document", max(1, _BATCH // cores))[full]

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(encode, range(cores)))
    return found


def _at(values: dict[int, Floats], rows: Sequence[int]) -> dict[int, Floats]:
    return {dim: found[rows] for dim, found in values.items()}
