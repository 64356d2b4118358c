"""Scores of the same queries in two runs: what is kept of them, and what their change shows, beside scipy's tests."""

import base64

import numpy as np
import pytest
from mrl_edge.bench.by_query import change_of_mean, packed, unpacked
from scipy.stats import binom, binomtest, permutation_test


def shown(before, now):
    low, high = change_of_mean(before, now)
    return not low <= 0 <= high


def ndcg_of(ranks):
    """Of queries with one answer each, at ranks from 1; beyond 10 it is not found."""
    return np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0.0)


def test_scores_come_back_to_within_half_a_step():
    scores = np.random.default_rng(1).random(1000)
    assert unpacked(packed(scores)) == pytest.approx(scores, abs=1 / 510)
    assert unpacked(packed(np.array([0.0, 1.0]))).tolist() == [0, 1]
    assert len(packed(scores)) < 1400
    assert len(packed((scores > 0.5).astype(float))) < 400
    assert len(unpacked("")) == len(unpacked("~ not of this version")) == 0


def test_recalls_of_an_earlier_file_are_read():
    assert unpacked(base64.b64encode(bytes([0, 255, 51])).decode()).tolist() == [0, 1, 0.2]


@pytest.mark.parametrize(
    ("fell", "rose"),
    [(0, 0), (1, 0), (5, 0), (6, 0), (12, 2), (12, 4), (30, 30), (60, 40), (61, 39), (70, 40), (1500, 1600),
     (1500, 1700)],
)  # fmt: skip
def test_of_hits_and_misses_it_is_the_exact_sign_test_of_what_changed(fell, rose):
    before = np.array([1] * fell + [0] * rose + [1, 0] * 50, dtype=float)
    now = np.array([0] * fell + [1] * rose + [1, 0] * 50, dtype=float)
    expected = binomtest(fell, fell + rose).pvalue <= 0.05 if fell + rose else False
    assert shown(before, now) == shown(now, before) == expected


@pytest.mark.parametrize("seed", range(12))
def test_few_graded_changes_show_what_scipys_exact_randomisation_shows(seed):
    random = np.random.default_rng(seed)
    before, now = np.full((2, 200), 0.5)
    before[:10], now[:10] = np.rint(255 * random.random((2, 10))) / 255
    now[:10] = np.maximum(now[:10] - 0.2 * (seed % 3), 0)
    exact = permutation_test(
        (now[:10] - before[:10],), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert shown(before, now) == (exact.pvalue <= 0.05)


def test_the_interval_of_a_known_change_holds_it_19_times_in_20():
    """Of nDCG at ranks drawn anew: what changes on average is counted from the ranks' own distribution."""
    random = np.random.default_rng(3)
    ranks = np.arange(1, 25)
    held = 0
    for _ in range(400):
        drawn = random.choice(ranks, (2, 300))
        before, now = ndcg_of(drawn[0]), ndcg_of(np.maximum(drawn[1] - 2, 1))
        truth = ndcg_of(np.maximum(ranks - 2, 1)).mean() - ndcg_of(ranks).mean()
        low, high = change_of_mean(before, now)
        held += low <= truth <= high
    assert held / 400 >= 0.93


@pytest.mark.parametrize("lost", [0.001, 0.005, 0.02, 0.03, 0.1, 0.3])
@pytest.mark.parametrize("won", [0, 0.003])
def test_the_interval_holds_a_rare_change_19_times_in_20_too(lost, won):
    """Each of 300 queries is lost, or won, with a small probability: all draws, by their binomial probabilities."""
    covered = 0
    for fell in range(151):
        for rose in range(10) if won else (0,):
            low, high = change_of_mean(
                np.array([1] * fell + [0] * (300 - fell)), np.array([0] * (300 - rose) + [1] * rose)
            )
            chance = binom.pmf(fell, 300, lost) * binom.pmf(rose, 300, won)
            covered += chance * (low <= won - lost <= high)
    assert covered >= 0.95
    low, high = change_of_mean(np.ones(300), np.ones(300))
    assert high == -low == pytest.approx(1 - 0.025 ** (1 / 300), rel=0.01)  # of none of 300, by Clopper and Pearson
    assert change_of_mean(np.ones(2), np.ones(2)) == (-1, 1)


@pytest.mark.parametrize(("large", "up", "down"), [(4, 57, 43), (6, 70, 50), (9, 70, 50), (20, 0, 100), (90, 90, 0)])
def test_a_few_large_changes_among_many_small_ones_are_counted_out(large, up, down):
    """As scipy's randomisation has it: the large ones decide, and of few of them a sum is not normal."""
    changes = np.concatenate([np.full(large, -1), np.full(up, 1 / 255), np.full(down, -1 / 255)])
    test = permutation_test((changes,), np.sum, permutation_type="samples", n_resamples=20_000, rng=0)
    assert not 0.04 < test.pvalue < 0.06  # so near draws cannot tell
    assert shown(np.maximum(-changes, 0), np.maximum(changes, 0)) == (test.pvalue < 0.05)


def test_chance_alone_is_seldom_taken_for_a_difference():
    random = np.random.default_rng(2)
    hits = [(random.random((2, 300)) < 0.6).astype(float) for _ in range(400)]
    graded = [ndcg_of(random.integers(1, 30, (2, 300))) for _ in range(400)]
    few = [np.where(random.random((2, 300)) < 0.02, random.random((2, 300)), 0.5) for _ in range(400)]
    for drawn in (hits, graded, few):
        assert np.mean([shown(a, b) for a, b in drawn]) <= 0.075  # two deviations of 400 draws above 0.05


def test_a_small_loss_in_the_same_queries_is_shown_where_two_samples_would_not_tell_it():
    ranks = np.random.default_rng(4).integers(1, 30, 1000)
    before, now = ndcg_of(ranks), ndcg_of(ranks + (np.arange(1000) % 25 == 0))
    low, high = change_of_mean(before, now)
    assert -0.02 < low < high < 0
    assert low <= now.mean() - before.mean() <= high
    assert 1.96 * np.sqrt((before.var() + now.var()) / 1000) > 0.02


def test_many_small_gains_and_a_few_large_losses_show_nothing():
    before = np.concatenate([np.full(20, 0.5), np.ones(5)])
    now = np.concatenate([np.full(20, 0.51), np.zeros(5)])
    assert now.mean() < before.mean()
    assert not shown(before, now)
