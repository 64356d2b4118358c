"""What stands between the data and a trunk, by the encoder's modality: a tokenizer or an image processor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mrl_edge.errors import ModelError
from mrl_edge.train.source import EncoderSpec
from mrl_edge.train.trunk import Preprocess, load_tokenizer, text_inputs


@dataclass(frozen=True)
class Preprocessing:
    """The tokenizer or image processor, to be saved with a model, and what it does to texts or paths."""

    saved: Any
    inputs: Preprocess


def load_preprocessing(spec: EncoderSpec) -> Preprocessing:
    """Load what an encoder reads its inputs with; `ModelError` when it cannot be loaded."""
    if spec.modality == "image":
        from mrl_edge.train.images import image_inputs, load_image_processor

        processor = load_image_processor(spec)
        return Preprocessing(processor, image_inputs(processor))
    tokenizer = load_tokenizer(spec)
    if tokenizer.pad_token is None:
        raise ModelError(f"{spec.source}: its tokenizer has no padding token: name one in tokenizer_config.json")
    return Preprocessing(tokenizer, text_inputs(tokenizer, spec.max_tokens))
