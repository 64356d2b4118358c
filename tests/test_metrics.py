import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, P, R, nDCG
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, ndcg_score
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import LeaveOneOut, cross_val_predict, cross_val_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.preprocessing import normalize

from mrl_edge.metrics import (
    exact_top_k,
    knn_top1,
    majority,
    mean_and_min_cosine,
    nearest_others,
    overlap_at_k,
    retrieval_metrics,
    retrieval_quality,
    retrieval_task,
    spearman,
)

LOG3, LOG4, LOG5 = np.log2([3, 4, 5])


def _floats(rows):
    return np.array(rows, dtype=np.float32)


def _rankings(n_documents, most_relevant, seed):
    """20 random (scores, ranked ids, relevant ids), the ranking complete."""
    random = np.random.default_rng(seed)
    for _ in range(20):
        scores = random.permutation(n_documents).astype(float)
        count = random.integers(1, most_relevant + 1)
        yield scores, np.argsort(-scores), frozenset(random.choice(n_documents, count, replace=False).tolist())


def _is_relevant(relevant, n_documents):
    return np.isin(np.arange(n_documents), list(relevant)).astype(int)


@pytest.mark.parametrize(("n_documents", "most_relevant"), [(5, 5), (10, 4), (40, 1), (40, 25)])
def test_ndcg_equals_that_of_scikit_learn(n_documents, most_relevant):
    for scores, ranked, relevant in _rankings(n_documents, most_relevant, seed=1):
        theirs = ndcg_score([_is_relevant(relevant, n_documents)], [scores], k=10)
        assert retrieval_quality([ranked], [relevant])["ndcg_at_10"] == pytest.approx(theirs)


@pytest.mark.parametrize(("n_documents", "most_relevant"), [(5, 5), (10, 10), (10, 1)])
def test_map_of_a_complete_ranking_equals_scikit_learns_average_precision(n_documents, most_relevant):
    for scores, ranked, relevant in _rankings(n_documents, most_relevant, seed=2):
        theirs = average_precision_score(_is_relevant(relevant, n_documents), scores)
        assert retrieval_quality([ranked], [relevant])["map_at_10"] == pytest.approx(theirs)


@pytest.mark.parametrize("most_relevant", [1, 5, 25])
def test_recall_and_mrr_equal_brute_force(most_relevant):
    for _, ranked, relevant in _rankings(40, most_relevant, seed=3):
        places = [place for place, document in enumerate(ranked[:10].tolist(), 1) if document in relevant]
        ours = retrieval_quality([ranked], [relevant])
        assert ours["recall_at_10"] == pytest.approx(len(places) / len(relevant))
        assert ours["mrr_at_10"] == pytest.approx(1 / places[0] if places else 0)


@pytest.mark.parametrize("k", [1, 5, 10, 100])
@pytest.mark.parametrize("most_relevant", [1, 8, 40])
def test_every_metric_at_every_k_equals_ir_measures(k, most_relevant):
    rankings = list(_rankings(60, most_relevant, seed=k))
    qrels = {str(q): {str(d): 1 for d in relevant} for q, (_, _, relevant) in enumerate(rankings)}
    run = {
        str(q): {str(d): float(score) for d, score in enumerate(scores)} for q, (scores, _, _) in enumerate(rankings)
    }
    theirs = {
        (metric.measure.NAME, metric.query_id): metric.value
        for metric in ir_measures.iter_calc([P @ k, R @ k, nDCG @ k, RR @ k, AP @ k], qrels, run)
    }
    for query, (_, ranked, relevant) in enumerate(rankings):
        ours = retrieval_metrics([ranked], [relevant], (k,))
        # trec_eval divides by all relevant documents, we by those that k places have room for
        theirs["AP", str(query)] *= len(relevant) / min(len(relevant), k)
        for name, their_name in {"precision": "P", "recall": "R", "ndcg": "nDCG", "mrr": "RR", "map": "AP"}.items():
            assert ours[f"{name}_at_{k}"] == pytest.approx(theirs[their_name, str(query)]), name


