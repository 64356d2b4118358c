"""`results.json`: what was measured on one device (design §5). Units are in the names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
from mrl_edge.bench.measure.timing import Doubt, TailInterval
from mrl_edge.devices.local import Device

from mrl_edge.atomic import write_file
from mrl_edge.description import Step
from mrl_edge.errors import ResultsError

SCHEMA_VERSION = 1
BUSY_PERCENT = 25  # of all cores, that other work had just before a configuration was measured: too much
Status = Literal["ok", "out_of_memory", "unsupported", "failed"]
Scenario = Literal["SingleStream", "MultiStream", "Server", "Offline"]


class IndexPlan(msgspec.Struct, frozen=True):
    """A kind of index at the configuration's dimension, perhaps reranked at a larger one.

    Its parameters are tuned to the recall of exact search at that dimension; where `tuned`, to that of exact search
    at the full one, shortlist and rerank dimension with them.
    """

    kind: str
    shortlist: int | None = None
    rerank_dim: int | None = None
    tuned: bool = False

    def applies_to(self, dim: int, full: int) -> bool:
        """Whether the plan makes sense at a dimension: reranking happens at a larger one."""
        return dim < (full if self.tuned else self.rerank_dim or dim + 1)

    def __str__(self) -> str:
        """Name it as tables do."""
        if self.tuned:
            return f"{self.kind} tuned"
        return self.kind if self.rerank_dim is None else f"{self.kind}, {self.shortlist} → {self.rerank_dim}"


class Process(msgspec.Struct, frozen=True):
    """What one of the processes of a configuration saw."""

    p50_ms: float
    passes_ms: list[list[float]] = []  # [passes, texts]; empty in a results file


class OneProcess(msgspec.Struct, frozen=True):
    """What one process saw of the figures that a row has of all of them: how far they differ is their noise."""

    query_p99_ms: float | None
    search_p50_ms: float | None
    cold_start_ms: float | None
    peak_rss_bytes: int | None
    energy_mj: float | None


class Query(msgspec.Struct, frozen=True):
    """Latency of text → hits, each query timed as a whole."""

    p50_ms: float
    p90_ms: float | None  # null where `loops` is more than 1: a slow call vanishes in a mean
    p99_ms: float | None  # likewise; little more than the slowest call where its interval has no upper end
    mean_ms: float
    ci95_ms: tuple[float, float] | None  # of the median; null of fewer than 6 passes
    samples: int
    stable: bool
    p999_ms: float | None = None  # null where its interval would have no upper end
    doubts: tuple[Doubt, ...] = ()  # why the median is not stable
    loops: int = 1  # calls whose mean is one sample, where one is too short for the clock
    p99_ci95_ms: TailInterval = None  # its upper end is null where the samples are too few to know it
    p999_ci95_ms: TailInterval = None
    processes: tuple[Process, ...] = ()  # that it was measured in, in the order of time


class Encode(Query, frozen=True, kw_only=True):
    """The same of text → vector, tokenisation included and also apart."""

    tokenise_p50_ms: float  # of an image its preprocessing


class Memory(msgspec.Struct, frozen=True):
    """Memory of the process that encodes and searches.

    `baseline` is Python before anything is imported, `runtime` after all imports and before the model. `index_rss` is
    the part of `rss` that is mapped of the index's files, and `index_touched` what one pass over the queries reads of
    them; null where nothing is searched or the machine does not say.
    """

    peak_rss_bytes: int
    rss_bytes: int
    pss_bytes: int | None
    uss_bytes: int | None
    baseline_rss_bytes: int
    runtime_rss_bytes: int | None = None
    anonymous_bytes: int | None = None  # of the RSS: what no file backs, which the system cannot drop and read again
    gpu_bytes: int | None = None  # the most that was seen; null where the CPU computes
    index_rss_bytes: int | None = None
    index_touched_bytes: int | None = None


class Disk(msgspec.Struct, frozen=True):
    """What this configuration needs on disk."""

    model_bytes: int
    index_bytes: int
    vectors_bytes: int


class SearchResult(msgspec.Struct, frozen=True):
    """Latency of vector → hits and of its two steps, and recall@10 against exact search at the full dimension."""

    index: str
    n_items: int
    shortlist: int | None
    rerank_dim: int | None
    p50_ms: float | None  # null until it is measured
    p99_ms: float | None
    build_s: float
    recall_at_10: float
    recall_at_10_of_dim: float | None = None  # against exact search at the row's own dimension
    shortlist_p50_ms: float | None = None  # null where nothing is reranked, as is the next
    rerank_p50_ms: float | None = None
    parameters: dict[str, int | str] = {}
    funnel: tuple[Step, ...] = ()  # as of a `SizedIndex`
    vectors: str = "fp32"  # how the vectors are stored
    tuned_on: str | None = None  # the precision whose vectors the parameters were chosen on
    same_hits: float | None = None  # share of the timed queries whose hits are those that the quality is of
    recalls: str = ""  # of earlier files: `quality.each["recall_at_10"]`
    # Of exact search at the dimension that ranks last: its metrics, and the shares of answers before which fewer than
    # so many documents stand that are no answers. They tell the metrics in a corpus of another size.
    exact: dict[str, float] = {}
    exact_within: dict[int, float] = {}


class ClassThird(msgspec.Struct, frozen=True):
    """Accuracy over a third of the classes, by how many of the task's labelled texts they have.

    Every class weighs the same, however many texts it has.
    """

    third: Literal["head", "medium", "tail"]
    classes: int
    texts: int
    knn_top1: float
    accuracy: float | None = None  # null of a model that does not classify


class Quality(msgspec.Struct, frozen=True):
    """Scores on the task's own labels; what the task has no labels for is null."""

    ndcg_at_10: float | None = None
    mrr_at_10: float | None = None
    recall_at_10: float | None = None
    map_at_10: float | None = None
    knn_top1: float | None = None
    accuracy: float | None = None
    spearman: float | None = None
    by_class: tuple[ClassThird, ...] = ()  # empty of fewer than three classes
    each: dict[str, str] = {}  # the score of each query or text by metric, `by_query.packed`: what two files compare


