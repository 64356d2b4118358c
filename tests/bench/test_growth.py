"""Metrics at another size: against searches of corpora of that size, and over many draws of known chances."""

import numpy as np
import pytest
from mrl_edge.bench.growth import Growth, Searched, as_size
from mrl_edge.bench.rivals import COUNTS, answers_within
from scipy.special import digamma

from mrl_edge.metrics import exact_top_k, retrieval_quality
from mrl_edge.nesting import normalise

QUERIES, LARGEST = 1000, 8000


@pytest.fixture(scope="module")
def corpus():
    """Documents, and queries near one or two of them each, by how much differs."""
    random = np.random.default_rng(5)
    documents = normalise(random.standard_normal((LARGEST, 24)).astype(np.float32))
    noise = random.lognormal(0, 0.6, (QUERIES, 1)) * random.standard_normal((QUERIES, 24))
    queries = normalise((documents[:QUERIES] + 0.22 * noise).astype(np.float32))
    return documents, queries


def searched(corpus, size, answers=1):
    documents, queries = corpus
    relevant = [frozenset({place, (place + 1) % QUERIES} if answers == 2 else {place}) for place in range(QUERIES)]
    found = exact_top_k(queries, documents[:size], 10)
    within = answers_within(queries, documents[:size], relevant)
    return Searched(size, retrieval_quality(found, relevant), within)


@pytest.mark.parametrize(
    ("sizes", "wanted", "points"),
    [((1000, 2000), 8000, 0.02), ((2000, 8000), 4000, 0.01), ((4000, 8000), 1000, 0.02), ((1000, 1500), 6000, 0.02)],
)
@pytest.mark.parametrize("answers", [1, 2])
def test_it_is_what_a_search_of_that_size_scores(corpus, sizes, wanted, points, answers):
    true = searched(corpus, wanted, answers).metrics
    found = Growth(wanted).exact((), [searched(corpus, size, answers) for size in sizes], QUERIES)
    assert {*found} == {*true}
    for name, forecast in found.items():
        assert forecast.value == pytest.approx(true[name], abs=points), name
        assert forecast.low <= true[name] <= forecast.high, name
        assert forecast.high - forecast.low < 0.12, name


def test_the_interval_holds_what_would_be_measured():
    """Each query has a chance of its own that a document stands before its answer; a larger corpus has the smaller."""
    random = np.random.default_rng(1)
    draws, held = 60, 0
    for _ in range(draws):
        chances = np.minimum(1.0, 10 ** random.normal(-3.2, 1.0, 500))
        before = np.cumsum([random.binomial(more, chances) for more in (2000, 2000, 12_000)], axis=0)
        files = []
        for size, line in zip((2000, 4000), before, strict=False):
            within = {count: float((line < count).mean()) for count in COUNTS}
            files.append(Searched(size, {"recall_at_10": within[10]}, within))
        forecast = Growth(16_000).exact((), files, 500)["recall_at_10"]
        held += forecast.low <= (before[2] < 10).mean() <= forecast.high
    assert held >= 0.93 * draws


def test_sizes_of_counts_are_those_of_the_digamma_function():
    for count in (1, 5, 10, 100):
        assert as_size(3000, count) == pytest.approx(3000 * np.exp(digamma(10) - digamma(count)))
