"""What is promised of training, and whether ratios with their intervals keep it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verdicts import Verdict, held

PROMISES = (("fine_tune_step", "most", 1.05), ("frozen_epoch", "most", 2.0), ("peer_step", "least", 2.0))


def judged(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Verdict]:
    """Return the verdict on each promise, by its name; `found` has the `ci95` of each ratio."""
    return {name: held(found[name]["ci95"], **{side: limit}) for name, side, limit in PROMISES}
