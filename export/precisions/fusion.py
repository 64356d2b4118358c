"""onnxruntime's transformer fusions (attention, layer norm, GELU) tried before a precision is made.

onnxruntime fuses much of this itself when it opens a graph, and a product inside a fused node is hidden from the
quantisers: so a fused trunk is kept only when it measures faster, in turn with the plain one on this machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from mrl_edge.export.precisions.conversion import quiet

from mrl_edge.encoder import open_session
from mrl_edge.tokens import Batch

_BERT_LIKE = ("bert", "roberta", "xlm-roberta", "electra", "camembert", "distilbert", "mpnet")
_ROUNDS, _WARM_ROUNDS, _TEXTS = 15, 3, 24


@dataclass(frozen=True)
class Shape:
    """What the fusions must know of an encoder."""

    family: str
    heads: int
    hidden: int


@dataclass(frozen=True)
class Speedup:
    """How many times as fast the second of two graphs is: median over rounds and its 95% interval."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} × ({self.low:.2f} to {self.high:.2f})"


def shape_of(config: Any) -> Shape:
    """Read the shape from a transformers configuration; 0 is what it does not say."""
    heads = getattr(config, "num_attention_heads", 0)
    return Shape(config.model_type, int(heads), int(getattr(config, "hidden_size", 0)))


def fuse(trunk: Path, shape: Shape, folder: Path, attention: bool) -> Path | None:
    """Write the trunk with fused nodes; None when nothing of this family fuses.

    `attention` fuses that too, which takes its three products away from a quantiser.
    """
    if shape.family not in _BERT_LIKE or not shape.heads or not shape.hidden:
        return None
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False  # it would take the tables away
    options.enable_attention = attention
    with quiet():
        optimised = optimize_model(
            str(trunk),
            model_type="bert",
            num_heads=shape.heads,
            hidden_size=shape.hidden,
            optimization_options=options,
            opt_level=0,  # the fusions alone: what onnxruntime does itself may not be portable
        )
        optimised.topological_sort(is_deterministic=True)
    if not any(node.domain == "com.microsoft" for node in optimised.model.graph.node):
        return None
    if all(opset.domain != "com.microsoft" for opset in optimised.model.opset_import):
        optimised.model.opset_import.add(domain="com.microsoft", version=1)
    path = folder / "fused.onnx"
    onnx.save(optimised.model, path)
    return path


def speedup(plain: Path, fused: Path, batches: Sequence[Batch]) -> Speedup:
    """Run two graphs in turn, one thread, on texts of the batches one at a time."""
    sessions = [open_session(path, threads=1) for path in (plain, fused)]
    feeds = _alone(batches)
    ratios = []
    for number in range(_WARM_ROUNDS + _ROUNDS):
        order = (0, 1) if number % 2 else (1, 0)
        times = dict(sorted((which, _median_ns(sessions[which], feeds)) for which in order))
        ratios.append(times[0] / times[1])
    ordered = sorted(ratios[_WARM_ROUNDS:])
    reach = 1.96 * math.sqrt(_ROUNDS) / 2  # order statistics of a median (Conover, §3.2)
    low = max(0, math.floor(_ROUNDS / 2 - reach))
    high = min(_ROUNDS - 1, math.ceil(_ROUNDS / 2 + reach))
    return Speedup(float(np.median(ordered)), ordered[low], ordered[high])


def _alone(batches: Sequence[Batch]) -> list[Batch]:
    """Return texts [1, tokens] without padding, some of each batch."""
    feeds = []
    each = -(-_TEXTS // len(batches))
    for batch in batches:
        lengths = batch["attention_mask"].sum(axis=1)
        feeds += [
            {name: values[row : row + 1, : int(length)] for name, values in batch.items()}
            for row, length in enumerate(lengths[:each])
        ]
    return feeds


def _median_ns(session: Any, feeds: Sequence[Batch]) -> float:
    times = []
    for feed in feeds:
        started = time.perf_counter_ns()
        session.run(None, feed)
        times.append(time.perf_counter_ns() - started)
    return float(np.median(times))
