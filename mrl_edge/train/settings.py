"""How to train, and whether encoder, data and settings fit each other."""

from __future__ import annotations

from dataclasses import dataclass

from mrl_edge.datasets import Table
from mrl_edge.errors import DataError, UsageError
from mrl_edge.train.source import EncoderSpec


@dataclass(frozen=True)
class Settings:
    """How to train; all of it is recorded in `mrl.json`."""

    dims: tuple[int, ...]
    weights: tuple[float, ...]  # c_m of the paper's eq. 1, one a dimension
    epochs: int
    batch_size: int
    learning_rate: float  # of the projection
    trunk_learning_rate: float
    temperature: float
    label_weight: float  # of the classification loss beside the contrastive one
    fine_tune: bool
    seed: int
    bfloat16: bool  # run the trunk in bfloat16


def check(spec: EncoderSpec, data: Table, dev: Table, settings: Settings) -> None:
    """Raise `UsageError` or `DataError` for what cannot be trained, before any work is done."""
    if settings.dims[-1] > spec.width:
        raise UsageError(f"--dims: {settings.dims[-1]} is larger than the encoder's {spec.width} dimensions")
    if len(settings.weights) != len(settings.dims):
        raise UsageError(f"--weights: {len(settings.weights)} weights for {len(settings.dims)} dimensions")
    roles = set(data.roles)
    pair, labelled = {"query", "positive"}, {"text", "label"}
    if not (pair <= roles or labelled <= roles) or len(roles & pair) == 1 or len(roles & labelled) == 1:
        raise UsageError("training needs --query with --positive (pairs), or --text with --label (classes), or both")
    if pair <= roles and min(len(data), settings.batch_size) < 2:
        raise UsageError("contrastive training needs batches of at least 2 rows: the other rows are the negatives")
    if "label" in roles and len(set(data.roles["label"])) < 2:
        raise DataError(f"{data.source}: all rows have the same label; a classifier needs at least two")
    if len(dev) < 2:
        raise DataError(f"{dev.source}: {len(dev)} dev rows are too few to score: give more with --dev")
