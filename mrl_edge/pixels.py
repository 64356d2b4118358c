"""Images to the pixels that an encoder takes, with numpy and Pillow alone.

The steps are those of transformers' image processors, in their order: resize, crop, rescale, normalise. Pillow is
imported when an image must be decoded or resized; an array that has the encoder's size already needs none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrl_edge.description import ImageInput
from mrl_edge.errors import DataError, UnsupportedError, UsageError
from mrl_edge.nesting import Floats

if TYPE_CHECKING:
    from PIL.Image import Image

    ImageSource = str | Path | Image | NDArray[np.uint8]  # arrays are [height, width, 3], or [height, width] grey

Pixels = NDArray[np.uint8]  # [height, width, 3] RGB


def pixel_values(image: ImageSource, wanted: ImageInput) -> Floats:
    """Return float32 [3, height, width] of an image, as the encoder was trained to see it.

    Raises `DataError` for a file that is no image, `UsageError` for what is neither a path nor an image.
    """
    pixels = cropped(resized(image, wanted), wanted)
    if wanted.channels == "BGR":
        pixels = pixels[:, :, ::-1]
    mean, std = np.array(wanted.mean, dtype=np.float32), np.array(wanted.std, dtype=np.float32)
    values = (pixels * np.float32(wanted.scale) - mean) / std
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def resized(image: ImageSource, wanted: ImageInput) -> Pixels:
    """Return an image's pixels at the size that is then cropped."""
    if isinstance(image, np.ndarray):
        pixels = _checked(image)
        if pixels.shape[:2] == _size(pixels.shape[0], pixels.shape[1], wanted):
            return pixels
        opened = _pillow().fromarray(pixels)
    else:
        opened = read_image(image) if isinstance(image, (str, Path)) else _upright(image)
    height, width = _size(opened.height, opened.width, wanted)
    if (height, width) != (opened.height, opened.width):
        opened = opened.resize((width, height), resample=getattr(_pillow().Resampling, wanted.resample.upper()))
    return np.asarray(opened)


def cropped(pixels: Pixels, wanted: ImageInput) -> Pixels:
    """Return the middle of an image; what it lacks is black."""
    if not wanted.crop:
        return pixels
    sides = zip((wanted.height, wanted.width), pixels.shape[:2], strict=True)
    lacking = [max(0, side - there) for side, there in sides]
    if any(lacking):
        pixels = np.pad(pixels, [*((-(-lack // 2), lack // 2) for lack in lacking), (0, 0)])
    top, left = (pixels.shape[0] - wanted.height) // 2, (pixels.shape[1] - wanted.width) // 2
    return pixels[top : top + wanted.height, left : left + wanted.width]


def read_image(path: str | Path) -> Image:
    """Return an image file upright and in three colours; `DataError` when it cannot be decoded."""
    pillow = _pillow()
    try:
        with pillow.open(path) as opened:
            return _upright(opened)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image") from None
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, pillow.UnidentifiedImageError) else str(error)
        raise DataError(f"{path}: cannot be read as an image: {reason}") from None


def _size(height: int, width: int, wanted: ImageInput) -> tuple[int, int]:
    """Return the height and width that an image is resized to."""
    if wanted.resize is not None:
        return wanted.resize
    if wanted.shortest_edge is None:
        return height, width
    short, long = wanted.shortest_edge, int(wanted.shortest_edge * max(height, width) / min(height, width))
    return (long, short) if width <= height else (short, long)


def _checked(array: NDArray[Any]) -> Pixels:
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if array.dtype != np.uint8 or not shaped or not array.size:
        raise UsageError(
            f"an image as an array is uint8 [height, width, 3] or [height, width], not {array.dtype} {array.shape}"
        )
    return array if array.ndim == 3 else np.repeat(array[:, :, np.newaxis], 3, axis=2)


def _upright(image: Image) -> Image:
    from PIL import ImageOps

    if not hasattr(image, "getexif"):
        raise UsageError(f"an image is a path, a PIL image or a uint8 array, not {type(image).__name__}")
    return ImageOps.exif_transpose(image).convert("RGB")


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise UnsupportedError("reading images needs Pillow: pip install 'mrl-edge[images]'") from None
    return Image
