"""The precisions: each turns the fp32 trunk into the trunk that is shipped.

A new precision is one function and one entry in `PRECISIONS`. Pooling and the heads stay fp32 in every
precision: they cost a thousandth of the trunk, and what they compute is what the user sees.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrl_edge.errors import UsageError


@dataclass(frozen=True)
class Precision:
    """How a trunk is converted, and for what kind of processor."""

    target: str
    convert: Callable[[Path, Path], Path]  # (fp32 trunk, work folder) → converted trunk


def _keep(trunk: Path, folder: Path) -> Path:
    return trunk


def _int8(trunk: Path, folder: Path) -> Path:
    """Quantise weights to int8 a channel, word embeddings included, and activations as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    converted = folder / "int8.onnx"
    logging.disable(logging.WARNING)  # it advises a pre-processing that changes nothing here
    try:
        quantize_dynamic(
            trunk,
            converted,
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            reduce_range=False,  # VNNI and ARM dot-product accumulate in 32 bits and do not saturate
            weight_type=QuantType.QInt8,
        )
    finally:
        logging.disable(logging.NOTSET)
    return converted


PRECISIONS = {
    "fp32": Precision("any", _keep),
    "int8": Precision("avx512-vnni", _int8),
}


def check_precisions(names: Sequence[str]) -> None:
    """Raise `UsageError` for a precision that does not exist, or one that is named twice."""
    for name in names:
        if name not in PRECISIONS:
            raise UsageError(f"--precision {name}: unknown; there is {', '.join(PRECISIONS)}")
    if not names or len(set(names)) < len(names):
        raise UsageError("--precision: name each precision once, as in fp32,int8")
