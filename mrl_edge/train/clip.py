"""CLIP's two towers, each with its projection an encoder of its own: `text` and `vision`.

A folder holds one tower (CLIPTextModelWithProjection, CLIPVisionModelWithProjection) or both (CLIPModel).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrl_edge.errors import ModelError, UsageError

TOWERS = ("text", "vision")
TEXT, VISION = "clip_text_model", "clip_vision_model"  # as transformers calls their configurations
_BOTH = "clip"


def tower_config(source: str, folder: Path, config: dict[str, Any], tower: str | None) -> dict[str, Any]:
    """Return the configuration of the tower, with its own defaults, or `config` itself when it is of no CLIP.

    Raises `UsageError` for a tower that is not there or none chosen of two, and `ModelError` for a tower without
    projection.
    """
    family = config["model_type"]
    if family not in (_BOTH, TEXT, VISION):
        if tower is not None:
            raise UsageError(f"--tower chooses one of CLIP's two, and {source} is a {family}")
        return config
    if tower is not None and tower not in TOWERS:
        raise UsageError(f"--tower {tower}: expected text or vision")
    if family == _BOTH:
        if tower is None:
            raise UsageError(f"{source} is a CLIP of two towers: mrl-edge export takes one with --tower text or vision")
        found: dict[str, Any] = load_tower_config(folder, TEXT if tower == "text" else VISION).to_dict()
        return found
    if tower is not None and family != f"clip_{tower}_model":
        raise UsageError(f"--tower {tower}: {source} is the other tower alone")
    if not all(name.endswith("WithProjection") for name in config.get("architectures") or ()):
        raise ModelError(f"{source} is a CLIP tower without its projection: save it as CLIP…ModelWithProjection")
    found = load_tower_config(folder, family).to_dict()
    return found


def load_tower_config(folder: Path, family: str) -> Any:
    """Return transformers' configuration of a tower, also out of one of both."""
    from transformers import CLIPConfig, CLIPTextConfig, CLIPVisionConfig

    both = CLIPConfig.get_config_dict(folder)[0]
    if both["model_type"] != _BOTH:
        return (CLIPTextConfig if family == TEXT else CLIPVisionConfig).from_pretrained(folder)
    whole = CLIPConfig.from_pretrained(folder)
    config = whole.text_config if family == TEXT else whole.vision_config
    config.projection_dim = whole.projection_dim  # the tower's own says another, and is not used
    return config


def tower_class(family: str) -> Any:
    """Return transformers' class of a tower with its projection."""
    from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

    return CLIPTextModelWithProjection if family == TEXT else CLIPVisionModelWithProjection
