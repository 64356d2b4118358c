"""A trained model folder: sentence-transformers can load it if it is of texts, `mrl.json` says what it is.

The projection of the full depth is the folder's last Dense module. `heads.safetensors` holds the class heads
of the full depth (`64.weight` [classes, 64], `64.bias`), `exits.safetensors` the projection and the class
heads of each shallower exit (`3.projection` [full, width], `3.64.weight`, …).
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mrl_edge.errors import ModelError
from mrl_edge.nesting import Floats, default_dims
from mrl_edge.train.features import embed
from mrl_edge.train.heads import Head
from mrl_edge.train.preprocessing import load_preprocessing
from mrl_edge.train.record import Record, read_record, write_record
from mrl_edge.train.source import Dense, EncoderSpec, LayerNorm, Module, Normalise, Pooling, read_encoder
from mrl_edge.train.trunk import Trunk

HEADS = "heads.safetensors"
EXITS = "exits.safetensors"
_LIBRARIES = {"text": "sentence_transformers.models", "image": "mrl_edge"}  # whose modules a folder names

Linear = tuple[Tensor, Tensor]  # weight [classes, d], bias [classes]


@dataclass(frozen=True)
class Exit:
    """One exit of a trained model: its layer, the projection [full, width] after the folder's own modules, heads."""

    depth: int
    projection: Tensor
    classifiers: dict[int, Linear]


class LoadedModel:
    """An encoder with its exits in PyTorch, for evaluation; `spec` without the projections, which the exits hold."""

    def __init__(
        self, spec: EncoderSpec, dims: tuple[int, ...], exits: Sequence[Exit], classes: tuple[str, ...]
    ) -> None:
        self.dims = dims
        self.depths = tuple(exit.depth for exit in exits)
        self.classes = classes
        self.modality = spec.modality
        self._spec = spec
        self._trunk = Trunk(spec, self.depths)
        self._inputs = load_preprocessing(spec).inputs
        self._exits = {exit.depth: exit for exit in exits}

    def embed(self, texts: Sequence[str], role: str, depth: int) -> Floats:
        """Return [n, full] before normalisation; `role` is `query`, `document` or `text`.

        An image encoder takes paths, whose role is `image`.
        """
        prompted = self._spec.prompted(role, list(texts))
        features = embed(self._trunk, self._inputs, prompted, bfloat16=False)[self.depths.index(depth)]
        return np.asarray(features @ self._exits[depth].projection.numpy().T)

    def class_scores(self, projected: Floats, depth: int) -> dict[int, Floats]:
        """Return logits [n, classes] a dimension of `projected` [n, full] before normalisation."""
        heads = self._exits[depth].classifiers
        return {
            dim: np.asarray(projected[:, :dim] @ weight.numpy().T + bias.numpy())
            for dim, (weight, bias) in heads.items()
        }


def load_model(folder: Path) -> LoadedModel:
    """Load a folder that `mrl-edge train` wrote; `ModelError` when it is none, or damaged."""
    record = read_record(folder)
    spec = read_encoder(str(folder))
    exits = load_exits(folder, record)
    return LoadedModel(spec.with_modules(spec.modules[:-1]), record.dims, exits, record.classes)


def load_encoder(source: str) -> LoadedModel:
    """Load an encoder as it is, with the paper's dimensions: 8, 16, … and its width."""
    spec = read_encoder(source)
    untouched = Exit(spec.layers, torch.eye(spec.width), {})
    return LoadedModel(spec, default_dims(spec.width), [untouched], ())


def load_exits(folder: Path, record: Record) -> list[Exit]:
    """Return the exits of a trained model, ascending; `ModelError` when a file is missing or damaged."""
    spec = read_encoder(str(folder))
    projection = spec.modules[-1]
    if not isinstance(projection, Dense):
        raise ModelError(f"{folder}: its last module is no projection: train it again")
    shape = (record.dims[-1], spec.with_modules(spec.modules[:-1]).width)
    exits = []
    *shallow, full = record.depths
    stored = _tensors(folder / EXITS) if shallow else {}
    for depth in shallow:
        own = {name.removeprefix(f"{depth}."): value for name, value in stored.items() if name.startswith(f"{depth}.")}
        rows = _tensor(folder / EXITS, own, "projection", shape)
        exits.append(Exit(depth, rows, _classifiers(folder / EXITS, own, record)))
    path = projection.folder / "model.safetensors"
    weight = _tensor(path, _tensors(path), "linear.weight", shape)
    heads = _tensors(folder / HEADS) if record.classes else {}
    return [*exits, Exit(full, weight, _classifiers(folder / HEADS, heads, record))]


