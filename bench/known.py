"""What is known of a configuration before it is measured: the least that it can cost, and the most that it can score.

Bounds come from short processes of encoding alone, from exact search of the vectors, and from what an index's hits
score; each is nearer to the figure than the one before, and dearer.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from mrl_edge.bench import jobs
from mrl_edge.bench.candidates import OBJECTIVES, Candidate, bound, scores_of
from mrl_edge.bench.configuration import Configuration
from mrl_edge.bench.limits import Excess, Limits, excesses
from mrl_edge.bench.results import Encode, IndexPlan, Results, Unmeasured

from mrl_edge.bundle import Bundle, Variant
from mrl_edge.description import VectorsInfo
from mrl_edge.index.binary import binary_bytes
from mrl_edge.index.kinds import kind_of
from mrl_edge.index.vectors import block_bytes
from mrl_edge.providers import PROVIDERS

FAR_OVER = 0.25  # of a limit: so far is no accident of one process
_OFTEN, _OFTEN_OVER = 6, 0.05  # processes whose fastest pass is no accident so far over either
_SPEEDS = ("p50_ms", "p99_ms", "cold_start_ms")  # what other work on the machine changes
_LEAST_P50, _LEAST_COLD, _LEAST_RSS = 0.95, 0.8, 0.95  # of what was seen of encoding alone
_MISSED = {"fp32": 0.01, "less": 0.05}  # of the hits, by the storage, whatever recall was aimed at
_LEAST_SEARCH = 0.5  # of the time that an index was tuned to, in the process that tuned it


class Stage(IntEnum):
    """How much is known, in the order in which it is found out."""

    GLIMPSED = 0  # encoding alone
    ANSWERS = 1  # exact search among the answers alone, which is the best that there can be
    EMBEDDED = 2  # exact search of the whole corpus
    SCORED = 3  # the hits of its own index


@dataclass(frozen=True)
class Encoding:
    """What processes of one variant, threads and runtime saw: of each the p50 of its fastest pass, and if undisturbed.

    Cold start and memory are those of the glimpses, which search nothing: measured processes do more.
    """

    passes_ms: tuple[float, ...] = ()
    calm: tuple[bool, ...] = ()
    cold_start_ms: float = 0.0  # 0 until there is one that found its files in the page cache
    peak_rss_mb: float = 0.0

    def glimpsed(self, seen: jobs.MeasureResult) -> Encoding:
        """Return it with one more glimpse; the first one's cold start is not the least: it filled the page cache."""
        again = self.peak_rss_mb > 0
        colder = min(self.cold_start_ms or math.inf, seen.cold_start_ms) if again else 0.0
        rss_mb = min(self.peak_rss_mb or math.inf, seen.memory.peak_rss_bytes / 1e6)
        return replace(self.timed(seen.encode), cold_start_ms=colder, peak_rss_mb=rss_mb)

    def timed(self, encode: Encode) -> Encoding:
        """Return it with the times of one more process."""
        passes = encode.processes[0].passes_ms if encode.processes else []
        fastest = min((statistics.median(one) for one in passes), default=encode.p50_ms)
        calm = "busy" not in encode.doubts
        return replace(self, passes_ms=(*self.passes_ms, fastest), calm=(*self.calm, calm))

    @property
    def p50_ms(self) -> float:
        """The least p50 that encoding can have; 0 where other work disturbed whatever was seen."""
        return _LEAST_P50 * min(self.passes_ms) if any(self.calm) else 0.0

    def beyond(self, over: Excess) -> bool:
        """Whether missing a limit by so much is no accident of when it was looked at."""
        if over.figure not in _SPEEDS:
            return True
        undisturbed = sum(self.calm)
        often = undisturbed >= _OFTEN and over.figure != "cold_start_ms"  # which glimpses alone saw
        return over.share > (_OFTEN_OVER if often else FAR_OVER) and undisturbed >= 2


