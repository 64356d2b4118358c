"""Two modes are found in mixtures of two, and in nothing that has one."""

import numpy as np
import pytest
from mrl_edge.bench.measure.modes import bimodal

OWN = np.linspace(2, 8, 64)  # ms of 64 unlike inputs
ONE_MODE = {
    "lognormal": lambda random, shape: random.lognormal(0, 0.5, shape),
    "nearly normal": lambda random, shape: random.lognormal(0, 0.02, shape),
    "exponential": lambda random, shape: 1 + random.exponential(0.5, shape),
    "gamma": lambda random, shape: 1 + random.gamma(2, 0.3, shape),
    "uniform": lambda random, shape: random.uniform(1, 2, shape),
    "constant": lambda random, shape: np.ones(shape),
}


@pytest.mark.parametrize("draw", ONE_MODE.values(), ids=ONE_MODE)
@pytest.mark.parametrize("shape", [(64,), (1000,), (4, 64), (40, 64)])
def test_one_mode_is_not_taken_for_two(draw, shape):
    random = np.random.default_rng(1)
    own = OWN if len(shape) == 2 else 1
    assert sum(bimodal(own * draw(random, shape)) for _ in range(100)) <= 1


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
@pytest.mark.parametrize("apart", [1.15, 1.5, 3])
def test_a_mixture_of_two_modes_is_found(share, apart):
    random = np.random.default_rng(2)
    for shape in ((300,), (40, 64)):
        own = OWN if len(shape) == 2 else 1
        drawn = [
            own * random.lognormal(0, 0.02, shape) * np.where(random.random(shape) < share, apart, 1) for _ in range(50)
        ]
        assert sum(map(bimodal, drawn)) >= 45


def test_a_machine_that_is_slow_for_whole_passes_has_two_modes():
    random = np.random.default_rng(3)
    slow = np.repeat([1, 1, 1.3, 1, 1.3, 1.3, 1, 1.3], 4)[:, None]
    assert bimodal(OWN * slow * random.lognormal(0, 0.02, (32, 64)))


def test_modes_nearer_than_5_percent_are_one():
    random = np.random.default_rng(4)
    assert not bimodal(random.lognormal(0, 0.002, 1000) * np.where(random.random(1000) < 0.5, 1.03, 1))


def test_unlike_inputs_are_no_modes():
    random = np.random.default_rng(5)
    own = np.where(np.arange(64) % 2, 2, 9)
    assert not bimodal(own * random.lognormal(0, 0.02, (20, 64)))


def test_three_passes_say_nothing_of_modes():
    random = np.random.default_rng(6)
    assert not bimodal(random.lognormal(0, 0.02, (3, 64)) * np.where(random.random((3, 64)) < 0.5, 2, 1))
