"""`mrl.json`: what a model folder says of its training; export, evaluate and the model card read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from mrl_edge.atomic import write_file
from mrl_edge.errors import ModelError

SCHEMA_VERSION = 1
RECORD = "mrl.json"
Quality = dict[str, float]


class Record(msgspec.Struct, frozen=True):
    """All that `mrl.json` says."""

    schema_version: int
    source: str  # the encoder that was trained, as the user named it
    dims: tuple[int, ...]
    depths: tuple[int, ...]  # layers after which an embedding comes out; the last is all of them
    classes: tuple[str, ...]  # empty when the model does not classify
    objective: tuple[str, ...]
    settings: dict[str, Any]
    data: dict[str, Any]
    quality: dict[str, dict[int, Quality]]  # dev rows, by method (`mrl`, `truncation`, `pca`) and dimension
    history: tuple[dict[str, Any], ...]  # an entry an epoch
    versions: dict[str, str]
    modality: str = "text"  # or `image`


def read_record(folder: Path) -> Record:
    """Read `mrl.json`; `ModelError` when `mrl-edge train` did not write it, it is damaged, or of a newer schema."""
    path = folder / RECORD
    if not path.is_file():
        raise ModelError(f"{folder} is no trained model (it has no {RECORD}): make one with mrl-edge train")
    content = path.read_bytes()
    try:
        version = msgspec.json.decode(content, type=_Version).schema_version
        if version > SCHEMA_VERSION:
            raise ModelError(f"{path} has schema_version {version}, newer than this mrl-edge reads: upgrade mrl-edge")
        return msgspec.json.decode(content, type=Record)
    except msgspec.DecodeError as error:
        raise ModelError(f"{path} is damaged ({error}): train the model again") from None


def write_record(folder: Path, record: Record) -> None:
    """Write `mrl.json`."""
    write_file(folder / RECORD, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")


class _Version(msgspec.Struct):
    schema_version: int
