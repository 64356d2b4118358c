"""What an image processor of transformers does, as the bundle says it, checked against the processor itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from mrl_edge.description import ImageInput
from mrl_edge.errors import ModelError
from mrl_edge.pixels import pixel_values, read_image
from mrl_edge.train.images import load_image_processor
from mrl_edge.train.source import EncoderSpec

_TOLERANCE = 1e-3  # of normalised pixels; the steps are the same, so 1e-6 is usual
_SIZES = ((300, 200), (40, 90), (15, 15))  # width and height of images that are checked beside real ones
_CONVNEXT_WHOLE = 384  # from this edge on ConvNext's processor, which ResNets have, crops nothing


def image_input(spec: EncoderSpec, samples: Sequence[str]) -> ImageInput:
    """Describe the preprocessing of an image encoder; `samples` are paths of real images to check it on.

    Raises `ModelError` for a processor that makes images of different sizes, or does more than a bundle can say.
    """
    processor = load_image_processor(spec)
    said = processor.to_dict()
    wanted = _described(spec, said)
    random = np.random.default_rng(0)
    images = [Image.fromarray(random.integers(0, 256, (high, wide, 3), np.uint8)) for wide, high in _SIZES]
    for image in [*images, *map(read_image, samples)]:
        theirs = processor(images=[image], return_tensors="np")["pixel_values"][0]
        ours = pixel_values(image, wanted)
        if ours.shape != theirs.shape or not float(np.abs(ours - theirs).max()) <= _TOLERANCE:
            raise ModelError(
                f"{spec.source}: its image processor ({said.get('image_processor_type')}) does more than resize, crop, "
                "rescale and normalise, which is all that a bundle can do"
            )
    return wanted


def _described(spec: EncoderSpec, said: dict[str, Any]) -> ImageInput:
    resize, shortest_edge = _resizing(said)
    crop = _crop(said)
    size = crop or resize
    if size is None:
        raise ModelError(f"{spec.source}: its image processor leaves images their own sizes; a bundle needs one size")
    normalises = said.get("do_normalize", False)
    return ImageInput(
        height=size[0],
        width=size[1],
        resize=resize,
        shortest_edge=shortest_edge,
        resample=Image.Resampling(said.get("resample", Image.Resampling.BILINEAR)).name.lower(),
        crop=crop is not None,
        scale=float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", False) else 1.0,
        mean=_channels(said["image_mean"] if normalises else 0.0),
        std=_channels(said["image_std"] if normalises else 1.0),
        channels="BGR" if said.get("do_flip_channel_order") else "RGB",
    )


def _resizing(said: dict[str, Any]) -> tuple[tuple[int, int] | None, int | None]:
    """Return the height and width, or the shortest edge, that a processor resizes to."""
    if not said.get("do_resize"):
        return None, None
    size = said["size"]
    if "shortest_edge" not in size:
        return _height_and_width(size), None
    edge = int(size["shortest_edge"])
    if "crop_pct" not in said:
        return None, edge
    return ((edge, edge), None) if edge >= _CONVNEXT_WHOLE else (None, int(edge / said["crop_pct"]))


def _crop(said: dict[str, Any]) -> tuple[int, int] | None:
    if said.get("do_center_crop"):
        return _height_and_width(said["crop_size"])
    edge = said.get("size", {}).get("shortest_edge")
    if said.get("do_resize") and "crop_pct" in said and edge < _CONVNEXT_WHOLE:
        return edge, edge
    return None


def _height_and_width(size: dict[str, int]) -> tuple[int, int] | None:
    return (size["height"], size["width"]) if {"height", "width"} <= set(size) else None


def _channels(value: float | Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (value,) * 3 if isinstance(value, (int, float)) else value
    return float(red), float(green), float(blue)
