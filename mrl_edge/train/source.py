"""Reading an encoder folder, Hugging Face or sentence-transformers: what it is and what it does after the trunk.

The order and settings of the modules after the transformer (pooling, dense layers, normalisation) come from
the folder's `modules.json`; a plain Hugging Face folder is mean-pooled, as sentence-transformers does. A folder
with an image processor and no tokenizer is an image encoder, pooled as its family is (`image_families`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrl_edge.errors import ModelError, UsageError
from mrl_edge.prompts import prefix_for
from mrl_edge.train.clip import TEXT, VISION, tower_config
from mrl_edge.train.image_families import image_shape

POOLINGS = ("mean", "cls", "max", "mean_sqrt_len_tokens")
_WIDTHS = {TEXT: ("projection_dim",)}
_POOLED = {TEXT: "projected"}  # of a folder without modules; all others are mean-pooled


@dataclass(frozen=True)
class Pooling:
    """Token vectors [batch, tokens, hidden] to one vector [batch, hidden].

    `pooler` is an image encoder's own, `projected` what a CLIP tower's projection gives.
    """

    mode: str


@dataclass(frozen=True)
class Dense:
    """A linear layer; its weights lie in `folder/model.safetensors` as `linear.weight` [out, in]."""

    folder: Path
    inputs: int
    outputs: int
    bias: bool
    activation: str  # identity or tanh


@dataclass(frozen=True)
class Normalise:
    """L2-normalisation of each vector."""


@dataclass(frozen=True)
class LayerNorm:
    """Layer normalisation of each vector; without a folder it has no weights of its own, as in Nomic's recipe."""

    width: int
    folder: Path | None = None  # its weights lie in `folder/model.safetensors` as `norm.weight` and `norm.bias` [width]


Module = Pooling | Dense | Normalise | LayerNorm


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder folder, read and checked."""

    source: str  # as the user named it
    folder: Path
    transformer: Path  # where config.json and model.safetensors lie
    family: str  # transformers' model_type
    layers: int
    hidden: int
    modules: tuple[Module, ...]
    prompts: dict[str, str]
    default_prompt: str | None
    max_tokens: int  # 0 for images
    modality: str = "text"  # or `image`: paths of images then stand where texts do

    @property
    def width(self) -> int:
        """The dimension of the encoder's output."""
        widths = [module.outputs for module in self.modules if isinstance(module, Dense)]
        return widths[-1] if widths else self.hidden

    def with_modules(self, modules: tuple[Module, ...]) -> EncoderSpec:
        """Return the same transformer with other modules after it."""
        return replace(self, modules=modules)

    @property
    def pooling(self) -> str:
        """The pooling mode."""
        return next(module.mode for module in self.modules if isinstance(module, Pooling))

    def prompted(self, role: str, texts: list[str]) -> list[str]:
        """Return the texts with the prefix that the encoder wants for a role (`query`, `document`, `text`)."""
        if self.modality == "image":
            return texts
        prefix = prefix_for(self.prompts, self.default_prompt, role)
        return [prefix + text for text in texts] if prefix else texts


def read_encoder(source: str, max_tokens: int | None = None, tower: str | None = None) -> EncoderSpec:
    """Read the encoder at a folder, or download it when `source` is a hub id; `tower` chooses one of CLIP's.

    Raises `ModelError` when there is no encoder, its weights are not safetensors, it needs remote code, or it
    has a module that we cannot run.
    """
    folder = _locate(source)
    modules = _entries(folder / "modules.json")
    transformer = folder if not modules else folder / str(modules[0].get("path", ""))
    config = _read_object(transformer / "config.json")
    if "model_type" not in config:
        raise ModelError(f"{source} is no encoder: it has no config.json with a model_type")
    if "auto_map" in config:
        raise ModelError(f"{source} needs code from its own repository (trust_remote_code), which is never run")
    if not any(transformer.glob("*.safetensors")):
        raise ModelError(f"{source} has no .safetensors weights: convert it with save_pretrained first")
    config = tower_config(source, transformer, config, tower)
    if config["model_type"] == VISION or (config["model_type"] != TEXT and _takes_images(source, transformer, config)):
        return _image_encoder(source, folder, transformer, config, modules, max_tokens)
    prompts = _read_object(folder / "config_sentence_transformers.json")
    return EncoderSpec(
        source=source,
        folder=folder,
        transformer=transformer,
        family=config["model_type"],
        layers=_size(source, config, "num_hidden_layers", "n_layers", "num_layers", "n_layer"),
        hidden=_size(source, config, *_WIDTHS.get(config["model_type"], ("hidden_size", "dim", "d_model", "n_embd"))),
        modules=_modules(folder, modules) if modules else (Pooling(_POOLED.get(config["model_type"], "mean")),),
        prompts={k: v for k, v in (prompts.get("prompts") or {}).items() if v},
        default_prompt=prompts.get("default_prompt_name"),
        max_tokens=_max_tokens(transformer, config, max_tokens),
    )


def _image_encoder(
    source: str,
    folder: Path,
    transformer: Path,
    config: dict[str, Any],
    entries: list[dict[str, Any]],
    max_tokens: int | None,
) -> EncoderSpec:
    if max_tokens is not None:
        raise UsageError(f"--max-tokens is about texts, and {source} is an image encoder")
    shape = image_shape(source, config)
    return EncoderSpec(
        source=source,
        folder=folder,
        transformer=transformer,
        family=config["model_type"],
        layers=shape.layers,
        hidden=shape.hidden,
        modules=(Pooling(shape.pooling), *(_module(folder, entry) for entry in entries[1:])),
        prompts={},
        default_prompt=None,
        max_tokens=0,
        modality="image",
    )


