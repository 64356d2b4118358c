"""How texts come to the encoder in `mrl-edge bench`: in batches, from callers at once, by chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mrl_edge.cli import options
from mrl_edge.errors import UsageError

_TAILS = (99.0, 99.9)


@dataclass(frozen=True)
class Calls:
    """Texts a call; threads that call at once; threads that answer texts which arrive by chance."""

    batches: tuple[int, ...]
    callers: tuple[int, ...]
    servers: tuple[int, ...]


def read_calls(
    batches: str | None, concurrency: str | None, server: bool, p99_limit_ms: float | None, max_seconds: float
) -> Calls:
    """Read the options; `UsageError` where one does nothing without another, or the time is too short for a limit."""
    if p99_limit_ms == math.inf:
        raise UsageError("--p99-limit-ms inf: every rate keeps it")
    if p99_limit_ms is not None and concurrency is None and not server:
        raise UsageError("--p99-limit-ms does nothing without --concurrency or --server")
    if server and p99_limit_ms is None:
        raise UsageError("--server needs --p99-limit-ms: the rate is the highest that keeps it")
    if server and p99_limit_ms is not None:
        _refuse_short_trials(p99_limit_ms, max_seconds)
    callers = options.numbers("--concurrency", concurrency) if concurrency else ()
    return Calls(options.numbers("--batches", batches) if batches else (), callers, (callers or (1,)) if server else ())


def check_tail(tail: float | None) -> None:
    """Refuse a percentile that no results file has: going on for it would tell nothing."""
    if tail not in (None, *_TAILS):
        raise UsageError(f"--tail {tail:g}: expected 99 or 99.9, the percentiles that are measured")


def _refuse_short_trials(p99_limit_ms: float, max_seconds: float) -> None:
    """Refuse a limit so long that a queue which only grows would not reach it within a trial."""
    from mrl_edge.bench.latency import SERVER_SHARE
    from mrl_edge.bench.measure.capacity import LEAST_LIMITS, trial_seconds

    least = LEAST_LIMITS * p99_limit_ms / 1e3 / trial_seconds(SERVER_SHARE)
    if max_seconds < least:
        raise UsageError(
            f"--server with --p99-limit-ms {p99_limit_ms:g} needs --max-seconds {math.ceil(least * 10) / 10:g} or more"
        )
