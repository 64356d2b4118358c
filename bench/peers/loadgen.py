"""Our p90 beside that of MLPerf's LoadGen, driving the same encoder in SingleStream and Server, in turn in one process.

    build/loadgen/bin/python bench/peers/loadgen.py [--folder quickstart] [--json]     (`make loadgen` installs it)

LoadGen asks for texts drawn at random from the same 64, in SingleStream one after the other, in Server by a Poisson
process at half of the rate that one after the other would come to, drawn anew in every round; its p90 is read from its
own summary. Ours is within 10% of it where the whole interval of the ratio is, and that is undecided where a part is.
Exit code 1 unless both scenarios are within.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mrl_edge.bench.jobs import LatencySample, Task
from mrl_edge.bench.measure.arrivals import poisson_gaps, time_arrivals
from mrl_edge.bench.measure.calls import time_calls
from mrl_edge.bench.measure.intervals import LEAST_PASSES, in_words
from mrl_edge.bench.measure.turns import ratio_of, take_turns
from verdicts import SHOWN, Verdict, held

import mrl_edge
from mrl_edge.datasets import Columns, read_table
from mrl_edge.encoder import Encoder

if TYPE_CHECKING:
    import mlperf_loadgen

_SECONDS = {"SingleStream": 2.0, "Server": 6.0}  # a round: a p90 of a queue takes more texts
_LOAD = 0.5  # of the encoder's time, in Server
_TOLERANCE = 0.1


def loadgen_p90_ms(
    encoder: Encoder, sample: LatencySample, scenario: str, rate: float, random: np.random.Generator, logs: Path
) -> float:
    """Let LoadGen drive the encoder once and return the 90th percentile latency of its summary; `rate` is Server's."""
    import mlperf_loadgen

    def issue(samples: list[mlperf_loadgen.QuerySample]) -> None:
        for one in samples:
            vector = encoder.encode(sample.texts[one.index : one.index + 1], sample.role)
            response = mlperf_loadgen.QuerySampleResponse(one.id, vector.ctypes.data, vector.nbytes)
            mlperf_loadgen.QuerySamplesComplete([response])

    settings = mlperf_loadgen.TestSettings()
    settings.scenario = getattr(mlperf_loadgen.TestScenario, scenario)
    settings.server_target_qps = rate
    settings.schedule_rng_seed, settings.sample_index_rng_seed = map(int, random.integers(1 << 63, size=2))
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = settings.max_duration_ms = round(_SECONDS[scenario] * 1e3)
    settings.min_query_count = 1
    output = mlperf_loadgen.LogOutputSettings()
    output.outdir = str(logs)
    log = mlperf_loadgen.LogSettings()
    log.log_output = output
    system = mlperf_loadgen.ConstructSUT(issue, lambda: None)
    library = mlperf_loadgen.ConstructQSL(len(sample.texts), len(sample.texts), lambda _: None, lambda _: None)
    mlperf_loadgen.StartTestWithLogSettings(system, library, settings, log)
    mlperf_loadgen.DestroyQSL(library)
    mlperf_loadgen.DestroySUT(system)
    summary = (logs / "mlperf_log_summary.txt").read_text(encoding="utf-8")
    match = re.search(r"^90\.00 percentile latency \(ns\) *: (\d+)", summary, re.MULTILINE)
    if match is None:
        sys.exit(f"LoadGen's summary names no 90th percentile:\n{summary}")
    return int(match[1]) / 1e6


def our_p90_ms(
    encoder: Encoder, sample: LatencySample, scenario: str, rate: float, random: np.random.Generator
) -> float:
    """Return ours of the same."""
    texts, role, seconds = sample.texts, sample.role, _SECONDS[scenario]

    def encode(number: int) -> object:
        return encoder.encode(texts[number : number + 1], role)

    if scenario == "Server":
        queries = round(rate * seconds)
        inputs = random.integers(len(texts), size=queries)
        return float(np.percentile(time_arrivals(encode, inputs, poisson_gaps(random, rate, queries), 1), 90))
    p90_ms = time_calls(encode, len(texts), seconds).p90_ms
    return sys.exit("a text takes less than the clock can tell") if p90_ms is None else p90_ms


def main() -> None:
    """Print both and their ratio in each scenario; exit code 1 unless both are shown to be within 10%."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="where mrl-edge quickstart ran")
    parser.add_argument("--rounds", type=int, default=10, help="at least 6: fewer have no interval")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.rounds < LEAST_PASSES:
        parser.error(f"--rounds {options.rounds}: expected at least {LEAST_PASSES}, fewer have no interval")
    if not (options.folder / "bundle" / "bundle.json").is_file():
        sys.exit(f"{options.folder} holds no bundle: run `make quickstart` first")
    if find_spec("mlperf_loadgen") is None:
        sys.exit("LoadGen is not installed here: run `make loadgen`")
    queries = read_table("builtin:wordnet_nouns/dev", Columns(query="gloss")).roles["query"]
    sample = Task(queries, [], [], [], []).latency_sample()
    encoder = mrl_edge.load(options.folder / "bundle", dim=64, precision="int8", threads=1)
    alone = time_calls(lambda i: encoder.encode(sample.texts[i : i + 1], sample.role), len(sample.texts), 4.0)
    rate = _LOAD * 1e3 / alone.mean_ms
    answers, random = {}, np.random.default_rng(0)
    for scenario in _SECONDS:
        with tempfile.TemporaryDirectory() as logs:
            sides = [
                partial(our_p90_ms, encoder, sample, scenario, rate, random),
                partial(loadgen_p90_ms, encoder, sample, scenario, rate, random, Path(logs)),
            ]
            p90 = take_turns(sides, options.rounds)
        found = ratio_of(p90[:, 0], p90[:, 1])
        mine, theirs = np.median(p90, axis=0)
        answer = {"ours_p90_ms": mine, "loadgen_p90_ms": theirs, "ratio": found.ratio, "ratio_ci95": found.ci95}
        answers[scenario] = {**answer, "verdict": within_tolerance(found.ci95)}
        if not options.json:
            at = f" at {rate:.0f} texts/s" if scenario == "Server" else ""
            print(f"{scenario} p90{at}, int8 at 64 dimensions, 1 thread: ours {mine:.2f} ms, LoadGen's {theirs:.2f} ms")
            print(f"ratio {found.ratio:.3f} ({in_words(found.ci95, 3)}), {options.rounds} rounds in turn: ", end="")
            print(f"within {_TOLERANCE:.0%}: {within_tolerance(found.ci95)}", flush=True)
    if options.json:
        print(json.dumps(answers, indent=2))
    sys.exit(not SHOWN.issuperset(answer["verdict"] for answer in answers.values()))


def within_tolerance(ci95: tuple[float, float] | None) -> Verdict:
    """Hold the ratio of the two p90 against 10% to either side."""
    return held(ci95, 1 - _TOLERANCE, 1 + _TOLERANCE)


if __name__ == "__main__":
    main()