class VectorFidelity(msgspec.Struct, frozen=True):
    """Cosine of this configuration's query vectors to those of fp32 at full depth."""

    cosine_mean: float
    cosine_min: float


class System(msgspec.Struct, frozen=True):
    """How busy the machine was with other work just before and after, and its state while the process ran.

    Frequencies are the least and the median that the fastest core had, sampled every 0.2 s; null where the machine
    does not say.
    """

    busy_before_percent: float
    busy_after_percent: float
    frequency_min_mhz: float | None = None
    frequency_median_mhz: float | None = None


class Bandwidth(msgspec.Struct, frozen=True):
    """How fast so many bytes are read again and again: from a cache, where they fit one."""

    bytes: int
    gb_per_s: float


class Ceilings(msgspec.Struct, frozen=True):
    """What this machine can do at most with so many threads; an operation is a multiplication or an addition."""

    threads: int
    fp32_gops: float
    int8_gops: float
    bandwidths: tuple[Bandwidth, ...]  # by size
    measured: str  # when, UTC


class Work(msgspec.Struct, frozen=True):
    """What a call computes in products of matrices, and reads of weights: of texts, the one in the middle."""

    operations: int  # all
    int8_operations: int  # of them on 8-bit weights
    unrated_operations: int  # of them of kinds without a ceiling of their own: weights in 4-bit blocks, fp16 arithmetic
    bytes: int


class Roofline(msgspec.Struct, frozen=True):
    """How much of what this machine could do: `fraction` is the least time by its ceilings over `encode.p50_ms`."""

    work: Work
    least_ms: float
    bound: Literal["compute", "bandwidth"]
    fraction: float


class SearchRoofline(msgspec.Struct, frozen=True):
    """How near a search comes to reading what it reads: `fraction` is the least time for it over `search.p50_ms`."""

    bytes: int  # of the index and the vectors, by one query
    least_ms: float
    fraction: float


class Throughput(msgspec.Struct, frozen=True):
    """Texts a second: of one caller with batches, of `callers` at once on one session, or as `Server` says."""

    texts_per_s: float


