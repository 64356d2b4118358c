"""What the measuring process times of an opened encoder: single queries, batches, callers at once, random arrivals."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from mrl_edge.bench.jobs import Loop, SearchTimes
from mrl_edge.bench.measure.calls import one_pass, sample_stages, time_calls
from mrl_edge.bench.path import QueryPath
from mrl_edge.bench.results import Encode, Process, Query, Server, Throughput
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
    search: SearchTimes | None = None
    throughput: Throughput | None = None
    server: Server | None = None
    energy_mj: float | str = "measured of single queries alone"  # a query, or why it is not known
    loop: Loop | None = None
    path: QueryPath | None = None  # of single queries


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
    """Time the whole query, text → tokens → vector → shortlist → ids, and its parts in the same calls."""
    path = QueryPath(encoder, index, texts, job.sample.role)
    rapl = find_rapl()
    before, started = rapl.read_uj() if isinstance(rapl, Rapl) else (), time.monotonic_ns()
    samples = sample_stages(path.stages, len(texts), job.max_seconds, job.least_samples)
    energy = rapl.spent_mj(before, rapl.read_uj()) / path.queries if isinstance(rapl, Rapl) else rapl
    loop = Loop(started, time.monotonic_ns(), path.queries)
    encode = Encode(**_fields(samples.timing(0, 2)), tokenise_p50_ms=samples.timing(0, 1).p50_ms)
    if index is None:
        return Latency(encode, energy_mj=energy, loop=loop, path=path)
    search, reranks = samples.timing(2), len(path.stages) > 3
    times = SearchTimes(
        p50_ms=search.p50_ms,
        p99_ms=search.p99_ms,
        shortlist_p50_ms=samples.timing(2, 3).p50_ms if reranks else None,
        rerank_p50_ms=samples.timing(3).p50_ms if reranks else None,
        hits=[ids.tolist() for ids in path.hits],
    )
    return Latency(encode, Query(**_fields(samples.timing())), times, energy_mj=energy, loop=loop, path=path)


def _batches(encoder: Encoder, texts: list[str], job: MeasureJob) -> Latency:
    """Time calls of `job.batch` texts each."""
    size, role = job.batch, job.sample.role
    batches = batches_of(texts, size)

    def encode(number: int) -> object:
        return encoder.encode(batches[number], role, size)

    timing = time_calls(encode, len(batches), job.max_seconds, job.least_samples)
    rate = size * 1e3 / timing.mean_ms  # by the mean, as all of the time counts
    return Latency(_encode(encoder, batches, timing, job), throughput=Throughput(rate))


def batches_of(texts: list[str], size: int) -> list[list[str]]:
    """Return batches of `size` texts, which go round until there are a few different ones."""
    there = [texts[i % len(texts)] for i in range(max(len(texts) // size, _BATCHES) * size)]
    return [there[i : i + size] for i in range(0, len(there), size)]


def _callers(encoder: Encoder, texts: list[str], job: MeasureJob) -> Latency:
    from mrl_edge.bench.measure.callers import time_callers

    def encode(number: int) -> object:
        return encoder.encode(texts[number : number + 1], job.sample.role)

    found = time_callers(encode, len(texts), job.callers, job.max_seconds, job.least_samples)
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
    return Encode(**_fields(timing), tokenise_p50_ms=tokens.p50_ms)


def _fields(timing: Timing) -> dict[str, Any]:
    """Return a timing as the fields of a `Query` of one process."""
    fields = asdict(timing)
    passes = fields.pop("passes")
    return {**fields, "processes": (Process(timing.p50_ms, (passes.reshape(len(passes), -1) / 1e6).tolist()),)}
