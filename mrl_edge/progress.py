"""How a long job tells its caller where it is, without knowing who draws the bar."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Called as `report(stage, done, total)`; a new stage begins when its name changes."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say that `done` of `total` steps of `stage` are finished."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""