class Server(msgspec.Struct, frozen=True):
    """Texts that arrive by chance: `Throughput` is the highest rate seen to keep the row's `p99_limit_ms`.

    Milliseconds at that rate, from a text's arrival to its vector, waiting included.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    p99_ci975_ms: tuple[float, float]
    samples: int
    exceeded_texts_per_s: float | None  # the lowest rate seen to exceed the limit; null where none was in the time


class Measurement(msgspec.Struct, frozen=True):
    """One configuration; `tokens` is null when real texts of the task were encoded in their own lengths."""

    precision: str
    target: str
    depth: int
    dim: int
    provider: str  # onnxruntime's name; a GPU may leave `nodes` to others
    threads: int
    batch: int
    tokens: int | None
    status: Status
    plan: IndexPlan | None  # what was asked of the search, there even when the configuration failed
    reason: str | None = None
    encode: Encode | None = None
    cold_start_ms: float | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    query: Query | None = None  # null where there is nothing to search
    memory: Memory | None = None
    disk: Disk | None = None
    search: SearchResult | None = None
    quality: Quality | None = None
    fidelity: VectorFidelity | None = None
    energy_mj: float | None = None
    energy_source: str | None = None  # `RAPL`: the processor's packages; else the sensor, and its rails
    throttled: bool | None = None  # whether the processor was slowed meanwhile
    temperature_c: float | None = None  # the highest seen meanwhile
    system: System | None = None
    runtime: tuple[str, ...] = ()  # `pinned`, and levers of onnxruntime
    callers: int = 1  # threads that call one session at once
    throughput: Throughput | None = None
    p99_limit_ms: float | None = None  # of texts that arrive by chance; null where callers wait for their answer
    server: Server | None = None  # `encode` is then of one text alone
    cold_start_dropped_ms: float | None = None  # the bundle's files not in the page cache
    scenario: Scenario | None = None  # MLPerf's name for what was measured: its figure is p90, p99 or texts a second
    roofline: Roofline | None = None
    search_roofline: SearchRoofline | None = None
    null_because: dict[str, str] = {}  # why a figure is null, by its name
    by_process: tuple[OneProcess, ...] = ()  # in the order of time
    host_cosine: float | None = (
        None  # the least to the vectors of the host that sent it, or of a GPU to the processor's
    )
    nodes: dict[str, int] = {}  # of the graph, by the provider that computes them; empty on the processor
    predicted: bool = False


class Unmeasured(msgspec.Struct, frozen=True):
    """A configuration that `mrl-edge tune` did not measure: the least that it costs, and the most that it scores."""

    precision: str
    depth: int
    dim: int
    threads: int
    plan: IndexPlan | None
    why: str
    p50_ms: float  # of a query, as are the others, but for the disk
    cold_start_ms: float
    peak_rss_mb: float
    disk_mb: float
    quality: dict[str, float]
    scored: bool  # its hits were: `quality` is what it has
    runtime: tuple[str, ...] = ()
    provider: str = "CPUExecutionProvider"


class HeldLimits(msgspec.Struct, frozen=True):
    """What `mrl-edge tune` held against every configuration, its budget's limits, and what it was to maximise."""

    max: dict[str, float] = {}
    min: dict[str, float] = {}
    keep: dict[str, float] = {}  # shares of `Narrowing.full_quality`
    confidence: float | None = None
    objective: str | None = None
    utility: dict[str, float] = {}
    corpus: int | None = None
    corpus_now: int | None = None


class Narrowing(msgspec.Struct, frozen=True):
    """What `mrl-edge tune` did not measure, how often and why, and what the full model is and scores, measured or not.

    The full model is fp32 at the largest depth and dimension that were asked for.
    """

    left_out: dict[str, int]
    full_depth: int | None = None
    full_dim: int | None = None
    full_quality: dict[str, float] = {}
    stopped: dict[str, int] = {}  # rows of fewer processes than were asked for, by why
    failed: dict[str, int] = {}  # what could not be run, by why
    unmeasured: tuple[Unmeasured, ...] = ()  # of `left_out`
    finished: bool = True  # else it was interrupted
    asked: str = ""  # a hash of the budget and of what there was to choose among
    threads: tuple[int, ...] = ()  # as they were asked for: indexes are tuned with the first; empty as `held` is null
    held: HeldLimits | None = None  # null in files of earlier versions, and where it was interrupted


class BundleRef(msgspec.Struct, frozen=True):
    """Which bundle was measured, and what its training said of it and of the baselines."""

    name: str
    sha256: str
    training: dict[str, Any]


class Results(msgspec.Struct, frozen=True):
    """One results file."""

    schema_version: int
    bundle: BundleRef
    device: Device
    settings: dict[str, Any]
    measurements: tuple[Measurement, ...]
    ceilings: tuple[Ceilings, ...] = ()  # by threads, of the rooflines
    narrowing: Narrowing | None = None  # None: of a whole sweep
    spent_s: dict[str, float] = {}  # wall time by what it went into, of all runs that made the file


def refuse_emulated(results: Results) -> None:
    """Raise `ResultsError` for what an emulator measured: its times and its memory are no machine's."""
    if results.device.emulated:
        raise ResultsError(
            "these results are of an emulated machine: right for vectors and hits, but its times and memory are no "
            "board's. Measure on the board: mrl-edge bench … --device user@board"
        )


def read_results(path: Path) -> Results:
    """Read and validate a results file; `ResultsError` says what is wrong with it."""
    if not path.is_file():
        raise ResultsError(f"{path}: no such results file: make one with mrl-edge bench")
    content = path.read_bytes()
    try:
        version = msgspec.json.decode(content, type=_Version).schema_version
        if version > SCHEMA_VERSION:
            raise ResultsError(f"{path} has schema_version {version}, newer than this mrl-edge reads: upgrade mrl-edge")
        results = msgspec.json.decode(content, type=Results)
        msgspec.convert(results.settings, _Settings)
        return results
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ResultsError(f"{path} is no results file, or damaged: {error}") from None


class _Version(msgspec.Struct):
    schema_version: int


class _Like(msgspec.Struct):
    source: str
    sha256: str


class _Settings(msgspec.Struct):
    """The kinds of what is read of the settings; an earlier version lacks some."""

    data: str = ""
    data_sha256: str = ""
    queries: int = 0
    documents: int = 0
    texts: int = 0
    repeats: int = 1
    target_recall: float = 0.0
    vectors: str = ""
    tail: float | None = None
    like: _Like | None = None
    asked: dict[str, str] = {}


def write_results(path: Path, results: Results) -> None:
    """Write a results file so that it is either the old one or the new one."""
    write_file(path, msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
