"""Something that a thread of its own does, until it is needed.

Not `concurrent.futures`, which takes 5 ms to import: as long as some of what is done here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Later(Generic[T]):
    """A call that has begun. What lets go of the interpreter runs beside it: hashing, parsing, onnxruntime."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._values: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def get(self) -> T:
        """Wait for what the call returns; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._values[0]

    def wait(self) -> None:
        """Wait until the call has ended, however it did: for who needs it no more."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._values.append(self._call())
        except BaseException as error:  # raised where it is waited for
            self._error = error
