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

from mrl_edge.atomic import new_folder
from mrl_edge.datasets import Table
from mrl_edge.errors import MrlEdgeError
from mrl_edge.nesting import Floats
from mrl_edge.progress import Report
from mrl_edge.train.baselines import principal_components
from mrl_edge.train.checkpoint import Checkpoint
from mrl_edge.train.evaluate import Dev, DevEmbeddings
from mrl_edge.train.features import FeatureCache, embed, encoder_key
from mrl_edge.train.inputs import Cached, Inputs, Live
from mrl_edge.train.model import SAMPLES, MatryoshkaHeads, Trunk, load_tokenizer, save_model
from mrl_edge.train.objectives import nested_contrastive, nested_cross_entropy
from mrl_edge.train.record import SCHEMA_VERSION, Quality, Record
from mrl_edge.train.settings import Settings, check
from mrl_edge.train.source import EncoderSpec

_SAMPLE_TEXTS = 128  # real dev texts kept with the model, on which every exported graph is checked
_AXES_ROWS = 4096  # rows embedded for the starting axes when the trunk is fine-tuned
_CHECKPOINT_STEPS = 100
_HEAD_RATE = 50.0  # learning rate of the class heads over the projection's, for vectors of length 1


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
    check(spec, data, dev, settings)
    torch.manual_seed(settings.seed)
    run = _Run(spec, data, dev, settings, cache, report)
    checkpoint = Checkpoint(out, _run_key(spec, data, dev, settings))
    history = run.fit(checkpoint, on_epoch)
    outcome = Outcome(run.final_quality(), history)
    with new_folder(out) as folder:
        save_model(folder, run.trunk, run.tokenizer, run.heads, _record(run, data, outcome))
        (folder / SAMPLES).write_text(json.dumps(_samples(dev), ensure_ascii=False, indent=0), encoding="utf-8")
    checkpoint.remove()
    return outcome


