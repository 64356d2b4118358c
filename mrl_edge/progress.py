"""How a long job tells its caller where it is, without knowing who draws the bar."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Called as `report(stage, done, total, now)`; a new stage begins when its name changes."""

    def __call__(self, stage: str, done: int, total: int, now: str = "") -> None:
        """Say that `done` of `total` steps of `stage` are finished, and what is at work `now`."""


def silent(stage: str, done: int, total: int, now: str = "") -> None:
    """Report nothing."""
