"""Whether the least times of the roofline are ones that nothing beats: the fastest call of each graph beside them.

    python bench/peers/roofline.py [--folder quickstart] [--threads 1] [--json]

The machine's ceilings are measured anew, then each precision runs fixed lengths for two seconds each. A figure in a
results file is of the median call; here it is of the fastest, with one thread by its own processor time, which is the
harder test. Exit code 1 when one is above 100%.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
from mrl_edge.bench import jobs
from mrl_edge.bench.counting import of_length
from mrl_edge.bench.processes import run_job
from mrl_edge.bench.results import Ceilings
from mrl_edge.bench.roofline import judged

from mrl_edge.bundle import open_bundle
from mrl_edge.encoder import open_session
from mrl_edge.feeds import open_feeder

if TYPE_CHECKING:
    from mrl_edge.bundle import Bundle

TOKENS = (8, 32, 128, 256)
_SECONDS = 2.0
_LARGEST_BYTES = 256 << 20
Answer = TypeVar("Answer", jobs.CountResult, jobs.CeilingsResult)


@dataclass(frozen=True)
class Reached:
    """The fastest call of one length beside the least time by the ceilings."""

    precision: str
    tokens: int
    operations: int
    bytes: int
    bound: str
    least_ms: float
    fastest_ms: float
    fraction: float


def reached(bundle: Bundle, precision: str, ceilings: Ceilings, work: Path) -> Iterator[Reached]:
    """Run each length and yield how near it comes."""
    variant = bundle.variant(precision, None)
    dim = bundle.manifest.dims[-1]
    sample = jobs.LatencySample(["a small stringed instrument"], "query")
    folder = str(bundle.folder.absolute())
    job = jobs.CountJob(folder, precision, variant.depth, (dim,), sample, TOKENS, (), str(work))
    counts = {one.tokens: one.work for one in _answer(job, jobs.CountResult, work, ceilings.threads).calls}
    graph = bundle.graph(variant, dim)
    session = open_session(bundle.checked(graph.file), ceilings.threads, variant.target)
    short = open_feeder(bundle, graph.inputs).feed(sample.texts, sample.role)
    for tokens in TOKENS:
        feed = of_length(short, tokens)
        clock = time.thread_time if ceilings.threads == 1 else time.perf_counter
        fastest = _fastest_ms(lambda feed=feed: session.run(["embedding"], feed), clock)
        found = judged(counts[tokens], ceilings, fastest)
        yield Reached(
            precision, tokens, found.work.operations, found.work.bytes, found.bound, found.least_ms, fastest,
            found.fraction,
        )  # fmt: skip


def _fastest_ms(call: Callable[[], object], clock: Callable[[], float]) -> float:
    times = []
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        started = clock()
        call()
        times.append(clock() - started)
    return min(times) * 1e3


def _answer(job: jobs.Job, kind: type[Answer], work: Path, threads: int) -> Answer:
    answer = run_job(job, kind, work, threads)
    if isinstance(answer, jobs.Failure):
        sys.exit(f"nothing could be measured: {answer.reason}")
    return answer


def main() -> None:
    """Print the ceilings and every length, or JSON; exit code 1 when a least time was beaten."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="where mrl-edge quickstart ran")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not (options.folder / "bundle" / "bundle.json").is_file():
        sys.exit(f"{options.folder} holds no bundle: run `make quickstart` first")
    bundle = open_bundle(options.folder / "bundle")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        job = jobs.CeilingsJob(options.threads, _LARGEST_BYTES)
        ceilings = _answer(job, jobs.CeilingsResult, work, 1).ceilings
        if not options.json:
            rates = [f"{one.gb_per_s:.0f} of {one.bytes / 1e6:.0f} MB" for one in ceilings.bandwidths[::4]]
            products = f"{ceilings.fp32_gops:.0f} × 10⁹ op./s in fp32, {ceilings.int8_gops:.0f} in int8"
            print(f"{products}; GB/s {', '.join(rates)}")
        for precision in bundle.precisions():
            for row in reached(bundle, precision, ceilings, work):
                rows.append(row)
                if not options.json:
                    print(
                        f"{row.precision:6} {row.tokens:4} tokens  {row.operations / 1e9:6.3f} × 10⁹ op.  "
                        f"{row.bytes / 1e6:6.1f} MB  least {row.least_ms:7.2f} ms by {row.bound:9}  "
                        f"fastest {row.fastest_ms:7.2f} ms  {row.fraction:4.0%}",
                        flush=True,
                    )
    if options.json:
        found = {"ceilings": msgspec.to_builtins(ceilings), "rows": [asdict(row) for row in rows]}
        print(json.dumps(found, indent=2))
    sys.exit(any(row.fraction > 1 for row in rows))


if __name__ == "__main__":
    main()
