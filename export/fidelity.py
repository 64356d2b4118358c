"""Each exported graph against PyTorch on real texts, before the bundle is called done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mrl_edge.export.model import Exit
from torch import Tensor

from mrl_edge.bundle import Fidelity
from mrl_edge.encoder import open_session
from mrl_edge.errors import FidelityError
from mrl_edge.metrics import mean_and_min_cosine
from mrl_edge.nesting import Floats
from mrl_edge.tokens import Batch
from mrl_edge.train.trunk import Trunk

FP32_TOLERANCE = 1e-4
_LOGITS_TOLERANCE = 1e-3  # logits are not of length 1: relative to the largest


@dataclass(frozen=True)
class Reference:
    """What PyTorch computes for the sample texts at one depth: embeddings and logits a dimension."""

    batches: list[Batch]  # the tokenised texts, as the runtime pads them
    embeddings: dict[int, Floats]
    logits: dict[int, Floats]


def references(trunk: Trunk, batches: list[Batch], exits: Sequence[Exit], dims: Sequence[int]) -> dict[int, Reference]:
    """Run PyTorch in fp32 on the tokenised texts, once for all depths; `exits` are those of the trunk."""
    trunk.eval()
    with torch.inference_mode():
        parts = [trunk({name: torch.from_numpy(rows) for name, rows in batch.items()}) for batch in batches]
        vectors = torch.cat(parts, dim=1)  # [exits, texts, width]
        return {exit.depth: _reference(own, batches, exit, dims) for exit, own in zip(exits, vectors, strict=True)}


def _reference(vectors: Tensor, batches: list[Batch], exit: Exit, dims: Sequence[int]) -> Reference:
    projected = exit.projected(vectors, dims[-1])  # [texts, full]
    embeddings = {dim: F.normalize(projected[:, :dim], dim=-1).numpy() for dim in dims}
    logits = {
        dim: F.linear(projected[:, :dim], weight, bias).numpy() for dim, (weight, bias) in exit.classifiers.items()
    }
    return Reference(batches, embeddings, logits)


def check_graph(path: Path, dim: int | None, wanted: Reference, exact: bool, target: str) -> Fidelity:
    """Run one graph as its target does on the reference's texts; return how near it is, by the worst dimension.

    Raises `FidelityError` for embeddings that are not finite and, with `exact` (fp32), for a difference above
    `FP32_TOLERANCE`.
    """
    session = open_session(path, threads=None, target=target)
    names = [output.name for output in session.get_outputs()]
    parts = [session.run(names, batch) for batch in wanted.batches]
    outputs = {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}
    worst = Fidelity(0.0, 1.0, 1.0, sum(len(next(iter(b.values()))) for b in wanted.batches))
    for each in wanted.embeddings if dim is None else (dim,):
        suffix = f"_{each}" if dim is None else ""
        ours = outputs[f"embedding{suffix}"]
        error = float(np.abs(ours - wanted.embeddings[each]).max())
        if not np.isfinite(error):
            raise FidelityError(f"{path.name}: its embeddings are not finite: the model's weights are not, or overflow")
        mean, least = mean_and_min_cosine(ours, wanted.embeddings[each])
        worst = Fidelity(
            max(worst.max_abs_error, error),
            min(worst.cosine_mean, mean),
            min(worst.cosine_min, least),
            worst.texts,
        )
        if exact and each in wanted.logits:
            _check_logits(path, outputs[f"logits{suffix}"], wanted.logits[each])
    if exact and worst.max_abs_error > FP32_TOLERANCE:
        raise FidelityError(
            f"{path.name}: fp32 embeddings differ from PyTorch's by {worst.max_abs_error:.2g}, "
            f"more than {FP32_TOLERANCE:g}: this encoder does not export correctly"
        )
    return worst


def _check_logits(path: Path, ours: Floats, theirs: Floats) -> None:
    error = float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))
    if not error <= _LOGITS_TOLERANCE:
        raise FidelityError(f"{path.name}: fp32 logits differ from PyTorch's by {error:.2g} of the largest")