def _takes_images(source: str, transformer: Path, config: dict[str, Any]) -> bool:
    """Whether a folder has an image processor and no tokenizer; `ModelError` for images without a processor."""
    if any((transformer / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")):
        return False
    processor = _read_object(transformer / "preprocessor_config.json")
    if "image_processor_type" in processor or "image_mean" in processor:
        return True
    if "num_channels" in config:
        raise ModelError(f"{source} looks like an image encoder, but has no image processor (preprocessor_config.json)")
    return False


def _size(source: str, config: dict[str, Any], *names: str) -> int:
    """Return the first of the names that encoder families give to a size."""
    for name in names:
        if isinstance(config.get(name), int):
            return int(config[name])
    raise ModelError(f"{source}: its config.json states no {names[0]}")


def _locate(source: str) -> Path:
    if Path(source).is_dir():
        return Path(source)
    looks_local = source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).exists()
    if not looks_local:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
        from requests.exceptions import RequestException

        try:
            return Path(snapshot_download(source, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]))
        except (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RequestException,
            OSError,
        ) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(f"{source} is no folder here, and not to be had from the hub: {reason}") from None
    raise ModelError(f"{source}: no such encoder folder")


def _modules(folder: Path, entries: list[dict[str, Any]]) -> tuple[Module, ...]:
    """Return what follows the transformer, the pooling first."""
    modules = tuple(_module(folder, entry) for entry in entries[1:])
    poolings = [number for number, module in enumerate(modules) if isinstance(module, Pooling)]
    if poolings != [0]:
        raise ModelError(f"{folder / 'modules.json'}: the one Pooling must come right after the transformer")
    return modules


def _module(folder: Path, entry: dict[str, Any]) -> Module:
    kind = str(entry.get("type", "")).rsplit(".", 1)[-1]
    path = folder / entry.get("path", "")
    if kind == "Pooling":
        return Pooling(_pooling_mode(path))
    if kind == "Normalize":
        return Normalise()
    if kind == "LayerNorm":
        if not (path / "model.safetensors").is_file():
            raise ModelError(f"{path}: a LayerNorm module without model.safetensors")
        return LayerNorm(_size(str(path), _read_object(path / "config.json"), "dimension"), path)
    if kind == "Dense":
        config = _read_object(path / "config.json")
        activation = str(config.get("activation_function", "")).rsplit(".", 1)[-1].lower()
        if activation not in ("identity", "tanh"):
            raise ModelError(f"{path}: a Dense module with activation {activation!r} is not supported")
        if not (path / "model.safetensors").is_file():
            raise ModelError(f"{path}: a Dense module without model.safetensors")
        inputs, outputs = (_size(str(path), config, name) for name in ("in_features", "out_features"))
        return Dense(path, inputs, outputs, bool(config.get("bias", True)), activation)
    raise ModelError(f"{folder}: its module {kind!r} is not supported; known are Pooling, Dense, Normalize, LayerNorm")


def _pooling_mode(path: Path) -> str:
    config = _read_object(path / "config.json")
    if config.get("include_prompt") is False:
        raise ModelError(f"{path}: pooling that leaves the prompt out (include_prompt: false) is not supported")
    names = {
        "cls": config.get("pooling_mode_cls_token"),
        "mean": config.get("pooling_mode_mean_tokens"),
        "max": config.get("pooling_mode_max_tokens"),
        "mean_sqrt_len_tokens": config.get("pooling_mode_mean_sqrt_len_tokens"),
        "weightedmean": config.get("pooling_mode_weightedmean_tokens"),
        "lasttoken": config.get("pooling_mode_lasttoken"),
    }
    modes = [name for name, on in names.items() if on]
    if isinstance(config.get("pooling_mode"), str):
        modes = [config["pooling_mode"]]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise ModelError(f"{path}: pooling {'+'.join(modes) or 'unknown'} is not supported; known are {POOLINGS}")
    return str(modes[0])


def _max_tokens(transformer: Path, config: dict[str, Any], wanted: int | None) -> int:
    positions = int(config.get("max_position_embeddings") or 512)
    if config["model_type"] in ("roberta", "xlm-roberta", "mpnet", "camembert"):
        positions -= 2  # these count positions from the padding id on
    for name in ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_xlnet_config.json"):
        settings = _read_object(transformer / name)
        if settings.get("do_lower_case"):
            raise ModelError(f"{transformer / name}: do_lower_case is not supported: put it into the tokenizer")
        limit = settings.get("max_seq_length")
        if limit:
            positions = min(positions, int(limit))
    tokenizer = _read_object(transformer / "tokenizer_config.json").get("model_max_length")
    if tokenizer and tokenizer < positions:
        positions = int(tokenizer)
    return min(positions, wanted) if wanted else positions


def _entries(path: Path) -> list[dict[str, Any]]:
    """Return the modules that `modules.json` lists, or [] when there is no such file."""
    value = _read_json(path, default=[])
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ModelError(f"{path} is damaged: expected a list of modules")
    return value


def _read_object(path: Path) -> dict[str, Any]:
    """Return a JSON object, {} when there is no such file."""
    value = _read_json(path, default={})
    if not isinstance(value, dict):
        raise ModelError(f"{path} is damaged: expected an object")
    return value


def _read_json(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is damaged: {error}") from None
