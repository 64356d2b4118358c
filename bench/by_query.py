"""A score of each query, short enough for every row of a results file, and what two runs over the same queries show."""

from __future__ import annotations

import base64
import math
import zlib
from contextlib import suppress
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_STEPS = 255  # of a score from 0 to 1, as it is kept
_BY_CHANCE = 0.05  # share of draws that chance alone may be taken for a difference in
_FEW = 100  # changes as large as the largest, of which chance is counted out; of more their sum is normal enough
_UNSEEN = -math.log(_BY_CHANCE / 2)  # changed queries, 3.7, of which one draw in 40 shows none


def packed(scores: NDArray[np.float64]) -> str:
    """Return scores [n] from 0 to 1, a byte each, as base64."""
    steps = np.rint(scores * _STEPS).astype(np.uint8)
    return base64.b64encode(zlib.compress(steps.tobytes())).decode("ascii")


def unpacked(text: str) -> NDArray[np.float64]:
    """Return the scores [n] of what `packed` returned, good to 1/510; none of what is no such text."""
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        content = b""
    with suppress(zlib.error):  # the recalls of earlier files are not compressed
        content = zlib.decompress(content)
    return np.array(bytearray(content), dtype=np.uint8) / _STEPS


def change_of_mean(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95% interval of how far the mean score of the same queries [n] changed from a to b.

    It excludes 0 where Fisher's randomisation test (Smucker et al. 2007), two-sided, rejects at 5%: were the change
    chance, each query's could as well have had the other sign, and 95% of such draws come no further from 0 than the
    interval reaches from the mean; of hits and misses that is McNemar's exact test. A Student's interval would find a
    difference in four queries that fell, which chance makes of one draw in eight. Each end that is not between the mean
    and an excluded 0 is further by 3.7 whole scores: changes so rare may not be among these queries.
    """
    changes = np.rint((b - a) * _STEPS).astype(np.int64)
    total, reach = int(changes.sum()), _by_chance(np.abs(changes[changes != 0]))
    whole = _STEPS * max(1, len(changes))
    low, high = total - reach, total + reach
    low -= 0 if low > 0 else _UNSEEN * _STEPS
    high += 0 if high < 0 else _UNSEEN * _STEPS
    return max(-1.0, low / whole), min(1.0, high / whole)


def _by_chance(steps: NDArray[np.int64]) -> float:
    """Return the largest sum of steps [k] of random signs that more than 5% of the draws reach, up or down."""
    if not len(steps):
        return 0.0
    unit = int(np.gcd.reduce(steps))
    squares = int((steps**2).sum())
    if squares > _FEW * int(steps.max()) ** 2:  # sums lie 2 units apart: half of that is the correction for continuity
        return NormalDist().inv_cdf(1 - _BY_CHANCE / 2) * math.sqrt(squares) + unit
    chances = np.ones(1)  # of each sum in units, from the least to the largest
    for step in np.sort(steps // unit):  # the smallest first: the sums stay few for longer
        wider = np.zeros(len(chances) + 2 * int(step))
        wider[: len(chances)] += chances / 2
        wider[len(wider) - len(chances) :] += chances / 2
        chances = wider
    at_least = np.cumsum(chances[::-1])  # from the largest sum down
    largest = len(chances) // 2
    return float(unit * (largest - int(np.argmax(2 * at_least > _BY_CHANCE))))
