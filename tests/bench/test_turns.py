"""Ratios of two that take turns, on times made with a known ratio."""

import time

import numpy as np
import pytest
from mrl_edge.bench.measure.turns import WARM_ROUNDS, ratio_of, take_turns, take_turns_until_known


def _medians(random, rounds, ratio):
    """A machine whose speed wanders by a tenth, the same for both in a round, and 1% noise of each."""
    machine = np.exp(0.1 * np.sin(np.arange(rounds) / 5) + random.normal(0, 0.05, rounds))
    return [machine * own * random.lognormal(0, 0.01, rounds) for own in (ratio, 1)]


@pytest.mark.parametrize("rounds", [12, 40])
@pytest.mark.parametrize("ratio", [0.5, 1, 1.03])
def test_the_interval_holds_the_true_ratio_though_the_machine_wanders(rounds, ratio):
    random = np.random.default_rng(1)
    found = [ratio_of(*_medians(random, rounds, ratio)) for _ in range(300)]
    assert np.mean([low <= ratio <= high for low, high in (one.ci95 for one in found)]) >= 0.93
    assert np.median([one.ratio for one in found]) == pytest.approx(ratio, rel=0.003)
    assert np.mean([one.ci95[1] - one.ci95[0] for one in found]) < 0.03 * ratio


def test_the_order_turns_round_and_warm_rounds_do_not_count():
    order = []
    medians = take_turns([lambda: order.append("a") or 1.0, lambda: order.append("b") or 2.0], 4)
    assert medians.tolist() == [[1, 2]] * 4
    rounds = ["".join(order[i : i + 2]) for i in range(0, len(order), 2)]
    assert rounds[WARM_ROUNDS:] == ["ab", "ba", "ab", "ba"]


def test_it_ends_soon_when_the_ratio_is_known_and_in_time_when_it_never_is():
    steady = take_turns_until_known([lambda: 1.0, lambda: 2.0], max_seconds=60)
    assert len(steady) < 20
    random = np.random.default_rng(2)
    wild = take_turns_until_known([lambda: time.sleep(0.002) or random.lognormal(0, 1), lambda: 2.0], max_seconds=0.2)
    assert not ratio_of(wild[:, 0], wild[:, 1]).stable


def test_why_a_ratio_is_not_stable_is_said():
    random = np.random.default_rng(3)
    one = np.ones(40)
    assert ratio_of(random.lognormal(0, 0.5, 40), one).doubts == ("interval",)
    assert "drift" in ratio_of(np.linspace(1, 1.3, 40), one).doubts
    assert "few samples" in ratio_of(one[:5], one[:5]).doubts
    assert ratio_of(one[:5], one[:5]).ci95 is None
    assert ratio_of(one[:6], one[:6]).ci95 == (1, 1)
    assert ratio_of(one, one).stable