class _Run:
    """The state of one training run."""

    def __init__(
        self, spec: EncoderSpec, data: Table, dev: Table, settings: Settings, cache: Path, report: Report
    ) -> None:
        self.settings = settings
        self.dev = Dev(spec, dev)
        self.classes = sorted(set(data.roles.get("label", ())))
        self.heads = MatryoshkaHeads(spec.width, settings.dims, len(self.classes))
        self.trunk = Trunk(spec)
        self.tokenizer = load_tokenizer(spec)
        self._report = report
        self._rows = len(data)
        self._texts, self._aliases = _texts(spec, data)
        self._label_ids = torch.tensor([self.classes.index(label) for label in data.roles.get("label", ())])
        self._text_ids = _text_ids(data)
        self._features = FeatureCache(cache, self.trunk, self.tokenizer, settings.bfloat16)
        self._dev_features = self.dev.embed(lambda t: self._features.embed(t, "embedding dev texts", report))
        self._inputs = self._prepare_inputs()

    def fit(self, checkpoint: Checkpoint, on_epoch: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
        """Train from the checkpoint's step, or the first, to the last; return the epochs' losses and quality."""
        settings = self.settings
        model: nn.Module = self.heads
        if settings.fine_tune:
            model = nn.ModuleDict({"heads": self.heads, "trunk": self.trunk})
        optimizer = self._optimizer()
        step, history = checkpoint.restore(model, optimizer)
        per_epoch = len(self._inputs.batches(self._rows, settings.batch_size, settings.seed))
        total = settings.epochs * per_epoch
        while step < total:
            epoch = step // per_epoch
            batches = self._inputs.batches(self._rows, settings.batch_size, settings.seed + epoch)
            losses: list[float] = []
            for rows in batches[step % per_epoch :]:
                self._report("training", step, total)
                losses.append(self._step(optimizer, rows, step, total))
                step += 1
                if settings.fine_tune and step % _CHECKPOINT_STEPS == 0 and step % per_epoch:
                    checkpoint.save(step, model, optimizer, history)
            entry = {"epoch": epoch + 1, "loss": float(np.mean(losses)), "dev": self._epoch_quality()}
            history.append(entry)
            on_epoch(entry)
            checkpoint.save(step, model, optimizer, history)
        self._report("training", total, total)
        return history

    def final_quality(self) -> dict[str, dict[int, Quality]]:
        """Dev quality of the model and of both baselines on the embeddings of the untouched encoder."""
        dims = self.settings.dims
        projected = self._projected()
        embeddings = {
            "mrl": projected,
            "truncation": self._dev_features,
            "pca": self._dev_features.map(self._axes.project),
        }
        quality = {}
        for number, (method, dev) in enumerate(embeddings.items()):
            self._report("evaluating", number, len(embeddings))
            quality[method] = self.dev.quality(dev, dims)
        self.dev.add_accuracy(quality["mrl"], projected, self.heads, self.classes)
        self._report("evaluating", len(embeddings), len(embeddings))
        return quality

    def _step(self, optimizer: torch.optim.Optimizer, rows: list[int], step: int, total: int) -> float:
        torch.manual_seed(self.settings.seed * 1_000_003 + step)  # dropout repeats when a run is resumed
        factor = _schedule(step, total)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self.trunk.train(self.settings.fine_tune)
        loss = self._loss(rows)
        value = loss.item()
        if not math.isfinite(value):
            raise MrlEdgeError(f"the loss became {value} at step {step + 1}: lower --lr, or raise --temperature")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return value

    def _loss(self, rows: list[int]) -> Tensor:
        settings, heads = self.settings, self.heads
        projected = {role: heads.projection(self._inputs.vectors(role, rows)) for role in self._texts}  # [batch, full]
        projected |= {alias: projected[role] for alias, role in self._aliases.items()}
        loss = torch.zeros(())
        if "query" in projected:
            ids = self._text_ids[rows]  # [batch, 2]
            same = (ids[:, None] == ids[None, :]).any(dim=-1).fill_diagonal_(False)
            queries, documents = projected["query"], projected["document"]
            loss = loss + nested_contrastive(
                queries, documents, same, settings.dims, settings.weights, settings.temperature
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

    def _prepare_inputs(self) -> Inputs:
        """Embed the training texts (a sample of them when the trunk will change) and set the starting axes."""
        if self.settings.fine_tune:
            sample = [text for texts in self._texts.values() for text in texts[:_AXES_ROWS]]
            self._start(self._features.embed(sample, "embedding a sample", self._report))
            return Live(self.trunk, self.tokenizer, self._texts, self.settings.bfloat16)
        features = {
            role: self._features.embed(texts, f"embedding the {role} texts", self._report)
            for role, texts in self._texts.items()
        }
        self._start(np.concatenate(list(features.values())))
        return Cached(features)

    def _start(self, features: Floats) -> None:
        self._axes = principal_components(features)
        self._head_rate = _HEAD_RATE / float(np.linalg.norm(features, axis=1).mean())
        with torch.no_grad():
            self.heads.projection.weight.copy_(torch.from_numpy(self._axes.axes[: self.settings.dims[-1]]))

    def _projected(self) -> DevEmbeddings:
        """The dev embeddings of the model as it is now, before normalisation."""
        features = self._dev_features
        if self.settings.fine_tune:
            features = self.dev.embed(lambda t: embed(self.trunk, self.tokenizer, t, self.settings.bfloat16))
        with torch.no_grad():
            return features.map(lambda rows: self.heads.projection(torch.from_numpy(rows)).numpy())

    def _epoch_quality(self) -> dict[int, Quality]:
        projected = self._projected()
        quality = self.dev.quick_quality(projected, self.settings.dims)
        self.dev.add_accuracy(quality, projected, self.heads, self.classes)
        return quality


def _texts(spec: EncoderSpec, data: Table) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the prompted texts by role (`query`, `document`, `text`), and {"text": "query"} if those are equal.

    Equal texts, as when a gloss is both what is classified and the query, run through the encoder once.
    """
    names = {"query": "query", "positive": "document", "text": "text"}
    texts = {names[role]: spec.prompted(names[role], rows) for role, rows in data.roles.items() if role in names}
    if "query" in texts and texts["query"] == texts.get("text"):
        del texts["text"]
        return texts, {"text": "query"}
    return texts, {}


def _text_ids(data: Table) -> Tensor:
    """Number the distinct queries and positives: [rows, 2], to tell equal texts in a batch."""
    columns = []
    for role in ("query", "positive"):
        numbers: dict[str, int] = {}
        texts = data.roles.get(role, [""] * len(data))
        columns.append([numbers.setdefault(text, len(numbers)) for text in texts])
    return torch.tensor(columns).T


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
    return {"encoder": encoder_key(spec), "data": data.roles, "dev": dev.roles, **asdict(settings)}


def _record(run: _Run, data: Table, outcome: Outcome) -> Record:
    spec = run.trunk.spec
    objectives = {"contrastive": run.dev.task is not None, "classification": bool(run.classes)}
    return Record(
        schema_version=SCHEMA_VERSION,
        source=spec.source if not Path(spec.source).is_absolute() else Path(spec.source).name,
        dims=run.settings.dims,
        depths=(spec.layers,),
        classes=tuple(run.classes),
        objective=tuple(name for name, used in objectives.items() if used),
        settings=asdict(run.settings),
        data={"train": Path(data.source).name, "rows": len(data)},
        quality=outcome.quality,
        history=tuple(outcome.history),
        versions={name: version(name) for name in ("mrl-edge", "torch", "transformers", "numpy")},
    )
