"""The encoder as a torch module: a text's tokens or an image's pixels in, one vector out of each exit.

An exit is the output of layer L run through the encoder's own pooling and modules; the last exit is the encoder
itself. The others are what nested depth trains (2D Matryoshka, Li et al. 2024, arXiv 2402.14776).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from mrl_edge.errors import ModelError
from mrl_edge.train.clip import load_tower_config, tower_class
from mrl_edge.train.source import Dense, EncoderSpec, LayerNorm, Module, Pooling

ModelInputs = dict[str, Tensor]
_OWN = ("pooler", "projected")  # poolings that the model does itself
Preprocess = Callable[[Sequence[str]], ModelInputs]  # texts, or paths of images → the model's inputs, each [batch, …]


class Trunk(nn.Module):
    """The encoder as its folder defines it, with one exit a depth; `depths` ascend, the last is all layers."""

    def __init__(self, spec: EncoderSpec, depths: Sequence[int] | None = None) -> None:
        super().__init__()
        transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self.transformer = _transformer(spec)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"{spec.source} cannot be loaded as an encoder: {reason}") from None
        if getattr(self.transformer.config, "is_encoder_decoder", False):
            raise ModelError(f"{spec.source} is an encoder with a decoder ({spec.family}), which is not supported")
        _check_widths(spec)
        self.spec = spec
        self.depths = tuple(depths or (spec.layers,))
        self._takes = set(inspect.signature(self.transformer.forward).parameters)
        self.tail = nn.ModuleList(_torch_module(module) for module in spec.modules)

    def forward(self, inputs: ModelInputs) -> Tensor:
        """Return [exits, batch, width] for `inputs`: each [batch, tokens] of texts, or `pixel_values`."""
        accepted = {name: rows for name, rows in inputs.items() if name in self._takes}
        nested = len(self.depths) > 1
        result = self.transformer(**accepted, **({"output_hidden_states": True} if nested else {}))
        # hidden_states[0] are the embeddings; some families normalise the last layer's output once more.
        states = [result.hidden_states[depth] for depth in self.depths[:-1]] if nested else []
        last = self._pooled(result) if self.spec.pooling in _OWN else result.last_hidden_state
        return torch.stack([self.after(state, inputs) for state in (*states, last)])

    def freeze_word_embeddings(self) -> None:
        """Keep the table of word embeddings as it is: half of a small encoder, which a short training hardly moves.

        An image encoder has none; what it calls its input embeddings are the weights that see the pixels.
        """
        if self.spec.modality == "text":
            self.transformer.get_input_embeddings().requires_grad_(False)

    def _pooled(self, result: Any) -> Tensor:
        """Return the model's own pooled output [batch, hidden]."""
        names = ("pooler_output",) if self.spec.pooling == "pooler" else ("text_embeds", "image_embeds")
        pooled: Tensor | None = next((result[name] for name in names if result.get(name) is not None), None)
        if pooled is None or pooled.flatten(1).shape[1] != self.spec.hidden:
            raise ModelError(f"{self.spec.source}: encoders of the family {self.spec.family!r} are not supported")
        return pooled.flatten(1)

    def after(self, state: Tensor, inputs: ModelInputs) -> Tensor:
        """Pool one layer's output and run the encoder's modules: [batch, width].

        The output is [batch, tokens, hidden], of a convolutional net [batch, hidden, rows, columns] or pooled.
        """
        vectors = state.float()
        if vectors.dim() == 4:  # its own pooling is the mean over the image, see `export.trunk`
            vectors = vectors.mean(dim=(2, 3))
        for module in self.tail:
            vectors = module(vectors, inputs.get("attention_mask")) if isinstance(module, _Pool) else module(vectors)
        return vectors


def _transformer(spec: EncoderSpec) -> Any:
    options = {"use_safetensors": True, "trust_remote_code": False, "dtype": torch.float32}
    if spec.pooling != "projected":
        return AutoModel.from_pretrained(spec.transformer, **options)
    config = load_tower_config(spec.transformer, spec.family)
    return tower_class(spec.family).from_pretrained(spec.transformer, config=config, **options)


def _check_widths(spec: EncoderSpec) -> None:
    """Raise `ModelError` where a module does not take what the one before it gives."""
    width = spec.hidden
    for module in spec.modules:
        takes = module.inputs if isinstance(module, Dense) else module.width if isinstance(module, LayerNorm) else width
        if takes != width:
            raise ModelError(f"{spec.source}: its {type(module).__name__} takes {takes} dimensions, and gets {width}")
        width = module.outputs if isinstance(module, Dense) else width


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


def text_inputs(tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> Preprocess:
    """Return a function that tokenises texts: [batch, longest] int64 a model input, padded on the right."""

    def tokenise(texts: Sequence[str]) -> ModelInputs:
        batch = tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=max_tokens,
            return_tensors="pt",
            padding_side="right",
        )
        return dict(batch)

    return tokenise


class _Pool(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        if self.mode in _OWN:  # it comes pooled
            return tokens
        if self.mode == "cls" or mask is None:
            return tokens[:, 0]
        weights = mask.unsqueeze(-1).to(tokens.dtype)  # [batch, tokens, 1]
        if self.mode == "max":
            return tokens.masked_fill(weights == 0, -1e9).amax(dim=1)
        count = weights.sum(dim=1).clamp(min=1e-9)
        total = (tokens * weights).sum(dim=1)
        return total / (count if self.mode == "mean" else count.sqrt())


class _LayerNorm(nn.Module):
    def __init__(self, spec: LayerNorm) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(spec.width)
        if spec.folder is not None:
            _load_weights(self, spec.folder)

    def forward(self, vectors: Tensor) -> Tensor:
        normalised: Tensor = self.norm(vectors)
        return normalised


class _Dense(nn.Module):
    def __init__(self, spec: Dense) -> None:
        super().__init__()
        self.linear = nn.Linear(spec.inputs, spec.outputs, bias=spec.bias)
        self.tanh = spec.activation == "tanh"
        _load_weights(self, spec.folder)

    def forward(self, vectors: Tensor) -> Tensor:
        projected: Tensor = self.linear(vectors)
        return projected.tanh() if self.tanh else projected


class _Unit(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1)


def _torch_module(module: Module) -> nn.Module:
    if isinstance(module, Pooling):
        return _Pool(module.mode)
    if isinstance(module, LayerNorm):
        return _LayerNorm(module)
    return _Dense(module) if isinstance(module, Dense) else _Unit()


def _load_weights(module: nn.Module, folder: Path) -> None:
    try:
        module.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder}: its weights do not fit its config.json: {error}") from None
