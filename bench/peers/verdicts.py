"""What a measured ratio says of a promise, in every script here: kept, not kept, or not to be told."""

from __future__ import annotations

import math
from typing import Literal

Verdict = Literal["kept", "UNDECIDED", "NOT KEPT", "not checked"]
SHOWN: frozenset[Verdict] = frozenset({"kept", "not checked"})  # what a script ends with exit code 0 on


def held(interval: tuple[float, float] | None, least: float = -math.inf, most: float = math.inf) -> Verdict:
    """Hold a figure's 95% interval against what was promised: at least, at most, or both.

    Kept where all of it lies within, not kept where all of it lies beyond one of them; else another run may say
    otherwise, as may one of fewer than 6 rounds, which has no interval (None). A figure that is counted and not
    estimated is an interval of itself.
    """
    if interval is None:
        return "UNDECIDED"
    low, high = interval
    if least <= low and high <= most:
        return "kept"
    return "NOT KEPT" if high < least or low > most else "UNDECIDED"
