"""The Matryoshka model: a trunk, a projection whose first d rows are the head of dimension d, class heads.

A trained model is saved as a sentence-transformers folder (the projection is its last Dense module), with
`mrl.json` and, when it classifies, `heads.safetensors` beside it.
"""

from __future__ import annotations

import errno
import inspect
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from mrl_edge.errors import ModelError
from mrl_edge.train.record import Record, write_record
from mrl_edge.train.source import Dense, EncoderSpec, Module, Normalise, Pooling

HEADS = "heads.safetensors"
SAMPLES = "sample_texts.json"
_LIBRARY = "sentence_transformers.models"


class Trunk(nn.Module):
    """The encoder as its folder defines it: token ids [batch, tokens] → embedding [batch, width]."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self.transformer = AutoModel.from_pretrained(
                spec.transformer, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"{spec.source} cannot be loaded as an encoder: {reason}") from None
        self.spec = spec
        if getattr(self.transformer.config, "is_encoder_decoder", False):
            raise ModelError(f"{spec.source} is an encoder with a decoder ({spec.family}), which is not supported")
        self._takes = set(inspect.signature(self.transformer.forward).parameters)
        self.tail = nn.ModuleList(_torch_module(module) for module in spec.modules)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return [batch, width] for the tokenizer's `inputs`, each [batch, tokens]."""
        accepted = {name: rows for name, rows in inputs.items() if name in self._takes}
        vectors: Tensor = self.transformer(**accepted).last_hidden_state.float()  # [batch, tokens, hidden]
        for module in self.tail:
            vectors = module(vectors, inputs["attention_mask"]) if isinstance(module, _Pool) else module(vectors)
        return vectors


class MatryoshkaHeads(nn.Module):
    """The projection [full, width] and one classifier a nesting dimension (MRL, paper §3)."""

    def __init__(self, width: int, dims: Sequence[int], classes: int) -> None:
        super().__init__()
        self.dims = tuple(dims)
        self.projection = nn.Linear(width, dims[-1], bias=False)
        self.classifiers = nn.ModuleDict({str(dim): nn.Linear(dim, classes) for dim in dims} if classes else {})

    def logits(self, projected: Tensor) -> list[Tensor]:
        """Return [batch, classes] a dimension, from `projected` [batch, full] before normalisation."""
        return [self.classifiers[str(dim)](projected[:, :dim]) for dim in self.dims]


def load_tokenizer(spec: EncoderSpec) -> PreTrainedTokenizerBase:
    """Load the fast tokenizer; `ModelError` when the encoder has none."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(  # type: ignore[no-untyped-call]
            spec.transformer, use_fast=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{spec.source}: its tokenizer cannot be loaded: {reason}") from None
    if not tokenizer.is_fast:
        raise ModelError(f"{spec.source} has no fast tokenizer (tokenizer.json), which the device needs")
    return tokenizer


def tokenise(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_tokens: int) -> dict[str, Tensor]:
    """Return the model's inputs, each [batch, longest] int64, padded on the right."""
    batch = tokenizer(
        list(texts),
        padding=True,
        truncation=True,
        max_length=max_tokens,
        return_tensors="pt",
        padding_side="right",
    )
    return dict(batch)


def save_model(
    folder: Path,
    trunk: Trunk,
    tokenizer: PreTrainedTokenizerBase,
    heads: MatryoshkaHeads,
    record: Record,
) -> None:
    """Write a trained model into an empty folder; `OSError` when the disk is full."""
    try:
        _save_files(folder, trunk, tokenizer, heads)
    except SafetensorError as error:  # it has no type of its own for a full disk
        raise OSError(errno.ENOSPC if "os error 28" in str(error) else errno.EIO, str(error), str(folder)) from None
    write_record(folder, record)
    for path in folder.rglob("*.safetensors"):
        path.chmod(path.stat().st_mode | 0o444)  # the library writes files that their owner alone can read


def _save_files(folder: Path, trunk: Trunk, tokenizer: PreTrainedTokenizerBase, heads: MatryoshkaHeads) -> None:
    spec = trunk.spec
    trunk.transformer.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    modules = [{"idx": 0, "name": "0", "path": "", "type": f"{_LIBRARY}.Transformer"}]
    for number, module in enumerate(spec.modules, 1):
        modules.append(_save_module(folder, number, module, trunk.tail[number - 1], spec.hidden))
    number = len(modules)
    projection = heads.projection
    name = f"{number}_Dense"
    config = {"in_features": projection.in_features, "out_features": projection.out_features, "bias": False}
    _write_json(folder / name / "config.json", {**config, "activation_function": "torch.nn.modules.linear.Identity"})
    save_file({"linear.weight": projection.weight.detach().contiguous()}, folder / name / "model.safetensors")
    modules.append({"idx": number, "name": str(number), "path": name, "type": f"{_LIBRARY}.Dense"})
    _write_json(folder / "modules.json", modules)
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": spec.max_tokens, "do_lower_case": False})
    prompts = {
        "prompts": spec.prompts,
        "default_prompt_name": spec.default_prompt,
        "similarity_fn_name": "cosine",
    }
    _write_json(folder / "config_sentence_transformers.json", prompts)
    if heads.classifiers:
        save_file(heads.classifiers.state_dict(), folder / HEADS)


def load_classifiers(folder: Path, dims: Sequence[int]) -> dict[int, tuple[Tensor, Tensor]]:
    """Return weight [classes, d] and bias [classes] a dimension; `ModelError` when they are missing or damaged."""
    try:
        tensors = load_file(folder / HEADS)
        return {dim: (tensors[f"{dim}.weight"], tensors[f"{dim}.bias"]) for dim in dims}
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelError(f"{folder / HEADS} is missing or damaged ({error}): train the model again") from None


class _Pool(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        if self.mode == "cls":
            return tokens[:, 0]
        weights = mask.unsqueeze(-1).to(tokens.dtype)  # [batch, tokens, 1]
        if self.mode == "max":
            return tokens.masked_fill(weights == 0, -1e9).amax(dim=1)
        count = weights.sum(dim=1).clamp(min=1e-9)
        total = (tokens * weights).sum(dim=1)
        return total / (count if self.mode == "mean" else count.sqrt())


class _Dense(nn.Module):
    def __init__(self, spec: Dense) -> None:
        super().__init__()
        self.linear = nn.Linear(spec.inputs, spec.outputs, bias=spec.bias)
        self.tanh = spec.activation == "tanh"
        try:
            self.load_state_dict(load_file(spec.folder / "model.safetensors"))
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise ModelError(f"{spec.folder}: its weights do not fit its config.json: {error}") from None

    def forward(self, vectors: Tensor) -> Tensor:
        projected: Tensor = self.linear(vectors)
        return projected.tanh() if self.tanh else projected


class _Unit(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1)


def _torch_module(module: Module) -> nn.Module:
    if isinstance(module, Pooling):
        return _Pool(module.mode)
    return _Dense(module) if isinstance(module, Dense) else _Unit()


def _save_module(folder: Path, number: int, module: Module, layer: nn.Module, hidden: int) -> dict[str, Any]:
    kind = {Pooling: "Pooling", Dense: "Dense", Normalise: "Normalize"}[type(module)]
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
    return {"idx": number, "name": str(number), "path": name, "type": f"{_LIBRARY}.{kind}"}


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
