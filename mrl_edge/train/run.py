"""The state of one training run: the model, what it is fed with, where its projections start, its dev quality."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast

from mrl_edge.datasets import Table
from mrl_edge.nesting import Floats
from mrl_edge.progress import Report, silent
from mrl_edge.train.baselines import PrincipalComponents, principal_components
from mrl_edge.train.checkpoint import Checkpoint
from mrl_edge.train.evaluate import Dev, DevEmbeddings
from mrl_edge.train.features import FeatureCache, content_key, embed, encoder_key, weights_key
from mrl_edge.train.inputs import Cached, Inputs, Live
from mrl_edge.train.loop import Loop, accelerator_for
from mrl_edge.train.nested import NestedModel
from mrl_edge.train.preprocessing import load_preprocessing
from mrl_edge.train.record import Quality
from mrl_edge.train.rows import TrainingRows
from mrl_edge.train.settings import FROZEN_BATCH, Settings
from mrl_edge.train.source import EncoderSpec
from mrl_edge.train.starts import exit_starts
from mrl_edge.train.trunk import Trunk

_AXES_ROWS = 4096  # rows embedded for the starting axes when the trunk is fine-tuned

OnEpoch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Setup:
    """What a run starts from; `cache` is where a frozen trunk's embeddings are kept."""

    spec: EncoderSpec
    data: Table
    dev: Table
    settings: Settings
    cache: Path

    def key(self, processes: int) -> dict[str, Any]:
        """Return everything that a checkpoint depends on."""
        images = [content_key(self.spec, p) for table in (self.data, self.dev) for p in table.roles.get("image", ())]
        made_of = {"encoder": encoder_key(self.spec), "processes": processes, "images": images}
        return {**made_of, "data": self.data.roles, "dev": self.dev.roles, **asdict(self.settings)}


class Run:
    """The state of one training run."""

    def __init__(self, setup: Setup, report: Report) -> None:
        spec, settings = setup.spec, setup.settings
        torch.manual_seed(settings.seed)
        self.accelerator = accelerator_for(settings)
        self.setup = setup
        self.settings = settings
        self.dev = Dev(spec, setup.dev)
        self.rows = TrainingRows(spec, setup.data)
        self.preprocessing = load_preprocessing(spec)
        self._preprocess = self.preprocessing.inputs
        trunk = Trunk(spec, settings.depths).to(self.accelerator.device)
        self.model = NestedModel(trunk, len(self.rows.classes), list(setup.data.roles), self.rows.aliases, settings)
        self.model.to(self.accelerator.device)
        self._report = report if self.accelerator.is_main_process else silent
        self._bfloat16 = settings.mixed_precision == "bf16"
        self._features = FeatureCache(setup.cache, trunk, self._preprocess, self._bfloat16, encoder_key(spec))
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

    def checkpoint(self, out: Path) -> Checkpoint:
        """Return the state that an earlier run of this very setup towards the model folder `out` left, if any."""
        return Checkpoint(out, self.setup.key(self.accelerator.num_processes))

    def fit(self, checkpoint: Checkpoint, on_epoch: OnEpoch) -> list[dict[str, Any]]:
        """Train from the checkpoint's step, or the first, to the last; return the epochs' losses and quality.

        The epochs are the whole model's: those of the heads alone, after them, are not among them.
        """
        history = self.loop().fit(checkpoint, self._epoch_quality, on_epoch)
        if self.settings.head_epochs:
            self._train_heads(checkpoint)
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

    def _train_heads(self, checkpoint: Checkpoint) -> None:
        """Train on with the trunk as it now is, frozen: projections, class heads and learned loss weights.

        The second stage of DeeBERT (Xin et al. 2020, §3.2), but of the last exit too. Its batches are those of a frozen
        trunk, over all processes together.
        """
        trunk, settings = self.model.trunk, self.settings
        trunk.requires_grad_(False)
        self.accelerator.free_memory()  # of the first stage's optimizer
        folder = checkpoint.folder / "heads"
        features = FeatureCache(folder, trunk, self._preprocess, self._bfloat16, weights_key(trunk))
        with self.accelerator.main_process_first():
            inputs = Cached(self._embedded(features, "for the heads"))
        alone = replace(
            settings,
            fine_tune=False, epochs=settings.head_epochs, accumulate=1, sample_exits=False,
            batch_size=max(1, FROZEN_BATCH // self.accelerator.num_processes),
        )  # fmt: skip
        loop = Loop(self.accelerator, self.model, inputs, self.rows, alone, self._scale, self._report)
        loop.fit(checkpoint.stage("heads"), dict, lambda entry: None)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)  # models of one dimension each may follow, each with its own

    def _embedded(self, features: FeatureCache, purpose: str) -> dict[str, Floats]:
        """Return what the trunk gives for the training texts, [exits, n, width] by role."""
        return {
            role: features.embed(rows, f"embedding the {role} texts {purpose}".rstrip(), self._report)
            for role, rows in self.rows.texts.items()
        }

    def _prepare_inputs(self) -> tuple[Inputs, Floats]:
        """Embed the training texts (a sample of them when the trunk will change); return the inputs and a sample."""
        texts = self.rows.texts
        distils = "distillation" in self.model.objectives
        if self.settings.fine_tune and not distils:
            places = np.linspace(0, len(self.rows) - 1, min(_AXES_ROWS, len(self.rows))).astype(int)
            sample = [rows[place] for rows in texts.values() for place in places]
            return self._live(texts), self._features.embed(sample, "embedding a sample", self._report)
        features = self._embedded(self._features, "")
        if distils:
            self.rows.teach({role: table[-1] for role, table in features.items()})
        inputs = self._live(texts) if self.settings.fine_tune else Cached(features)
        return inputs, np.concatenate(list(features.values()), axis=1)

    def _live(self, texts: Mapping[str, Sequence[str]]) -> Live:
        if self.model.trunk.spec.modality == "text":
            return Live(self._preprocess, texts)
        return Live(self._preprocess, texts, length=lambda path: 1)  # sorted by path, a batch would be one class

    def _start_at(self, start: list[Floats]) -> None:
        """Set the projections to the first rows of `start`, [width, width] an exit."""
        full = self.settings.dims[-1]
        with torch.no_grad():
            for head, rows in zip(self.model.heads, start, strict=True):
                head.projection.weight.copy_(torch.from_numpy(rows[:full]))

    def _first_loss(self, loop: Loop, start: list[Floats]) -> float:
        self._start_at(start)
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
