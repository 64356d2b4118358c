"""What the configuration of an image encoder says of its size, and where its vector comes out.

The families listed here give the class token after their last normalisation. All others give what they call
`pooler_output`: the mean over the image of a ResNet or a MobileNet, another family's own pooling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mrl_edge.errors import ModelError
from mrl_edge.train.clip import VISION

_CLASS_TOKEN = ("vit", "deit", "dinov2", "dinov2_with_registers", "vit_msn")
_MOBILE_NETS = {"mobilenet_v1": (1024, 13), "mobilenet_v2": (1280, 17)}  # channels at the end, blocks


@dataclass(frozen=True)
class ImageShape:
    """Size of an image encoder and its pooling: `cls` (a class token), `pooler` (its own) or `projected` (CLIP's)."""

    layers: int
    hidden: int
    pooling: str


def image_shape(source: str, config: Mapping[str, Any]) -> ImageShape:
    """Read a `config.json`; `ModelError` when it states no size."""
    family = config["model_type"]
    if family in _MOBILE_NETS:
        channels, blocks = _MOBILE_NETS[family]
        return ImageShape(blocks, _mobile_channels(config, channels), "pooler")
    if family == VISION:
        return ImageShape(config["num_hidden_layers"], config["projection_dim"], "projected")
    sizes = config.get("hidden_sizes") or [config.get("hidden_size")]
    depths = config.get("depths") or [config.get("num_hidden_layers")]
    if not all(isinstance(size, int) for size in (*sizes, *depths)):
        raise ModelError(
            f"{source}: image encoders of the family {family!r} are not supported (no size in config.json)"
        )
    return ImageShape(sum(depths), sizes[-1], "cls" if family in _CLASS_TOKEN else "pooler")


def _mobile_channels(config: Mapping[str, Any], channels: int) -> int:
    """Return the last layer's channels, as the MobileNets of `transformers` scale them by `depth_multiplier`."""
    multiplier, least = float(config.get("depth_multiplier", 1.0)), int(config.get("min_depth", 8))
    if config["model_type"] == "mobilenet_v1":
        return max(int(channels * multiplier), least)
    if config.get("finegrained_output", True) and multiplier < 1:
        return channels
    wanted, step = round(channels * multiplier), int(config.get("depth_divisible_by", 8))
    rounded = max(least, int(wanted + step / 2) // step * step)
    return rounded if rounded >= 0.9 * wanted else rounded + step
