"""What tuning has tried, and what of it a larger build must better."""

from __future__ import annotations

import math

import msgspec

from mrl_edge.description import Parameters, Step

_NEAR = 0.01  # of the target: there every gain of recall counts, further away whole hundredths do


class Trial(msgspec.Struct, frozen=True):
    """One configuration that was tried; recall and time are null where it was given up before they were measured."""

    dim: int
    kind: str
    parameters: Parameters
    shortlist: int | None
    rerank_dim: int | None
    recall_at_10_full: float | None
    p50_ms: float | None
    resident_bytes: int
    build_s: float
    note: str = ""
    funnel: tuple[Step, ...] = ()  # as of a `SizedIndex`


def rank(trial: Trial, target_recall: float) -> tuple[float, float]:
    """Return what a larger build must better: the recall up to the target, then the time.

    A larger build costs seconds, so that a thousandth far below the target is not worth one; the last is.
    """
    if trial.recall_at_10_full is None or trial.p50_ms is None:
        return -1.0, 0.0
    recall = min(trial.recall_at_10_full, target_recall)
    return recall if recall > target_recall - _NEAR else math.floor(100 * recall) / 100, -trial.p50_ms
