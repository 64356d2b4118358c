"""Embeddings of a frozen trunk, computed once and cached on disk in pieces, so that a killed run loses little."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mrl_edge.atomic import write_file
from mrl_edge.hashing import sha256
from mrl_edge.nesting import Floats
from mrl_edge.progress import Report
from mrl_edge.train.source import Dense, EncoderSpec, LayerNorm
from mrl_edge.train.trunk import Preprocess, Trunk

_PIECE = 2048  # texts a cache file
_BATCH = 64
_WITH_FILES = (Dense, LayerNorm)


class FeatureCache:
    """Embeds texts, or images by their paths, with a trunk; each piece is stored under the hash of what made it."""

    def __init__(self, folder: Path, trunk: Trunk, preprocess: Preprocess, bfloat16: bool, weights: str) -> None:
        """`weights` identifies the trunk's weights and settings: `encoder_key`, or `weights_key` once trained."""
        self._folder = folder
        self._trunk = trunk
        self._preprocess = preprocess
        self._bfloat16 = bfloat16
        self._key = f"{weights}{bfloat16}"

    def embed(self, texts: Sequence[str], stage: str, report: Report) -> Floats:
        """Return float32 [exits, n, width] of the texts, from the cache where it has them."""
        pieces = []
        for start in range(0, len(texts), _PIECE):
            report(stage, start, len(texts))
            pieces.append(self._piece(texts[start : start + _PIECE]))
        report(stage, len(texts), len(texts))
        return np.concatenate(pieces, axis=1)

    def _piece(self, texts: Sequence[str]) -> Floats:
        depths, width = self._trunk.depths, self._trunk.spec.width
        digest = hashlib.sha256(f"{self._key}{depths}".encode())
        for text in texts:
            digest.update(content_key(self._trunk.spec, text).encode("utf-8", "replace") + b"\0")
        path = self._folder / f"{digest.hexdigest()}.f32"
        shape = (len(depths), len(texts), width)
        if path.is_file() and path.stat().st_size == 4 * len(depths) * len(texts) * width:
            return np.fromfile(path, dtype=np.float32).reshape(shape)
        features = embed(self._trunk, self._preprocess, texts, self._bfloat16)
        write_file(path, features.tobytes())
        return features


def embed(trunk: Trunk, preprocess: Preprocess, texts: Sequence[str], bfloat16: bool) -> Floats:
    """Return the trunk's outputs float32 [exits, n, width] of the texts, in batches of similar length."""
    trunk.eval()
    device = next(trunk.parameters()).device
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    features = np.empty((len(trunk.depths), len(texts), trunk.spec.width), dtype=np.float32)
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            inputs = {name: value.to(device) for name, value in preprocess([texts[i] for i in rows]).items()}
            features[:, rows] = trunk(inputs).float().cpu().numpy()
    return features


def content_key(spec: EncoderSpec, text: str) -> str:
    """Return what decides an input's embedding: a text itself, the hash of an image's bytes and not its path."""
    return sha256(Path(text)) if spec.modality == "image" else text


def weights_key(trunk: Trunk) -> str:
    """Return what decides the embeddings of a trunk that was trained: the hash of its weights and buffers."""
    digest = hashlib.sha256(encoder_key(trunk.spec).encode())
    for name, value in trunk.state_dict().items():
        digest.update(name.encode() + value.cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def on_gpu() -> bool:
    """Whether torch finds a CUDA device."""
    return torch.cuda.is_available()


def has_fast_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 in hardware: a GPU that says so, AVX512-BF16 or AMX."""
    if on_gpu():
        return bool(torch.cuda.is_bf16_supported())
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch does not say
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def encoder_key(spec: EncoderSpec) -> str:
    """Return what decides an encoder's embeddings: the hashes of its weights and settings, and its truncation.

    What else lies in its folder, as this run's own checkpoint may, decides nothing.
    """
    files = {spec.folder / name for name in ("modules.json", "config_sentence_transformers.json")}
    for folder in (spec.transformer, *(module.folder for module in spec.modules if isinstance(module, _WITH_FILES))):
        if folder is not None:
            files |= {path for ending in ("json", "safetensors", "txt", "model") for path in folder.glob(f"*.{ending}")}
    hashes = [sha256(file) for file in sorted(files) if file.is_file()]
    return repr((hashes, spec.pooling, spec.max_tokens, spec.prompts, spec.default_prompt))
