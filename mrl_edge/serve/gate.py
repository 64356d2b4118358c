"""The way from the event loop to the threads that compute: so many at once, so many waiting, and no more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_T = TypeVar("_T")
Work = Callable[[threading.Event], _T]  # looks at the event between its batches, and ends when it is set


class Full(Exception):
    """All places, of those that compute and of those that wait, are taken."""


class Gate:
    """Runs work on `concurrency` threads while at most `queue` more wait; it belongs to one event loop."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="compute")
        self._concurrency = concurrency
        self._places = concurrency + queue
        self._taken = 0
        self._read = 0

    @property
    def running(self) -> int:
        """How many compute now."""
        return min(self._taken, self._concurrency)

    @property
    def waiting(self) -> int:
        """How many wait for those."""
        return self._taken - self.running

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold a place while a body is read; raises `Full` when as many are read as could then compute and wait.

        Bodies in memory are never more than twice those places.
        """
        if self._read >= self._places:
            raise Full
        self._read += 1
        try:
            yield
        finally:
            self._read -= 1

    async def run(self, work: Work[_T], seconds: float) -> _T:
        """Return what the work returns; raises `Full` at once, `asyncio.TimeoutError` in time, or what the work does.

        Work that is given up keeps its place until its thread is free: what waits is never more than it seems.
        """
        if self._taken >= self._places:
            raise Full
        loop = asyncio.get_running_loop()
        stop = threading.Event()

        def leave(_: Future[_T]) -> None:
            loop.call_soon_threadsafe(self._leave)

        self._taken += 1
        future = self._pool.submit(work, stop)
        future.add_done_callback(leave)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        finally:
            stop.set()

    def close(self) -> None:
        """Wait for what computes; what waits is dropped."""
        self._pool.shutdown(cancel_futures=True)

    def _leave(self) -> None:
        self._taken -= 1