@dataclass(frozen=True)
class Known:
    """A configuration that was not measured, its disk the least and its metrics the most that they can be."""

    variant: Variant
    configuration: Configuration
    stage: Stage
    disk_mb: float
    quality: dict[str, float]
    search_ms: float = 0.0

    def with_answers(self, found: jobs.EmbedResult, margin: Margin) -> Known:
        """Return it with what exact search among the documents that were embedded scores."""
        stage = Stage.EMBEDDED if found.document_vectors else Stage.ANSWERS
        own = next(one.quality for one in found.configurations if one.dim == self.configuration.dim)
        quality = scores_of(own)
        plan = self.configuration.plan
        if plan is None:
            return replace(self, stage=Stage.SCORED, quality=quality)
        exact = [scores_of(found.exact[dim]) for dim in dims_of(plan, self.configuration.dim, tuple(found.exact))]
        for name in exact[0]:
            quality[name] = min(1.0, max(one[name] for one in exact) + margin.of(plan))
        return replace(self, stage=stage, quality=quality)

    def with_index(self, found: jobs.Prepared) -> Known:
        """Return it with what its own index's hits score, and what its files take."""
        disk = found.disk
        return replace(
            self,
            stage=Stage.SCORED,
            disk_mb=(disk.model_bytes + disk.index_bytes + disk.vectors_bytes) / 1e6,
            quality=scores_of(found.quality),
            search_ms=_LEAST_SEARCH * found.index.sized.p50_ms / self.configuration.threads if found.index else 0.0,
        )

    def least(self, encoding: Encoding, settings: Mapping[str, object]) -> Candidate:
        """Return its figures as those of a row: costs are the least, metrics the most."""
        return bound(self.left_out(encoding, ""), dict(settings))

    def over(self, encoding: Encoding, settings: Mapping[str, object], limits: Limits) -> list[Excess]:
        """Return the limits that it misses whatever measuring it would say."""
        return [one for one in excesses(self.least(encoding, settings), limits) if encoding.beyond(one)]

    def left_out(self, encoding: Encoding, why: str) -> Unmeasured:
        """Return what a results file says of it."""
        one = self.configuration
        return Unmeasured(
            precision=one.precision,
            depth=one.depth,
            dim=one.dim,
            threads=one.threads,
            plan=one.plan,
            why=why,
            p50_ms=encoding.p50_ms + self.search_ms,
            cold_start_ms=_LEAST_COLD * encoding.cold_start_ms,
            peak_rss_mb=_LEAST_RSS * encoding.peak_rss_mb,
            disk_mb=self.disk_mb,
            quality=self.quality,
            scored=self.stage is Stage.SCORED,
            runtime=one.runtime,
            provider=PROVIDERS[one.provider],
        )


@dataclass(frozen=True)
class Margin:
    """How far a search that is not exact may score above one that is, by missing what stands before the answer.

    A search tuned to recall r misses a share 1 - r of the hits; tuning may fall short of r, and vectors that are stored
    in fewer bits have another order. Over n queries the mean of what that changes, at most 1 each, has a standard
    deviation of at most √((1 - r) / n): twice that, and one query whose hits tie otherwise.
    """

    target_recall: float
    queries: int
    storage: str

    @property
    def widest(self) -> float:
        """The margin of a search that is not exact."""
        missed = max(1 - self.target_recall, _MISSED["fp32" if self.storage == "fp32" else "less"])
        return 2 * math.sqrt(missed / self.queries) + 1 / self.queries if self.queries else 0.0

    def of(self, plan: IndexPlan) -> float:
        """Return the margin of a plan."""
        exact = plan.kind == "scan" and plan.rerank_dim is None and not plan.tuned and self.storage == "fp32"
        return 1 / self.queries if exact else self.widest


def metrics_of(task: jobs.Task, bundle: Bundle) -> tuple[str, ...]:
    """Return the metrics that a task scores."""
    searched = ("ndcg_at_10", "recall_at_10", "mrr_at_10", "map_at_10") if task.documents else ()
    labelled = ("knn_top1", *(("accuracy",) if bundle.manifest.classes else ())) if task.labels else ()
    return tuple(name for name in OBJECTIVES if name in (*searched, *labelled))


def glimpsed(
    bundle: Bundle, variant: Variant, configuration: Configuration, results: Results, metrics: tuple[str, ...]
) -> Known:
    """Return what is known of a configuration without its vectors."""
    settings, dims = results.settings, bundle.manifest.dims
    info = VectorsInfo("", "", settings["vectors"], dims, settings["documents"])
    disk_mb = least_bytes(bundle, variant, configuration, info) / 1e6
    return Known(variant, configuration, Stage.GLIMPSED, disk_mb, dict.fromkeys(metrics, 1.0))


def least_bytes(bundle: Bundle, variant: Variant, configuration: Configuration, info: VectorsInfo) -> int:
    """Return the least bytes that a configuration can need on disk over so many documents."""
    plan, dim, n = configuration.plan, configuration.dim, info.n_rows
    model = min(bundle.model_bytes(variant, one) for one in info.dims if one >= dim)  # lists may need a larger one
    if plan is None:
        return model
    columns = min(block_bytes(info, one) for one in dims_of(plan, dim, info.dims) if one >= (plan.rerank_dim or 0))
    own = {"annoy": dim // 8 * n, "binary": binary_bytes(n, dim)}.get(kind_of(plan.kind), 0) + columns
    if kind_of(plan.kind) == "annoy" and plan.rerank_dim is None:  # whose copy of the vectors needs no others
        own = min(own, 4 * dim * n)
    return model + own


def dims_of(plan: IndexPlan, dim: int, dims: tuple[int, ...]) -> list[int]:
    """Return the dimensions that a plan's hits may be ranked at."""
    if plan.tuned:
        return [one for one in dims if one >= dim]
    return [dim] if plan.rerank_dim is None else [dim, plan.rerank_dim]
