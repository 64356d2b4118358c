"""Quality against cost of exact, adaptive and funnel retrieval (Kusupati et al. 2022, §4.3.1), as they count it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrl_edge.description import Step
from mrl_edge.evaluation.embeddings import Embeddings
from mrl_edge.index import Index
from mrl_edge.index.adaptive import Funnel
from mrl_edge.index.scan import ScanIndex
from mrl_edge.index.vectors import ArrayRows
from mrl_edge.metrics import retrieval_metrics
from mrl_edge.nesting import prefix
from mrl_edge.progress import Report


@dataclass(frozen=True)
class SearchPlan:
    """An exact scan at `dim`, and what is reranked after it; exact search has no steps, adaptive retrieval one."""

    dim: int
    steps: tuple[Step, ...] = ()

    @property
    def kind(self) -> str:
        """`exact`, `adaptive` or `funnel`."""
        return ("exact", "adaptive", "funnel")[min(len(self.steps), 2)]

    def mflops(self, documents: int, k: int) -> float:
        """Return the paper's MFLOPs a query: millions of multiply-adds of the inner products, each counted as one.

        A scan of N documents at dimension D_s is N·D_s, reranking K at D_r is K·D_r. Normalising, sorting, and
        encoding the query are not counted.
        """
        reranked = sum(min(documents, max(k, step.shortlist)) * step.dim for step in self.steps)
        return (documents * self.dim + reranked) / 1e6


@dataclass(frozen=True)
class SearchCost:
    """What a plan found and what it cost."""

    kind: str
    dims: tuple[int, ...]
    shortlists: tuple[int, ...]
    mflops: float
    metrics: dict[str, float]


def search_plans(dims: Sequence[int], shortlist: int, documents: int, k: int) -> list[SearchPlan]:
    """Return exact search, adaptive retrieval to the largest dimension, and the funnel, from each dimension.

    A funnel reranks at every following dimension, its shortlist halving each time but never below k. A shortlist
    that is as long as the corpus saves nothing and is left out.
    """
    plans = [SearchPlan(dim) for dim in dims]
    first = max(shortlist, k)
    if first >= documents:
        return plans
    plans += [SearchPlan(dim, (Step(first, dims[-1]),)) for dim in dims[:-1]]
    for number, dim in enumerate(dims[:-2]):
        later = dims[number + 1 :]
        steps = tuple(Step(max(first >> place, k), larger) for place, larger in enumerate(later))
        plans.append(SearchPlan(dim, steps))
    return plans


def search_costs(
    embeddings: Embeddings,
    relevant: Sequence[frozenset[int]],
    plans: Sequence[SearchPlan],
    ks: Sequence[int],
    stage: str,
    report: Report,
) -> tuple[SearchCost, ...]:
    """Search every query of the task with every plan, through the classes that a device runs."""
    documents, costs = embeddings["documents"], []
    for number, plan in enumerate(plans):
        report(stage, number, len(plans))
        index: Index = ScanIndex(ArrayRows(prefix(documents, plan.dim)), plan.dim)
        if plan.steps:
            index = Funnel(index, ArrayRows(documents), plan.steps)
        found = [index.search(query, max(ks))[0].tolist() for query in prefix(embeddings["queries"], index.dim)]
        dims = (plan.dim, *(step.dim for step in plan.steps))
        shortlists = tuple(step.shortlist for step in plan.steps)
        metrics = retrieval_metrics(found, relevant, ks)
        costs.append(SearchCost(plan.kind, dims, shortlists, plan.mflops(len(documents), max(ks)), metrics))
    report(stage, len(plans), len(plans))
    return tuple(costs)
