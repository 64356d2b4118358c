"""What the measuring process times of an opened encoder: single queries, batches, callers at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from mrl_edge.bench.jobs import SearchTimes
from mrl_edge.bench.measure.calls import sample_stages, time_calls
from mrl_edge.bench.path import QueryPath
from mrl_edge.bench.results import Encode, Query, Throughput
from mrl_edge.devices.energy import Rapl, find_rapl

if TYPE_CHECKING:
    from mrl_edge.bench.jobs import MeasureJob
    from mrl_edge.bench.measure.timing import Timing

    from mrl_edge.encoder import Encoder
    from mrl_edge.index import Index

_BATCHES = 4  # different ones a pass, at least


@dataclass(frozen=True)
class Latency:
    """The timings of one configuration; `query` and `search` are None where nothing is searched."""

    encode: Encode
    query: Query | None = None
    search: SearchTimes | None = None
    throughput: Throughput | None = None
    energy_mj: float | str = "measured of single queries alone"  # a query, or why it is not known
    path: QueryPath | None = None  # of single queries


def time_configuration(encoder: Encoder, index: Index | None, texts: list[str], job: MeasureJob) -> Latency:
    """Time what the job asks for, on the texts."""
    if job.callers > 1:
        return _callers(encoder, texts, job)
    if job.batch > 1:
        return _batches(encoder, texts, job)
    return _single(encoder, index, texts, job)


def _single(encoder: Encoder, index: Index | None, texts: list[str], job: MeasureJob) -> Latency:
    """Time the whole query, text → tokens → vector → shortlist → ids, and its parts in the same calls."""
    path = QueryPath(encoder, index, texts, job.sample.role)
    rapl = find_rapl()
    before = rapl.read_uj() if isinstance(rapl, Rapl) else ()
    samples = sample_stages(path.stages, len(texts), job.max_seconds)
    energy = rapl.spent_mj(before, rapl.read_uj()) / path.queries if isinstance(rapl, Rapl) else rapl
    encode = Encode(**asdict(samples.timing(0, 2)), tokenise_p50_ms=samples.timing(0, 1).p50_ms)
    if index is None:
        return Latency(encode, energy_mj=energy, path=path)
    search, reranks = samples.timing(2), len(path.stages) > 3
    times = SearchTimes(
        p50_ms=search.p50_ms,
        p99_ms=search.p99_ms,
        shortlist_p50_ms=samples.timing(2, 3).p50_ms if reranks else None,
        rerank_p50_ms=samples.timing(3).p50_ms if reranks else None,
        hits=[ids.tolist() for ids in path.hits],
    )
    return Latency(encode, Query(**asdict(samples.timing())), times, energy_mj=energy, path=path)


def _batches(encoder: Encoder, texts: list[str], job: MeasureJob) -> Latency:
    """Time calls of `job.batch` texts each; the texts go round until there are a few different batches."""
    size, role = job.batch, job.sample.role
    there = [texts[i % len(texts)] for i in range(max(len(texts) // size, _BATCHES) * size)]
    batches = [there[i : i + size] for i in range(0, len(there), size)]
    timing = time_calls(lambda number: encoder.encode(batches[number], role, size), len(batches), job.max_seconds)
    rate = size * 1e3 / timing.mean_ms  # by the mean, as all of the time counts
    return Latency(_encode(encoder, batches, timing, job), throughput=Throughput(rate))


def _callers(encoder: Encoder, texts: list[str], job: MeasureJob) -> Latency:
    from mrl_edge.bench.measure.callers import time_callers

    role = job.sample.role
    found = time_callers(lambda i: encoder.encode(texts[i : i + 1], role), len(texts), job.callers, job.max_seconds)
    encoded = _encode(encoder, [[text] for text in texts], found.timing, job)
    return Latency(encoded, throughput=Throughput(found.calls_per_s))


def _encode(encoder: Encoder, inputs: list[list[str]], timing: Timing, job: MeasureJob) -> Encode:
    tokens = time_calls(lambda i: encoder.prepare(inputs[i], job.sample.role), len(inputs), job.max_seconds / 8)
    return Encode(**asdict(timing), tokenise_p50_ms=tokens.p50_ms)
