"""How to train, and whether encoder, data and settings fit each other."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from mrl_edge.datasets import Table
from mrl_edge.errors import DataError, UsageError
from mrl_edge.train.clip import TEXT
from mrl_edge.train.source import EncoderSpec
from mrl_edge.train.weighting import FixedWeights, LearnedWeights, Weighting

FROZEN_BATCH, FROZEN_EPOCHS = 512, 8  # where the trunk stays as it is
HEAD_EPOCHS = 4  # after fine-tuning


@dataclass(frozen=True)
class Settings:
    """How to train; all of it is recorded in `mrl.json`."""

    dims: tuple[int, ...]
    depths: tuple[int, ...]  # layers after which an embedding is trained; the last is all of them
    weights: tuple[float, ...] | None  # c_m of the paper's eq. 1, one a dimension; None: learned
    tied: bool  # MRL-E: one class head shared by all dimensions
    epochs: int
    batch_size: int  # of one process
    accumulate: int  # batches an optimizer step
    learning_rate: float  # of the projection
    trunk_learning_rate: float
    temperature: float
    label_weight: float  # of the classification loss beside the contrastive one
    exit_weight: float  # of the losses of an exit before the last
    exit_distillation: float  # weight of an exit's self-distillation from the last
    self_distillation: float  # weight of the shorter prefixes' learning what the full dimension finds alike
    sample_exits: bool  # train one exit before the last a step, not all
    head_epochs: int  # after fine-tuning, in which projections and class heads learn on alone; 0 with a frozen trunk
    fine_tune: bool
    train_word_embeddings: bool
    seed: int
    mixed_precision: str  # of the trunk: no, bf16 or fp16

    def weighting(self) -> Weighting:
        """Return a new module that puts the losses of the dimensions together."""
        return LearnedWeights(len(self.dims)) if self.weights is None else FixedWeights(self.weights)


def check(spec: EncoderSpec, data: Table, dev: Table, settings: Settings) -> None:
    """Raise `UsageError` or `DataError` for what cannot be trained, before any work is done."""
    if settings.dims[-1] > spec.width:
        raise UsageError(f"--dims: {settings.dims[-1]} is larger than the encoder's {spec.width} dimensions")
    _check_depths(spec, settings.depths)
    if settings.weights is not None:
        _check_weights(settings.weights, len(settings.dims))
    _check_modality(spec, set(data.roles))
    _check_roles(set(data.roles))
    compares = "label" not in data.roles or "query" in data.roles
    if compares and min(len(data), settings.batch_size) < 2:
        raise UsageError("this training needs batches of at least 2 rows: a row is compared with the others")
    if "label" in data.roles and len(Counter(data.roles["label"])) < 2:
        raise DataError(f"{data.source}: all rows have the same label; a classifier needs at least two")
    if "score" in data.roles and len(set(map(float, data.roles["score"]))) < 2:
        raise DataError(f"{data.source}: all pairs have the same score, so none is to be more alike than another")
    if settings.tied and "label" not in data.roles:
        raise UsageError("--tied is about class heads: give --text or --image, and --label")
    if len(dev) < 2:
        raise DataError(f"{dev.source}: {len(dev)} dev rows are too few to score: give more with --dev")


def _check_depths(spec: EncoderSpec, depths: tuple[int, ...]) -> None:
    if len(depths) > 1 and spec.pooling in ("pooler", "projected"):
        raise UsageError(f"--depths: exits are for transformer encoders with a class token, not for {spec.family}")
    if depths[-1] != spec.layers or depths[0] < 1:
        raise UsageError(f"--depths: name layers from 1 to the encoder's {spec.layers}, as in 2,{spec.layers}")


def _check_modality(spec: EncoderSpec, roles: set[str]) -> None:
    if spec.modality == "text" and "image" in roles:
        raise UsageError(f"{spec.source} is a text encoder: images (--image) need an image encoder")
    if spec.family == TEXT:
        raise UsageError(f"{spec.source}: CLIP's text tower cannot be trained so far, only exported")
    others = sorted(roles - {"image", "label"})
    if spec.modality == "image" and others:
        raise UsageError(f"{spec.source} is an image encoder: give --image, alone or with --label, not --{others[0]}")


def _check_weights(weights: tuple[float, ...], dims: int) -> None:
    if len(weights) != dims:
        raise UsageError(f"--weights: {len(weights)} weights for {dims} dimensions")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise UsageError("--weights: each is a number of at least 0, and one is more")


def _check_roles(roles: set[str]) -> None:
    pairs, missing = {"query", "positive"}, []
    if roles & {"query", "positive", "negative", "score"} and not pairs <= roles:
        missing.append("--query with --positive (pairs)")
    if "label" in roles and not roles & {"text", "image"}:
        missing.append("--text with --label, or --image with --label (classes)")
    if not roles & {"query", "text", "image"}:
        missing.append("--query with --positive (pairs), --text with --label (classes), or --text alone (texts)")
    if missing:
        raise UsageError(f"training needs {', and '.join(dict.fromkeys(missing))}")
    if {"negative", "score"} <= roles:
        raise UsageError("--negative and --score: pairs are either graded or have hard negatives")
    if pairs <= roles and "text" in roles and "label" not in roles:
        raise UsageError("--text beside pairs needs --label: texts alone are for training without pairs")
