"""The exits' starts against scikit-learn's ridge regression."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mrl_edge.train.starts import exit_starts


@pytest.fixture
def features():
    """Two exits of which the first is a noisy linear map of the second."""
    random = np.random.default_rng(0)
    last = random.normal(size=(300, 6)) * [1, 2, 3, 4, 5, 6]
    first = last @ random.normal(size=(6, 6)) + 0.1 * random.normal(size=last.shape)
    return np.stack([first, last]).astype(np.float32)


def test_the_last_exit_starts_where_it_is_told(features):
    last = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0].astype(np.float32)
    np.testing.assert_array_equal(exit_starts(features, last)[-1], last)


def test_a_shallow_exit_starts_at_the_ridge_regression_to_the_last_one(features):
    last = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0].astype(np.float32)
    lengths = np.linalg.norm(features[1], axis=1, keepdims=True)
    wanted = features[1] / lengths * lengths.mean() @ last.T
    strength = 0.01 * np.mean(np.sum(features[0].astype(np.float64) ** 2, axis=0))
    regression = Ridge(alpha=strength, fit_intercept=False).fit(features[0], wanted)
    np.testing.assert_allclose(exit_starts(features, last)[0], regression.coef_, rtol=1e-3, atol=1e-5)


def test_without_shallow_exits_there_is_the_one_start(features):
    assert len(exit_starts(features[1:], np.eye(6, dtype=np.float32))) == 1
