"""One training run, from an encoder folder and a table to a model folder.

The trunk is frozen unless `fine_tune`: its embeddings are computed once and cached, and only the projection
and the class heads are trained. The projection starts as the principal axes of the training embeddings, so
that training begins at PCA's quality and improves on it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from mrl_edge.atomic import new_folder
from mrl_edge.datasets import Table
from mrl_edge.errors import DataError, MrlEdgeError, UsageError
from mrl_edge.metrics import RetrievalTask, retrieval_task
from mrl_edge.nesting import Floats
from mrl_edge.progress import Report
from mrl_edge.prompts import prefix_for
from mrl_edge.train.baselines import principal_components
from mrl_edge.train.checkpoint import Checkpoint
from mrl_edge.train.evaluate import DevEmbeddings, Quality, accuracy, quality_by_dim
from mrl_edge.train.features import FeatureCache, embed
from mrl_edge.train.inputs import Cached, Inputs, Live
from mrl_edge.train.model import SAMPLES, MatryoshkaHeads, Trunk, load_tokenizer, save_model
from mrl_edge.train.objectives import nested_contrastive, nested_cross_entropy
from mrl_edge.train.source import EncoderSpec

SCHEMA_VERSION = 1
_SAMPLE_TEXTS = 128  # real dev texts kept with the model, on which every exported graph is checked
_EPOCH_QUERIES = 1000  # dev queries scored after each epoch; the final figures use all of them
_AXES_ROWS = 4096  # rows embedded for the starting axes when the trunk is fine-tuned
_CHECKPOINT_STEPS = 100
_HEAD_RATE = 50.0  # learning rate of the class heads over the projection's, for vectors of length 1


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


@dataclass(frozen=True)
class Outcome:
    """What a run gave: dev quality by method (`mrl`, `truncation`, `pca`) and dimension, and the epochs."""

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
    on_epoch: Callable[[dict[str, Any]], None],
) -> Outcome:
    """Train and write the model folder `out`; interrupted, the same call continues where it stopped.

    Raises `UsageError` or `DataError` for settings and data that do not fit each other, `MrlEdgeError` when
    the loss is no longer a number.
    """
    _check(spec, data, dev, settings)
    torch.manual_seed(settings.seed)
    run = _Run(spec, data, dev, settings, cache, report)
    checkpoint = Checkpoint(out, _run_key(spec, data, dev, settings))
    history = run.fit(checkpoint, on_epoch)
    outcome = Outcome(run.final_quality(), history)
    with new_folder(out) as folder:
        save_model(folder, run.trunk, run.tokenizer, run.heads, _record(run, outcome))
        (folder / SAMPLES).write_text(json.dumps(_samples(dev), ensure_ascii=False, indent=0), encoding="utf-8")
    checkpoint.remove()
    return outcome


class _Run:
    """The state of one training run."""

    def __init__(
        self, spec: EncoderSpec, data: Table, dev: Table, settings: Settings, cache: Path, report: Report
    ) -> None:
        self.spec = spec
        self.data = data
        self.dev = dev
        self.settings = settings
        self.report = report
        self.trunk = Trunk(spec)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(spec)
        self.features = FeatureCache(cache, self.trunk, self.tokenizer, settings.bfloat16)
        self.classes = sorted(set(data.roles.get("label", ())))
        self.task = _task(dev)
        self.heads = MatryoshkaHeads(spec.width, settings.dims, len(self.classes))
        self.aliases = _aliases(spec, data)
        self.dev_features = self._dev_features()
        self.inputs = self._inputs()
        self._label_ids = torch.tensor([self.classes.index(x) for x in data.roles.get("label", ())])
        self._texts_ids = _text_ids(data)

    def fit(self, checkpoint: Checkpoint, on_epoch: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
        settings = self.settings
        model: nn.Module = self.heads
        if settings.fine_tune:
            model = nn.ModuleDict({"heads": self.heads, "trunk": self.trunk})
        optimizer = self._optimizer()
        step, history = checkpoint.restore(model, optimizer)
        per_epoch = len(self.inputs.batches(len(self.data), settings.batch_size, settings.seed))
        total = settings.epochs * per_epoch
        while step < total:
            epoch = step // per_epoch
            batches = self.inputs.batches(len(self.data), settings.batch_size, settings.seed + epoch)
            losses: list[float] = []
            for rows in batches[step % per_epoch :]:
                self.report("training", step, total)
                losses.append(self._step(optimizer, rows, step, total))
                step += 1
                if settings.fine_tune and step % _CHECKPOINT_STEPS == 0 and step % per_epoch:
                    checkpoint.save(step, model, optimizer, history)
            entry = {"epoch": epoch + 1, "loss": float(np.mean(losses)), "dev": self._epoch_quality()}
            history.append(entry)
            on_epoch(entry)
            checkpoint.save(step, model, optimizer, history)
        self.report("training", total, total)
        return history

    def final_quality(self) -> dict[str, dict[int, Quality]]:
        """Dev quality of the model and of both baselines on the embeddings of the untouched encoder."""
        dims, labels = self.settings.dims, self.dev.roles.get("label")
        self.report("evaluating", 0, 3)
        ours = quality_by_dim(self._projected(), dims, self.task, labels)
        self._add_accuracy(ours)
        self.report("evaluating", 1, 3)
        truncated = quality_by_dim(self.dev_features, dims, self.task, labels)
        self.report("evaluating", 2, 3)
        pca = quality_by_dim(self.dev_features.map(self.axes.project), dims, self.task, labels)
        self.report("evaluating", 3, 3)
        return {"mrl": ours, "truncation": truncated, "pca": pca}

    def _step(self, optimizer: torch.optim.Optimizer, rows: list[int], step: int, total: int) -> float:
        torch.manual_seed(self.settings.seed * 1_000_003 + step)  # dropout repeats when a run is resumed
        factor = _schedule(step, total)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self.trunk.train(self.settings.fine_tune)
        loss = self._loss(rows)
        if not math.isfinite(loss.item()):
            raise MrlEdgeError(f"the loss became {loss.item()} at step {step + 1}: lower --lr, or raise --temperature")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.item()

    def _loss(self, rows: list[int]) -> Tensor:
        settings, heads = self.settings, self.heads
        roles = [role for role in self.data.roles if role != "label" and role not in self.aliases]
        projected = {role: heads.projection(self.inputs.vectors(role, rows)) for role in roles}  # [batch, full]
        projected |= {alias: projected[role] for alias, role in self.aliases.items()}
        loss = torch.zeros(())
        if "query" in projected:
            ids = self._texts_ids[rows]  # [batch, 2]
            same = (ids[:, None] == ids[None, :]).any(dim=-1).fill_diagonal_(False)
            loss = loss + nested_contrastive(
                projected["query"],
                projected["positive"],
                same,
                settings.dims,
                settings.weights,
                settings.temperature,
            )
        if self.classes:
            logits = heads.logits(projected["text"])
            classification = nested_cross_entropy(logits, self._label_ids[rows], settings.weights)
            loss = loss + (settings.label_weight if "query" in projected else 1.0) * classification
        return loss

    def _optimizer(self) -> torch.optim.Optimizer:
        rate = self.settings.learning_rate
        groups: list[dict[str, Any]] = [{"params": list(self.heads.projection.parameters()), "peak": rate}]
        if self.classes:
            groups.append({"params": list(self.heads.classifiers.parameters()), "peak": rate * self._head_rate})
        if self.settings.fine_tune:
            groups.append({"params": list(self.trunk.parameters()), "peak": self.settings.trunk_learning_rate})
        return torch.optim.AdamW(groups, lr=rate, weight_decay=0.0)

    def _inputs(self) -> Inputs:
        """Embed the training texts (all of them when the trunk is frozen) and set the starting axes."""
        texts = {
            role: _prompted(self.spec, role, rows)
            for role, rows in self.data.roles.items()
            if role != "label" and role not in self.aliases
        }
        if self.settings.fine_tune:
            sample = [text for rows in texts.values() for text in rows[:_AXES_ROWS]]
            self._start(self.features.embed(sample, "embedding a sample", self.report))
            return Live(self.trunk, self.tokenizer, texts, self.settings.bfloat16)
        features = {
            role: self.features.embed(rows, f"embedding {role} texts", self.report) for role, rows in texts.items()
        }
        self._start(np.concatenate(list(features.values())))
        return Cached(features)

    def _start(self, features: Floats) -> None:
        self.axes = principal_components(features)
        self._head_rate = _HEAD_RATE / float(np.linalg.norm(features, axis=1).mean())
        with torch.no_grad():
            self.heads.projection.weight.copy_(torch.from_numpy(self.axes.axes[: self.settings.dims[-1]]))

    def _dev_features(self) -> DevEmbeddings:
        """Embed the dev texts with the encoder as it came."""
        return self._embed_dev(lambda texts: self.features.embed(texts, "embedding dev texts", self.report))

    def _embed_dev(self, function: Callable[[list[str]], Floats]) -> DevEmbeddings:
        spec, task, roles = self.spec, self.task, self.dev.roles
        return DevEmbeddings(
            queries=function(_prompted(spec, "query", task.queries)) if task else None,
            documents=function(_prompted(spec, "positive", task.documents)) if task else None,
            texts=function(_prompted(spec, "text", roles["text"])) if "text" in roles else None,
        )

    def _projected(self) -> DevEmbeddings:
        """The dev embeddings of the model as it is now, before normalisation."""
        features = self.dev_features
        if self.settings.fine_tune:
            features = self._embed_dev(lambda t: embed(self.trunk, self.tokenizer, t, self.settings.bfloat16))
        with torch.no_grad():
            return features.map(lambda rows: self.heads.projection(torch.from_numpy(rows)).numpy())

    def _epoch_quality(self) -> dict[int, Quality]:
        projected = self._projected()
        task = self.task
        if task is not None and projected.queries is not None:
            task = RetrievalTask(task.queries[:_EPOCH_QUERIES], task.documents, task.relevant[:_EPOCH_QUERIES])
            projected = DevEmbeddings(projected.queries[:_EPOCH_QUERIES], projected.documents, projected.texts)
        quality = quality_by_dim(projected, self.settings.dims, task, None)
        self._add_accuracy(quality, projected)
        return quality

    def _add_accuracy(self, quality: dict[int, Quality], projected: DevEmbeddings | None = None) -> None:
        texts = (projected or self._projected()).texts
        if not self.classes or texts is None:
            return
        with torch.no_grad():
            logits = self.heads.logits(torch.from_numpy(texts))
        for dim, rows in zip(self.settings.dims, logits, strict=True):
            quality[dim]["accuracy"] = accuracy(rows.numpy(), self.dev.roles["label"], self.classes)


def _check(spec: EncoderSpec, data: Table, dev: Table, settings: Settings) -> None:
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
    if "label" in data.roles and len(set(data.roles["label"])) < 2:
        raise DataError(f"{data.source}: all rows have the same label; a classifier needs at least two")


def _aliases(spec: EncoderSpec, data: Table) -> dict[str, str]:
    """Return {"text": "query"} when both are the same texts with the same prompt, so that they run once."""
    roles = data.roles
    same = "text" in roles and roles["text"] == roles.get("query") and _prefix(spec, "text") == _prefix(spec, "query")
    return {"text": "query"} if same else {}


def _task(dev: Table) -> RetrievalTask | None:
    if "query" not in dev.roles:
        return None
    return retrieval_task(dev.roles["query"], dev.roles["positive"])


def _text_ids(data: Table) -> Tensor:
    """Number the distinct queries and positives: [rows, 2], to tell equal texts in a batch."""
    columns = []
    for role in ("query", "positive"):
        numbers: dict[str, int] = {}
        columns.append([numbers.setdefault(text, len(numbers)) for text in data.roles.get(role, [""] * len(data))])
    return torch.tensor(columns).T


def _prefix(spec: EncoderSpec, role: str) -> str:
    return prefix_for(spec.prompts, spec.default_prompt, {"positive": "document"}.get(role, role))


def _prompted(spec: EncoderSpec, role: str, texts: list[str]) -> list[str]:
    prefix = _prefix(spec, role)
    return [prefix + text for text in texts] if prefix else texts


def _schedule(step: int, total: int) -> float:
    """Linear warm-up over the first tenth, then a cosine to zero."""
    warm = max(1, total // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _samples(dev: Table) -> list[str]:
    """Return dev texts spread evenly over their lengths, the shortest and the longest among them."""
    texts = sorted({text for role, rows in dev.roles.items() if role != "label" for text in rows}, key=len)
    places = np.linspace(0, len(texts) - 1, min(_SAMPLE_TEXTS, len(texts))).round().astype(int)
    return [texts[i] for i in places]


def _run_key(spec: EncoderSpec, data: Table, dev: Table, settings: Settings) -> dict[str, Any]:
    """Everything that a checkpoint depends on."""
    return {"encoder": str(spec.folder), "data": data.roles, "dev": dev.roles, **asdict(settings)}


def _record(run: _Run, outcome: Outcome) -> dict[str, Any]:
    spec = run.spec
    objective = [name for name, on in (("contrastive", run.task), ("classification", run.classes)) if on]
    return {
        "schema_version": SCHEMA_VERSION,
        "source": spec.source if not Path(spec.source).is_absolute() else Path(spec.source).name,
        "dims": run.settings.dims,
        "depths": [spec.layers],
        "classes": run.classes,
        "objective": objective,
        "settings": asdict(run.settings),
        "data": {"train": Path(run.data.source).name, "rows": len(run.data), "dev_rows": len(run.dev)},
        "quality": outcome.quality,
        "history": outcome.history,
        "versions": {name: version(name) for name in ("mrl-edge", "torch", "transformers", "numpy")},
    }
