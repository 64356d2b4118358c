import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from mrl_edge.evaluation.slices import by_frequency, few_shot, halves, superclass_accuracy


@pytest.mark.parametrize("rows", [2, 3, 10, 101])
def test_halves_are_all_rows_once_and_the_same_every_time(rows):
    first, second = halves(rows, seed=5)
    assert sorted([*first, *second]) == list(range(rows))
    assert 0 <= len(second) - len(first) <= 1
    np.testing.assert_array_equal(first, halves(rows, seed=5)[0])


def _rows(count, seed):
    random = np.random.default_rng(seed)
    labels = random.choice(["a", "b", "c"], count)
    centres = {"a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0, 1]}
    vectors = [centres[label] for label in labels] + random.normal(scale=0.6, size=(count, 3))
    return normalize(vectors).astype(np.float32), labels.tolist()


def test_all_examples_of_every_class_are_scikit_learns_nearest_neighbour():
    (texts, labels), (pool, known) = _rows(80, 0), _rows(60, 1)
    theirs = KNeighborsClassifier(1, metric="cosine").fit(pool, known).score(texts, labels)
    most = max(known.count(name) for name in "abc")
    assert few_shot(texts, labels, pool, known, (most,), seed=0) == {most: pytest.approx(theirs)}


def test_one_example_a_class_is_the_mean_over_which_it_may_be():
    # class a: one row that is right for the text, one that is wrong; class b between them
    pool = normalize([[1, 0.1], [-1, 0], [0.5, 1]]).astype(np.float32)
    text = np.array([[1, 0]], dtype=np.float32)
    share = few_shot(text, ["a"], pool, ["a", "a", "b"], (1,), seed=0, draws=400)[1]
    assert share == pytest.approx(1 / 2, abs=0.1)


def test_few_examples_are_the_same_for_a_seed_and_better_the_more_they_are():
    (texts, labels), (pool, known) = _rows(300, 2), _rows(300, 3)
    found = few_shot(texts, labels, pool, known, (1, 16), seed=0, draws=20)
    assert found == few_shot(texts, labels, pool, known, (1, 16), seed=0, draws=20)
    assert 1 / 3 < found[1] < found[16]


def test_a_number_that_no_class_reaches_is_left_out_and_an_unknown_class_missed():
    pool = np.eye(2, dtype=np.float32)
    assert few_shot(pool, ["a", "new"], pool, ["a", "b"], (1, 2), seed=0) == {1: 1 / 2}


def test_accuracy_by_class_frequency_by_hand():
    reference = ["a"] * 9 + ["b"] * 8 + ["c"] * 5 + ["d"] * 4 + ["e"] * 2  # f is in no reference row
    labels = ["a", "a", "a", "a", "b", "c", "c", "d", "e", "e", "f"]
    predicted = np.array(["a", "a", "a", "x", "x", "c", "x", "d", "e", "x", "x"])
    assert by_frequency(predicted, labels, reference) == pytest.approx(
        {"head": (3 / 4 + 0) / 2, "medium": (1 / 2 + 1) / 2, "tail": (1 / 2 + 0) / 2}
    )


def test_two_classes_have_no_thirds():
    assert by_frequency(np.array(["a", "b"]), ["a", "b"], ["a", "b"]) == {}


def test_superclass_accuracy_by_hand():
    superclasses = {"cat": "animal", "dog": "animal", "oak": "plant"}
    labels = ["cat", "cat", "oak", "oak", "dog"]
    predicted = np.array(["cat", "dog", "cat", "oak", "stone"])  # nothing says what a stone is
    assert superclass_accuracy(predicted, labels, superclasses) == pytest.approx(3 / 5)
