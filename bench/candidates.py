"""Measured rows as the few figures that a choice is made on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mrl_edge.bench.results import Measurement, Quality, Results, refuse_emulated

from mrl_edge.errors import ResultsError, UsageError

OBJECTIVES = ("ndcg_at_10", "recall_at_10", "mrr_at_10", "map_at_10", "accuracy", "knn_top1")


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
    shallow: bool = False  # another row runs more layers

    @property
    def name(self) -> str:
        """Say the configuration in words."""
        parts = [f"{self.precision} at dimension {self.dim}"]
        if self.shallow:
            parts.append(f"stopped after layer {self.depth}")
        if self.index:
            parts.append(f"{self.index} search")
        if self.rerank_dim:
            parts.append(f"{self.shortlist} hits reranked at {self.rerank_dim}")
        if self.threads > 1:
            parts.append(f"{self.threads} threads")
        parts += self.runtime
        return ", ".join(parts)


def candidates(results: Results) -> list[Candidate]:
    """Return the configurations measured on real texts.

    Raises `ResultsError` when there is none, and for what an emulator measured.
    """
    refuse_emulated(results)
    rows = [_candidate(row) for row in results.measurements if row.status == "ok" and row.tokens is None]
    found = [row for row in rows if row is not None]
    if not found:
        raise ResultsError("the results hold no successful measurement: run mrl-edge bench again")
    deepest = max(row.depth for row in found)
    return [replace(row, shallow=row.depth < deepest) for row in found]


def choose_objective(rows: Sequence[Candidate], wanted: str | None) -> str:
    """Return the metric to maximise: nDCG@10 for retrieval, else accuracy, unless the user says otherwise."""
    there = [name for name in OBJECTIVES if all(name in row.quality for row in rows)]
    if wanted is not None:
        if wanted not in there:
            raise UsageError(f"--objective {wanted}: not in these results, which have {', '.join(there) or 'none'}")
        return wanted
    for name in ("ndcg_at_10", "accuracy", "knn_top1"):
        if name in there:
            return name
    raise ResultsError("the results hold no quality to choose by: run mrl-edge bench with labels or pairs")


def pareto_front(rows: Sequence[Candidate], objective: str) -> list[Candidate]:
    """Return the rows that no other is at least as good as in everything and better in something.

    The axes are the objective, the query's p50, peak RSS and disk; the result is ordered by the objective.
    """
    front = [row for row in rows if not any(_dominates(other, row, objective) for other in rows)]
    return sorted(front, key=lambda row: (row.quality[objective], -row.p50_ms))


def _dominates(a: Candidate, b: Candidate, objective: str) -> bool:
    ours = (-a.quality[objective], a.p50_ms, a.peak_rss_mb, a.disk_mb)
    theirs = (-b.quality[objective], b.p50_ms, b.peak_rss_mb, b.disk_mb)
    return all(x <= y for x, y in zip(ours, theirs, strict=True)) and ours != theirs


def _candidate(row: Measurement) -> Candidate | None:
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
        quality=_present(row.quality or Quality()),
        runtime=row.runtime,
    )


def _present(quality: Quality) -> dict[str, float]:
    return {name: value for name in OBJECTIVES if (value := getattr(quality, name)) is not None}
