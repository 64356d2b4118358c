"""Which index answers soonest: every kind's parameters, tried on queries until the target recall is reached.

Recall is against exact search over float32 vectors, at the full dimension where `mrl-edge index` tunes. What is
tried is kept, whether it was chosen or not, so that a person can see what the choice was made from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrl_edge.description import Parameters, SizedIndex, Step, steps_of
from mrl_edge.errors import UsageError
from mrl_edge.index import Index
from mrl_edge.index.adaptive import AdaptiveRetrieval, Funnel
from mrl_edge.index.candidates import Candidate, Lists, Site, ladders
from mrl_edge.index.kinds import OPENERS
from mrl_edge.index.memory import touched_bytes
from mrl_edge.index.reference import exact_in_pieces
from mrl_edge.index.shortlists import LENGTHS, Shortlists
from mrl_edge.index.sizing import time_search
from mrl_edge.index.trials import Trial, rank
from mrl_edge.index.vectors import VectorStore
from mrl_edge.metrics import Ids, overlap_at_k
from mrl_edge.nesting import Floats, prefix
from mrl_edge.progress import Report

_GLANCE = 20  # queries that show whether a search is far too slow


@dataclass(frozen=True)
class Target:
    """What is asked for: a recall@10, and how many bytes its queries may touch."""

    recall: float
    max_bytes: int | None
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Ground:
    """What is searched and what with: rows, tuning queries, and the rows that exact search at `dim` finds."""

    store: VectorStore
    queries: Floats  # [queries, full]
    reference: Ids  # [queries, ≤ 10] rows
    lists: Lists | None
    dim: int  # nothing is reranked at a larger one
    unseen: tuple[Floats, Ids] | None = None  # other queries and their rows, which the choice is scored on


def tune(
    ground: Ground, dims: Sequence[int], target: Target, folder: Path, report: Report
) -> tuple[list[SizedIndex], list[Trial]]:
    """Choose an index a dimension and leave its file in `folder`; return the choices and all trials.

    The choice is the least median latency of those that reach the recall within the memory, else the best recall
    within the memory. Raises `UsageError` where nothing fits the memory.
    """
    ceilings = _ceilings(ground, min(dims))
    sizes, trials = [], []
    made: dict[Path, float] = {}
    for number, dim in enumerate(dims):
        report("tuning", number, len(dims), f"dimension {dim}")
        search = _Dimension(ground, dim, target, ceilings, folder, report, made)
        sizes.append(search.run())
        trials += search.trials
        _leave(folder, sizes, (".ann", ".hnsw"))
    report("tuning", len(dims), len(dims))
    _leave(folder, sizes, (".u64",))  # signs serve every dimension
    return sizes, trials


def _leave(folder: Path, sizes: Sequence[SizedIndex], suffixes: tuple[str, ...]) -> None:
    """Remove the files of some suffixes that none of the sizes has."""
    kept = {size.file for size in sizes}
    for path in folder.iterdir():
        if path.suffix in suffixes and path.name not in kept:
            path.unlink()


class _Dimension:
    """The search at one dimension."""

    def __init__(
        self,
        ground: Ground,
        dim: int,
        target: Target,
        ceilings: dict[int, float],
        folder: Path,
        report: Report,
        made: dict[Path, float],
    ) -> None:
        self.made = made
        self.ground, self.dim, self.target, self.folder, self.report = ground, dim, target, folder, report
        self.trials: list[Trial] = []
        full = ground.dim
        larger = [d for d in ground.store.dims if dim < d <= full]
        # A rerank keeps no more than exact search at its dimension, over what is stored, would. Within a limit all are
        # kept: what could reach the target may not fit, and then the best of the rest is wanted.
        limited = target.max_bytes is not None
        self.rerank_dims = [d for d in larger if limited or d == full or ceilings[d] >= target.recall]
        self.answers = limited or dim == full or ceilings[dim] >= target.recall
        self._best: tuple[Trial, Candidate, float] | None = None

    def run(self) -> SizedIndex:
        """Try everything; the files of what was not chosen stay."""
        room = math.inf if self.target.max_bytes is None else self.target.max_bytes
        unbuilt = []
        for kind in self.target.kinds:
            site = Site(self.ground.store, self.ground.lists, self.dim, self.folder, room, self.report, self.made)
            if not sum(self._climb(ladder) for ladder in ladders(kind, site)):
                unbuilt.append(kind)
        if self._best is None:
            raise UsageError(self._nothing_fits(unbuilt))
        self._narrow(*self._best)
        trial, candidate, recall = self._best
        p50_ms = trial.p50_ms or 0.0
        if self.ground.unseen is not None:
            queries, reference = self.ground.unseen
            index = self._index(candidate, trial)
            ids, p50_ms = time_search(index, prefix(queries, index.dim))
            recall = overlap_at_k(ids, reference)
        return SizedIndex(
            dim=self.dim,
            kind=trial.kind,
            file=None if candidate.path is None else candidate.path.name,
            parameters=trial.parameters,
            recall_at_10=None,
            recall_at_10_full=recall,
            p50_ms=p50_ms,
            resident_bytes=trial.resident_bytes,
            shortlist=trial.shortlist,
            rerank_dim=trial.rerank_dim,
            funnel=trial.funnel,
        )

    def _climb(self, ladder: Iterable[Candidate]) -> int:
        """Try ever larger builds of a kind until one is no better than the one before; return how many were built."""
        best, built = (-1.0, 0.0), 0
        for candidate in ladder:
            built += 1
            before = len(self.trials)
            for effort in candidate.efforts:
                self._try(candidate, effort)
            found = max((rank(trial, self.target.recall) for trial in self.trials[before:]), default=best)
            if found <= best:  # a larger one that is given up, or does not fit, leaves no hope for the next
                break
            best = found
        return built

    def _narrow(self, trial: Trial, candidate: Candidate, recall: float) -> None:
        """Try to rank the best one's shortlist in two steps, by way of a smaller dimension."""
        if trial.shortlist is None or trial.rerank_dim is None or recall < self.target.recall:
            return
        ground, whole = self.ground, Step(trial.shortlist, trial.rerank_dim)
        first = self._first(candidate, trial.parameters)
        queries = prefix(ground.queries, whole.dim)
        least = self.dim if candidate.estimates else self.dim + 1  # an exact order is not ranked again
        dims = [dim for dim in ground.store.dims if max(first.dim, least) <= dim < whole.dim]
        for steps in self._shortlists(first, whole.shortlist).narrowed(whole, dims, self.target.recall):
            if self._fits(candidate, trial.parameters, whole.dim, steps):
                ids, p50_ms = time_search(Funnel(first, ground.store, steps), queries)
                seen = overlap_at_k(ids, ground.reference), p50_ms
                self._add(candidate, trial.parameters, whole.shortlist, whole.dim, seen, funnel=steps)

    def _first(self, candidate: Candidate, effort: Parameters) -> Index:
        return OPENERS[candidate.kind](self.ground.store, candidate.path or self.folder, self.dim, effort)

    def _index(self, candidate: Candidate, trial: Trial) -> Index:
        first = self._first(candidate, trial.parameters)
        steps = steps_of(trial.shortlist, trial.rerank_dim, trial.funnel)
        return Funnel(first, self.ground.store, steps) if steps else first

    def _nothing_fits(self, unbuilt: Sequence[str]) -> str:
        why = []
        if unbuilt:
            why.append(f"{', '.join(unbuilt)} would need more for its own file alone")
        if self.trials:
            why.append(f"the least that was built touches {min(t.resident_bytes for t in self.trials) / 1e6:.3g} MB")
        return (
            f"no index of dimension {self.dim} fits: {'; '.join(why)}: raise --max-index-mb, store smaller --vectors, "
            "name other --kinds, or leave it out with --dims"
        )

    def _try(self, candidate: Candidate, effort: Parameters) -> None:
        """Try one effort of a candidate with every rerank that fits the memory, and ever longer shortlists."""
        ground = self.ground
        first = self._first(candidate, effort)
        answers = self.answers and not candidate.estimates and self._fits(candidate, effort, None)
        reranks = [d for d in self._reranks(candidate, first) if self._fits(candidate, effort, d)]
        if not answers and not reranks:
            return
        queries = prefix(ground.queries, first.dim)
        _, glance = time_search(first, queries[:_GLANCE])
        if self._reached() and glance > (self._best_ms() or math.inf):
            self._add(candidate, effort, None, None, (None, None), "its first step alone is slower than the best")
            return
        if answers:
            ids, p50_ms = time_search(first, queries)
            self._add(candidate, effort, None, None, (overlap_at_k(ids, ground.reference), p50_ms))
        if not reranks:
            return
        shortlists = self._shortlists(first, LENGTHS[-1])
        for rerank_dim in reranks:
            for shortlist in shortlists.enough(rerank_dim, self.target.recall):
                index = AdaptiveRetrieval(first, ground.store, shortlist, rerank_dim)
                ids, p50_ms = time_search(index, prefix(ground.queries, rerank_dim))
                recall = overlap_at_k(ids, ground.reference)
                self._add(candidate, effort, shortlist, rerank_dim, (recall, p50_ms))
                if recall >= self.target.recall or (self._reached() and p50_ms > (self._best_ms() or math.inf)):
                    break

    def _reranks(self, candidate: Candidate, first: Index) -> list[int]:
        """Return the dimensions to rerank at; estimates are ranked again at their own where nothing else may do."""
        larger = [d for d in self.rerank_dims if d >= first.dim]
        own = candidate.estimates and (self.target.max_bytes is not None or not larger)
        return [self.dim, *larger] if own else larger

    def _fits(
        self, candidate: Candidate, effort: Parameters, rerank_dim: int | None, funnel: tuple[Step, ...] = ()
    ) -> bool:
        """Return whether it is within the memory, and note it among the trials where it is not."""
        limit = self.target.max_bytes
        fits = limit is None or self._bytes(candidate, rerank_dim, funnel) <= limit
        if not fits:
            note = "touches more memory than allowed"
            self._add(candidate, effort, None, rerank_dim, (None, None), note, funnel)
        return fits

    def _shortlists(self, first: Index, length: int) -> Shortlists:
        """Return the shortlist of each query; shorter ones are its beginnings."""
        ground = self.ground
        found = [first.search(query, min(length, ground.store.n))[0] for query in prefix(ground.queries, first.dim)]
        return Shortlists(ground.store, ground.queries, found, ground.reference)

    def _add(
        self,
        candidate: Candidate,
        effort: Parameters,
        shortlist: int | None,
        rerank_dim: int | None,
        seen: tuple[float, float] | tuple[None, None],
        note: str = "",
        funnel: tuple[Step, ...] = (),
    ) -> None:
        recall, p50_ms = seen
        trial = Trial(
            dim=self.dim,
            kind=candidate.kind,
            parameters=effort,
            shortlist=shortlist,
            rerank_dim=rerank_dim,
            recall_at_10_full=recall,
            p50_ms=p50_ms,
            resident_bytes=self._bytes(candidate, rerank_dim, funnel),
            build_s=candidate.build_s,
            note=note,
            funnel=funnel,
        )
        self.trials.append(trial)
        if recall is not None and p50_ms is not None and self._better(recall, p50_ms):
            self._best = trial, candidate, recall

    def _bytes(self, candidate: Candidate, rerank_dim: int | None, funnel: tuple[Step, ...]) -> int:
        ranked = {step.dim for step in funnel} | ({rerank_dim} if rerank_dim else set())
        return touched_bytes(candidate, self.ground.store, self.dim, ranked)

    def _better(self, recall: float, p50_ms: float) -> bool:
        if self._best is None:
            return True
        old, _, old_recall = self._best
        if old_recall < self.target.recall:
            return recall > old_recall
        return recall >= self.target.recall and p50_ms < (old.p50_ms or 0)

    def _reached(self) -> bool:
        return self._best is not None and self._best[2] >= self.target.recall

    def _best_ms(self) -> float | None:
        return self._best[0].p50_ms if self._best else None


def _ceilings(ground: Ground, least: int) -> dict[int, float]:
    """Return the recall of a scan of what is stored, by dimension from the least on, below that of the reference."""
    store = ground.store
    dims = [d for d in store.dims if least <= d < ground.dim]
    found = {d: exact_in_pieces(prefix(ground.queries, d), store.pieces(d), 10) for d in dims}
    return {d: overlap_at_k(ids, ground.reference) for d, ids in found.items()}


def rows_of(items: Ids, order: Ids) -> Ids:
    """Return the rows at which items stand; `order` [n] is the item of each row."""
    rows = np.empty(len(order), dtype=np.int64)
    rows[order] = np.arange(len(order))
    return rows[items]