def _classifiers(path: Path, tensors: dict[str, Tensor], record: Record) -> dict[int, Linear]:
    classes = len(record.classes)
    return {
        dim: (
            _tensor(path, tensors, f"{dim}.weight", (classes, dim)),
            _tensor(path, tensors, f"{dim}.bias", (classes,)),
        )
        for dim in (record.dims if classes else ())
    }


def _tensor(path: Path, tensors: dict[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    if name not in tensors:
        raise ModelError(f"{path} is damaged (it has no {name!r}): train the model again")
    if tensors[name].shape != shape:
        said = f"its {name!r} is {list(tensors[name].shape)}, not {list(shape)}"
        raise ModelError(f"{path} is damaged ({said}): train the model again")
    return tensors[name]


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is missing or damaged ({error}): train the model again") from None


def save_model(
    folder: Path,
    trunk: Trunk,
    preprocessor: Any,
    heads: Sequence[Head],
    record: Record,
) -> None:
    """Write a trained model into an empty folder; `heads` are the exits', ascending.

    `preprocessor` is the tokenizer or image processor. `OSError` on a full disk.
    """
    try:
        _save_files(folder, trunk, preprocessor, heads, record)
    except SafetensorError as error:  # it has no type of its own for a full disk
        raise OSError(errno.ENOSPC if "os error 28" in str(error) else errno.EIO, str(error), str(folder)) from None
    write_record(folder, record)
    for path in folder.rglob("*.safetensors"):
        path.chmod(path.stat().st_mode | 0o444)  # the library writes files that their owner alone can read


def _save_files(folder: Path, trunk: Trunk, preprocessor: Any, heads: Sequence[Head], record: Record) -> None:
    spec = trunk.spec
    trunk.transformer.save_pretrained(folder, safe_serialization=True)
    preprocessor.save_pretrained(folder)
    library = _LIBRARIES[spec.modality]
    modules = [{"idx": 0, "name": "0", "path": "", "type": f"{library}.Transformer"}]
    for module, layer in zip(spec.modules, trunk.tail, strict=True):
        if spec.modality == "text" or not isinstance(module, Pooling):  # an image encoder's follows from its family
            saved = _save_module(folder, len(modules), module, layer, spec.hidden)
            modules.append({**saved, "type": f"{library}.{saved['type']}"})
    number = len(modules)
    *shallow, full = (head.tensors(record.dims) for head in heads)
    projection = full.pop("projection")
    name = f"{number}_Dense"
    config = {"in_features": projection.shape[1], "out_features": projection.shape[0], "bias": False}
    _write_json(folder / name / "config.json", {**config, "activation_function": "torch.nn.modules.linear.Identity"})
    save_file({"linear.weight": projection}, folder / name / "model.safetensors")
    modules.append({"idx": number, "name": str(number), "path": name, "type": f"{library}.Dense"})
    _write_json(folder / "modules.json", modules)
    if spec.modality == "text":
        _save_text_settings(folder, spec)
    if full:
        save_file(full, folder / HEADS)
    if shallow:
        exits = zip(record.depths[:-1], shallow, strict=True)
        save_file({f"{depth}.{key}": value for depth, own in exits for key, value in own.items()}, folder / EXITS)


def _save_text_settings(folder: Path, spec: EncoderSpec) -> None:
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": spec.max_tokens, "do_lower_case": False})
    prompts = {
        "prompts": spec.prompts,
        "default_prompt_name": spec.default_prompt,
        "similarity_fn_name": "cosine",
    }
    _write_json(folder / "config_sentence_transformers.json", prompts)


def _save_module(folder: Path, number: int, module: Module, layer: nn.Module, hidden: int) -> dict[str, Any]:
    kind = {Pooling: "Pooling", Dense: "Dense", Normalise: "Normalize", LayerNorm: "LayerNorm"}[type(module)]
    name = f"{number}_{kind}"
    (folder / name).mkdir()
    if isinstance(module, Pooling):
        modes = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
        chosen = modes.get(module.mode, module.mode)
        config: dict[str, Any] = {f"pooling_mode_{m}": m == chosen for m in (*modes.values(), "mean_sqrt_len_tokens")}
        _write_json(folder / name / "config.json", {"word_embedding_dimension": hidden, **config})
    elif isinstance(module, Dense):
        shutil.copyfile(module.folder / "config.json", folder / name / "config.json")
        save_file(layer.state_dict(), folder / name / "model.safetensors")
    elif isinstance(module, LayerNorm):
        _write_json(folder / name / "config.json", {"dimension": module.width})
        save_file(layer.state_dict(), folder / name / "model.safetensors")
    return {"idx": number, "name": str(number), "path": name, "type": kind}


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
