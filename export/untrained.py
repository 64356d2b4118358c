"""An encoder that was never trained here, as its folder defines it, to be exported at dimensions that cut it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mrl_edge.export.model import Exit, Model

from mrl_edge.bundle import Slice
from mrl_edge.datasets import spread
from mrl_edge.errors import UsageError
from mrl_edge.metrics import nearest_others, overlap_at_k
from mrl_edge.nesting import prefix
from mrl_edge.progress import Report, in_pieces, silent
from mrl_edge.train.features import embed
from mrl_edge.train.preprocessing import load_preprocessing
from mrl_edge.train.source import EncoderSpec, LayerNorm, Normalise, read_encoder
from mrl_edge.train.trunk import Trunk

NEIGHBOURS = 10
_SAMPLES = 128  # texts that every graph is checked on
_PIECE = 128
_LEAST_TEXTS = 2 * NEIGHBOURS


def read_untrained(
    source: str,
    texts: Sequence[str],
    dims: Sequence[int] | None = None,
    matryoshka: bool = False,
    layer_norm: bool = False,
    tower: str | None = None,
) -> Model:
    """Read a Hugging Face or sentence-transformers folder, or download it when `source` is a hub id.

    `dims` are those to export (None: what its config declares as `matryoshka_dimensions`, else the full one alone).
    `matryoshka` asserts that it was trained for them. `layer_norm` normalises each vector by its mean and variance
    before it is cut, as Nomic's models want. `texts` are paths of images when it is an image encoder, `tower` is one
    of CLIP's. Raises `ModelError` for what is no encoder, and `UsageError` for
    dimensions that it does not have or too few texts.
    """
    spec = read_encoder(source, tower=tower)
    are_texts = spec.modality == "text"
    distinct = list(dict.fromkeys(texts))
    if len(distinct) < _LEAST_TEXTS:
        option = "texts" if are_texts else "images"
        raise UsageError(f"--{option}: {len(distinct)} different {option}, and at least {_LEAST_TEXTS} are needed")
    declared = _declared(spec)
    chosen = tuple(dims or declared or (spec.width,))
    if chosen[-1] > spec.width:
        raise UsageError(f"--dims: {chosen[-1]} is larger than the encoder's {spec.width} dimensions")
    if layer_norm:
        spec = _with_layer_norm(spec)
    trained = matryoshka or (bool(declared) and set(chosen) <= {*declared, spec.width})
    name = Path(source).name if Path(source).is_dir() else source
    exits = (Exit(spec.layers, None, {}),)
    return Model(name, spec, exits, chosen, (), _samples(distinct, are_texts), trained, {}, tuple(distinct))


def measure_slices(model: Model, trunk: Trunk, report: Report = silent) -> tuple[Slice, ...]:
    """Return how many of each text's nearest neighbours by the encoder's whole vector each dimension keeps."""
    if not model.texts:
        return ()
    inputs = load_preprocessing(model.spec).inputs
    texts = model.spec.prompted("text", list(model.texts))
    pieces = in_pieces(
        lambda piece: embed(trunk, inputs, piece, bfloat16=False)[-1], texts, "measuring slices", report, _PIECE
    )
    vectors = np.concatenate(list(pieces))
    whole = nearest_others(prefix(vectors, None), NEIGHBOURS)
    return tuple(
        Slice(dim, overlap_at_k(nearest_others(prefix(vectors, dim), NEIGHBOURS), whole), len(vectors))
        for dim in model.dims
    )


def _declared(spec: EncoderSpec) -> tuple[int, ...]:
    """Return the dimensions that the encoder's config declares, as Jina's and Snowflake's do; () for none."""
    config = json.loads((spec.transformer / "config.json").read_text(encoding="utf-8"))
    dims = config.get("matryoshka_dimensions")
    if not isinstance(dims, list) or not all(isinstance(dim, int) and dim > 0 for dim in dims):
        return ()
    return tuple(sorted({dim for dim in dims if dim <= spec.width}))


def _with_layer_norm(spec: EncoderSpec) -> EncoderSpec:
    """Put a layer normalisation without weights last, before a normalisation to length 1 if that is the last."""
    *others, last = spec.modules
    tail = (LayerNorm(spec.width), last) if isinstance(last, Normalise) else (last, LayerNorm(spec.width))
    return spec.with_modules((*others, *tail))


def _samples(texts: Sequence[str], are_texts: bool) -> list[str]:
    """Return texts spread evenly over their lengths, the shortest and the longest among them, or images."""
    ordered = sorted(texts, key=len) if are_texts else texts
    return [ordered[i] for i in spread(len(ordered), _SAMPLES)]
