"""Curves over the number of documents, through figures that are each known to within a noise, and what they leave open.

Every measured figure is moved within its noise, the curve is fitted again, and what it says of another size is read off
with the noise that a measurement there would have: the interval is what 95% of many such draws say. It is as wide as
the noise is, wider the farther the size lies from those measured, and spans all curves that the figures do not refute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
_NEAR_0 = 1e-4  # of a share whose logit is taken
_STEEPEST = 0.02  # likewise, where the logit's slope is
_LEAST = 1e-9  # of a noise, and of a value whose logarithm is taken
_DRAWS = 1000  # and each once more with its signs turned
_FREEDOM = 10  # degrees of freedom: how surely a noise is known before the points have told anything of it
_REFUTED = 4.0  # by how much more a curve misses the points than the best does, in squares of their noise
_VAGUE = 0.5  # noise as a share of a value, above which its logarithm tells nothing
_ENDS = (2.5, 97.5)


@dataclass(frozen=True)
class Curve:
    """Two parameters over the number of documents: `to` and `back` make a straight line of it over `x`."""

    name: str
    x: Callable[[Values], Values]
    to: Callable[[Values], Values]
    back: Callable[[Values], Values]
    steep: Callable[[Values], Values]  # the derivative of `to`
    logarithm: bool = False  # of values, which must be positive


def _same(values: Values) -> Values:
    return values


def logit(values: Values) -> Values:
    """Return the logarithms of the odds of shares."""
    held = np.clip(values, _NEAR_0, 1 - _NEAR_0)
    return np.asarray(np.log(held / (1 - held)))


def odds_share(logits: Values) -> Values:
    """Return the shares that have these logarithms of odds."""
    return np.asarray(1 / (1 + np.exp(-logits)))


def _steep_logit(values: Values, nearest: float = _STEEPEST) -> Values:
    held = np.clip(values, nearest, 1 - nearest)
    return np.asarray(1 / (held * (1 - held)))


def _no_loss(values: Values) -> Values:
    held = np.clip(values, _NEAR_0, 1 - _NEAR_0)
    return np.asarray(-np.log(-np.log(held)))


def _steep_no_loss(values: Values, nearest: float = _STEEPEST) -> Values:
    held = np.clip(values, nearest, 1 - nearest)
    return np.asarray(-1 / (held * np.log(held)))


CONSTANT = Curve("constant", np.zeros_like, _same, _same, np.ones_like)
LINE = Curve("linear", _same, _same, _same, np.ones_like)
LOGARITHM = Curve("logarithmic", np.log, _same, _same, np.ones_like)
POWER = Curve("power", np.log, np.log, np.exp, lambda y: 1 / y, logarithm=True)
LOGISTIC = Curve("logistic", np.log, logit, odds_share, _steep_logit)
# exp(-(n / c)^k): every further document is as likely to displace an answer, of some queries sooner than of others.
STRETCHED = Curve("stretched exponential", np.log, _no_loss, lambda y: np.exp(-np.exp(-y)), _steep_no_loss)
# The same where nearly all is kept: there it is flat, and points say little of its slope.
KEPT = Curve("kept", np.log, _no_loss, lambda y: np.exp(-np.exp(-y)), lambda values: _steep_no_loss(values, _NEAR_0))

# One share at every size, whose noise is even in its odds.
EVEN = Curve("even odds", np.zeros_like, logit, odds_share, lambda values: _steep_logit(values, _NEAR_0))


@dataclass(frozen=True)
class Points:
    """What was measured: [n] sizes, two of them different, [n] values and the standard deviation of each."""

    sizes: Values
    values: Values
    noise: Values


@dataclass(frozen=True)
class Forecast:
    """A predicted figure, and where 95% of the measurements of it would lie."""

    value: float
    low: float
    high: float

    def moved(self, by: float) -> Forecast:
        """Return it with something added that is known exactly."""
        return Forecast(self.value + by, self.low + by, self.high + by)

    def times(self, other: Forecast) -> Forecast:
        """Return the product with an independent one."""
        value = self.value * other.value
        below = math.hypot((self.value - self.low) * other.value, self.value * (other.value - other.low))
        above = math.hypot((self.high - self.value) * other.value, self.value * (other.high - other.value))
        return Forecast(value, value - below, value + above)

    def widened(self, below: float, above: float) -> Forecast:
        """Return it with another uncertainty joined to each side, as those of independent things are."""
        low, high = math.hypot(self.value - self.low, below), math.hypot(self.high - self.value, above)
        return Forecast(self.value, self.value - low, self.value + high)


@dataclass(frozen=True)
class _Fitted:
    """What one curve says; `missed` are the squares by which it misses the points, in units of their noise."""

    forecast: Forecast
    missed: float
    scale: float  # times the noise that the points were said to have


def fit(points: Points, curves: Sequence[Curve], at: float, rises: bool | None = True) -> Forecast:
    """Return what curves say of another size, at least 0: the value of the one that misses the points least.

    No curve falls, or where not `rises` none rises: a draw that would is the constant nearest to it. So a cost that
    noise shows falling has the largest of the growths that the noise allows in its upper end. None lets them do either.
    """
    sign = 0.0 if rises is None else 1.0 if rises else -1.0
    fitted = [_fitted(points, curve, at, sign) for curve in curves if _is_able(points, curve)]
    best = min(fitted, key=lambda one: round(one.missed, 6))  # through two sizes all go: the first is taken
    kept = [one.forecast for one in fitted if one.missed - best.missed <= _REFUTED * best.scale**2]
    value = max(best.forecast.value, 0.0)
    low, high = min(one.low for one in kept), max(one.high for one in kept)
    return Forecast(value, max(min(low, value), 0.0), max(high, value))


def _is_able(points: Points, curve: Curve) -> bool:
    return not curve.logarithm or bool(np.all(points.noise < _VAGUE * points.values))


def _fitted(points: Points, curve: Curve, at: float, sign: float) -> _Fitted:
    """Fit by least squares, each point's error in units of its noise, and again to many draws of the points."""
    noise = np.maximum(points.noise, _LEAST)
    middle = curve.x(points.sizes).mean()
    x, there = curve.x(points.sizes) - middle, curve.x(np.array([at], dtype=np.float64)) - middle
    y = curve.to(points.values)
    weights = 1 / (noise * curve.steep(points.values))
    solve = np.linalg.pinv(np.stack([np.ones_like(x), x], axis=1) * weights[:, None]) * weights  # [2, n]
    level = weights**2 / (weights**2).sum()

    def line(drawn: Values, over: Values) -> Values:
        """Return what the lines through […, n] say over [m], or the levels where they go the other way."""
        offset, slope = (drawn @ part for part in solve)
        goes = slope * sign >= 0
        return np.asarray(
            np.where(goes, offset, drawn @ level)[..., None] + np.where(goes, slope, 0.0)[..., None] * over
        )

    with np.errstate(over="ignore"):
        missed = float((((y - line(y, x)) * weights) ** 2).sum())
        freedom = _FREEDOM + len(y) - 2
        scale = math.sqrt(max(1.0, (_FREEDOM + missed) / freedom))
        drawn = _students(len(y) + 1, freedom)
        value = float(curve.back(line(y, there))[0])
        said = curve.back(line(y + scale / weights * drawn[:, :-1], there))[:, 0]
        again = noise.max() * max(1.0, value / max(float(points.values.max()), _LEAST))
        low, high = np.percentile(said + scale * again * drawn[:, -1], _ENDS)
    if float(solve[1] @ y) * sign < 0:  # it was seen to go the other way: both ends of that are possible
        low, high = min(low, points.values.min()), max(high, points.values.max())
    return _Fitted(Forecast(value, float(low), float(high)), missed, scale)


@cache
def _students(count: int, freedom: int) -> Values:
    """Return draws [2 · _DRAWS, count] of Student's distribution, one scale a draw: the same at every call."""
    random = np.random.default_rng(0)
    one = random.standard_normal((_DRAWS, count)) * np.sqrt(freedom / random.chisquare(freedom, (_DRAWS, 1)))
    return np.concatenate([one, -one])
