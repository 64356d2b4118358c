"""Images as a trunk takes them: paths in, pixels out, by the encoder's own image processor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import AutoImageProcessor

from mrl_edge.errors import ModelError
from mrl_edge.feeds import PIXELS
from mrl_edge.nesting import Floats
from mrl_edge.pixels import read_image
from mrl_edge.train.source import EncoderSpec
from mrl_edge.train.trunk import ModelInputs, Preprocess

_THREADS = min(8, os.cpu_count() or 1)


def load_image_processor(spec: EncoderSpec) -> Any:
    """Load the image processor; `ModelError` when it cannot be."""
    try:
        # The fast ones need torchvision, and resize a little differently.
        return AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            spec.transformer, use_fast=False, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{spec.source}: its image processor cannot be loaded: {reason}") from None


def image_inputs(processor: Any) -> Preprocess:
    """Return a function that reads images: `pixel_values` [batch, 3, height, width] float32 of their paths."""

    def pixels(paths: Sequence[str]) -> ModelInputs:
        with ThreadPoolExecutor(min(len(paths), _THREADS)) as pool:  # decoding and resizing let go of Python's lock
            images = list(pool.map(partial(_pixels, processor), paths))
        try:
            return {PIXELS: torch.from_numpy(np.stack(images))}
        except ValueError:  # a processor that leaves every image its own size
            raise ModelError("the encoder's image processor makes no batch of images: their sizes differ") from None

    return pixels


def _pixels(processor: Any, path: str) -> Floats:
    """Return float32 [3, height, width] of one image."""
    (values,) = processor(images=[read_image(path)], return_tensors="np")[PIXELS]
    return np.asarray(values, dtype=np.float32)
