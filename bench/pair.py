"""Two configurations of a bundle measured in turn, each in a living process: the ratio of their times."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
from mrl_edge.bench.jobs import EncodeConfiguration, EncodeJob, LatencySample, write
from mrl_edge.bench.measure.intervals import median_interval
from mrl_edge.bench.measure.timing import Doubt
from mrl_edge.bench.measure.turns import ratio_of, take_turns_until_known
from mrl_edge.bench.processes import Living

from mrl_edge.bundle import Bundle


class Side(msgspec.Struct, frozen=True):
    """One of the two: its pass medians' median over the rounds, and its memory at the end."""

    configuration: EncodeConfiguration
    name: str
    p50_ms: float
    ci95_ms: tuple[float, float] | None  # null of fewer than 6 rounds
    rss_bytes: int


class PairResult(msgspec.Struct, frozen=True):
    """`ratio` is the time of `a` as a multiple of that of `b`, by rounds in which both ran."""

    a: Side
    b: Side
    ratio: float
    ratio_ci95: tuple[float, float] | None  # likewise
    rounds: int
    stable: bool
    doubts: tuple[Doubt, ...]


def measure_pair(
    bundle: Bundle, sample: LatencySample, a: EncodeConfiguration, b: EncodeConfiguration, max_seconds: float
) -> PairResult:
    """Encode the sample's texts one at a time, pass by pass in turn, until the ratio is known to 2% or time is up."""
    with tempfile.TemporaryDirectory() as work, ExitStack() as stack:
        answers: list[dict[str, float]] = [{}, {}]
        passes = []
        for place, configuration in enumerate((a, b)):
            job = Path(work) / f"{place}.json"
            write(job, EncodeJob(str(bundle.folder.absolute()), configuration, sample))
            command = ("-m", "mrl_edge.bench.worker", str(job))
            process = stack.enter_context(Living(str(configuration), command, configuration.threads))
            passes.append(_asking(process, answers, place))
        medians = take_turns_until_known(passes, max_seconds)
    found = ratio_of(medians[:, 0], medians[:, 1])
    sides = [_side(configuration, medians[:, i], answers[i]) for i, configuration in enumerate((a, b))]
    return PairResult(sides[0], sides[1], found.ratio, found.ci95, found.rounds, found.stable, found.doubts)


def _asking(process: Living, answers: list[dict[str, float]], place: int) -> Callable[[], float]:
    def one_pass() -> float:
        answers[place] = process.ask("pass")
        return float(np.median(answers[place]["ms"]))

    return one_pass


def _side(configuration: EncodeConfiguration, medians: np.ndarray, last: dict[str, float]) -> Side:
    rss_bytes = round(last["rss_mb"] * 1e6)
    return Side(configuration, str(configuration), float(np.median(medians)), median_interval(medians), rss_bytes)
