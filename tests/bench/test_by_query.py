"""Scores of the same queries in two runs: what is kept of them, and the sign test beside scipy's."""

import numpy as np
import pytest
from mrl_edge.bench.by_query import by_chance, packed, unpacked
from scipy.stats import binomtest


def test_scores_come_back_to_within_half_a_step():
    scores = np.random.default_rng(1).random(1000)
    assert unpacked(packed(scores)) == pytest.approx(scores, abs=1 / 510)
    assert unpacked(packed(np.array([0.0, 1.0]))).tolist() == [0, 1]
    assert len(packed(scores)) < 1400
    assert len(unpacked("")) == len(unpacked("~ not of this version")) == 0


@pytest.mark.parametrize(
    ("fell", "rose"), [(0, 0), (1, 0), (5, 0), (6, 0), (12, 2), (12, 4), (30, 30), (70, 40), (1500, 1600), (1500, 1700)]
)
def test_it_is_the_exact_sign_test_of_what_changed(fell, rose):
    before = np.array([1] * fell + [0] * rose + [1, 0] * 50, dtype=float)
    now = np.array([0] * fell + [1] * rose + [1, 0] * 50, dtype=float)
    expected = binomtest(fell, fell + rose).pvalue > 0.05 if fell + rose else True
    assert by_chance(before, now) == by_chance(now, before) == expected


def test_many_small_gains_and_a_few_large_losses_show_nothing():
    before = np.concatenate([np.full(20, 0.5), np.ones(5)])
    now = np.concatenate([np.full(20, 0.51), np.zeros(5)])
    assert now.mean() < before.mean()
    assert by_chance(before, now)


def test_chance_alone_is_seldom_taken_for_a_difference():
    random = np.random.default_rng(2)
    drawn = [(random.random((2, 300)) < 0.6).astype(float) for _ in range(400)]
    assert np.mean([not by_chance(a, b) for a, b in drawn]) <= 0.06
