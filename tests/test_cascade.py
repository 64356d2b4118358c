import numpy as np
import pytest

from mrl_edge.cascade import Cascade
from mrl_edge.errors import UsageError

# Rows: sure at once, sure at 16, never sure; class by dimension.
PROBABILITIES = {
    8: np.array([[0.9, 0.1], [0.4, 0.6], [0.55, 0.45]], dtype=np.float32),
    16: np.array([[0.2, 0.8], [0.85, 0.15], [0.3, 0.7]], dtype=np.float32),
    64: np.array([[0.1, 0.9], [0.1, 0.9], [0.45, 0.55]], dtype=np.float32),
}
DIMS = (8, 16, 64)


def test_the_smallest_dimension_that_is_sure_enough_answers():
    answers = Cascade(DIMS, (0.8, 0.75)).decide(PROBABILITIES)
    assert answers.dims.tolist() == [8, 16, 64]
    assert answers.classes.tolist() == [0, 0, 1]


def test_each_dimension_has_its_own_threshold():
    answers = Cascade(DIMS, (0.95, 0.7)).decide(PROBABILITIES)
    assert answers.dims.tolist() == [16, 16, 16]
    assert answers.classes.tolist() == [1, 0, 1]


def test_a_probability_at_the_threshold_passes_it():
    assert Cascade(DIMS, (float(np.float32(0.9)), 2.0)).decide(PROBABILITIES).dims.tolist() == [8, 64, 64]


@pytest.mark.parametrize(("threshold", "dim"), [(0.0, 8), (1.01, 64)])
def test_a_threshold_of_0_is_the_smallest_dimension_and_above_1_the_full_one(threshold, dim):
    answers = Cascade(DIMS, (threshold, threshold)).decide(PROBABILITIES)
    assert answers.dims.tolist() == [dim] * 3
    np.testing.assert_array_equal(answers.classes, PROBABILITIES[dim].argmax(axis=1))


def test_one_dimension_answers_everything():
    assert Cascade((16,), ()).decide(PROBABILITIES).classes.tolist() == [1, 0, 1]


def test_dimensions_may_be_left_out():
    assert Cascade((8, 64), (0.8,)).decide(PROBABILITIES).dims.tolist() == [8, 64, 64]


@pytest.mark.parametrize(
    ("dims", "thresholds", "said"),
    [((8, 16), (), "one threshold fewer"), ((8,), (0.5,), "one threshold fewer"), ((16, 8), (0.5,), "must ascend")],
)
def test_a_cascade_that_makes_no_sense(dims, thresholds, said):
    with pytest.raises(UsageError, match=said):
        Cascade(dims, thresholds)


def test_probabilities_stay_as_they_were():
    before = {dim: rows.copy() for dim, rows in PROBABILITIES.items()}
    Cascade(DIMS, (0.8, 0.75)).decide(PROBABILITIES)
    for dim, rows in before.items():
        np.testing.assert_array_equal(PROBABILITIES[dim], rows)
