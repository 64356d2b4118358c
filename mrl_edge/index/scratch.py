"""Memory that a thread's searches use again: allocated for every query it would be faulted in for every query."""

from __future__ import annotations

import math
import threading
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

SPARE: Final = 1.25  # of what was asked for: the next query's is often a little larger


class Scratch(threading.local):
    """Room for one array at a time, as large as the largest so far; each thread has its own."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, dtype=np.uint8)

    def of(self, shape: tuple[int, int], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of any content, which the next call may overwrite."""
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        if size > len(self._bytes):
            self._bytes = np.empty(int(SPARE * size), dtype=np.uint8)
        return self._bytes[:size].view(kind).reshape(shape)
