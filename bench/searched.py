"""Once a variant, or a dimension of it: build the indexes over its vectors and score their hits.

Nothing here is timed but the build.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from mrl_edge.bench.by_query import packed
from mrl_edge.bench.held import plain
from mrl_edge.bench.indexing import Indexes
from mrl_edge.bench.jobs import IndexJob, IndexResult, Prepared, Task, read_task
from mrl_edge.bench.path import HITS, open_files
from mrl_edge.bench.results import IndexPlan, SearchResult
from mrl_edge.bench.rivals import answers_within

from mrl_edge.bundle import Bundle, Variant, open_bundle
from mrl_edge.cpu import allowed_cores
from mrl_edge.description import VectorsInfo
from mrl_edge.index import Index
from mrl_edge.index.build import LENGTHS, VECTORS
from mrl_edge.metrics import Ids, exact_top_k, means, overlap_at_k, retrieval_quality, scores_at_10
from mrl_edge.nesting import Floats, prefix


def index(job: IndexJob) -> IndexResult:
    """Build what the job wants into `job.work`, and return each configuration with its hits' quality."""
    return _Searched(job).run()


@dataclass(frozen=True)
class _Exact:
    """What exact search at one dimension finds [queries, ≤ 10], and what is said of it."""

    ids: Ids
    metrics: dict[str, float]
    within: dict[int, float]


class _Searched:
    """The vectors of one variant, and what is made of them."""

    def __init__(self, job: IndexJob) -> None:
        self.job = job
        self.bundle: Bundle = open_bundle(job.bundle)
        self.variant: Variant = self.bundle.variant(job.precision, job.depth)
        self.task: Task = read_task(job.task)
        self.work = Path(job.work)
        self.relevant = [frozenset(answers) for answers in self.task.relevant]
        self.spent_s: dict[str, float] = {}
        self._made: dict[int, _Exact] = {}
        full = self.bundle.manifest.dims[-1]
        self.queries: Floats = np.fromfile(job.embedded.query_vectors, dtype=np.float32).reshape(-1, full)
        self.documents: Floats = np.fromfile(job.embedded.document_vectors or "", dtype=np.float32).reshape(-1, full)

    def run(self) -> IndexResult:
        job = self.job
        info = VectorsInfo(VECTORS, LENGTHS, job.storage, self.bundle.manifest.dims, len(self.documents))
        with self._spending("building indexes"):
            indexes = Indexes(self.queries, self.documents, info, job.plans, job.like, self.work)
            self.reference = exact_top_k(self.queries, self.documents, 10)
        alone = {encoded.dim: encoded for encoded in job.embedded.configurations}
        found = []
        for dim in dict.fromkeys(dim for dim, _ in job.wanted):
            plans = [plan for at, plan in job.wanted if at == dim]
            found += [self._with_index(plan, alone[dim], indexes) for plan in plans]
        return IndexResult(tuple(found), self.spent_s)

    @contextmanager
    def _spending(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.spent_s[what] = self.spent_s.get(what, 0.0) + time.perf_counter() - started

    def _exact(self, dim: int) -> _Exact:
        """Return exact search at a dimension, made once."""
        if dim not in self._made:
            with self._spending("exact search"):
                queries, documents = prefix(self.queries, dim), prefix(self.documents, dim)
                ids = exact_top_k(queries, documents, HITS)
                within = answers_within(queries, documents, self.relevant)
                self._made[dim] = _Exact(ids, retrieval_quality(ids, self.relevant), within)
        return self._made[dim]

    def _with_index(self, plan: IndexPlan, encoded: Prepared, indexes: Indexes) -> Prepared:
        """Build what a plan searches and search every query with it."""
        like = next((held for held in self.job.like if (held.dim, held.plan) == (encoded.dim, plain(plan))), None)
        with self._spending("building indexes" if like else "tuning and building indexes"):
            made = indexes.make(plan, encoded.dim, self.job.target_recall, like)
        opened, sized = open_files(made.files), made.files.sized
        with self._spending("hits for the quality"):
            ids = _hits(opened, self.queries)
        hits = self.work / f"{plan}-d{encoded.dim}.hits"
        ids.tofile(hits)
        last = self._exact(sized.rerank_dim or encoded.dim)
        search = SearchResult(
            index=plan.kind,
            n_items=indexes.n_items,
            shortlist=sized.shortlist,
            rerank_dim=sized.rerank_dim,
            funnel=sized.funnel,
            p50_ms=None,
            p99_ms=None,
            build_s=made.build_s,
            recall_at_10=overlap_at_k(ids, self.reference),
            recall_at_10_of_dim=overlap_at_k(ids, self._exact(encoded.dim).ids),
            parameters=sized.parameters,
            vectors=self.job.storage,
            tuned_on=like.tuned_on if like else self.job.precision,
            exact=last.metrics,
            exact_within=last.within,
        )
        scores = scores_at_10(ids, self.relevant)
        each = {**encoded.quality.each, **{name: packed(values) for name, values in scores.items()}}
        return msgspec.structs.replace(
            encoded,
            plan=plan,
            index=made.files,
            hits=str(hits),
            encode_dim=opened.dim,
            disk=indexes.disk(made.files, self.bundle.model_bytes(self.variant, opened.dim)),
            search=search,
            quality=msgspec.structs.replace(encoded.quality, **means(scores), each=each),
        )


def _hits(opened: Index, queries: Floats) -> Ids:
    """Return the ids [queries, 10] that an index finds, -1 pads, one query at a time on each core."""
    found = np.full((len(queries), HITS), -1, dtype=np.int64)
    with ThreadPoolExecutor(allowed_cores()) as pool:
        cut = prefix(queries, opened.dim)
        for line, ids in zip(found, pool.map(lambda query: opened.search(query, HITS)[0], cut), strict=True):
            line[: len(ids)] = ids
    return found
