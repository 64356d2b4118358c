"""What a host tells a board to measure, and what the board says meanwhile: one JSON file, then a line at a time."""

from __future__ import annotations

import hashlib

import msgspec
from mrl_edge.bench.jobs import Task
from mrl_edge.bench.preparing import Grid

ORDER = "order.json"
RESULTS = "results.json"


class Order(msgspec.Struct, frozen=True):
    """A sweep of a bundle that has been deployed."""

    name: str  # the board's, in its results
    bundle: str  # its folder, in the folder of all that is ours there
    task: Task
    source: str
    grid: Grid
    expected: dict[str, bytes]  # the host's vectors; see `agreement`

    def identity(self) -> str:
        """Return what tells it from another order."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line from the board: a step of a stage, or how the run ended."""

    stage: str = ""
    done: int = 0
    total: int = 0
    now: str = ""
    ended: bool = False
    error: str | None = None  # why it ended before everything was measured
