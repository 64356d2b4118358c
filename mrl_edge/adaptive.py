"""Answering within a deadline: levels of one model, best first, and the best that was seen to be fast enough.

    adaptive = Adaptive([Level("d64", open_large), Level("d16-L3", open_small)])
    answer = adaptive("a small musical phrase", deadline_ms=10)  # answer.value, answer.level, answer.ms

`Pace` decides, from the times it was told alone; it reads no clock. Imports numpy, whose median is loaded on a board
anyway, and not `statistics`, which takes longer to import than all of this.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, TypeVar

import numpy as np

from mrl_edge.errors import UsageError

T = TypeVar("T")
U = TypeVar("U")
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

    def anew(self) -> Pace:
        """Return one of the same settings that has seen nothing yet."""
        return Pace(self._window, self._retry)

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
class Level:
    """One way to answer: `open` loads what answers; `resident_bytes` is about what that keeps in memory."""

    name: str
    open: Callable[[], Any]
    resident_bytes: int = 0


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a level made of a text, which level, and how long it took, no wait; `expected_ms` is what was known before.

    Where it climbed (`Adaptive.climb`) both are of all levels that were asked, and `stopped` says why it went no
    further: this one is "sure", or the "best"; the next takes more than is left of the "deadline", or of the "memory".
    """

    value: T
    level: str
    ms: float
    expected_ms: float | None
    stopped: str | None = None


def _call(opened: Callable[..., T], text: str, *arguments: Any) -> T:
    return opened(text, *arguments)


