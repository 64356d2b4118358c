"""What a host tells a board to measure, and what the board says meanwhile: one JSON file, then a line at a time."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from mrl_edge.bench.budget import Budget
from mrl_edge.bench.jobs import Task
from mrl_edge.bench.preparing import Grid

ORDER = "order.json"
RESULTS = "results.json"
INTERRUPTED = 75  # the exit code of following a run that ended without a word; sysexits.h: a temporary failure


class Order(msgspec.Struct, frozen=True):
    """A sweep of a bundle that has been deployed."""

    name: str  # the board's, in its results
    bundle: str  # its folder, in the folder of all that is ours there
    task: Task
    source: str
    grid: Grid
    expected: dict[str, bytes]  # the host's vectors; see `agreement`
    budget: Budget | None = None  # measure only what can be the choice within it

    def identity(self, bundle_sha256: str, onnxruntime: str) -> str:
        """Return what tells it from another order of what is measured, and by which onnxruntime."""
        same = msgspec.structs.replace(self, bundle=bundle_sha256, expected={})
        return hashlib.sha256(msgspec.json.encode((same, onnxruntime))).hexdigest()[:16]


_Steps = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line from the board: a step of a stage, or how the run ended."""

    stage: str = ""
    done: _Steps = 0
    total: _Steps = 0
    now: str = ""
    ended: bool = False
    error: str | None = None  # why it ended before everything was measured
