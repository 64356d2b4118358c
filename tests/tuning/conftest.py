"""Vectors whose later columns carry less, and what a tuning needs of them."""

import numpy as np
import pytest
from tuning.grounds import ground_in


@pytest.fixture(scope="module")
def vectors():
    random = np.random.default_rng(0)
    made = random.standard_normal((4000, 64)) * np.linspace(1, 0.2, 64)
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def ground(vectors, tmp_path):
    return ground_in(tmp_path, vectors)
