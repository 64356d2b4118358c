"""What this machine can do at most: products of matrices through onnxruntime, and reading from memory.

The best of many short calls, as a ceiling is what was possible once, not what is usual on a shared machine; with
several threads the sum of what each does by itself, as a ceiling has no waiting in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from mrl_edge.bench.jobs import CeilingsJob, CeilingsResult
from mrl_edge.bench.results import Bandwidth, Ceilings

from mrl_edge.cpu import allowed_cores

_WIDTH = 768  # of the constant factor in product-*.onnx, [768, 768]
_ROWS = (128, 512)  # of the other one
_PRODUCT_SECONDS, _READ_SECONDS = 1.0, 0.3  # a rate
_SMALLEST_BYTES = 1 << 20
_TIMED_BYTES = 4 << 20  # what is read between two looks at the clock, at least


def measure_ceilings(job: CeilingsJob) -> CeilingsResult:
    """Measure the rates with the job's threads; bandwidth from 1 MiB up to `largest_bytes`, in steps of √2.

    numpy's BLAS must be held to one thread (OPENBLAS_NUM_THREADS): each thread here calls it by itself.
    """
    sizes = [int(_SMALLEST_BYTES * 2 ** (step / 2)) for step in range(40)]
    at_once = min(job.threads, allowed_cores())  # more threads than cores do no more
    return CeilingsResult(
        Ceilings(
            threads=job.threads,
            fp32_gops=_together(at_once, lambda: _product_rate("fp32", np.float32)),
            int8_gops=_together(at_once, lambda: _product_rate("int8", np.uint8)),
            bandwidths=tuple(
                Bandwidth(size, _together(at_once, partial(_read_rate, size // at_once)))
                for size in sizes
                if size <= job.largest_bytes
            ),
            measured=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
    )


def _together(threads: int, rate: Callable[[], float]) -> float:
    """Return the sum of the rates of so many threads at once: what they did if none ever waited for another."""
    with ThreadPoolExecutor(threads) as pool:
        return sum(future.result() for future in [pool.submit(rate) for _ in range(threads)])


def _product_rate(kind: str, dtype: type) -> float:
    """Return the most 10^9 multiplications and additions a second that onnxruntime did on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = Path(__file__).parent / f"product-{kind}.onnx"
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    rates = []
    for count in _ROWS:
        rows: Any = rng.integers(1, 100, (count, _WIDTH)).astype(dtype)
        shortest = _shortest_s(partial(session.run, None, {"x": rows}), _PRODUCT_SECONDS)
        rates.append(2 * count * _WIDTH * _WIDTH / shortest / 1e9)
    return max(rates)


def _read_rate(size: int) -> float:
    """Return the most 10^9 bytes a second that BLAS's dot product of two float32 arrays, together `size`, reads."""
    length = max(size // 8, 1)
    first, second = np.full(length, 0.5, np.float32), np.full(length, 0.5, np.float32)
    repeats = max(_TIMED_BYTES // size, 1)

    def read() -> None:
        for _ in range(repeats):
            np.dot(first, second)

    return 8 * length * repeats / _shortest_s(read, _READ_SECONDS) / 1e9


def _shortest_s(call: Callable[[], object], seconds: float) -> float:
    """Call for so long, at least 4 times, and return the shortest call after the first.

    A thread's own processor time counts, which waiting for a core is no part of.
    """
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        started = time.thread_time()
        call()
        times.append(time.thread_time() - started)
    return min(times)
