"""The measuring process: `python -m mrl_edge.bench.child JOB ANSWER SPAWNED_NS`, one job and then it ends.

It imports the runtime alone, so that its memory is what an application would use. Imports stand inside the
functions because the baseline memory is read before them, and because their time belongs to the cold start. The
runtime comes first, as in an application; what only measuring takes before the first vector is clocked and left out.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrl_edge.bench.jobs import Failure, MeasureJob, MeasureResult, VectorsJob
    from mrl_edge.bench.mapped import Mapped
    from mrl_edge.bench.path import QueryPath

    from mrl_edge.encoder import Encoder
    from mrl_edge.index import Index

_PR_SET_PDEATHSIG = 1  # of prctl(2)


def main(job_path: str, answer_path: str, spawned_ns: str) -> None:
    """Do the job in `job_path` and write the answer, or the failure, to `answer_path`."""
    from mrl_edge.bench.memory import read_memory

    baseline = read_memory().rss
    _end_with_parent()
    import_ms = _import_runtime()
    own_ns = time.monotonic_ns()
    import msgspec
    from mrl_edge.bench import jobs

    answer: msgspec.Struct
    try:
        job = msgspec.json.decode(Path(job_path).read_bytes(), type=jobs.Job)
        began = _Began(int(spawned_ns), import_ms, time.monotonic_ns() - own_ns)
        if isinstance(job, jobs.EmbedJob):
            from mrl_edge.bench.prepare import embed

            answer = embed(job)
        elif isinstance(job, jobs.IndexJob):
            from mrl_edge.bench.searched import index

            answer = index(job)
        elif isinstance(job, jobs.CountJob):
            from mrl_edge.bench.counting import count

            answer = count(job)
        elif isinstance(job, jobs.CeilingsJob):
            from mrl_edge.bench.ceilings import measure_ceilings

            answer = measure_ceilings(job)
        elif isinstance(job, jobs.VectorsJob):
            answer = jobs.VectorsResult(_vectors(job))
        elif isinstance(job, jobs.WarmJob):
            answer = jobs.FirstResult(_warmed(job.measure, began))
        elif isinstance(job, jobs.FirstJob):
            answer = jobs.FirstResult(_open(job.measure, began).cold_start_ms)
        else:
            answer = _measure(job, began, baseline)
    except Exception as error:  # the parent turns it into a row
        answer = _failure(error)
    jobs.write(Path(answer_path), answer)


@dataclass(frozen=True)
class _Began:
    """When the process was spawned, how long the runtime took to import, and what measuring itself took until now."""

    spawned_ns: int  # of the monotonic clock, which all processes share
    import_ms: float
    own_ns: int


def _import_runtime() -> float:
    """Import what an application imports before it opens a bundle; return the milliseconds."""
    started = time.perf_counter()
    import mrl_edge.encoder  # noqa: F401

    return (time.perf_counter() - started) * 1e3


def _end_with_parent() -> None:
    """Have Linux kill this process when the one that started it ends, even by SIGKILL: it would measure for nobody."""
    import ctypes
    import signal

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _vectors(job: VectorsJob) -> bytes:
    import mrl_edge

    encoder = mrl_edge.load(job.bundle, None, job.precision, job.depth, provider=job.provider)
    return encoder.encode(job.sample.texts, job.sample.role, batch_size=1).astype("<f4").tobytes()


def _warmed(job: MeasureJob, began: _Began) -> float:
    """Encode every input once, in the batches that are measured."""
    from mrl_edge.bench.latency import batches_of

    opened = _open(job, began)
    for batch in batches_of(opened.texts, job.batch):
        opened.encoder.encode(batch, job.sample.role, job.batch)
    return opened.cold_start_ms


def _failure(error: Exception) -> Failure:
    """Tell a lack of memory, which onnxruntime reports in words only, from other failures."""
    from mrl_edge.bench.jobs import Failure

    from mrl_edge.errors import MrlEdgeError, UnsupportedError

    lack = ("Failed to allocate memory", "bad allocation", "bad_alloc", "Cannot allocate memory")
    if isinstance(error, MemoryError) or any(words in str(error) for words in lack):
        return Failure("out_of_memory", str(error) or "Python could not allocate memory")
    if isinstance(error, UnsupportedError):
        return Failure("unsupported", str(error))
    return Failure("failed", str(error) if isinstance(error, MrlEdgeError) else f"{type(error).__name__}: {error}")


def _measure(job: MeasureJob, began: _Began, baseline_rss: int) -> MeasureResult:
    from mrl_edge.bench.jobs import MeasureResult
    from mrl_edge.bench.latency import time_configuration
    from mrl_edge.bench.memory import read_memory
    from mrl_edge.bench.results import Memory

    from mrl_edge.caches import cache_folder

    opened = _open(job, began)
    latency = time_configuration(opened.encoder, opened.index, opened.texts, job)
    memory = read_memory()
    mapped = _mapped(job, latency.path)
    return MeasureResult(
        cold_start_ms=opened.cold_start_ms,
        load_ms=opened.load_ms,
        first_ms=opened.first_ms,
        encode=latency.encode,
        query=latency.query,
        search=latency.search,
        throughput=latency.throughput,
        server=latency.server,
        energy_mj=latency.energy_mj,
        loop=latency.loop,
        memory=Memory(
            memory.peak_rss,
            memory.rss,
            memory.pss,
            memory.uss,
            baseline_rss,
            opened.runtime_rss,
            memory.anonymous,
            index_rss_bytes=mapped.rss,
            index_touched_bytes=mapped.touched,
        ),
        cached_bytes=sum(path.stat().st_size for path in cache_folder().rglob("*") if path.is_file()),
        nodes=opened.encoder.nodes,
        null_because=mapped.null_because,
    )


def _mapped(job: MeasureJob, path: QueryPath | None) -> Mapped:
    """Return what the process holds of the index's files, and what searching once more for the texts reads of them."""
    from mrl_edge.bench.mapped import Mapped, read_mapped

    if path is None or job.prepared is None or job.prepared.index is None:
        return Mapped(None, None, "nothing is searched")
    return read_mapped(job.prepared.index.paths, path.search)


