import numpy as np
import pytest
from sklearn.preprocessing import normalize

from mrl_edge.description import Step
from mrl_edge.evaluation.adaptive_retrieval import SearchPlan, search_costs, search_plans
from mrl_edge.index.adaptive import AdaptiveRetrieval, Funnel
from mrl_edge.index.scan import ScanIndex
from mrl_edge.index.vectors import ArrayRows
from mrl_edge.progress import silent

DIMS = (4, 8, 16, 32)


@pytest.fixture(scope="module")
def documents():
    return normalize(np.random.default_rng(0).normal(size=(300, 32))).astype(np.float32)


@pytest.fixture(scope="module")
def queries():
    return normalize(np.random.default_rng(1).normal(size=(20, 32))).astype(np.float32)


def _first(documents, dim):
    return ScanIndex(ArrayRows(normalize(documents[:, :dim])), dim)


def _cosines(query, documents, dim):
    return normalize(query[None, :dim])[0] @ normalize(documents[:, :dim]).T


def test_a_funnel_ranks_each_shortlist_at_its_own_dimension(documents, queries):
    funnel = Funnel(_first(documents, 4), ArrayRows(documents), (Step(100, 8), Step(50, 16), Step(25, 32)))
    for query in queries:
        left = np.arange(300)
        for dim, kept in ((4, 100), (8, 50), (16, 25), (32, 10)):
            left = left[np.argsort(-_cosines(query, documents, dim)[left], kind="stable")[:kept]]
        ids, cosines = funnel.search(query, 10)
        assert ids.tolist() == left.tolist()
        np.testing.assert_allclose(cosines, _cosines(query, documents, 32)[left], atol=1e-6)


def test_a_funnel_of_everything_is_exact_search(documents, queries):
    funnel = Funnel(_first(documents, 4), ArrayRows(documents), (Step(300, 8), Step(300, 16), Step(300, 32)))
    for query in queries:
        assert funnel.search(query, 10)[0].tolist() == np.argsort(-(documents @ query), kind="stable")[:10].tolist()


def test_adaptive_retrieval_is_a_funnel_of_one_step(documents, queries):
    adaptive = AdaptiveRetrieval(_first(documents, 8), ArrayRows(documents), 40, 32)
    funnel = Funnel(_first(documents, 8), ArrayRows(documents), [Step(40, 32)])
    for query in queries:
        for ours, theirs in zip(adaptive.search(query, 5), funnel.search(query, 5), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_shortlist_is_never_shorter_than_what_is_asked_for(documents, queries):
    funnel = Funnel(_first(documents, 4), ArrayRows(documents), (Step(20, 8), Step(2, 32)))
    assert len(set(funnel.search(queries[0], 15)[0].tolist())) == 15


@pytest.mark.parametrize(
    ("plan", "multiply_adds"),
    [
        (SearchPlan(8), 1_000_000 * 8),
        (SearchPlan(16, (Step(200, 2048),)), 1_000_000 * 16 + 200 * 2048),
        (SearchPlan(16, (Step(200, 32), Step(100, 64), Step(5, 128))), 16_000_000 + 6_400 + 6_400 + 10 * 128),
    ],
)
def test_mflops_by_hand(plan, multiply_adds):
    assert plan.mflops(1_000_000, k=10) == pytest.approx(multiply_adds / 1e6)


def test_reranking_costs_no_more_documents_than_there_are():
    assert SearchPlan(8, (Step(200, 32),)).mflops(100, k=10) == pytest.approx((100 * 8 + 100 * 32) / 1e6)


def test_a_funnels_shortlists_halve_while_dimensions_ascend():
    plans = {(plan.kind, plan.dim): plan.steps for plan in search_plans((8, 16, 32, 64, 128), 200, 5000, k=30)}
    assert [dim for kind, dim in plans if kind == "exact"] == [8, 16, 32, 64, 128]
    assert plans["adaptive", 8] == (Step(200, 128),)
    assert plans["funnel", 8] == (Step(200, 16), Step(100, 32), Step(50, 64), Step(30, 128))
    assert ("adaptive", 128) not in plans
    assert ("funnel", 64) not in plans  # it would be adaptive retrieval again


def test_a_small_corpus_needs_no_shortlist():
    assert {plan.kind for plan in search_plans((8, 16, 32), 200, 200, k=10)} == {"exact"}


def test_a_shortlist_that_k_makes_as_long_as_the_corpus_is_left_out():
    assert {plan.kind for plan in search_plans((8, 64, 384), shortlist=3, documents=10, k=10)} == {"exact"}


def test_what_a_search_costs_and_finds(documents, queries):
    exact = [np.argsort(-(documents @ query))[:10].tolist() for query in queries]
    relevant = [frozenset(ids[:3]) for ids in exact]
    plans = search_plans(DIMS, 100, 300, k=10)
    costs = search_costs({"queries": queries, "documents": documents}, relevant, plans, (3, 10), "searching", silent)
    by_kind = {(cost.kind, cost.dims[0]): cost for cost in costs}
    full = by_kind["exact", 32]
    assert full.metrics["precision_at_3"] == full.metrics["recall_at_3"] == full.metrics["ndcg_at_10"] == 1
    assert full.mflops == pytest.approx(300 * 32 / 1e6)
    funnel = by_kind["funnel", 4]
    assert (funnel.dims, funnel.shortlists) == ((4, 8, 16, 32), (100, 50, 25))
    assert funnel.mflops == pytest.approx((300 * 4 + 100 * 8 + 50 * 16 + 25 * 32) / 1e6)
    kept = [
        len(set(np.argsort(-_cosines(query, documents, 4), kind="stable")[:100]) & answers) / 3
        for query, answers in zip(queries, relevant, strict=True)
    ]
    assert by_kind["adaptive", 4].metrics["recall_at_3"] == pytest.approx(np.mean(kept))