def test_several_ks_at_once_are_those_one_by_one():
    rankings = list(_rankings(60, 8, seed=9))
    found, relevant = [ranked for _, ranked, _ in rankings], [answers for _, _, answers in rankings]
    assert retrieval_metrics(found, relevant, (1, 10)) == (
        retrieval_metrics(found, relevant, (1,)) | retrieval_metrics(found, relevant, (10,))
    )


def test_precision_counts_the_places_that_were_not_filled():
    assert retrieval_metrics([[4]], [frozenset({4})], (10,))["precision_at_10"] == pytest.approx(1 / 10)


BY_HAND = {  # ranked, relevant, recall, ndcg, mrr, map
    "the only answer first": ([4, 1, 2], {4}, 1, 1, 1, 1),
    "all answers first, in any order": ([2, 7, 1], {7, 2}, 1, 1, 1, 1),
    "two of three, late": (
        [3, 1, 2],
        {1, 2, 5},
        2 / 3,
        (1 / LOG3 + 1 / LOG4) / (1 + 1 / LOG3 + 1 / LOG4),
        1 / 2,
        7 / 18,
    ),
    "first and fourth": ([1, 8, 9, 2], {1, 2}, 1, (1 + 1 / LOG5) / (1 + 1 / LOG3), 1, 3 / 4),
    "tenth": ([*range(9), 50], {50}, 1, 1 / np.log2(11), 1 / 10, 1 / 10),
    "eleventh is too late": ([*range(10), 50], {50}, 0, 0, 0, 0),
    "none": ([1, 2, 3], {4, 5}, 0, 0, 0, 0),
    "nothing found": ([], {4}, 0, 0, 0, 0),
    "-1 holds a place and is no hit": ([-1, 4, -1], {4}, 1, 1 / LOG3, 1 / 2, 1 / 2),
}


@pytest.mark.parametrize(("ranked", "relevant", "recall", "ndcg", "mrr", "mean_ap"), BY_HAND.values(), ids=BY_HAND)
def test_quality_by_hand(ranked, relevant, recall, ndcg, mrr, mean_ap):
    assert retrieval_quality([ranked], [frozenset(relevant)]) == pytest.approx(
        {"recall_at_10": recall, "ndcg_at_10": ndcg, "mrr_at_10": mrr, "map_at_10": mean_ap}
    )


def test_quality_is_the_mean_over_queries():
    found = [[1, 2], [1, 2], [1, 2], [1, 2]]
    relevant = [frozenset({1}), frozenset({2}), frozenset({3}), frozenset({1, 4})]
    assert retrieval_quality(found, relevant) == pytest.approx(
        {
            "recall_at_10": (1 + 1 + 0 + 1 / 2) / 4,
            "ndcg_at_10": (1 + 1 / LOG3 + 0 + 1 / (1 + 1 / LOG3)) / 4,
            "mrr_at_10": (1 + 1 / 2 + 0 + 1) / 4,
            "map_at_10": (1 + 1 / 2 + 0 + 1 / 2) / 4,
        }
    )


def test_quality_needs_one_ranking_a_query():
    with pytest.raises(ValueError, match="zip"):
        retrieval_quality([[1]], [frozenset({1}), frozenset({2})])


def test_equal_texts_are_one_query_or_one_document():
    task = retrieval_task(["a", "b", "a", "c", "a"], ["x", "x", "y", "z", "x"])
    assert task.queries == ["a", "b", "c"]
    assert task.documents == ["x", "y", "z"]
    assert task.relevant == [{0, 1}, {0}, {2}]


def test_a_text_may_be_a_query_and_a_document():
    task = retrieval_task(["a", "b"], ["b", "a"])
    assert (task.queries, task.documents, task.relevant) == (["a", "b"], ["b", "a"], [{0}, {1}])


def test_pairs_of_unequal_count_are_refused():
    with pytest.raises(ValueError, match="zip"):
        retrieval_task(["a", "b"], ["x"])


