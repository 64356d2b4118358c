"""Answering within a deadline: levels of one model, best first, and the best that was seen to be fast enough.

    adaptive = Adaptive([Level("d64", open_large), Level("d16-L3", open_small)])
    answer = adaptive("a small musical phrase", deadline_ms=10)  # answer.value, answer.level, answer.ms

`Pace` decides, from the times it was told alone; it reads no clock. Imports numpy, whose median is loaded on a board
anyway, and not `statistics`, which takes longer to import than all of this.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from mrl_edge.errors import UsageError

T = TypeVar("T")
_WINDOW = 9  # times of a level and length that the median is of: 5 slow ones move it
_RETRY = 32  # answers of a lesser level until a better one, which was too slow, is tried again
_WARMED = (1, 4, 16)  # a text so often after itself: lengths differ more than levels do
_LONGEST_RETRY = 1024  # each time that it was still too slow the wait doubles, up to this


class Pace:
    """The observed times of some levels, by length of the text: a bucket is from a power of two up to the next."""

    def __init__(self, window: int = _WINDOW, retry: int = _RETRY) -> None:
        self._window, self._retry = window, retry
        self._times: dict[tuple[int, int], deque[float]] = {}
        self._waits: dict[tuple[int, int], _Wait] = {}

    def choose(self, levels: Sequence[int], length: int, deadline_ms: float) -> int:
        """Return the first of some levels, best first, that is expected within the deadline, else the last.

        A level that was not yet seen at this length, nor at a greater one, is tried, as there is no other way to know,
        unless shorter texts take it too long already. One that was too slow is tried again after `retry` answers of
        lesser ones, as what kept it busy may be gone.
        """
        for level in levels[:-1]:
            least = self.expected_ms(level, length)
            if least is None:
                least = self._least_ms(level, length)
            if least <= deadline_ms or self._is_due(level, length):
                return level
        return levels[-1]

    def observe(self, level: int, length: int, ms: float, deadline_ms: float | None = None) -> None:
        """See how long an answer took; what was too slow and now meets its deadline begins anew."""
        key = level, length.bit_length()
        times = self._times.setdefault(key, deque(maxlen=self._window))
        if deadline_ms is not None and ms <= deadline_ms:
            self._waits.pop(key, None)
            if times and float(np.median(times)) > deadline_ms:
                times.clear()
        times.append(ms)

    def expected_ms(self, level: int, length: int) -> float | None:
        """Return the running median of a level at a length, or at the next greater one that was seen, else None."""
        seen = [bucket for at, bucket in self._times if at == level and bucket >= length.bit_length()]
        return float(np.median(self._times[level, min(seen)])) if seen else None

    def _least_ms(self, level: int, length: int) -> float:
        """Return the running median of a level at the greatest shorter length that was seen, else 0."""
        seen = [bucket for at, bucket in self._times if at == level and bucket < length.bit_length()]
        return float(np.median(self._times[level, max(seen)])) if seen else 0.0

    def _is_due(self, level: int, length: int) -> bool:
        wait = self._waits.setdefault((level, length.bit_length()), _Wait(self._retry))
        wait.passed += 1
        if wait.passed <= wait.limit:
            return False
        wait.passed, wait.limit = 0, min(2 * wait.limit, _LONGEST_RETRY)
        return True


@dataclass
class _Wait:
    """Answers of lesser levels since a better one was tried, and how many there must be."""

    limit: int
    passed: int = 0


@dataclass(frozen=True)
class Level(Generic[T]):
    """One way to answer: `open` loads it and returns what answers, `close` lets go of it.

    `resident_bytes` is about what it keeps in memory while it is open.
    """

    name: str
    open: Callable[[], Callable[..., T]]
    resident_bytes: int = 0
    close: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a level made of a text, which level, and how long it took; `expected_ms` is what was known before."""

    value: T
    level: str
    ms: float
    expected_ms: float | None


class Adaptive(Generic[T]):
    """Levels, best first, opened when they are first used. Threads may share it: one text is answered at a time.

    `clock` returns seconds.
    """

    def __init__(
        self, levels: Sequence[Level[T]], pace: Pace | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.levels = tuple(levels)
        self.pace = pace or Pace()
        self._clock = clock
        self._open: dict[int, Callable[..., T]] = {}
        self.lock = threading.RLock()  # held while a level opens, closes or answers

    def warm_up(self, text: str, *arguments: Any, max_bytes: int | None = None) -> None:
        """Open every level that fits the memory and let it answer, so that no later text pays for it.

        The first answer of a level takes longer than all others and does not count; then it answers the text once more,
        and longer ones made of it. The best level is the last, and stays open where not all fit together.
        """
        with self.lock:
            for number in reversed(self._within(max_bytes)):
                self._make_room(number, max_bytes)
                self._opened(number)(text, *arguments)
                for times in _WARMED:
                    self._timed(number, " ".join([text] * times), arguments, None)

    def __call__(
        self,
        text: str,
        *arguments: Any,
        deadline_ms: float | None = None,
        max_bytes: int | None = None,
        level: str | None = None,
    ) -> Answer[T]:
        """Answer a text with the best level that fits the memory and is expected within the deadline.

        `arguments` are handed on to what a level opened. What is open together never has more than `max_bytes`:
        others are closed before one is opened. `level` names the one that answers, whatever it takes. Raises
        `UsageError` when none fits, or none has the name.
        """
        with self.lock:
            fitting = self._within(max_bytes, level)
            chosen = fitting[0] if deadline_ms is None else self.pace.choose(fitting, len(text), deadline_ms)
            self._make_room(chosen, max_bytes)
            expected_ms = self.pace.expected_ms(chosen, len(text))
            value, ms = self._timed(chosen, text, arguments, deadline_ms)
        return Answer(value, self.levels[chosen].name, ms, expected_ms)

    def _within(self, max_bytes: int | None, name: str | None = None) -> list[int]:
        sizes = {n: level.resident_bytes for n, level in enumerate(self.levels) if name in (None, level.name)}
        if not sizes:
            raise UsageError(f"there is no level {name}: there is {', '.join(level.name for level in self.levels)}")
        fitting = [number for number, size in sizes.items() if max_bytes is None or size <= max_bytes]
        if not fitting:
            raise UsageError(f"no level fits {max_bytes} bytes: the smallest takes {min(sizes.values())}")
        return fitting

    def _make_room(self, chosen: int, max_bytes: int | None) -> None:
        """Close other levels, the largest first, until what is left and the chosen one fit together."""
        if max_bytes is None:
            return
        others = sorted((n for n in self._open if n != chosen), key=lambda n: self.levels[n].resident_bytes)
        while others and sum(self.levels[n].resident_bytes for n in (chosen, *others)) > max_bytes:
            largest = others.pop()
            del self._open[largest]
            self.levels[largest].close()

    def _opened(self, number: int) -> Callable[..., T]:
        if number not in self._open:
            self._open[number] = self.levels[number].open()
        return self._open[number]

    def _timed(self, number: int, text: str, arguments: tuple[Any, ...], deadline_ms: float | None) -> tuple[T, float]:
        fresh = number not in self._open
        started = self._clock()
        value = self._opened(number)(text, *arguments)
        ms = 1000 * (self._clock() - started)
        if not fresh:  # what opens says nothing of what answers
            self.pace.observe(number, len(text), ms, deadline_ms)
        return value, ms
