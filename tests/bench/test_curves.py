"""Curves and what noise leaves open of them, against numpy's own fits and over many draws of known truths."""

import math

import numpy as np
import pytest
from mrl_edge.bench.curves import CONSTANT, LINE, LOGARITHM, LOGISTIC, POWER, STRETCHED, Points, fit
from scipy.stats import t

SIZES = np.array([1000.0, 2000.0, 4000.0])


def points(values, share=0.03, sizes=SIZES):
    values = np.array(values, float)
    return Points(sizes[: len(values)], values, share * values)


@pytest.mark.parametrize(
    ("curve", "y", "said"),
    [
        (LINE, [3.0, 5.0, 9.0], 17.0),
        (LOGARITHM, [np.log(n) for n in SIZES], np.log(8000)),
        (POWER, [n**0.5 for n in SIZES], 8000**0.5),
        (LOGISTIC, [1 / (1 + n / 1000) for n in SIZES], 1 / 9),
        (STRETCHED, [np.exp(-((n / 9000) ** 0.5)) for n in SIZES], np.exp(-((8000 / 9000) ** 0.5))),
    ],
)
def test_each_curve_goes_through_its_own_points(curve, y, said):
    found = fit(points(y), (curve,), 8000, rises=curve not in (LOGISTIC, STRETCHED))
    assert found.value == pytest.approx(said, rel=1e-6)
    assert found.low < said < found.high


def test_a_line_is_numpys_least_squares_of_shares():
    values = np.array([3.1, 4.9, 9.4])
    slope, offset = np.polyfit(SIZES, values, 1, w=1 / values)
    assert fit(points(values), (LINE,), 8000).value == pytest.approx(offset + slope * 8000)


@pytest.mark.parametrize("at", [2500, 16_000])
def test_the_interval_of_a_line_is_the_textbooks(at):
    """Of equal noise σ it is t · σ · √(1 + 1/n + (x − x̄)² / Σ(x − x̄)²), t of 10 degrees of freedom and n − 2."""
    values, noise = 10 + SIZES / 1000, 0.2
    found = fit(Points(SIZES, values, np.full(3, noise)), (LINE,), at)
    spread = (at - SIZES.mean()) ** 2 / ((SIZES - SIZES.mean()) ** 2).sum()
    grown = max(1.0, found.value / values.max())  # the noise of a measurement there grows with it
    reach = t.ppf(0.975, 11) * noise * math.sqrt(grown**2 + 1 / 3 + spread)
    assert found.high - found.value == pytest.approx(reach, rel=0.05)
    assert found.value - found.low == pytest.approx(reach, rel=0.05)


TRUTHS = {
    "scan": (lambda n: 0.05 + n * 1e-4, (LINE, POWER)),
    "annoy": (lambda n: 0.1 * np.log(n), (LOGARITHM, POWER)),
    "memory": (lambda n: 100 + n * 2e-3, (LINE, POWER)),
}


@pytest.mark.parametrize(
    ("of", "sizes", "share", "times"),
    [
        ("scan", 2, 0.03, 5),
        ("scan", 3, 0.03, 5),
        ("scan", 3, 0.1, 0.7),
        ("annoy", 3, 0.08, 10),
        ("annoy", 2, 0.08, 3),
        ("memory", 3, 0.015, 10),
        ("memory", 2, 0.015, 25),
    ],
)
def test_the_interval_holds_the_truth_and_a_measurement_of_it(of, sizes, share, times):
    truth, curves = TRUTHS[of]
    random = np.random.default_rng(sizes)
    there = SIZES[:sizes]
    at = float(there[-1] * times)
    draws, held, again, widths = 400, 0, 0, []
    for _ in range(draws):
        found = fit(points(truth(there) * np.exp(share * random.standard_normal(sizes)), share), curves, at)
        held += found.low <= truth(at) <= found.high
        again += found.low <= truth(at) * np.exp(share * random.standard_normal()) <= found.high
        widths.append((found.high - found.low) / found.value)
    print(f"{of}, {sizes} sizes, {share:.1%}, × {times}: holds {held / draws:.1%}, {again / draws:.1%}")
    assert held >= 0.95 * draws
    assert again >= 0.93 * draws
    assert np.median(widths) < 4 * (1 + times) * share * (2 if sizes == 3 else 4)  # of use


def test_two_sizes_do_not_say_which_curve_and_three_that_differ_by_more_than_their_noise_do():
    def reach(count, share):
        said = [fit(points(TRUTHS["scan"][0](SIZES[:count]), share), (curve,), 64_000) for curve in (LINE, POWER)]
        both = fit(points(TRUTHS["scan"][0](SIZES[:count]), share), (LINE, POWER), 64_000)
        return said, both

    (line, power), both = reach(2, 0.002)
    assert (both.low, both.high) == (min(line.low, power.low), max(line.high, power.high))
    (line, power), both = reach(3, 0.002)
    assert (both.low, both.high) == (line.low, line.high)
    assert power.high < line.low


def test_points_that_lie_farther_off_the_curve_than_their_noise_widen_it():
    near = fit(points([1.0, 2.0, 4.02], 0.01), (LINE,), 8000)
    off = fit(points([1.0, 2.6, 4.0], 0.01), (LINE,), 8000)
    assert off.high - off.low > 3 * (near.high - near.low)


def test_a_cost_that_noise_shows_falling_may_grow_by_what_the_noise_allows():
    found = fit(points([0.101, 0.100]), (LINE, POWER), 100_000)
    assert 0.100 <= found.value <= 0.101
    assert found.low >= 0
    slope = (0.100 - 0.101 + 1.64 * 0.03 * math.hypot(0.101, 0.100)) / 1000  # one in twenty is steeper
    assert found.high > 0.1 + slope * 98_000
    surely = fit(points([0.2, 0.1], 0.001), (LINE,), 100_000)  # no noise does that: both ends are possible
    assert surely.low <= 0.1
    assert surely.high >= 0.2


def test_a_quality_is_clamped_the_other_way():
    found = fit(
        Points(SIZES[:2], np.array([0.700, 0.705]), np.full(2, 0.005)),
        (STRETCHED, LOGISTIC, LOGARITHM),
        1e5,
        rises=False,
    )
    assert 0.700 <= found.value <= 0.705
    assert found.low < 0.66 < 0.705 < found.high < 0.73


def test_nothing_is_below_zero_and_zeros_have_no_logarithm():
    found = fit(points([0.5, 1.5, 2.5]), (LINE,), 10)
    assert (found.value, found.low) == (0, 0)
    zeros = fit(Points(SIZES, np.zeros(3), np.zeros(3)), (LINE, POWER), 8000)
    assert (zeros.value, zeros.low, zeros.high) == pytest.approx((0, 0, 0), abs=1e-6)


def test_a_constant_is_the_mean_by_noise():
    found = fit(Points(SIZES, np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 1e-3])), (CONSTANT,), 9)
    assert found.value == pytest.approx(4, abs=1e-3)
