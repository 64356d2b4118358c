"""What each target wants of an int8 graph: optimum's choice for the processor, and where we leave it.

docs/precisions.md says why, with figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flags:
    """How weights and activations become 8 bits; equal flags make equal bytes."""

    activations: str  # QUInt8 or QInt8
    weights: str
    activations_symmetric: bool
    weights_symmetric: bool
    per_channel: bool
    reduce_range: bool  # 7 bits a weight


def flags_of(target: str, static: bool) -> Flags:
    """Return the flags of an int8 graph for a target, from optimum's `AutoQuantizationConfig`."""
    config = _CONFIGS[target](static)
    return Flags(
        activations=config.activations_dtype.name,
        weights=config.weights_dtype.name,
        activations_symmetric=config.activations_symmetric,
        weights_symmetric=config.weights_symmetric,
        per_channel=config.per_channel,
        reduce_range=config.reduce_range,
    )


def _auto() -> Any:
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    return AutoQuantizationConfig


def _for_gpu(static: bool) -> Any:
    config = _auto().arm64(is_static=static, use_symmetric_activations=True, per_channel=True)
    config.activations_dtype = config.weights_dtype  # TensorRT and CUDA multiply signed by signed
    return config


_CONFIGS: dict[str, Callable[[bool], Any]] = {
    "arm64": lambda static: _auto().arm64(is_static=static, per_channel=True),
    "avx2": lambda static: _auto().avx2(is_static=static, per_channel=True),
    # vpmaddubsw adds pairs of u8·s8 in 16 bits: with 7 bits a weight no pair can pass 32,767.
    "avx512": lambda static: _auto().avx512(is_static=static, per_channel=True, reduce_range=True),
    "avx512-vnni": lambda static: _auto().avx512_vnni(is_static=static, per_channel=True),
    "cuda": _for_gpu,
}
