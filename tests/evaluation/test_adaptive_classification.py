import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from mrl_edge.cascade import Cascade
from mrl_edge.evaluation.adaptive_classification import NEVER, adaptive_classification, fit_thresholds, oracle
from mrl_edge.evaluation.slices import halves

CLASSES = ("a", "b", "c")


def _probabilities(confidences, classes):
    """Rows whose largest probability and its class are given."""
    rows = np.empty((len(classes), 3), dtype=np.float32)
    for row, (confidence, chosen) in enumerate(zip(confidences, classes, strict=True)):
        rows[row] = (1 - confidence) / 2
        rows[row, chosen] = confidence
    return rows


def _model(rows, seed, accuracies=(0.5, 0.7, 0.9)):
    """Calibrated random heads of three dimensions, the larger the better, and the labels."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, rows)
    probabilities = {}
    for dim, accuracy in zip((8, 16, 32), accuracies, strict=True):
        confidence = np.clip(random.normal(accuracy, 0.2, rows), 0.35, 0.999)
        right = random.random(rows) < confidence
        probabilities[dim] = _probabilities(confidence, np.where(right, truth, (truth + 1) % 3))
    return probabilities, truth


def test_the_oracle_by_hand():
    truth = np.array([0, 1, 2, 0])
    probabilities = {
        8: _probabilities([0.9] * 4, [0, 0, 0, 1]),
        16: _probabilities([0.9] * 4, [1, 1, 0, 1]),
        32: _probabilities([0.9] * 4, [0, 1, 2, 1]),
    }
    found = oracle(probabilities, truth)  # the rows are first right at 8, 16, 32 and never
    assert found.accuracy == pytest.approx(3 / 4)
    assert found.expected_dim == pytest.approx((8 + 16 + 32) / 3)


def test_an_oracle_that_is_never_right():
    found = oracle({8: _probabilities([0.9], [0]), 16: _probabilities([0.9], [1])}, np.array([-1]))
    assert (found.accuracy, found.expected_dim) == (0, 16)


# Five rows, the surest first: dimension 8 agrees with 16 on the first two, is worse on the third, better on the
# fourth, and worse on the last.
TRUTH = np.array([0, 0, 0, 0, 0])
TWO = {8: _probabilities([0.9, 0.8, 0.7, 0.6, 0.5], [0, 0, 1, 0, 1]), 16: _probabilities([0.9] * 5, [0, 0, 0, 1, 0])}


@pytest.mark.parametrize(
    ("loss", "standard_errors", "threshold"),
    [(0, 0, 0.6), (0, 1, 0.8), (0, 3, 0.8), (1 / 5, 0, 0.5), (4 / 5, 1, 0.5), (1, 3, 0.6)],
)
def test_thresholds_by_hand(loss, standard_errors, threshold):
    assert fit_thresholds(TWO, TRUTH, loss, standard_errors) == pytest.approx((threshold,))


def test_no_threshold_where_the_surest_row_is_already_a_loss():
    probabilities = {8: _probabilities([0.9, 0.8], [1, 1]), 16: _probabilities([0.9, 0.9], [0, 0])}
    assert fit_thresholds(probabilities, np.array([0, 0]), 0, 0) == (NEVER,)


def test_rows_of_equal_confidence_are_taken_together():
    probabilities = {8: _probabilities([0.9, 0.9], [0, 1]), 16: _probabilities([0.9, 0.9], [0, 0])}
    assert fit_thresholds(probabilities, np.array([0, 0]), 0, 0) == (NEVER,)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("loss", [0, 0.01, 0.05])
def test_a_cascade_loses_no_more_than_allowed_where_it_was_fitted(loss, seed):
    probabilities, truth = _model(500, seed)
    thresholds = fit_thresholds(probabilities, truth, loss, 0)
    answers = Cascade((8, 16, 32), thresholds).decide(probabilities)
    full = accuracy_score(truth, probabilities[32].argmax(axis=1))
    assert accuracy_score(truth, answers.classes) >= full - loss - 1e-9


def test_the_curve_is_that_of_the_half_that_was_not_fitted():
    probabilities, truth = _model(400, seed=1)
    labels = [CLASSES[i] for i in truth]
    curve = adaptive_classification(probabilities, labels, CLASSES, seed=3)
    fitted, scored = halves(400, seed=3)
    assert (curve.fitted_rows, curve.scored_rows) == (200, 200)
    assert set(fitted) | set(scored) == set(range(400))
    assert curve.full_accuracy == pytest.approx(accuracy_score(truth[scored], probabilities[32][scored].argmax(axis=1)))
    for point in curve.points:
        answers = Cascade((8, 16, 32), point.thresholds).decide({d: p[scored] for d, p in probabilities.items()})
        assert point.accuracy == pytest.approx(accuracy_score(truth[scored], answers.classes))
        assert point.expected_dim == pytest.approx(answers.dims.mean())
        assert point.expected_dim == pytest.approx(sum(dim * share for dim, share in point.shares.items()))
        assert point.accuracy <= curve.oracle.accuracy
    dims = [point.expected_dim for point in curve.points]
    assert dims == sorted(dims)
    assert (dims[0], dims[-1]) == (8, 32)


def test_the_marked_point_is_the_cheapest_as_good_as_the_full_dimension():
    probabilities, truth = _model(2000, seed=2, accuracies=(0.8, 0.8, 0.8))
    curve = adaptive_classification(probabilities, [CLASSES[i] for i in truth], CLASSES, seed=0)
    marked = [point for point in curve.points if point.cheapest_as_good]
    as_good = [point.expected_dim for point in curve.points if point.accuracy >= curve.full_accuracy]
    assert [point.expected_dim for point in marked] == [min(as_good)]
    assert marked[0].expected_dim < 32


def test_a_label_that_training_never_saw_is_always_wrong():
    probabilities, _ = _model(10, seed=0)
    curve = adaptive_classification(probabilities, ["new"] * 10, CLASSES, seed=0)
    assert curve.oracle.accuracy == curve.full_accuracy == 0
