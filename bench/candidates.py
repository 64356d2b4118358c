"""Measured rows as the few figures that a choice is made on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from mrl_edge.bench.results import Measurement, Quality, Results, Unmeasured, refuse_emulated

from mrl_edge.description import Step
from mrl_edge.errors import ResultsError, UsageError
from mrl_edge.providers import CPU, short_name

ENCODE_P50, SEARCH_P50 = "encode_p50_ms", "search_p50_ms"  # no costs of their own, but predicted with an interval
OBJECTIVES = ("ndcg_at_10", "recall_at_10", "mrr_at_10", "map_at_10", "accuracy", "knn_top1")
_COUNTED = {name: "texts" if name in ("accuracy", "knn_top1") else "queries" for name in OBJECTIVES}


@dataclass(frozen=True)
class Candidate:
    """One configuration; a query is encoding plus search, MB are 10^6 bytes, memory is the peak RSS."""

    precision: str
    depth: int
    dim: int
    threads: int
    index: str | None
    shortlist: int | None
    rerank_dim: int | None
    p50_ms: float
    p99_ms: float
    encode_p50_ms: float
    search_p50_ms: float
    cold_start_ms: float
    peak_rss_mb: float
    disk_mb: float
    stable: bool
    quality: dict[str, float]
    runtime: tuple[str, ...] = ()
    provider: str = CPU
    shallow: bool = False  # another row runs more layers
    target: str = "any"
    p50_ci95_ms: tuple[float, float] | None = None
    energy_mj: float | None = None
    samples: dict[str, int] = field(default_factory=dict)  # queries, or texts, that each metric is a mean over
    parameters: dict[str, int | str] = field(default_factory=dict)  # of the index
    plan: str | None = None  # what was asked of the search
    funnel: tuple[Step, ...] = ()  # as of a `SizedIndex`
    vectors: str | None = None  # how the corpus is stored
    n_items: int | None = None
    target_recall: float | None = None  # that the index was tuned to
    full: bool = False  # fp32 at all layers and the largest dimension of what was asked for
    measured: bool = True  # else the costs are the least that they can be, and the metrics the most
    scored: bool = True  # its metrics are its own, measured or not
    processes: int | None = None  # that it was measured in, where they are fewer than was asked for
    predicted: bool = False
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)  # of predicted figures, by name

    @property
    def key(self) -> tuple[object, ...]:
        """What the configuration is on whatever machine and over however many documents.

        What its index was tuned to there differs, as do the targets of its integers.
        """
        asked = self.plan, self.vectors, self.target_recall
        return self.precision, self.depth, self.dim, self.threads, self.runtime, self.provider, *asked

    @property
    def name(self) -> str:
        """Say the configuration in words."""
        parts = [f"{self.precision} at dimension {self.dim}"]
        if self.shallow:
            parts.append(f"stopped after layer {self.depth}")
        if self.index:
            parts.append(f"{self.index} search")
        if self.rerank_dim:
            by_way = "".join(f"{step.dim}, {kept.shortlist} of them at " for step, kept in pairwise(self.funnel))
            parts.append(f"{self.shortlist} hits reranked at {by_way}{self.rerank_dim}")
        if self.threads > 1:
            parts.append(f"{self.threads} threads")
        if self.provider != CPU:
            parts.append(f"on {self.provider}")
        parts += [*self.runtime, *(["predicted"] if self.predicted else [])]
        if not self.measured:
            parts.append("not measured")
        if self.processes is not None:
            parts.append(f"seen in {self.processes} process{'es' if self.processes > 1 else ''} alone")
        return ", ".join(parts)


def candidates(results: Results) -> list[Candidate]:
    """Return the configurations measured on real texts; raises as `measured`."""
    return [row for row, _ in measured(results)]


def measured(results: Results) -> list[tuple[Candidate, Measurement]]:
    """Return the configurations measured on real texts, each with all that was measured of it.

    Raises `ResultsError` when there is none, and for what an emulator measured.
    """
    refuse_emulated(results)
    pairs = [(candidate(row, results.settings), row) for row in results.measurements]
    found = [(row, measurement) for row, measurement in pairs if row is not None]
    if not found:
        again = "run mrl-edge bench again"
        if none_measured(results):
            again = "mrl-edge tune ruled all out beforehand, and mrl-edge pick with this file alone says by what"
        elif results.narrowing is not None and not results.narrowing.finished:
            again = "mrl-edge tune was interrupted: run it again"
        raise ResultsError(f"the results of {results.device.name} hold no successful measurement: {again}")
    asked = _largest(results)
    rows = with_depths([replace(row, full=_is_full(row, *asked)) for row, _ in found])
    return list(zip(rows, (measurement for _, measurement in found), strict=True))


def _largest(results: Results) -> tuple[int | None, int | None]:
    """Return the full model's depth and dimension; None where a tuning left out what nobody asked it to keep."""
    if results.narrowing is not None:
        return results.narrowing.full_depth, results.narrowing.full_dim
    asked = [row for row in results.measurements if row.tokens is None]  # what failed too: the full model may not fit
    return max((row.depth for row in asked), default=None), max((row.dim for row in asked), default=None)


def largest(results: Sequence[Results]) -> tuple[int, int]:
    """Return the full model's depth and dimension in files that are taken together; 0 where none says it."""
    each = [_largest(one) for one in results]
    return max((depth or 0 for depth, _ in each), default=0), max((dim or 0 for _, dim in each), default=0)


