"""The rows that a narrowing has begun: which are measured in further processes, and which are seen not to fit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mrl_edge.bench.budget import Objective
from mrl_edge.bench.candidates import Candidate, candidate
from mrl_edge.bench.configuration import Configuration, configuration_of
from mrl_edge.bench.known import FAR_OVER
from mrl_edge.bench.limits import Limits, excesses
from mrl_edge.bench.results import Measurement
from mrl_edge.bench.run import Run

from mrl_edge.bundle import Variant

_MEDIANS = ("p50_ms", "cold_start_ms", "energy_mj")  # of the processes, in a row; of the memory it is the highest
_BY_PROCESS = (*_MEDIANS, "p99_ms", "peak_rss_mb")
_DOUBTS = {"busy", "drift", "interval"}  # of a process that may have been disturbed


@dataclass(frozen=True)
class _Seen:
    """What one process showed: the limits that it missed, those that it missed by far, and whether to doubt it."""

    over: frozenset[str]
    far: frozenset[str]
    doubted: bool


class Played:
    """What the processes of each row said of the limits."""

    def __init__(self, run: Run, missing: Mapping[Configuration, Variant]) -> None:
        self._run, self._missing = run, missing
        self._seen: dict[Configuration, list[_Seen]] = defaultdict(list)

    @property
    def measured(self) -> int:
        """How many configurations were measured in this run, in whatever number of processes."""
        return len(self._seen)

    def judge(self, row: Measurement, limits: Limits) -> None:
        """Note what one process of a configuration showed."""
        found = candidate(row, self._run.results.settings)
        if found is None:
            return
        alone = replace(found, p50_ci95_ms=(found.p50_ms, found.p50_ms), processes=None)
        missed = excesses(alone, replace(limits, shares={}, min={}))
        whole = row.query or row.encode
        doubts = set(whole.doubts) if whole else set()
        far = frozenset(one.figure for one in missed if one.figure in _MEDIANS and one.share > FAR_OVER)
        doubted = bool(doubts & _DOUBTS) or "p50_ms" not in far  # the others are of one start, or of few queries
        self._seen[configuration_of(row)].append(_Seen(frozenset(one.figure for one in missed), far, doubted))

    def contenders(self, objective: Objective, leader: Candidate | None, limits: Limits) -> list[Configuration]:
        """Return what has fewer processes than it should and may still be the choice, the best first.

        That is the leader, what is better and not seen to miss a limit, and what equals it and may be faster.
        """
        found = []
        for configuration in self._missing:
            row = self._run.figures(configuration)
            if row is None or not self._lacking(configuration) or self._why_stopped(configuration):
                continue
            if any(one.figure not in _BY_PROCESS for one in excesses(row, limits)):  # no process changes that
                continue
            if leader is None or objective.value(row) > objective.value(leader) or _as_good(row, leader, objective):
                found.append((-objective.value(row), row.p50_ms, configuration))
        return [configuration for _, _, configuration in sorted(found, key=lambda one: one[:2])]

    def stopped(self) -> Iterator[str]:
        """Yield why each row that has fewer processes than it should was not measured on."""
        for configuration in self._missing:
            if self._run.figures(configuration) is not None and self._lacking(configuration):
                yield self._why_stopped(configuration) or "cannot be better than what fits"

    def _lacking(self, configuration: Configuration) -> bool:
        rows = self._run.processes.rows(configuration)
        return len(rows) < self._run.grid.processes(configuration) and all(row.status == "ok" for row in rows)

    def _why_stopped(self, configuration: Configuration) -> str | None:
        """Say why no further process can make a row fit; None where one can.

        A process that is far over decides alone, unless it may have been disturbed: then a second one must be.
        """
        seen = self._seen.get(configuration, [])
        far = [one for one in seen if one.far]
        if any(not one.doubted for one in far) or len(far) > 1:
            return f"far beyond the budget's {_named(name for one in far for name in one.far)}"
        if any("peak_rss_mb" in one.over for one in seen):
            return "beyond the budget's peak_rss_mb"
        processes = self._run.grid.processes(configuration)
        often = [name for name in _MEDIANS if 2 * sum(name in one.over for one in seen) > processes]
        return f"beyond the budget's {_named(often)} in most processes" if often else None


def _as_good(row: Candidate, leader: Candidate, objective: Objective) -> bool:
    """Whether a row is the leader, or equals it and may be as fast."""
    if objective.value(row) < objective.value(leader):
        return False
    low, high = row.p50_ci95_ms, leader.p50_ci95_ms
    return row == leader or low is None or high is None or low[0] <= high[1]


def _named(figures: Iterator[str] | list[str]) -> str:
    return " and ".join(sorted(set(figures)))