class Adaptive(Generic[T]):
    """Levels, best first, opened when they are first used. Threads may share it: one text is answered at a time.

    `clock` returns seconds; `ask` has what a level opened answer a text, and by default calls it.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        pace: Pace | None = None,
        clock: Callable[[], float] = time.perf_counter,
        ask: Callable[..., T] = _call,
    ) -> None:
        self.levels = tuple(levels)
        self.pace = pace or Pace()
        self._clock = clock
        self._ask = ask
        self._open: dict[int, Any] = {}
        self._answered: set[int] = set()  # of those that are open: the first answer takes longer than all others
        self._lock = threading.RLock()  # held while a level opens, closes or answers

    def asking(self, ask: Callable[..., U]) -> Adaptive[U]:
        """Return the same levels, asked for something else: times are its own, what is open and its memory shared."""
        other = Adaptive(self.levels, self.pace.anew(), self._clock, ask)
        other._open, other._answered, other._lock = self._open, self._answered, self._lock
        return other

    def opened(self, number: int) -> Any:
        """Return what a level opened, by its number."""
        with self._lock:
            if number not in self._open:
                self._open[number] = self.levels[number].open()
            return self._open[number]

    def warm_up(self, text: str, *arguments: Any, max_bytes: int | None = None) -> None:
        """Open every level that fits the memory and let it answer, so that no later text pays for it.

        The first answer of a level takes longer than all others and does not count; then it answers the text once more,
        and longer ones made of it. The best level is the last, and stays open where not all fit together.
        """
        with self._lock:
            for number in reversed(self._within(max_bytes)):
                self._make_room([number], max_bytes)
                self._warm(number, text, arguments)

    def __call__(
        self,
        text: str,
        *arguments: Any,
        deadline_ms: float | None = None,
        max_bytes: int | None = None,
        level: str | None = None,
    ) -> Answer[T]:
        """Answer a text with the best level that fits the memory and is expected within the deadline.

        `arguments` are handed on to `ask`. A wait for other threads is taken off the deadline; where nothing is left,
        the least level answers. What is open together never has more than `max_bytes`: others are closed before one is
        opened. `level` names the one that answers, whatever it takes. Raises `UsageError` when none fits, or none has
        the name.
        """
        begun = self._clock()
        with self._lock:
            fitting = self._within(max_bytes, level)
            left_ms = None if deadline_ms is None else deadline_ms - 1000 * (self._clock() - begun)
            if left_ms is None:
                chosen = fitting[0]
            else:
                chosen = self.pace.choose(fitting, len(text), left_ms) if left_ms > 0 else fitting[-1]
            self._make_room([chosen], max_bytes)
            expected_ms = self.pace.expected_ms(chosen, len(text))
            value, ms = self._timed(chosen, text, arguments, left_ms)
        return Answer(value, self.levels[chosen].name, ms, expected_ms)

    def climb(
        self,
        text: str,
        enough: Callable[[int, T], bool],
        deadline_ms: float | None = None,
        max_bytes: int | None = None,
    ) -> Answer[T]:
        """Answer a text with the least level, and ever better ones until a value is `enough`.

        A better one is asked where it is expected within what is left of the deadline, and fits the memory beside all
        that take less: one that took their place would have them opened anew for each text. A wait for other threads is
        taken off the deadline. `enough` gets the number of the level, 1 is the best but one, and the value. Raises
        `UsageError` when no level fits.
        """
        begun = self._clock()
        with self._lock:
            rising = self._together(max_bytes)
            expected: list[float | None] = []
            spent_ms, at = 0.0, rising[0]
            for place, number in enumerate(rising):
                left_ms = math.inf if deadline_ms is None else deadline_ms - 1000 * (self._clock() - begun)
                if place > 0 and (left_ms <= 0 or self.pace.choose([number, at], len(text), left_ms) == at):
                    stopped = "deadline"
                    break
                at = number
                expected.append(self.pace.expected_ms(at, len(text)))
                self._make_room(rising[: place + 1], max_bytes)  # not yet for what may not be asked
                value, ms = self._timed(at, text, (), None if deadline_ms is None else left_ms)
                spent_ms += ms
                if at > 0 and enough(at, value):
                    stopped = "sure"
                    break
            else:
                stopped = "memory" if at > 0 else "best"
        known = [ms for ms in expected if ms is not None]
        expected_ms = sum(known) if len(known) == len(expected) else None
        return Answer(value, self.levels[at].name, spent_ms, expected_ms, stopped)

    def warm_up_climb(self, text: str, max_bytes: int | None = None) -> None:
        """Do what `warm_up` does for those levels that a climb within the memory may ask: all of them stay open."""
        with self._lock:
            rising = self._together(max_bytes)
            self._make_room(rising, max_bytes)
            for number in rising:
                self._warm(number, text, ())

    def _within(self, max_bytes: int | None, name: str | None = None) -> list[int]:
        sizes = {n: level.resident_bytes for n, level in enumerate(self.levels) if name in (None, level.name)}
        if not sizes:
            raise UsageError(f"there is no level {name}: there is {', '.join(level.name for level in self.levels)}")
        fitting = [number for number, size in sizes.items() if max_bytes is None or size <= max_bytes]
        if not fitting:
            raise UsageError(f"no level fits {max_bytes} bytes: the smallest takes {min(sizes.values())}")
        return fitting

    def _together(self, max_bytes: int | None) -> list[int]:
        """Return as many levels as fit the memory together, the least first.

        They are taken by size, as a lesser one may be the larger: so more memory only ever adds to them.
        """
        by_size = sorted(self._within(max_bytes), key=lambda number: (self.levels[number].resident_bytes, -number))
        held = accumulate(self.levels[number].resident_bytes for number in by_size)
        fitting = [n for n, size in zip(by_size, held, strict=True) if max_bytes is None or size <= max_bytes]
        return sorted(fitting, reverse=True)

    def _make_room(self, chosen: Sequence[int], max_bytes: int | None) -> None:
        """Close other levels, the largest first, until what is left and the chosen ones fit together."""
        if max_bytes is None:
            return
        others = sorted((n for n in self._open if n not in chosen), key=lambda n: self.levels[n].resident_bytes)
        while others and sum(self.levels[n].resident_bytes for n in (*chosen, *others)) > max_bytes:
            closed = others.pop()
            del self._open[closed]
            self._answered.discard(closed)

    def _warm(self, number: int, text: str, arguments: tuple[Any, ...]) -> None:
        self._ask(self.opened(number), text, *arguments)
        self._answered.add(number)
        for times in _WARMED:
            self._timed(number, " ".join([text] * times), arguments, None)

    def _timed(self, number: int, text: str, arguments: tuple[Any, ...], deadline_ms: float | None) -> tuple[T, float]:
        started = self._clock()
        value = self._ask(self.opened(number), text, *arguments)
        ms = 1000 * (self._clock() - started)
        if number in self._answered:  # the first answer, which may open the level, says nothing of the others
            self.pace.observe(number, len(text), ms, deadline_ms)
        self._answered.add(number)
        return value, ms
