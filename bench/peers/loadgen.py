"""Our p90 beside that of MLPerf's LoadGen, driving the same encoder in SingleStream, in turn in one process.

    build/loadgen/bin/python bench/peers/loadgen.py [--folder quickstart] [--json]     (`make loadgen` installs it)

LoadGen asks for one text after the other, drawn at random from the same 64, for two seconds a round; its p90 is read
from its own summary. Exit code 1 when ours is not within 10% of it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

import mlperf_loadgen
import numpy as np
from mrl_edge.bench.jobs import LatencySample, Task
from mrl_edge.bench.measure.calls import time_calls
from mrl_edge.bench.measure.intervals import in_words
from mrl_edge.bench.measure.turns import ratio_of, take_turns

import mrl_edge
from mrl_edge.datasets import Columns, read_table
from mrl_edge.encoder import Encoder

_SECONDS = 2.0
_TOLERANCE = 0.1


def loadgen_p90_ms(encoder: Encoder, sample: LatencySample, logs: Path) -> float:
    """Let LoadGen drive the encoder once and return the 90th percentile latency of its summary."""

    def issue(samples: list[mlperf_loadgen.QuerySample]) -> None:
        for one in samples:
            vector = encoder.encode(sample.texts[one.index : one.index + 1], sample.role)
            response = mlperf_loadgen.QuerySampleResponse(one.id, vector.ctypes.data, vector.nbytes)
            mlperf_loadgen.QuerySamplesComplete([response])

    settings = mlperf_loadgen.TestSettings()
    settings.scenario = mlperf_loadgen.TestScenario.SingleStream
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(_SECONDS * 1e3)
    settings.max_duration_ms = round(_SECONDS * 1e3)
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


def main() -> None:
    """Print both and their ratio; exit code 1 when it is beyond 10%."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="where mrl-edge quickstart ran")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not (options.folder / "bundle" / "bundle.json").is_file():
        sys.exit(f"{options.folder} holds no bundle: run `make quickstart` first")
    queries = read_table("builtin:wordnet_nouns/dev", Columns(query="gloss")).roles["query"]
    sample = Task(queries, [], [], [], []).latency_sample()
    encoder = mrl_edge.load(options.folder / "bundle", dim=64, precision="int8", threads=1)
    texts, role = sample.texts, sample.role

    def ours() -> float:
        p90_ms = time_calls(lambda i: encoder.encode(texts[i : i + 1], role), len(texts), _SECONDS).p90_ms
        return sys.exit("a text takes less than the clock can tell") if p90_ms is None else p90_ms

    with tempfile.TemporaryDirectory() as logs:
        p90 = take_turns([ours, lambda: loadgen_p90_ms(encoder, sample, Path(logs))], options.rounds)
    found = ratio_of(p90[:, 0], p90[:, 1])
    kept = abs(found.ratio - 1) <= _TOLERANCE
    mine, theirs = np.median(p90, axis=0)
    if options.json:
        answer = {"ours_p90_ms": mine, "loadgen_p90_ms": theirs, "ratio": found.ratio, "ratio_ci95": found.ci95}
        print(json.dumps({**answer, "kept": kept}, indent=2))
    else:
        print(f"SingleStream p90, int8 at 64 dimensions, 1 thread: ours {mine:.2f} ms, LoadGen's {theirs:.2f} ms")
        print(f"ratio {found.ratio:.3f} ({in_words(found.ci95, 3)}), {options.rounds} rounds in turn: ", end="")
        print("within 10%" if kept else "BROKEN, more than 10% apart")
    sys.exit(not kept)


if __name__ == "__main__":
    main()
