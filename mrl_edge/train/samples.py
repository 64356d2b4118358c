"""Real dev texts or images kept with a model, on which every exported graph is checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mrl_edge.datasets import Table, spread
from mrl_edge.errors import ModelError
from mrl_edge.pixels import read_image

TEXTS = "sample_texts.json"
IMAGES = "sample_images"
_TEXTS, _IMAGES = 128, 32
_LONGEST_EDGE = 256  # pixels of a kept image, which is a copy


def write_samples(folder: Path, dev: Table) -> None:
    """Write samples of the dev rows into a model folder."""
    if "image" in dev.roles:
        write_images(folder / IMAGES, dev.roles["image"])
        return
    texts = sorted({t for role, rows in dev.roles.items() if role not in ("label", "score") for t in rows}, key=len)
    chosen = [texts[i] for i in spread(len(texts), _TEXTS)]  # the shortest and the longest among them
    (folder / TEXTS).write_text(json.dumps(chosen, ensure_ascii=False, indent=0), encoding="utf-8")


def write_images(folder: Path, paths: Sequence[str]) -> list[str]:
    """Write small PNG copies of some of the images, evenly spread, into a new folder and return their paths."""
    folder.mkdir(parents=True)
    copies = []
    for number, place in enumerate(spread(len(paths), _IMAGES)):
        image = read_image(paths[place])
        image.thumbnail((_LONGEST_EDGE, _LONGEST_EDGE))
        image.info.clear()  # what the camera wrote beside the pixels is nobody's business
        copies.append(str(folder / f"{number:02}.png"))
        image.save(copies[-1], optimize=True)
    return copies


def read_samples(folder: Path, modality: str) -> list[str]:
    """Return the texts, or the images' paths, that a model folder keeps; `ModelError` when it has none."""
    if modality == "image":
        images = sorted(str(path) for path in (folder / IMAGES).glob("*.png"))
        if not images:
            raise ModelError(f"{folder} has no sample images ({IMAGES}): train it again")
        return images
    try:
        return msgspec.json.decode((folder / TEXTS).read_bytes(), type=list[str])
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{folder} is damaged ({error}): train it again") from None
