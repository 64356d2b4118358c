"""The configurations of a narrowing that have no row: what can still be the choice, and what was left out, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec
from mrl_edge.bench import jobs
from mrl_edge.bench.candidates import Candidate
from mrl_edge.bench.configuration import Configuration, configuration_of
from mrl_edge.bench.known import Encoding, Known
from mrl_edge.bench.limits import Excess, Limits
from mrl_edge.bench.results import Measurement, Narrowing

_Key = tuple[str, int, str, int, tuple[str, ...]]
NOT_BETTER = "cannot be better than what fits"


class InPlay:
    """What is known of each, and of the encoding of each variant with its provider, threads and runtime."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._settings = settings
        self._known: dict[Configuration, Known] = {}
        self._left_out: dict[Configuration, tuple[Known, str]] = {}
        self._failed: dict[Configuration, str] = {}
        self._encodings: dict[_Key, Encoding] = defaultdict(Encoding)

    def all(self) -> list[Known]:
        """Return all that can still be the choice."""
        return list(self._known.values())

    def of_variant(self, one: Known) -> list[Known]:
        """Return those of one's precision and depth."""
        same = one.variant.precision, one.variant.depth
        return [other for other in self.all() if (other.variant.precision, other.variant.depth) == same]

    def run_as(self, alone: Configuration) -> list[Configuration]:
        """Return those of a variant, threads and runtime."""
        return [one for one in self._known if _key(one) == _key(alone)]

    def put(self, one: Known) -> None:
        """Put one in play, or more that is known of it in its place."""
        self._known[one.configuration] = one

    def take(self, one: Known) -> Configuration:
        """Take one out, which is measured now."""
        del self._known[one.configuration]
        return one.configuration

    def glimpse(self, alone: Configuration, seen: jobs.MeasureResult) -> None:
        """Note what a glimpse of encoding saw."""
        self._encodings[_key(alone)] = self._encodings[_key(alone)].glimpsed(seen)

    def learn(self, row: Measurement) -> None:
        """Note of one process how fast it encoded: so fast its variant can, with whatever index."""
        if row.encode is not None:
            key = _key(configuration_of(row))
            self._encodings[key] = self._encodings[key].timed(row.encode)

    def least(self, one: Known) -> Candidate:
        """Return the least that one can cost, and the most that it can score."""
        return one.least(self._encodings[_key(one.configuration)], self._settings)

    def sift(self, limits: Limits, prefix: str = "") -> None:
        """Leave out what misses a limit whatever measuring it would say, and take back what was seen since not to."""
        for one, why in list(self._left_out.values()):
            if why != NOT_BETTER and not one.over(self._encodings[_key(one.configuration)], self._settings, limits):
                del self._left_out[one.configuration]
                self.put(one)
        for one in self.all():
            over = one.over(self._encodings[_key(one.configuration)], self._settings, limits)
            if over:
                self._leave(one, f"{prefix}beyond the budget's {_figures(over)}")

    def leave_the_rest(self) -> None:
        """Leave out all that is in play: something that fits is as good as any of it can be."""
        for one in self.all():
            self._leave(one, NOT_BETTER)

    def fail(self, those: Iterable[Configuration], why: str) -> None:
        """Take out what could not be run."""
        for configuration in those:
            self._failed[configuration] = why
            self._known.pop(configuration, None)

    def said(self, narrowing: Narrowing) -> Narrowing:
        """Return what a results file says of what was left out and what failed."""
        unmeasured = [
            one.left_out(self._encodings[_key(configuration)], why)
            for configuration, (one, why) in self._left_out.items()
        ]
        return msgspec.structs.replace(
            narrowing,
            left_out=dict(Counter(one.why for one in unmeasured)),
            failed=dict(Counter(self._failed.values())),
            unmeasured=tuple(unmeasured),
        )

    def _leave(self, one: Known, why: str) -> None:
        self._left_out[one.configuration] = one, why
        del self._known[one.configuration]


def _key(one: Configuration) -> _Key:
    return one.precision, one.depth, one.provider, one.threads, one.runtime


def _figures(missed: Iterable[Excess]) -> str:
    """Name the limits without the values: configurations are counted by it."""
    return " and ".join(one.figure for one in missed)