def none_measured(results: Results) -> bool:
    """Whether a tuning left everything out before it was measured."""
    there = any(row.status == "ok" and row.tokens is None for row in results.measurements)
    return results.narrowing is not None and bool(results.narrowing.unmeasured) and not there


def unmeasured(results: Results) -> list[Candidate]:
    """Return what a tuning did not measure, by what is known of it; none where a later run has measured it."""
    if results.narrowing is None:
        return []
    there = {found.key for row in results.measurements if (found := candidate(row, results.settings))}
    deepest = results.narrowing.full_depth or 0
    rows = [bound(one, results.settings, deepest) for one in results.narrowing.unmeasured]
    return [row for row in rows if row.key not in there]


def bound(one: Unmeasured, settings: dict[str, Any], deepest: int = 0) -> Candidate:
    """Return what was not measured as a row: its costs are the least, its metrics the most that they can be."""
    plan = one.plan
    return Candidate(
        precision=one.precision,
        depth=one.depth,
        dim=one.dim,
        threads=one.threads,
        index=plan.kind if plan else None,
        shortlist=plan.shortlist if plan else None,
        rerank_dim=plan.rerank_dim if plan else None,
        p50_ms=one.p50_ms,
        p99_ms=one.p50_ms,
        encode_p50_ms=one.p50_ms,
        search_p50_ms=0.0,
        cold_start_ms=one.cold_start_ms,
        peak_rss_mb=one.peak_rss_mb,
        disk_mb=one.disk_mb,
        stable=False,
        quality=dict(one.quality),
        runtime=one.runtime,
        provider=short_name(one.provider),
        shallow=one.depth < deepest,
        p50_ci95_ms=(one.p50_ms, one.p50_ms),
        energy_mj=0.0,
        samples=_samples_of(settings),
        plan=str(plan) if plan else None,
        vectors=settings.get("vectors") if plan else None,
        target_recall=settings.get("target_recall") if plan else None,
        measured=False,
        scored=one.scored,
    )


def _samples_of(settings: dict[str, Any]) -> dict[str, int]:
    """Return how many queries, or texts, each metric of a results file is a mean over."""
    return {name: count for name in OBJECTIVES if isinstance(count := settings.get(_COUNTED[name]), int)}


def with_depths(rows: Sequence[Candidate]) -> list[Candidate]:
    """Return the rows, those that run fewer layers than others named by it."""
    deepest = max((row.depth for row in rows), default=0)
    return [replace(row, shallow=row.depth < deepest) for row in rows]


def _is_full(row: Candidate, depth: int | None, dim: int | None) -> bool:
    return (row.precision, row.depth, row.dim) == ("fp32", depth, dim)


def choose_objective(rows: Sequence[Candidate], wanted: str | None) -> str:
    """Return the metric to maximise: nDCG@10 for retrieval, else accuracy, unless the user says otherwise."""
    there = [name for name in OBJECTIVES if all(name in row.quality for row in rows)]
    if wanted is not None:
        if wanted not in there:
            raise UsageError(f"--objective {wanted}: not in these results, which have {', '.join(there) or 'none'}")
        return wanted
    for name in ("ndcg_at_10", "accuracy", "knn_top1", *there):
        if name in there:
            return name
    raise ResultsError("the results hold no quality to choose by: run mrl-edge bench with labels or pairs")


def wilson(share: float, n: int, z: float) -> tuple[float, float]:
    """Return Wilson's score interval (1927) of a mean of n scores from 0 to 1, `z` standard deviations to each side.

    It is exact in spirit for hits and misses; scores between 0 and 1 vary less, and it is then too wide.
    """
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def candidate(row: Measurement, settings: dict[str, Any]) -> Candidate | None:
    """Return a row's figures, with the settings of its results; None of one that failed or is not of real texts."""
    if row.status != "ok" or row.tokens is not None:
        return None
    if row.encode is None or row.memory is None or row.disk is None or row.cold_start_ms is None:
        return None
    search, disk = row.search, row.disk
    whole = row.query or row.encode
    return Candidate(
        precision=row.precision,
        depth=row.depth,
        dim=row.dim,
        threads=row.threads,
        index=search.index if search else None,
        shortlist=search.shortlist if search else None,
        rerank_dim=search.rerank_dim if search else None,
        p50_ms=whole.p50_ms,
        p99_ms=whole.p99_ms if whole.p99_ms is not None else math.inf,  # not known: it fits no budget
        encode_p50_ms=row.encode.p50_ms,
        search_p50_ms=(search.p50_ms or 0.0) if search else 0.0,
        cold_start_ms=row.cold_start_ms,
        peak_rss_mb=row.memory.peak_rss_bytes / 1e6,
        disk_mb=(disk.model_bytes + disk.index_bytes + disk.vectors_bytes) / 1e6,
        stable=whole.stable,
        quality=scores_of(row.quality or Quality()),
        runtime=row.runtime,
        provider=short_name(row.provider),
        target=row.target,
        p50_ci95_ms=whole.ci95_ms,
        energy_mj=row.energy_mj,
        samples=_samples_of(settings),
        parameters=search.parameters if search else {},
        funnel=search.funnel if search else (),
        plan=str(row.plan) if row.plan else None,
        vectors=search.vectors if search else None,
        n_items=search.n_items if search else None,
        target_recall=settings.get("target_recall") if search else None,
        predicted=row.predicted,
        processes=len(whole.processes) if 0 < len(whole.processes) < settings.get("repeats", 1) else None,
    )


def scores_of(quality: Quality) -> dict[str, float]:
    """Return the metrics that can be an objective, of those that were scored."""
    return {name: value for name in OBJECTIVES if (value := getattr(quality, name)) is not None}
