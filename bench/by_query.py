"""A score of each query, short enough for every row of a results file, and what two runs over the same queries show."""

from __future__ import annotations

import base64
import math

import numpy as np
from numpy.typing import NDArray

_ONE_IN = 20  # draws that chance alone may be taken for a difference in


def packed(scores: NDArray[np.float64]) -> str:
    """Return scores [n] from 0 to 1 as base64 of a byte each, 255 for 1."""
    return base64.b64encode(np.rint(scores * 255).astype(np.uint8).tobytes()).decode("ascii")


def unpacked(text: str) -> NDArray[np.float64]:
    """Return the scores [n] of what `packed` returned, good to 1/510; none of what is no such text."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8) / 255
    except ValueError:
        return np.empty(0)


def by_chance(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Return whether the scores [n] of the same queries may have changed from a to b by chance alone.

    The exact sign test of the queries whose score changed (Conover, Practical Nonparametric Statistics, §3.4),
    two-sided at 5%; of hits and misses it is McNemar's. Their number counts, not by how much: where it points the other
    way than the mean, nothing is shown.
    """
    rose, fell = int(np.count_nonzero(b > a)), int(np.count_nonzero(b < a))
    if (float(b.mean()) - float(a.mean())) * (rose - fell) <= 0:
        return True
    fewer, all_changed = min(rose, fell), rose + fell
    tail = sum(math.comb(all_changed, k) for k in range(fewer + 1))
    return 2 * tail * _ONE_IN > 1 << all_changed  # in whole numbers: a float ends at 2^1024
