"""The linear probe against scikit-learn's logistic regression."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import normalize

from mrl_edge.evaluation.probe import STRENGTH, fit, linear_probe


def _rows(count, dim, classes, seed, noise=1.0):
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    truth = np.append(np.arange(classes), random.integers(classes, size=count - classes))
    return normalize(centres[truth] + noise * random.normal(size=(count, dim))).astype(np.float32), truth


@pytest.mark.parametrize(("count", "dim", "classes"), [(60, 4, 2), (400, 8, 5), (300, 64, 25), (40, 128, 3)])
def test_it_predicts_what_scikit_learn_predicts_and_fits_as_well(count, dim, classes):
    (known, truth), (others, _) = _rows(count, dim, classes, 0), _rows(500, dim, classes, 1)
    # of two classes scikit-learn fits one logit, w; the two of ours are w/2 and −w/2, half the penalty
    strength = 2 * STRENGTH if classes == 2 else STRENGTH
    theirs = LogisticRegression(C=strength, max_iter=10_000, tol=1e-9).fit(known.astype(np.float64), truth)
    names = np.array([f"class {number:02}" for number in range(classes)])
    ours = linear_probe(known, names[truth].tolist(), others)
    assert np.mean(ours == names[theirs.predict(others)]) > 0.995
    weights = fit(known, truth, classes)
    scores = known @ weights[:-1] + weights[-1]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, theirs.predict_proba(known), atol=5e-3)
    if classes > 2:
        penalty = np.sum(weights[:-1] ** 2) / 2 / STRENGTH
        best = np.sum(theirs.coef_**2) / 2 / STRENGTH + count * log_loss(truth, theirs.predict_proba(known))
        assert penalty + count * log_loss(truth, probabilities) <= best * 1.0005


def test_rows_that_can_be_told_apart_are():
    known, truth = _rows(200, 16, 4, 0, noise=0.01)
    names = np.array(["a", "b", "c", "d"])[truth].tolist()
    assert linear_probe(known, names, known).tolist() == names


def test_one_known_class_is_always_the_answer_and_equal_rows_are_no_trouble():
    known, _ = _rows(20, 4, 2, 0)
    assert set(linear_probe(known, ["a"] * 20, known)) == {"a"}
    same = np.repeat(known[:1], 20, axis=0)
    assert linear_probe(same, ["a"] * 5 + ["b"] * 15, same[:2]).tolist() == ["b", "b"]


def test_it_is_the_same_every_time():
    known, truth = _rows(100, 32, 6, 0)
    np.testing.assert_array_equal(fit(known, truth, 6), fit(known, truth, 6))
