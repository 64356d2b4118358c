"""What the parent tells a measuring process to do, and what that answers; one JSON file each way."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from mrl_edge.bench.held import Held
from mrl_edge.bench.results import (
    Ceilings,
    Disk,
    Encode,
    IndexPlan,
    Memory,
    Quality,
    Query,
    SearchResult,
    Server,
    Status,
    Throughput,
    VectorFidelity,
    Work,
)

from mrl_edge.description import SizedIndex, VectorsInfo
from mrl_edge.providers import CPU

Documents = Literal["none", "answers", "all"]  # of a task that are embedded
PINNED = "pinned"  # a runtime setting beside onnxruntime's levers: the process does it to itself


class LatencySample(msgspec.Struct, frozen=True):
    """The real texts whose encoding is timed, and what they are (`query` or `text`)."""

    texts: list[str]
    role: str


class Task(msgspec.Struct, frozen=True):
    """The user's data: unique queries and documents with relevance, or labelled texts, or both."""

    queries: list[str]
    documents: list[str]
    relevant: list[list[int]]  # per query, indices into documents
    texts: list[str]
    labels: list[str]

    def latency_sample(self, count: int = 64) -> LatencySample:
        """Return what a user of the device would type."""
        texts = _spread(self.queries or self.texts, count)
        return LatencySample(texts, "query" if self.queries else "text")


class IndexFiles(msgspec.Struct, frozen=True):
    """An index of one dimension, with the store that it searches or is reranked from."""

    sized: SizedIndex
    file: str | None
    info: VectorsInfo
    vectors: str
    lengths: str
    order: str | None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that a search may read."""
        return tuple(Path(file) for file in (self.file, self.vectors, self.lengths, self.order) if file)


class Prepared(msgspec.Struct, frozen=True):
    """What one configuration's search and quality are; the latency is still to be measured."""

    dim: int
    plan: IndexPlan | None  # None: no documents to search, as for the next three
    index: IndexFiles | None
    hits: str | None  # a file, int64 [queries, 10], -1 pads
    encode_dim: int  # of the query vectors
    disk: Disk
    search: SearchResult | None  # without its latencies
    quality: Quality
    fidelity: VectorFidelity | None


class EmbedJob(msgspec.Struct, frozen=True, tag="embed"):
    """Embed the task with one variant, or what of it an earlier job did not."""

    bundle: str
    precision: str
    depth: int
    dims: tuple[int, ...]  # of the configurations; none: the query vectors alone are wanted, to compare others with
    exact_dims: tuple[int, ...]  # at which exact search of the documents is scored
    task: str  # a file
    reference: str | None  # fp32 query vectors, float32 [queries, full], to compare with
    documents: Documents
    there: EmbedResult | None  # of the job that embedded the queries
    work: str  # folder for the vectors


class EmbedResult(msgspec.Struct, frozen=True, tag=True):
    """The vectors of a task; one configuration a dimension, which does not search yet."""

    query_vectors: str  # a file, float32 [queries, full]
    configurations: tuple[Prepared, ...]
    document_vectors: str | None = None  # likewise of all documents
    exact: dict[int, Quality] = {}  # by dimension, of exact search; among the answers alone it is the best there can be
    spent_s: dict[str, float] = {}  # by what it went into


class IndexJob(msgspec.Struct, frozen=True, tag="index"):
    """Build indexes over an embedded task and score their hits."""

    bundle: str
    precision: str
    depth: int
    task: str  # a file
    embedded: EmbedResult
    wanted: tuple[tuple[int, IndexPlan], ...]  # dimensions and plans
    plans: tuple[IndexPlan, ...]  # of the whole run: one may need the documents in an order of its own
    target_recall: float
    storage: str
    like: tuple[Held, ...]  # parameters that are taken over; where there are none they are tuned
    work: str  # folder of the vectors and for the indexes


class IndexResult(msgspec.Struct, frozen=True, tag=True):
    """One entry a dimension and plan."""

    configurations: tuple[Prepared, ...]
    spent_s: dict[str, float]


class MeasureJob(msgspec.Struct, frozen=True, tag="measure"):
    """Measure one configuration: real texts and their search, or one text of a fixed number of tokens."""

    bundle: str
    precision: str
    depth: int
    threads: int
    sample: LatencySample
    dim: int
    prepared: Prepared | None  # None: encode only
    tokens: int | None  # None: the sample's texts in their own lengths
    max_seconds: float
    batch: int = 1
    callers: int = 1  # threads at once
    p99_limit_ms: float | None = None  # find the highest rate of arrivals that keeps it
    least_samples: int = 0  # of single queries, batches or callers, however long they take
    runtime: tuple[str, ...] = ()
    provider: str = CPU


