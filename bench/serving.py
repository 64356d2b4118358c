"""What a living process does: one pass over its inputs for every line, answered with the times."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np
from mrl_edge.bench.memory import read_memory


def serve(call: Callable[[int], np.ndarray], inputs: int) -> None:
    """Answer `pass` until the standard input closes: `ms` of each input, `rss_mb`, and the last `vector`."""
    for _ in sys.stdin:
        times = []
        for number in range(inputs):
            started = time.perf_counter_ns()
            vector = call(number)
            times.append((time.perf_counter_ns() - started) / 1e6)
        answer = {"ms": times, "rss_mb": read_memory().rss / 1e6, "vector": vector.tolist()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