@dataclass(frozen=True)
class _Opened:
    """A configuration that has made its first vector."""

    encoder: Encoder
    index: Index | None
    texts: list[str]
    runtime_rss: int
    load_ms: float
    first_ms: float
    cold_start_ms: float


def _open(job: MeasureJob, began: _Began) -> _Opened:
    """Open the index and the encoder, and encode one text."""
    started = time.perf_counter()
    files = job.prepared.index if job.prepared else None
    if files:  # what searches imports the index too
        from mrl_edge.bench.path import open_files
    imported, own_ns = time.perf_counter(), time.monotonic_ns()
    from mrl_edge.bench.memory import read_memory

    runtime_rss = read_memory().rss
    own_ns = began.own_ns + time.monotonic_ns() - own_ns
    import_ms, started = began.import_ms + (imported - started) * 1e3, time.perf_counter()
    index = open_files(files) if files else None
    encoder = _load(job, index.dim if index else job.dim)
    loaded = time.perf_counter()
    texts, role = job.sample.texts, job.sample.role
    if job.tokens is not None:
        searching_ns = time.monotonic_ns()
        texts = [_text_of(encoder, job.tokens, texts, role)]
        own_ns += time.monotonic_ns() - searching_ns
    began_first = time.perf_counter()
    encoder.encode(texts[:1], role)
    first_ms = (time.perf_counter() - began_first) * 1e3
    cold_start_ms = (time.monotonic_ns() - began.spawned_ns - own_ns) / 1e6
    load_ms = import_ms + (loaded - started) * 1e3
    return _Opened(encoder, index, texts, runtime_rss, load_ms, first_ms, cold_start_ms)


def _load(job: MeasureJob, dim: int) -> Encoder:
    """Open the encoder, the process `pinned` where that is wanted."""
    from mrl_edge.bench.jobs import PINNED

    import mrl_edge

    if PINNED in job.runtime:
        pin(job.threads * job.callers)
    levers = [name for name in job.runtime if name != PINNED]
    return mrl_edge.load(job.bundle, dim, job.precision, job.depth, job.threads, levers, job.provider)


def pin(cores: int) -> None:
    """Hold this process to so many of the last cores; `UnsupportedError` where there are fewer."""
    from mrl_edge.errors import UnsupportedError

    there = sorted(os.sched_getaffinity(0))
    if cores > len(there):
        raise UnsupportedError(f"pinned needs a core for each thread of each caller, {cores}: there are {len(there)}")
    os.sched_setaffinity(0, there[-cores:])


def _text_of(encoder: Encoder, tokens: int, texts: list[str], role: str) -> str:
    """Return a beginning of the real texts, one after the other, that makes exactly `tokens` tokens."""
    from mrl_edge.errors import UnsupportedError

    def count(length: int) -> int:
        return len(encoder.tokenise([whole[:length]], role)[0])

    whole = " ".join(texts)
    while count(len(whole)) < tokens and len(whole) < 64 * tokens:
        whole = f"{whole} {whole}"
    low, high = 0, len(whole)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if count(middle) < tokens else (low, middle)
    if count(low) != tokens:
        raise UnsupportedError(f"no text makes {tokens} tokens: this encoder takes up to {count(len(whole))}")
    return whole[:low]


if __name__ == "__main__":
    main(*sys.argv[1:])
