"""What onnxruntime's levers cost in time: opening and running the same graph with each, in turn in one process.

    python bench/peers/levers.py [--folder quickstart] [--json]

By processor time of one thread, which waiting for a core is no part of. Their memory is what `mrl-edge bench --runtime`
measures, each in a process of its own. Ratios are medians over the rounds, to opening and running without a lever.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from mrl_edge.bench.counting import of_length

from mrl_edge.bundle import Bundle, open_bundle
from mrl_edge.encoder import open_session
from mrl_edge.feeds import open_feeder
from mrl_edge.levers import NAMES

LEVERS = ((), *((name,) for name in NAMES))
TOKENS = (8, 32)
_OPENINGS, _ROUNDS = 7, 40


@dataclass(frozen=True)
class Cost:
    """One lever of one precision, beside none."""

    precision: str
    lever: str
    open_ms: float
    open_ratio: float
    run_ms: dict[int, float]  # by tokens
    run_ratios: dict[int, float]


def costs(bundle: Bundle, precision: str) -> Iterator[Cost]:
    """Yield what each lever costs a precision at the largest dimension."""
    variant = bundle.variant(precision, None)
    graph = bundle.graph(variant, bundle.manifest.dims[-1])
    path = bundle.checked(graph.file)
    openings = [lambda lever=lever: open_session(path, 1, variant.target, lever) for lever in LEVERS]
    for opening in openings:
        opening()  # the first of `mapped-prepack` writes its file
    opened = _in_turn(openings, _OPENINGS)
    sessions = [opening() for opening in openings]
    short = open_feeder(bundle, graph.inputs).feed(["a small stringed instrument"], "query")
    ran = {}
    for tokens in TOKENS:
        feed = of_length(short, tokens)
        runs = [lambda session=session, feed=feed: session.run(["embedding"], feed) for session in sessions]
        ran[tokens] = _in_turn(runs, _ROUNDS)
    for place, lever in enumerate(LEVERS):
        yield Cost(
            precision,
            "+".join(lever) or "default",
            float(np.median(opened[:, place])),
            _ratio(opened, place),
            {tokens: float(np.median(times[:, place])) for tokens, times in ran.items()},
            {tokens: _ratio(times, place) for tokens, times in ran.items()},
        )


def _in_turn(calls: list[Callable[[], object]], rounds: int) -> np.ndarray:
    """Return milliseconds [rounds, calls]; one round before is thrown away."""
    times = []
    for _ in range(rounds + 1):
        row = []
        for call in calls:
            started = time.process_time()
            call()
            row.append((time.process_time() - started) * 1e3)
        times.append(row)
    return np.array(times[1:])


def _ratio(times: np.ndarray, place: int) -> float:
    return float(np.median(times[:, place] / times[:, 0]))


def main() -> None:
    """Print a line a precision and lever, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="where mrl-edge quickstart ran")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not (options.folder / "bundle" / "bundle.json").is_file():
        sys.exit(f"{options.folder} holds no bundle: run `make quickstart` first")
    bundle = open_bundle(options.folder / "bundle")
    found = []
    with tempfile.TemporaryDirectory() as cache:  # a prepacked copy a precision, of use to nobody else
        os.environ["XDG_CACHE_HOME"] = cache
        for precision in bundle.precisions():
            for cost in costs(bundle, precision):
                found.append(cost)
                if not options.json:
                    runs = [f"{n} tokens {cost.run_ms[n]:.2f} ms, {cost.run_ratios[n]:.2f} ×" for n in TOKENS]
                    opening = f"opened in {cost.open_ms:.0f} ms, {cost.open_ratio:.2f} ×"
                    print(f"{precision:6} {cost.lever:15} {opening}; {'; '.join(runs)}", flush=True)
    if options.json:
        print(json.dumps([asdict(cost) for cost in found], indent=2))


if __name__ == "__main__":
    main()
