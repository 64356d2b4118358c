"""What the measuring process times of an opened encoder: single queries, batches, callers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mrl_edge.bench.measure.calls import time_calls, time_stages
from mrl_edge.bench.results import Encode, Process, Query, Throughput
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
    search: Timing | None = None
    throughput: Throughput | None = None
    energy_mj: float | str = "measured of single queries alone"  # a query, or why it is not known


def time_configuration(encoder: Encoder, index: Index | None, texts: list[str], job: MeasureJob) -> Latency:
    """Time what the job asks for, on the texts."""
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
    before = rapl.read_uj() if isinstance(rapl, Rapl) else ()
    if index is None:
        query, encoding, search = None, time_calls(encode, len(texts), job.max_seconds), None
    else:
        stages: Sequence[Callable[[int], object]] = [encode, lambda number: index.search(vectors[number], 10)]
        query, encoding, search = time_stages(stages, len(texts), job.max_seconds)
    energy = rapl.spent_mj(before, rapl.read_uj()) / calls if isinstance(rapl, Rapl) else rapl
    encoded = _encode(encoder, [[text] for text in texts], encoding, job)
    return Latency(encoded, Query(**_fields(query)) if query else None, search, energy_mj=energy)


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
    return Encode(**_fields(timing), tokenise_p50_ms=tokens.p50_ms)


def _fields(timing: Timing) -> dict[str, Any]:
    """Return a timing as the fields of a `Query` of one process."""
    fields = asdict(timing)
    passes = fields.pop("passes")
    return {**fields, "processes": (Process(timing.p50_ms, (passes.reshape(len(passes), -1) / 1e6).tolist()),)}
