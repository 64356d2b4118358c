"""How a long job tells its caller where it is, without knowing who draws the bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")
_PIECE = 1024


class Report(Protocol):
    """Called as `report(stage, done, total, now)`; a new stage begins when its name changes."""

    def __call__(self, stage: str, done: int, total: int, now: str = "") -> None:
        """Say that `done` of `total` steps of `stage` are finished, and what is at work `now`."""


def silent(stage: str, done: int, total: int, now: str = "") -> None:
    """Report nothing."""


def in_pieces(
    function: Callable[[Sequence[str]], T], texts: Sequence[str], stage: str, report: Report, piece: int = _PIECE
) -> Iterator[T]:
    """Yield what `function` makes of the texts, a piece at a time, so that the bar of a long stage moves."""
    for start in range(0, len(texts), piece):
        report(stage, start, len(texts))
        yield function(texts[start : start + piece])
    report(stage, len(texts), len(texts))
