"""One training run, from an encoder folder and a table to a model folder.

The trunk is frozen unless `fine_tune`: its embeddings are computed once and cached, and only the projections
and the class heads are trained. A projection starts as the principal axes of the training embeddings, so that
training begins at PCA's quality and improves on it; or as the encoder's own dimensions, where their loss is
lower because the encoder is a Matryoshka model already. With classes alone it is always the principal axes, and
with `fine_tune` these are fitted on a sample of the rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast

from mrl_edge.atomic import new_folder
from mrl_edge.datasets import Table
from mrl_edge.nesting import Floats
from mrl_edge.progress import Report, silent
from mrl_edge.train.baselines import PrincipalComponents, principal_components
from mrl_edge.train.card import write_card
from mrl_edge.train.checkpoint import Checkpoint
from mrl_edge.train.evaluate import Dev, DevEmbeddings
from mrl_edge.train.features import FeatureCache, content_key, embed, encoder_key, weights_key
from mrl_edge.train.inputs import Cached, Inputs, Live
from mrl_edge.train.loop import Loop, accelerator_for
from mrl_edge.train.model import save_model
from mrl_edge.train.nested import NestedModel
from mrl_edge.train.preprocessing import load_preprocessing
from mrl_edge.train.record import SCHEMA_VERSION, Quality, Record
from mrl_edge.train.rows import TrainingRows
from mrl_edge.train.samples import write_samples
from mrl_edge.train.settings import FROZEN_BATCH, Settings, check
from mrl_edge.train.source import EncoderSpec
from mrl_edge.train.starts import exit_starts
from mrl_edge.train.trunk import Trunk

_AXES_ROWS = 4096  # rows embedded for the starting axes when the trunk is fine-tuned

OnEpoch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Outcome:
    """What a run gave: dev quality by method (`mrl`, `mrl-L3`, `pca`, …) and dimension, and the epochs.

    On processes beside the first, `quality` is empty.
    """

    quality: dict[str, dict[int, Quality]]
    history: list[dict[str, Any]]


def train(
    spec: EncoderSpec,
    data: Table,
    dev: Table,
    settings: Settings,
    out: Path,
    cache: Path,
    report: Report,
    on_epoch: OnEpoch,
    fixed: bool = False,
    fixed_out: Path | None = None,
) -> Outcome:
    """Train and write the model folder `out`; interrupted, the same call continues where it stopped.

    With `fixed`, a model is also trained at each dimension alone (the paper's FF baseline) and its quality
    recorded beside; with `fixed_out` these models are kept there, a model folder each: `d8`, `d16`, ….
    Under `accelerate launch` or `torchrun` every process calls this; the first one writes.
    Raises `UsageError` or `DataError` for settings and data that do not fit each other, `MrlEdgeError` when
    the loss is no longer a number.
    """
    check(spec, data, dev, settings)
    run = Run(spec, data, dev, settings, cache, report)
    checkpoint = Checkpoint(out, _run_key(run, data, dev))
    history = run.fit(checkpoint, on_epoch)
    quality = run.final_quality()
    finished = None if fixed_out is None else checkpoint.folder / "fixed"
    if fixed or finished:
        alone = _fixed_quality(spec, data, dev, settings, out, cache, report, finished)
        quality |= {"ff": alone} if run.accelerator.is_main_process else {}
    outcome = Outcome(quality, history)
    if run.accelerator.is_main_process:
        _save(out, run, data, dev, outcome)
        if fixed_out and finished:
            _keep(finished, fixed_out, settings.dims)
        checkpoint.remove()
    run.accelerator.wait_for_everyone()
    return outcome


class Run:
    """The state of one training run."""

    def __init__(
        self, spec: EncoderSpec, data: Table, dev: Table, settings: Settings, cache: Path, report: Report
    ) -> None:
        torch.manual_seed(settings.seed)
        self.accelerator = accelerator_for(settings)
        self.settings = settings
        self.dev = Dev(spec, dev)
        self.rows = TrainingRows(spec, data)
        self.preprocessing = load_preprocessing(spec)
        self._preprocess = self.preprocessing.inputs
        trunk = Trunk(spec, settings.depths).to(self.accelerator.device)
        self.model = NestedModel(trunk, len(self.rows.classes), list(data.roles), self.rows.aliases, settings)
        self.model.to(self.accelerator.device)
        self._report = report if self.accelerator.is_main_process else silent
        self._bfloat16 = settings.mixed_precision == "bf16"
        self._features = FeatureCache(cache, trunk, self._preprocess, self._bfloat16, encoder_key(spec))
        with self.accelerator.main_process_first():  # the others read what it cached
            self._dev_features = self.dev.embed(lambda t: self._features.embed(t, "embedding dev texts", self._report))
            self._inputs, sample = self._prepare_inputs()
        self._axes = [principal_components(features) for features in sample]  # an exit each
        last = self._axes[-1].axes
        self._starts = [exit_starts(sample, start) for start in (last, np.eye(len(last), dtype=np.float32))]
        self._scale = float(np.linalg.norm(sample[-1], axis=1).mean())
        if not settings.fine_tune:
            trunk.requires_grad_(False)
        elif not settings.train_word_embeddings:
            trunk.freeze_word_embeddings()

    def loop(self) -> Loop:
        """Return the training loop, its projections at the better of their two starts."""
        loop = Loop(self.accelerator, self.model, self._inputs, self.rows, self.settings, self._scale, self._report)
        principal, own = self._starts
        # Class heads know nothing yet: only a loss on the embeddings themselves can tell the starts apart.
        starts = [principal, own] if self.model.compares() else [principal]
        self._start_at(min(starts, key=lambda start: self._first_loss(loop, start)))
        for head in self.model.heads:
            broadcast(head.projection.weight.data)
        return loop

    def fit(self, checkpoint: Checkpoint, on_epoch: OnEpoch) -> list[dict[str, Any]]:
        """Train from the checkpoint's step, or the first, to the last; return the epochs' losses and quality."""
        history = self.loop().fit(checkpoint, self._epoch_quality, on_epoch)
        if self.settings.exit_epochs and self.settings.fine_tune and len(self.settings.depths) > 1:
            self._refine_exits(checkpoint)
        return history

    def final_quality(self) -> dict[str, dict[int, Quality]]:
        """Dev quality of every exit, and of both baselines on the same exit of the untouched encoder."""
        if not self.accelerator.is_main_process:
            return {}
        dims, depths = self.settings.dims, self.settings.depths
        teacher = self._dev_features.at(-1)
        projected = self._projected()
        quality: dict[str, dict[int, Quality]] = {}
        for number, depth in reversed(list(enumerate(depths))):
            self._report("evaluating", len(depths) - 1 - number, len(depths))
            layer = "" if depth == depths[-1] else f"-L{depth}"
            untouched = self._dev_features.at(number)
            axes: PrincipalComponents = self._axes[number]
            ours = self.dev.quality(projected.at(number), dims, teacher)
            self.dev.add_accuracy(ours, projected.at(number), self.model.heads[number], dims, self.rows.classes)
            quality[f"mrl{layer}"] = ours
            quality[f"pca{layer}"] = self.dev.quality(untouched.map(axes.project), dims, teacher)
            quality[f"truncation{layer}"] = self.dev.quality(untouched, dims, teacher)
        self._report("evaluating", len(depths), len(depths))
        return quality

    def _refine_exits(self, checkpoint: Checkpoint) -> None:
        """Train the heads of the exits before the last alone, on what the fine-tuned trunk gives.

        The second stage of DeeBERT (Xin et al. 2020, §3.2): it leaves the full depth as it is. Its batches are those
        of a frozen trunk, over all processes together.
        """
        trunk, settings = self.model.trunk, self.settings
        self.model.requires_grad_(False)
        for head in list(self.model.heads)[:-1]:
            head.requires_grad_(True)
        features = FeatureCache(checkpoint.folder, trunk, self._preprocess, self._bfloat16, weights_key(trunk))
        with self.accelerator.main_process_first():
            inputs = Cached(
                {
                    role: features.embed(rows, f"embedding the {role} texts for the exits", self._report)
                    for role, rows in self.rows.texts.items()
                }
            )
        batch_size = max(1, FROZEN_BATCH // self.accelerator.num_processes)
        alone = replace(
            settings,
            fine_tune=False, epochs=settings.exit_epochs, batch_size=batch_size, accumulate=1, sample_exits=False,
        )  # fmt: skip
        loop = Loop(self.accelerator, self.model, inputs, self.rows, alone, self._scale, self._report)
        loop.fit(checkpoint.stage("exits"), dict, lambda entry: None)

    def _prepare_inputs(self) -> tuple[Inputs, Floats]:
        """Embed the training texts (a sample of them when the trunk will change); return the inputs and a sample."""
        texts = self.rows.texts
        distils = "distillation" in self.model.objectives
        if self.settings.fine_tune and not distils:
            places = np.linspace(0, len(self.rows) - 1, min(_AXES_ROWS, len(self.rows))).astype(int)
            sample = [rows[place] for rows in texts.values() for place in places]
            return self._live(texts), self._features.embed(sample, "embedding a sample", self._report)
        features = {
            role: self._features.embed(rows, f"embedding the {role} texts", self._report)
            for role, rows in texts.items()
        }
        if distils:
            self.rows.teach({role: table[-1] for role, table in features.items()})
        inputs = self._live(texts) if self.settings.fine_tune else Cached(features)
        return inputs, np.concatenate(list(features.values()), axis=1)

    def _live(self, texts: Mapping[str, Sequence[str]]) -> Live:
        if self.model.trunk.spec.modality == "text":
            return Live(self._preprocess, texts)
        return Live(self._preprocess, texts, length=lambda path: 1)  # sorted by path, a batch would be one class

    def _start_at(self, axes: list[Floats]) -> None:
        full = self.settings.dims[-1]
        with torch.no_grad():
            for head, rows in zip(self.model.heads, axes, strict=True):
                head.projection.weight.copy_(torch.from_numpy(rows[:full]))

    def _first_loss(self, loop: Loop, axes: list[Floats]) -> float:
        self._start_at(axes)
        return loop.first_loss()

    def _projected(self) -> DevEmbeddings:
        """The dev embeddings of the model as it is now, before normalisation, [exits, n, full] each."""
        features = self._dev_features
        if self.settings.fine_tune:
            features = self.dev.embed(lambda t: embed(self.model.trunk, self._preprocess, t, self._bfloat16))
        weights = [head.projection.weight.detach().cpu().numpy() for head in self.model.heads]
        return features.map(lambda part: np.stack([rows @ w.T for rows, w in zip(part, weights, strict=True)]))

    def _epoch_quality(self) -> dict[int, Quality]:
        if not self.accelerator.is_main_process:
            return {}
        projected = self._projected().at(-1)
        quality = self.dev.quick_quality(projected, self.settings.dims)
        self.dev.add_accuracy(quality, projected, self.model.heads[-1], self.settings.dims, self.rows.classes)
        return quality


def _fixed_quality(
    spec: EncoderSpec,
    data: Table,
    dev: Table,
    settings: Settings,
    out: Path,
    cache: Path,
    report: Report,
    finished: Path | None,
) -> dict[int, Quality]:
    """The dev quality of a model trained at each dimension alone, with the same settings (FF in the paper, §4).

    Where `finished` is given, each of the models is written there once it is trained.
    """
    quality: dict[int, Quality] = {}
    for number, dim in enumerate(settings.dims):
        report("training at one dimension alone", number, len(settings.dims), f"{dim}")
        alone = replace(settings, dims=(dim,), depths=settings.depths[-1:], weights=(1.0,))
        run = Run(spec, data, dev, alone, cache, silent)
        if not run.accelerator.is_main_process:
            report = silent
        history = run.fit(Checkpoint(out, _run_key(run, data, dev)), lambda entry: None)
        outcome = Outcome(run.final_quality(), history)
        quality |= {dim: outcome.quality.get("mrl", {}).get(dim, {})}
        if finished and run.accelerator.is_main_process:
            _save(finished / f"d{dim}", run, data, dev, outcome)
    report("training at one dimension alone", len(settings.dims), len(settings.dims))
    return quality


def _save(out: Path, run: Run, data: Table, dev: Table, outcome: Outcome) -> None:
    """Write a model folder."""
    record = _record(run, data, outcome)
    with new_folder(out) as folder:
        save_model(folder, run.model.trunk, run.preprocessing.saved, list(run.model.heads), record)
        write_card(folder, out.name, record)
        write_samples(folder, dev)


def _keep(finished: Path, fixed_out: Path, dims: Sequence[int]) -> None:
    """Move the models of one dimension each to where they were asked for, all or none."""
    with new_folder(fixed_out) as folder:
        for dim in dims:
            shutil.move(finished / f"d{dim}", folder / f"d{dim}")


def _run_key(run: Run, data: Table, dev: Table) -> dict[str, Any]:
    """Everything that a checkpoint depends on."""
    spec = run.model.trunk.spec
    images = [content_key(spec, path) for table in (data, dev) for path in table.roles.get("image", ())]
    made_of = {"encoder": encoder_key(spec), "processes": run.accelerator.num_processes, "images": images}
    return {**made_of, "data": data.roles, "dev": dev.roles, **asdict(run.settings)}


def _record(run: Run, data: Table, outcome: Outcome) -> Record:
    spec = run.model.trunk.spec
    return Record(
        schema_version=SCHEMA_VERSION,
        source=spec.source if not Path(spec.source).is_absolute() else Path(spec.source).name,
        dims=run.settings.dims,
        depths=run.settings.depths,
        classes=tuple(run.rows.classes),
        objective=tuple(run.model.objectives),
        settings=asdict(run.settings),
        data={"train": Path(data.source).name, "rows": len(data), "processes": run.accelerator.num_processes},
        quality=outcome.quality,
        history=tuple(outcome.history),
        versions={name: version(name) for name in ("mrl-edge", "torch", "transformers", "numpy")},
        modality=spec.modality,
    )