@pytest.mark.parametrize("block", [1, 7, 256])
@pytest.mark.parametrize("k", [1, 10, 300])
def test_top_k_equals_scikit_learns_nearest_neighbours(k, block):
    random = np.random.default_rng(4)
    queries, documents = (normalize(random.normal(size=(n, 32))).astype(np.float32) for n in (30, 300))
    theirs = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(documents)
    np.testing.assert_array_equal(
        exact_top_k(queries, documents, k, block), theirs.kneighbors(queries, return_distance=False)
    )


def _brute_force(queries, documents, k):
    return [sorted(range(len(documents)), key=lambda i: (-(query @ documents[i]), i))[:k] for query in queries]


@pytest.mark.parametrize("k", [25, 100])
def test_ties_are_ranked_by_ascending_id(k):
    random = np.random.default_rng(5)
    # small whole numbers, so that products are exact and many are equal
    queries, documents = (random.integers(-1, 2, (n, 3)).astype(np.float32) for n in (20, 25))
    assert exact_top_k(queries, documents, k).tolist() == _brute_force(queries, documents, 25)


def test_ties_above_the_last_place_are_ranked_by_ascending_id():
    documents = _floats([[0], [5], [7], [5], [1], [7], [5], [0]])
    assert exact_top_k(_floats([[1]]), documents, 5).tolist() == [[2, 5, 1, 3, 6]]


def test_more_asked_for_than_there_is_gives_all_there_is():
    found = exact_top_k(_floats([[1, 0], [0, 1]]), _floats([[1, 3], [3, 2], [2, 1]]), 10)
    assert found.dtype == np.int64
    assert found.tolist() == [[1, 2, 0], [0, 1, 2]]


