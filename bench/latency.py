"""What the measuring process times of an opened encoder: single queries, batches, callers at once, random arrivals."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from mrl_edge.bench.jobs import Loop
from mrl_edge.bench.measure.calls import one_pass, time_calls, time_stages
from mrl_edge.bench.results import Encode, Query, Server, Throughput
from mrl_edge.devices.energy import Rapl, find_rapl

from mrl_edge.errors import ResultsError, UnsupportedError

if TYPE_CHECKING:
    from mrl_edge.bench.jobs import MeasureJob
    from mrl_edge.bench.measure.timing import Timing
    from numpy.typing import NDArray

    from mrl_edge.encoder import Encoder
    from mrl_edge.index import Index

SERVER_SHARE = 30  # times `max_seconds` for the search of a rate: a p99 takes thousands of texts at each
_BATCHES = 4  # different ones a pass, at least


@dataclass(frozen=True)
class Latency:
    """The timings of one configuration; `query` and `search` are None where nothing is searched."""

    encode: Encode
    query: Query | None = None
    search: Timing | None = None
    throughput: Throughput | None = None
    server: Server | None = None
    energy_mj: float | str = "measured of single queries alone"  # a query, or why it is not known
    loop: Loop | None = None


def time_configuration(encoder: Encoder, index: Index | None, texts: list[str], job: MeasureJob) -> Latency:
    """Time what the job asks for, on the texts."""
    if job.p99_limit_ms is not None:
        return _server(encoder, texts, job, job.p99_limit_ms)
    if job.callers > 1:
        return _callers(encoder, texts, job)
    if job.batch > 1:
        return _batches(encoder, texts, job)
    return _single(encoder, index, texts, job)


def _single(encoder: Encoder, index: Index | None, texts: list[str], job: MeasureJob) -> Latency:
    """Time the whole query and its two parts in the same calls, then tokenisation, or preprocessing, by itself."""
    role = job.sample.role
    vectors = encoder.encode(texts, role, batch_size=1)
    calls = 0

    def encode(number: int) -> None:
        nonlocal calls
        calls += 1
        vectors[number] = encoder.encode(texts[number : number + 1], role)[0]

    rapl = find_rapl()
    before, started = rapl.read_uj() if isinstance(rapl, Rapl) else (), time.monotonic_ns()
    if index is None:
        query, encoding, search = None, time_calls(encode, len(texts), job.max_seconds), None
    else:
        stages: Sequence[Callable[[int], object]] = [encode, lambda number: index.search(vectors[number], 10)]
        query, encoding, search = time_stages(stages, len(texts), job.max_seconds)
    energy = rapl.spent_mj(before, rapl.read_uj()) / calls if isinstance(rapl, Rapl) else rapl
    loop = Loop(started, time.monotonic_ns(), calls)
    encoded = _encode(encoder, [[text] for text in texts], encoding, job)
    return Latency(encoded, Query(**asdict(query)) if query else None, search, energy_mj=energy, loop=loop)


def _batches(encoder: Encoder, texts: list[str], job: MeasureJob) -> Latency:
    """Time calls of `job.batch` texts each."""
    size, role = job.batch, job.sample.role
    batches = batches_of(texts, size)
    timing = time_calls(lambda number: encoder.encode(batches[number], role, size), len(batches), job.max_seconds)
    rate = size * 1e3 / timing.mean_ms  # by the mean, as all of the time counts
    return Latency(_encode(encoder, batches, timing, job), throughput=Throughput(rate))


def batches_of(texts: list[str], size: int) -> list[list[str]]:
    """Return batches of `size` texts, which go round until there are a few different ones."""
    there = [texts[i % len(texts)] for i in range(max(len(texts) // size, _BATCHES) * size)]
    return [there[i : i + size] for i in range(0, len(there), size)]


def _callers(encoder: Encoder, texts: list[str], job: MeasureJob) -> Latency:
    from mrl_edge.bench.measure.callers import time_callers

    role = job.sample.role
    found = time_callers(lambda i: encoder.encode(texts[i : i + 1], role), len(texts), job.callers, job.max_seconds)
    encoded = _encode(encoder, [[text] for text in texts], found.timing, job)
    return Latency(encoded, throughput=Throughput(found.calls_per_s))


def _server(encoder: Encoder, texts: list[str], job: MeasureJob, limit_ms: float) -> Latency:
    """Find the highest rate of texts that arrive by chance at which the p99 keeps the limit, `job.callers` at once."""
    from mrl_edge.bench.measure.arrivals import poisson_gaps, time_arrivals
    from mrl_edge.bench.measure.capacity import PERCENTILE, highest_rate, where_to_begin
    from mrl_edge.bench.measure.intervals import percentile_interval

    def encode(number: int) -> object:
        return encoder.encode(texts[number : number + 1], job.sample.role)

    def trial(rate: float, queries: int) -> NDArray[np.float64]:
        inputs, gaps = random.integers(len(texts), size=queries), poisson_gaps(random, rate, queries)
        return time_arrivals(encode, inputs, gaps, job.callers)

    random, seconds = np.random.default_rng(0), SERVER_SHARE * job.max_seconds
    alone = time_calls(encode, len(texts), job.max_seconds)
    if alone.p50_ms > limit_ms:
        raise UnsupportedError(
            f"a text alone takes {alone.p50_ms:.3g} ms (p50), more than the limit of {limit_ms:g} ms"
        )
    services = one_pass([encode], len(texts))[:, 0] / 1e6
    found = highest_rate(trial, limit_ms, where_to_begin(services, limit_ms, job.callers), seconds)
    if found.kept is None:
        beyond = f", {found.exceeded:.3g} texts/s exceeded it" if found.exceeded else ""
        raise ResultsError(
            f"no rate was seen to keep p99 ≤ {limit_ms:g} ms in {seconds:.0f} s{beyond}: give it a longer --max-seconds"
        )
    p50, p90, p99 = map(float, np.percentile(found.latencies, [50, 90, PERCENTILE]))
    interval = percentile_interval(found.latencies, PERCENTILE)
    server = Server(p50, p90, p99, interval, len(found.latencies), found.exceeded)
    return Latency(
        _encode(encoder, [[text] for text in texts], alone, job), throughput=Throughput(found.kept), server=server
    )


def _encode(encoder: Encoder, inputs: list[list[str]], timing: Timing, job: MeasureJob) -> Encode:
    tokens = time_calls(lambda i: encoder.prepare(inputs[i], job.sample.role), len(inputs), job.max_seconds / 8)
    return Encode(**asdict(timing), tokenise_p50_ms=tokens.p50_ms)
