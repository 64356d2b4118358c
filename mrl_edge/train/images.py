"""Images as a trunk takes them: paths in, pixels out, by the encoder's own image processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError
from transformers import AutoImageProcessor

from mrl_edge.errors import DataError, ModelError
from mrl_edge.train.source import EncoderSpec
from mrl_edge.train.trunk import ModelInputs, Preprocess


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
        images = [_read(path) for path in paths]
        try:
            return dict(processor(images=images, return_tensors="pt"))
        except ValueError as error:  # a processor that leaves every image its own size
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"the encoder's image processor makes no batch of images: {reason}") from None

    return pixels


def _read(path: str) -> Image.Image:
    """Return an image upright and in three colours; `DataError` when it cannot be decoded."""
    try:
        with Image.open(path) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"{path}: cannot be read as an image: {reason}") from None
