"""What a bundle's graphs are fed with: tokenizer or image preprocessing, and the samples as the runtime feeds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mrl_edge.export.image_input import image_input
from mrl_edge.export.model import Model
from numpy.typing import NDArray

from mrl_edge.description import TOKENIZER, EncoderInfo, ImageInput
from mrl_edge.feeds import Feeder
from mrl_edge.tokens import Batch
from mrl_edge.train.trunk import load_tokenizer

_BATCH = 16  # rows of at most
_TOKENS = 512  # and fewer of longer texts: the memory of attention goes with their square


def write_inputs(model: Model, folder: Path) -> EncoderInfo:
    """Write `tokenizer.json` with the encoder's truncation, if it is of texts, and return how it must be fed."""
    spec = model.spec
    if spec.modality == "image":
        return _described(model, pad_id=0, image=image_input(spec, model.samples))
    tokenizer = load_tokenizer(spec)
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.enable_truncation(spec.max_tokens)
    (folder / TOKENIZER).write_text(backend.to_str(pretty=False), encoding="utf-8")
    return _described(model, pad_id=tokenizer.pad_token_id or 0)


def _described(model: Model, pad_id: int, image: ImageInput | None = None) -> EncoderInfo:
    spec = model.spec
    return EncoderInfo(
        source=model.source,
        family=spec.family,
        pooling=spec.pooling,
        normalise=True,
        prompts=spec.prompts,
        default_prompt=spec.default_prompt,
        max_tokens=spec.max_tokens,
        pad_id=pad_id,
        image=image,
    )


def sample_feeds(feeder: Feeder, samples: Sequence[str]) -> tuple[NDArray[np.int64], list[Batch]]:
    """Feed texts or images as the runtime's `encode` will: in batches, and the first and last row of them alone.

    Of texts these are the shortest and the longest. Also returns which sample each row of the batches is of.
    """
    rows, feeds = zip(*feeder.batches(samples, None, _batch_size(feeder, samples)), strict=True)
    order = np.concatenate([*rows, rows[0][:1], rows[-1][-1:]])
    return order, [*feeds, *(feeder.feed([samples[i]], None) for i in order[-2:])]


def _batch_size(feeder: Feeder, samples: Sequence[str]) -> int:
    longest = feeder.feed([max(samples, key=len)], None)
    tokens = longest["input_ids"].shape[1] if "input_ids" in longest else 1
    return max(1, min(_BATCH, _BATCH * _TOKENS**2 // tokens**2))