def test_top_k_ranks_by_inner_product_and_not_by_cosine():
    assert exact_top_k(_floats([[1, 0]]), _floats([[1, 0], [5, 5]]), 2).tolist() == [[1, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_knn_equals_scikit_learns_left_one_out(seed):
    random = np.random.default_rng(seed)
    labels = random.choice(["a", "b", "c"], 90)
    centres = {"a": [2, 0, 0, 0], "b": [0, 2, 0, 0], "c": [0, 0, 2, 0]}
    vectors = _floats([centres[label] for label in labels]) + random.normal(size=(90, 4)).astype(np.float32)
    vectors *= random.uniform(0.1, 10, (90, 1)).astype(np.float32)  # cosine takes no notice of length
    theirs = cross_val_score(KNeighborsClassifier(1, metric="cosine"), vectors, labels, cv=LeaveOneOut()).mean()
    assert 0 < theirs < 1
    assert knn_top1(vectors, labels.tolist()) == pytest.approx(theirs)


def _nearest_first(distances):
    """scikit-learn's ties go to the first class by name; a little more weight to the nearer makes them ours."""
    return np.array(np.broadcast_to(1 + 1e-6 * 0.5 ** np.arange(distances.shape[1]), distances.shape))


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_votes_equal_scikit_learns_with_ties_to_the_nearest(k):
    random = np.random.default_rng(k)
    labels = random.choice(["a", "b", "c", "d"], 120)
    vectors = random.normal(size=(120, 6)).astype(np.float32)
    theirs = KNeighborsClassifier(k, metric="cosine", weights=_nearest_first)
    left_out = cross_val_predict(theirs, vectors, labels, cv=LeaveOneOut())
    np.testing.assert_array_equal(majority(nearest_others(vectors, k), labels), left_out)
    known, asked = normalize(vectors[:80]), normalize(vectors[80:])
    predicted = theirs.fit(known, labels[:80]).predict(asked)
    np.testing.assert_array_equal(majority(exact_top_k(asked, known, k), labels[:80]), predicted)


@pytest.mark.parametrize(
    ("neighbours", "label"), [("ab", "a"), ("ba", "b"), ("abb", "b"), ("cabba", "a"), ("cabbac", "c"), ("z", "z")]
)
def test_a_tied_vote_goes_to_the_nearest_of_the_tied(neighbours, label):
    assert majority(np.arange(len(neighbours))[None, :], list(neighbours)).tolist() == [label]


def test_neighbours_are_all_others_when_more_are_asked_for():
    others = nearest_others(_floats([[1, 0], [0.9, 0.1], [0, 1]]), 50)
    assert others.tolist() == [[1, 2], [0, 2], [1, 0]]


def test_no_row_is_its_own_neighbour_among_many_equals():
    others = nearest_others(_floats([[1, 0]] * 30), 3)
    assert others.shape == (30, 3)
    assert not (others == np.arange(30)[:, None]).any()


@pytest.mark.parametrize("values", [2, 5, 1000])
def test_spearman_equals_scipys_with_ties(values):
    random = np.random.default_rng(values)
    ours = random.integers(0, values, 200).astype(np.float32)
    theirs = ours / values + random.normal(size=200).round(1)
    assert spearman(ours, theirs) == pytest.approx(spearmanr(ours, theirs).statistic)


def test_spearman_looks_at_the_order_alone():
    scores = np.random.default_rng(0).normal(size=50)
    assert spearman(scores, np.exp(scores)) == pytest.approx(1)
    assert spearman(scores, -scores) == pytest.approx(-1)
    assert np.isnan(spearman(scores, np.ones(50)))


@pytest.mark.parametrize(
    ("labels", "accuracy"),
    [(["a", "a", "b", "b"], 1), (["a", "b", "c", "d"], 0), (["a", "a", "b", "c"], 1 / 2)],
)
def test_a_row_is_never_its_own_neighbour_even_among_equals(labels, accuracy):
    assert knn_top1(_floats([[1, 0], [1, 0], [0, 1], [0, 1]]), labels) == accuracy


def test_the_neighbour_among_many_equals_is_one_of_them():
    assert knn_top1(_floats([[1, 0]] * 4 + [[0, 1]] * 3), ["a"] * 4 + ["b"] * 3) == 1


@pytest.mark.parametrize(
    ("found", "reference", "share"),
    [
        ([[1, 2, 3]], [[3, 1, 2]], 1),
        ([[1, 2, 3]], [[4, 5, 6]], 0),
        ([[1, 2], [3, 4]], [[1, 9], [4, 3]], 3 / 4),
        ([[1, -1, -1]], [[1, 2, 3]], 1 / 3),
        ([[1, 2, 3, 4]], [[4, 8]], 1 / 2),
    ],
)
def test_overlap_is_the_share_of_the_reference_that_was_found(found, reference, share):
    assert overlap_at_k(np.array(found), np.array(reference)) == pytest.approx(share)


def test_overlap_needs_one_reference_a_query():
    with pytest.raises(ValueError, match="zip"):
        overlap_at_k(np.array([[1]]), np.array([[1], [2]]))


def test_cosines_equal_those_of_scikit_learn():
    random = np.random.default_rng(6)
    ours, reference = (random.normal(size=(50, 16)).astype(np.float32) * 9 for _ in range(2))
    theirs = np.diag(cosine_similarity(ours.astype(np.float64), reference.astype(np.float64)))
    assert mean_and_min_cosine(ours, reference) == pytest.approx((theirs.mean(), theirs.min()), abs=1e-6)


def test_the_cosine_of_a_vector_with_a_multiple_of_itself_is_one():
    vectors = np.random.default_rng(7).normal(size=(50, 16)).astype(np.float32)
    assert mean_and_min_cosine(vectors * 3, vectors) == pytest.approx((1, 1), abs=1e-6)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_ties_at_the_last_place_are_cut_by_ascending_id(k):
    random = np.random.default_rng(6)
    queries, documents = (random.integers(-1, 2, (n, 3)).astype(np.float32) for n in (50, 40))
    assert exact_top_k(queries, documents, k).tolist() == [row[:k] for row in _brute_force(queries, documents, 40)]


def test_a_single_row_has_no_neighbour_to_agree_with():
    assert knn_top1(_floats([[1, 0]]), ["a"]) == 0
