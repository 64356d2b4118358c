"""The measuring process: `python -m mrl_edge.bench.child JOB ANSWER SPAWNED_NS`, one job and then it ends.

It imports the runtime alone, so that its memory is what an application would use. Imports stand inside the
functions because the baseline memory is read before them, and because their time belongs to the cold start.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrl_edge.bench.jobs import MeasureJob, MeasureResult
    from mrl_edge.bench.results import Encode

    from mrl_edge.encoder import Encoder

_LATENCY_TEXTS = 64  # real texts, evenly spread over their lengths


def main(job_path: str, answer_path: str, spawned_ns: str) -> None:
    """Do the job in `job_path` and write the answer, or the failure, to `answer_path`."""
    from mrl_edge.bench.memory import read_memory

    baseline = read_memory().rss
    import msgspec
    from mrl_edge.bench import jobs

    from mrl_edge.errors import MrlEdgeError

    answer: msgspec.Struct
    try:
        job = msgspec.json.decode(Path(job_path).read_bytes(), type=jobs.Job)
        if isinstance(job, jobs.PrepareJob):
            from mrl_edge.bench.prepare import prepare

            answer = prepare(job)
        else:
            answer = _measure(job, int(spawned_ns), baseline)
    except MemoryError:
        answer = jobs.Failure("out_of_memory", "Python could not allocate memory")
    except MrlEdgeError as error:
        answer = jobs.Failure("failed", str(error))
    except Exception as error:  # the parent turns it into a row
        lack = "Failed to allocate memory" in str(error) or "bad allocation" in str(error)
        answer = jobs.Failure("out_of_memory" if lack else "failed", f"{type(error).__name__}: {error}")
    jobs.write(Path(answer_path), answer)


def _measure(job: MeasureJob, spawned_ns: int, baseline_rss: int) -> MeasureResult:
    started = time.perf_counter()
    from mrl_edge.bench.jobs import MeasureResult, read_task
    from mrl_edge.bench.memory import read_memory
    from mrl_edge.bench.prepare import open_prepared
    from mrl_edge.bench.results import Memory
    from mrl_edge.bench.timing import time_calls
    from mrl_edge.devices.local import temperature_c

    import mrl_edge

    task = read_task(job.task)
    texts = _spread(task.latency_texts(), _LATENCY_TEXTS)
    role = "query" if task.queries else "text"
    index = open_prepared(job.prepared)
    dim = job.prepared.dim if index is None else index.dim
    encoder = mrl_edge.load(job.bundle, dim, job.precision, job.depth, job.threads)
    loaded = time.perf_counter()
    encoder.encode(texts[:1], role)
    first = time.perf_counter()
    cold_start_ms = (time.monotonic_ns() - spawned_ns) / 1e6
    encode = _time_encode(encoder, texts, role, job.max_seconds)
    search = None
    if index is not None:
        vectors = encoder.encode(texts, role, batch_size=1)
        search = time_calls(lambda i: index.search(vectors[i], 10), len(texts), job.max_seconds / 4)
    memory = read_memory()
    by_tokens = {
        tokens: _time_encode(encoder, [_text_of(encoder, tokens, texts)], None, job.max_seconds)
        for tokens in job.tokens
    }
    return MeasureResult(
        cold_start_ms=cold_start_ms,
        load_ms=(loaded - started) * 1e3,
        first_ms=(first - loaded) * 1e3,
        encode=encode,
        by_tokens=by_tokens,
        search_p50_ms=search.p50_ms if search else None,
        search_p99_ms=search.p99_ms if search else None,
        memory=Memory(memory.peak_rss, memory.rss, memory.pss, memory.uss, baseline_rss),
        temperature_c=temperature_c(),
    )


def _time_encode(encoder: Encoder, texts: list[str], role: str | None, max_seconds: float) -> Encode:
    from mrl_edge.bench.results import Encode
    from mrl_edge.bench.timing import time_calls

    whole = time_calls(lambda i: encoder.encode(texts[i : i + 1], role), len(texts), max_seconds)
    tokens = time_calls(lambda i: encoder.tokenise(texts[i : i + 1], role), len(texts), max_seconds / 8)
    return Encode(
        whole.p50_ms,
        whole.p90_ms,
        whole.p99_ms,
        whole.mean_ms,
        whole.ci95_ms,
        whole.samples,
        whole.stable,
        tokens.p50_ms,
    )


def _spread(texts: list[str], count: int) -> list[str]:
    """Return `count` texts evenly spread over the lengths of all, in an order that does not sort them."""
    ordered = sorted(texts, key=len)
    chosen = [ordered[i * len(ordered) // count] for i in range(count)] if len(ordered) > count else ordered
    return chosen[::2] + chosen[1::2]


def _text_of(encoder: Encoder, tokens: int, texts: list[str]) -> str:
    """Return words of the real texts that make `tokens` tokens, or the fewest above that words can make."""
    words = " ".join(texts).split()
    while len(encoder.tokenise([" ".join(words)])[0]) < tokens:
        if len(words) > tokens * 4:
            break  # the encoder truncates below `tokens`
        words = words + words
    low, high = 1, len(words)
    while low < high:
        middle = (low + high) // 2
        if len(encoder.tokenise([" ".join(words[:middle])])[0]) < tokens:
            low = middle + 1
        else:
            high = middle
    return " ".join(words[:low])


if __name__ == "__main__":
    main(*sys.argv[1:])
