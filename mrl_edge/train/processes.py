"""One loss over the rows of all processes: what is gathered, with which gradient, and how a process leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn import functional as differentiable


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all processes, in the order of their ranks; without gradient."""
    if not _several():
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def gather_vectors(rows: Tensor) -> Tensor:
    """Return [exits, all, full] of every process' [exits, batch, full], with gradients.

    Every process computes the same loss over all rows. Backward adds up the processes' gradients, and
    DistributedDataParallel divides by their number: together, the gradient of one process with the whole batch.
    """
    if not _several():
        return rows
    parts = differentiable.all_gather(rows.contiguous())  # type: ignore[no-untyped-call]
    return torch.cat(parts, dim=1)


@contextmanager
def joined() -> Iterator[None]:
    """Leave the group of processes at the end: gloo's threads may abort an interpreter that shuts down in it."""
    try:
        yield
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
