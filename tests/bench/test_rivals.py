"""Documents that stand before an answer, against a loop over all cosines and against exact search."""

import numpy as np
import pytest
from mrl_edge.bench.rivals import COUNTS, answers_within

from mrl_edge.metrics import exact_top_k, retrieval_metrics
from mrl_edge.nesting import normalise


def vectors(count, dim, seed):
    return normalise(np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32))


def by_hand(queries, documents, relevant):
    shares = []
    for query, answers in zip(queries, relevant, strict=True):
        cosines = documents @ query
        others = [cosines[place] for place in range(len(documents)) if place not in answers]
        before = [sum(other > cosines[answer] for other in others) for answer in answers]
        shares.append([np.mean([number < count for number in before]) for count in COUNTS])
    return dict(zip(COUNTS, np.mean(shares, axis=0), strict=True))


@pytest.mark.parametrize(("count", "most"), [(500, 1), (500, 30), (60, 3), (3, 3)])
def test_it_is_what_a_loop_over_all_documents_counts(count, most):
    documents, queries = vectors(count, 8, 1), vectors(40, 8, 2)
    random = np.random.default_rng(3)
    relevant = [frozenset(random.choice(count, random.integers(1, most + 1), replace=False).tolist()) for _ in queries]
    assert answers_within(queries, documents, relevant) == pytest.approx(by_hand(queries, documents, relevant))


def test_of_one_answer_a_query_it_is_the_recall():
    documents, queries = vectors(300, 8, 1), vectors(300, 8, 2)
    relevant = [frozenset([place]) for place in range(300)]
    within = answers_within(queries, documents, relevant)
    metrics = retrieval_metrics(exact_top_k(queries, documents, 100), relevant, COUNTS)
    assert within == pytest.approx({count: metrics[f"recall_at_{count}"] for count in COUNTS})
