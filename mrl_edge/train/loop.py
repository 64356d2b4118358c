"""The steps of a training run, on one process or several, so that a killed run continues to the same weights."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Tensor

from mrl_edge.errors import MrlEdgeError, UsageError
from mrl_edge.progress import Report
from mrl_edge.train.checkpoint import Checkpoint, Progress
from mrl_edge.train.inputs import Inputs
from mrl_edge.train.nested import Features, NestedModel
from mrl_edge.train.processes import gather
from mrl_edge.train.record import Quality
from mrl_edge.train.rows import TrainingRows
from mrl_edge.train.settings import Settings

_CHECKPOINT_SECONDS = 30.0
_PATIENCE = timedelta(hours=12)
_HEAD_RATE = 50.0  # learning rate of the class heads over the projection's, for vectors of length 1
_WEIGHT_RATE = 5.0  # of learned loss weights over the projection's


def accelerator_for(settings: Settings) -> Accelerator:
    """Return the processes, device and precision that this run was launched with."""
    return Accelerator(
        cpu=not torch.accelerator.is_available(),  # without this, processes on CPUs would not find each other
        mixed_precision=settings.mixed_precision,
        # A pooler that the encoder brings along, or an exit that a step leaves out, gets no gradient.
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=_PATIENCE),  # the others wait while the first embeds or evaluates
        ],
    )


class Loop:
    """Model, optimizer and the order of the rows."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: NestedModel,
        inputs: Inputs,
        rows: TrainingRows,
        settings: Settings,
        scale: float,
        report: Report,
    ) -> None:
        self._accelerator = accelerator
        self._plain = model
        self._inputs = inputs
        self._rows = rows
        self._settings = settings
        self._report = report
        accelerator.gradient_accumulation_steps = settings.accumulate
        self._model, self._optimizer = accelerator.prepare(model, _optimizer(model, settings, scale))
        self._state = {name: value.data for name, value in model.named_parameters() if value.requires_grad}
        if settings.fine_tune:
            self._state |= dict(model.named_buffers())  # running means of batch normalisation

    def first_loss(self) -> float:
        """Return the loss of the first batch over all processes, without training on it."""
        self._plain.eval()
        with torch.no_grad():
            return float(self._accelerator.reduce(self._loss(self.batches(0)[0], 0), "mean").item())

    def fit(
        self,
        checkpoint: Checkpoint,
        epoch_quality: Callable[[], dict[int, Quality]],
        on_epoch: Callable[[dict[str, Any]], None],
    ) -> list[dict[str, Any]]:
        """Train from the checkpoint's step, or the first, to the last; return the epochs' losses and quality."""
        now = checkpoint.restore(self._state, self._optimizer, self._accelerator.scaler)
        self._check_together(now.step)
        per_epoch = len(self.batches(0))
        total = self._settings.epochs * per_epoch
        saved = time.monotonic()
        while now.step < total:
            epoch = now.step // per_epoch
            for rows in self.batches(epoch)[now.step % per_epoch :]:
                self._report("training", now.step, total)
                now.losses.append(self.step(rows, now.step, total))
                now.step += 1
                if now.step % per_epoch and self._may_save(now.step, saved):
                    self._save(checkpoint, now)
                    saved = time.monotonic()
            self._check_weights(now.step)
            loss = self._accelerator.reduce(
                torch.tensor(np.mean(now.losses), dtype=torch.float32, device=self._accelerator.device), "mean"
            ).item()
            entry = {"epoch": epoch + 1, "loss": loss, "dev": epoch_quality()}
            now.history.append(entry)
            now.losses.clear()
            if self._accelerator.is_main_process:
                on_epoch(entry)
            self._save(checkpoint, now)
            saved = time.monotonic()
        self._report("training", total, total)
        return now.history

    def _check_together(self, step: int) -> None:
        """Raise `MrlEdgeError` where the processes restored different steps: they would wait for each other forever."""
        steps = gather(torch.tensor([step], device=self._accelerator.device)).tolist()
        if len(set(steps)) > 1:
            raise MrlEdgeError(
                f"the checkpoint folders of the processes differ (steps {', '.join(map(str, steps))}):"
                " give --out in a folder that all of them share"
            )

    def batches(self, epoch: int) -> list[list[int]]:
        """Return the batches of all processes together; an optimizer step takes `accumulate` of them.

        Raises `UsageError` when an epoch has too few rows for every process or for one optimizer step.
        """
        settings, count = self._settings, self._accelerator.num_processes
        batches = self._inputs.batches(len(self._rows), settings.batch_size * count, settings.seed + epoch)
        if len(batches[0]) % count:  # the one short batch: every process takes as many rows
            batches = [rows[: len(rows) // count * count] for rows in batches]
        least = 2 if self._plain.compares() else 1  # embeddings are compared with others of the batch
        if len(batches[0]) < least * count:
            raise UsageError(f"{len(self._rows)} rows are too few for batches on {count} processes")
        if len(batches) < settings.accumulate:
            raise UsageError(
                f"--accumulate {settings.accumulate}: an epoch has {len(batches)} batch{'es' * (len(batches) > 1)}"
            )
        return batches[: len(batches) // settings.accumulate * settings.accumulate]

    def step(self, rows: list[int], step: int, total: int) -> float:
        """Train on a batch as the `step`-th of `total`; return its loss."""
        factor = _schedule(step, total)
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self._plain.train()
        self._plain.trunk.train(self._settings.fine_tune)
        with self._accelerator.accumulate(self._model):
            loss = self._loss(rows, step)
            value = loss.item()
            _check_loss(value, step + 1)
            self._accelerator.backward(loss)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        return value

    def _check_weights(self, step: int) -> None:
        """Raise `MrlEdgeError` where the last of `step` steps left weights or a loss that are not finite."""
        loss = self.first_loss()  # on all processes, whatever the weights of this one are
        finite = all(bool(value.isfinite().all()) for value in self._state.values())
        _check_loss(loss if finite else math.nan, step)

    def _loss(self, rows: Sequence[int], step: int) -> Tensor:
        """Return the loss of this process' share of a batch."""
        rank, count = self._accelerator.process_index, self._accelerator.num_processes
        seed = self._settings.seed * 1_000_003 + step
        torch.manual_seed(seed + rank * 7919)  # dropout repeats when a run is resumed
        own = rows[rank * len(rows) // count : (rank + 1) * len(rows) // count]
        device = self._accelerator.device
        features = {role: _moved(self._inputs.features(role, own), device) for role in self._rows.texts}
        loss: Tensor = self._model(features, self._rows.targets(own, device), self._exits(seed))
        return loss

    def _exits(self, seed: int) -> list[int]:
        """Return the places of the exits that a step trains."""
        *shallow, last = range(len(self._settings.depths))
        if shallow and self._settings.sample_exits:
            shallow = [random.Random(seed).choice(shallow)]  # noqa: S311 (training order, not a secret)
        return [*shallow, last]

    def _may_save(self, step: int, saved: float) -> bool:
        """Whether gradients are not half accumulated, and the last checkpoint is old."""
        return step % self._settings.accumulate == 0 and time.monotonic() - saved > _CHECKPOINT_SECONDS

    def _save(self, checkpoint: Checkpoint, now: Progress) -> None:
        if self._accelerator.is_main_process:
            checkpoint.save(now, self._state, self._optimizer, self._accelerator.scaler)


def _optimizer(model: NestedModel, settings: Settings, scale: float) -> torch.optim.Optimizer:
    rate = settings.learning_rate
    projections = [head.projection.weight for head in model.heads]
    classifiers = [p for head in model.heads if head.classifiers is not None for p in head.classifiers.parameters()]
    weights = list(model.weightings.parameters())
    groups: list[dict[str, Any]] = [{"params": projections, "peak": rate}]
    if classifiers:
        groups.append({"params": classifiers, "peak": rate * _HEAD_RATE / scale})
    if weights:
        groups.append({"params": weights, "peak": rate * _WEIGHT_RATE})
    if settings.fine_tune:
        trainable = [parameter for parameter in model.trunk.parameters() if parameter.requires_grad]
        groups.append({"params": trainable, "peak": settings.trunk_learning_rate})
    return torch.optim.AdamW(groups, lr=rate, weight_decay=0.0, fused=True)


def _check_loss(value: float, step: int) -> None:
    if not math.isfinite(value):
        raise MrlEdgeError(f"the loss became {value} at step {step}: lower --lr, or raise --temperature")


def _moved(features: Features, device: torch.device) -> Features:
    if isinstance(features, dict):
        return {name: value.to(device) for name, value in features.items()}
    return features.to(device)


def _schedule(step: int, total: int) -> float:
    """Linear warm-up over the first tenth, then a cosine to zero."""
    warm = max(1, total // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
