"""What this machine can do at most: products of matrices through onnxruntime, and reading from memory.

The best of many short calls, as a ceiling is what was possible once, not what is usual on a shared machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from mrl_edge.bench.jobs import CeilingsJob, CeilingsResult
from mrl_edge.bench.results import Bandwidth, Ceilings

_WIDTH = 768  # of the constant factor in product-*.onnx, [768, 768]
_ROWS = (128, 512)  # of the other one, a thread
_SECONDS = 0.3  # a rate
_SMALLEST_BYTES = 1 << 20
_TIMED_BYTES = 4 << 20  # what is read between two looks at the clock, at least


def measure_ceilings(job: CeilingsJob) -> CeilingsResult:
    """Measure the rates with the job's threads; bandwidth from 1 MiB up to `largest_bytes`, in steps of √2.

    numpy's BLAS must be held to one thread (OPENBLAS_NUM_THREADS): each thread here calls it by itself.
    """
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, 100, (size * job.threads, _WIDTH), dtype=np.uint8) for size in _ROWS]
    sizes = [int(_SMALLEST_BYTES * 2 ** (step / 2)) for step in range(40)]
    return CeilingsResult(
        Ceilings(
            threads=job.threads,
            fp32_gops=_product_rate("fp32", [part.astype(np.float32) for part in rows], job.threads),
            int8_gops=_product_rate("int8", rows, job.threads),
            bandwidths=tuple(
                Bandwidth(size, read_rate(size, job.threads)) for size in sizes if size <= job.largest_bytes
            ),
            measured=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
    )


def _product_rate(kind: str, factors: list[Any], threads: int) -> float:
    """Return the most 10^9 multiplications and additions a second that onnxruntime did."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    graph = Path(__file__).parent / f"product-{kind}.onnx"
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def rate(rows: Any) -> float:
        shortest = _shortest_s(lambda: session.run(None, {"x": rows}), time.perf_counter)
        return float(2 * rows.shape[0] * _WIDTH * _WIDTH / shortest / 1e9)

    return max(rate(rows) for rows in factors)


def read_rate(size: int, threads: int) -> float:
    """Return the most 10^9 bytes a second that the threads together read of `size` bytes, each its own part.

    The kernel is BLAS's dot product of two float32 arrays. A thread's own processor time counts, which waiting for a
    core is no part of.
    """
    length = max(size // threads // 8, 1)
    pairs = [(np.full(length, 0.5, np.float32), np.full(length, 0.5, np.float32)) for _ in range(threads)]
    repeats = max(_TIMED_BYTES // size, 1)
    rates: list[float] = []
    together = threading.Barrier(threads)

    def read(first: Any, second: Any) -> None:
        def some() -> None:
            for _ in range(repeats):
                np.dot(first, second)

        together.wait()
        rates.append(8 * length * repeats / _shortest_s(some, time.thread_time) / 1e9)

    readers = [threading.Thread(target=read, args=pair) for pair in pairs]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return sum(rates)


def _shortest_s(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Call for a while, at least 4 times, and return the shortest call after the first."""
    call()
    times: list[float] = []
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end or len(times) < 3:
        started = clock()
        call()
        times.append(clock() - started)
    return min(times)