class FirstJob(msgspec.Struct, frozen=True, tag="first"):
    """Do of a measurement what comes before its first vector, and end."""

    measure: MeasureJob


class WarmJob(msgspec.Struct, frozen=True, tag="warm"):
    """Encode all that a measurement will, once: what a provider builds for its shapes is in the cache then."""

    measure: MeasureJob


class FirstResult(msgspec.Struct, frozen=True, tag=True):
    """From the spawning of the process to the vector."""

    cold_start_ms: float


class Loop(msgspec.Struct, frozen=True):
    """When calls were made, by the monotonic clock that all processes share, and how many."""

    started_ns: int
    ended_ns: int
    calls: int


class SearchTimes(msgspec.Struct, frozen=True):
    """The search of the sample's queries, and its hits [queries, ≤ 10]."""

    p50_ms: float
    p99_ms: float | None
    shortlist_p50_ms: float | None
    rerank_p50_ms: float | None
    hits: list[list[int]]


class MeasureResult(msgspec.Struct, frozen=True, tag=True):
    """What the measuring process saw."""

    cold_start_ms: float
    load_ms: float
    first_ms: float
    encode: Encode
    query: Query | None
    search: SearchTimes | None
    memory: Memory
    throughput: Throughput | None
    server: Server | None
    energy_mj: float | str  # by RAPL, or why it is not known
    loop: Loop | None = None  # when single calls were timed
    cached_bytes: int = 0  # what a runtime setting or provider keeps on disk beside the bundle
    nodes: dict[str, int] = {}  # of the graph, by the provider that computes them; empty on the processor
    null_because: dict[str, str] = {}


class EncodeConfiguration(msgspec.Struct, frozen=True):
    """What one living process encodes with."""

    precision: str
    depth: int
    dim: int
    threads: int
    provider: str = CPU

    def __str__(self) -> str:
        """Name it as `--compare` takes it."""
        threads = f":t{self.threads}" if self.threads > 1 else ""
        provider = f":{self.provider}" if self.provider != CPU else ""
        return f"{self.precision}:d{self.dim}-L{self.depth}{threads}{provider}"


class EncodeJob(msgspec.Struct, frozen=True):
    """Encode the sample's texts, one at a time, for every line that is read."""

    bundle: str
    configuration: EncodeConfiguration
    sample: LatencySample


class CountJob(msgspec.Struct, frozen=True, tag="count"):
    """Count what the calls of a variant compute: single texts at each dimension, the rest at the last one."""

    bundle: str
    precision: str
    depth: int
    dims: tuple[int, ...]
    sample: LatencySample
    tokens: tuple[int, ...]
    batches: tuple[int, ...]
    work: str  # folder for onnxruntime's profile


class CountedCalls(msgspec.Struct, frozen=True):
    """The work of one call: of one text (`tokens` None), of a fixed length, or of a batch."""

    dim: int
    tokens: int | None
    batch: int
    work: Work


class CountResult(msgspec.Struct, frozen=True, tag=True):
    """One entry a kind of call."""

    calls: tuple[CountedCalls, ...]


class CeilingsJob(msgspec.Struct, frozen=True, tag="ceilings"):
    """Measure the machine's ceilings, reading at most so many bytes."""

    threads: int
    largest_bytes: int


class CeilingsResult(msgspec.Struct, frozen=True, tag=True):
    """The rates."""

    ceilings: Ceilings


class VectorsJob(msgspec.Struct, frozen=True, tag="vectors"):
    """Encode texts, to compare what two machines make of them."""

    bundle: str
    precision: str
    depth: int
    sample: LatencySample
    provider: str = CPU


class VectorsResult(msgspec.Struct, frozen=True, tag=True):
    """The vectors at the full dimension as little-endian float32, row by row."""

    vectors: bytes


class Failure(msgspec.Struct, frozen=True, tag=True):
    """Why a job did not end."""

    status: Status
    reason: str


Job = EmbedJob | IndexJob | FirstJob | WarmJob | MeasureJob | CountJob | CeilingsJob | VectorsJob


def write(path: Path, value: msgspec.Struct) -> None:
    """Write a struct as JSON."""
    path.write_bytes(msgspec.json.encode(value))


def _spread(texts: list[str], count: int) -> list[str]:
    """Return `count` texts evenly spread over the lengths of all, in an order that does not sort them."""
    ordered = sorted(texts, key=len)
    chosen = [ordered[i * len(ordered) // count] for i in range(count)] if len(ordered) > count else ordered
    return chosen[::2] + chosen[1::2]


def read_task(path: str) -> Task:
    """Read the task file."""
    return msgspec.json.decode(Path(path).read_bytes(), type=Task)
