"""Transforms from a raw, unconstrained number to a positive one.

A transform g is increasing and elementwise. (``Square`` and ``Abs``, which are seen in user code, are not increasing,
and ``Identity`` is not positive; they are here to be measured.) It has four methods: its value, the log of its value
(not computed from the value where that loses digits), its inverse, and log g(a)/g(b) for two raws that may be near each
other. The rest of the library follows from these.

Transforms are frozen dataclasses: hashable, comparable, and static under ``jit``.
"""

import abc
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae import special
from jaxvae.arguments import make_floats, require
from jaxvae.texts import call, number, scaled

_GAUSS_LEGENDRE = np.polynomial.legendre.leggauss(4)
"""The nodes, in (-1, 1), and the weights of the Gauss-Legendre rule with 4 nodes."""


class Interval(NamedTuple):
    """A range of real numbers; it is ``closed`` if its finite ends belong to it.

    >>> print(Interval(0, math.inf), Interval(0, 1, closed=True))
    (0, ∞) [0, 1]
    """

    low: float
    high: float
    closed: bool = False

    def __str__(self) -> str:
        left = "[" if self.closed and math.isfinite(self.low) else "("
        right = "]" if self.closed and math.isfinite(self.high) else ")"
        return f"{left}{number(self.low)}, {number(self.high)}{right}"

    def map(self, increasing: Callable[[float], float]) -> "Interval":
        """Returns the image of the interval under an increasing function."""
        return Interval(increasing(self.low), increasing(self.high), self.closed)


class Factors(NamedTuple):
    """A positive number as e^log times a numerator over a denominator; None means a log of 0, or a factor of 1."""

    log: Array | None
    numerator: Array | None = None
    denominator: Array | None = None

    def power(self, exponent: float) -> Array:
        """Returns the number raised to an exponent."""
        found = [] if self.log is None else [special.exp(exponent * self.log)]
        found += [power(x, k * exponent) for x, k in self._quotient]
        return functools.reduce(jnp.multiply, found)

    def scale(self, x: Array, exponent: float) -> Array:
        """Returns x times the number raised to an exponent; it over- or underflows only where this product does."""
        if self.log is not None:
            half = special.exp(exponent / 2 * self.log)
            x = x * half * half
        for factor, k in self._quotient:
            if k * exponent > 0:
                x = x * power(factor, k * exponent)
            else:
                quarter, inverse = quartered(factor, -k * exponent)
                x = x * inverse * power(quarter, -k * exponent)
        return x

    @property
    def _quotient(self) -> list[tuple[Array, int]]:
        return [(x, k) for x, k in ((self.numerator, 1), (self.denominator, -1)) if x is not None]


def quartered(x: Array, exponent: float) -> tuple[Array, Array]:
    """Returns q, which is a quarter for x > 1 and else 1, and 1 / (x q)^exponent, which is never subnormal."""
    quarter = jnp.where(x > 1, 0.25, 1)
    return quarter, 1 / power(x * quarter, exponent)


class Transform(abc.ABC):
    """An increasing map g from raw numbers to positive ones.

    A transform has to define ``forward``, ``inverse`` and ``range``. The other methods have defaults that are right for
    an ordinary g; override them where a g needs care to keep its digits. All are elementwise.

    >>> @dataclasses.dataclass(frozen=True)
    ... class PowerOfTwo(Transform):
    ...     range = Interval(0, math.inf)
    ...     def forward(self, raw):
    ...         return 2.0**raw
    ...     def inverse(self, value):
    ...         return jnp.log2(value)
    >>> float(PowerOfTwo().forward(3.0))
    8.0
    """

    @property
    @abc.abstractmethod
    def range(self) -> Interval:
        """The range of values that g takes."""

    @property
    def logarithmic(self) -> bool:
        """Whether log g is raw itself, perhaps clipped."""
        return False

    def formula(self, r: str = "r") -> str:
        """Returns g(r) as plain text."""
        return call(type(self).__name__, r)

    @abc.abstractmethod
    def forward(self, raw: Array) -> Array:
        """Returns g(raw)."""

    @abc.abstractmethod
    def inverse(self, value: Array) -> Array:
        """Returns the raw whose g is ``value``; outside the range the result is undefined."""

    def log_forward(self, raw: Array) -> Array:
        """Returns log g(raw)."""
        return special.log(self.forward(raw))

    def log_inverse(self, log_value: Array) -> Array:
        """Returns the raw whose log g is ``log_value``."""
        return self.inverse(special.exp(log_value))

    def log_gain(self, raw: Array) -> Array:
        """Returns d log g / d raw."""
        _, gain = jax.jvp(self.log_forward, (raw,), (jnp.ones_like(raw),))
        return jnp.asarray(gain)

    def log_ratio(self, a: Array, b: Array, step: Array | None = None) -> Array:
        """Returns log(g(a) / g(b)), exactly 0 for a = b, with full relative accuracy where it is at most 1.

        For near raws, the default is the integral of ``log_gain`` from b to a, a sum of numbers of one sign
        (Gauss-Legendre with 4 nodes), unless it contradicts the difference of logs, as it may across a kink. Otherwise
        it is that difference. The library's own transforms have closed forms.

        Args:
            a: raws.
            b: raws of the same shape.
            step: a - b, if it is known to more digits than a - b would have.
        """
        step = _step(a, b, step)
        log_a, log_b = self.log_forward(a), self.log_forward(b)
        integral = sum(w / 2 * self.log_gain(b + (x + 1) / 2 * step) for x, w in zip(*_GAUSS_LEGENDRE, strict=True))
        rounding = 4 * float(np.finfo(log_a.dtype).eps) * (jnp.abs(log_a) + jnp.abs(log_b) + 1)
        near = jnp.abs(step) <= 1 + (jnp.abs(a) + jnp.abs(b)) / 8
        difference = special.difference(log_a, log_b)
        agree = (jnp.abs(step * integral - difference) <= rounding) & (rounding < jnp.inf)
        return jnp.where(step == 0, 0, jnp.where(near & agree, step * integral, difference))

    def difference(self, a: Array, b: Array, step: Array) -> Array:
        """Returns g(a) - g(b) for |a - b| <= 1, given step = a - b; the result is as accurate as step."""
        return self.forward(b) * special.expm1(self.log_ratio(a, b, step))

    def factors(self, raw: Array) -> Factors:
        """Returns g(raw) as factors that are normal numbers even where g isn't."""
        # The log is used only there: elsewhere it may have fewer digits than g.
        value = self.forward(raw)
        limits = np.finfo(value.dtype)
        normal = (value >= float(limits.tiny)) & (value <= float(limits.max))
        return Factors(jnp.where(normal, 0, self.log_forward(raw)), jnp.where(normal, value, 1))

    def power(self, raw: Array, exponent: float) -> Array:
        """Returns g(raw)^exponent."""
        return _power(self, raw, exponent)

    def scaled(self, x: Array, raw: Array, exponent: float) -> Array:
        """Returns x g(raw)^exponent, which over- or underflows only where this product does."""
        return self.factors(raw).scale(x, exponent)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 2))
def _power(transform: Transform, raw: Array, exponent: float) -> Array:
    if exponent >= 1:
        return power(transform.forward(raw), exponent)
    return transform.factors(raw).power(exponent)


@_power.defjvp
def _power_jvp(transform: Transform, exponent: float, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (raw,), (draw,) = primals, tangents
    value = _power(transform, raw, exponent)
    return value, special.finite(special.times(exponent * value, transform.log_gain(raw))) * draw


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def with_slope(value: Callable[[Array], Array], slope: Callable[[Array], Array], raw: Array) -> Array:
    """Returns ``value(raw)``, whose derivative is ``slope(raw)`` instead of what JAX would derive from its branches."""
    return value(raw)


@with_slope.defjvp
def _with_slope_jvp(
    value: Callable[[Array], Array], slope: Callable[[Array], Array], primals: tuple, tangents: tuple
) -> tuple[Array, Array]:
    return with_slope(value, slope, *primals), slope(*primals) * tangents[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def power(x: Array, exponent: float) -> Array:
    """Returns x^exponent for the exponents that lead from one quantity to another: +-1/2, +-1, +-2."""
    y = jnp.sqrt(x) if abs(exponent) == 0.5 else jnp.square(x) if abs(exponent) == 2 else x
    return 1 / y if exponent < 0 else y


@power.defjvp
def _power_of_x_jvp(exponent: float, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    y = power(x, exponent)
    if exponent == 1:
        return y, dx
    slope = exponent * (power(x, exponent - 1) if exponent > 0 else y * power(x, -1))
    return y, special.finite(slope) * dx


def _log_ratio(x: Array, y: Array, difference: Array) -> Array:
    """Returns log(x / y), given two positive numbers and their difference; it is as accurate as the difference."""
    near = (difference >= -0.63 * y) & (difference <= 1.7 * y)
    return special.log_quotient(near, jnp.where(near, difference, x) / y, 0)


def _log_ratio_of_any(x: Array, y: Array, difference: Array) -> Array:
    """Returns log(x / y) for numbers of any sign: 0 where they are equal, else NaN where one is negative."""
    log = _log_ratio(x, y, difference)
    return jnp.where(difference == 0, 0, jnp.where((x < 0) | (y < 0), jnp.nan, log))


def _step(a: Array, b: Array, step: Array | None) -> Array:
    """Returns a - b, unless ``step`` is this difference with more digits."""
    return special.difference(a, b) if step is None else step


def _either_side(a: Array, b: Array, step: Array | None) -> tuple[Array, Array]:
    """Returns a - b in two parts: first the part below 0, then that above."""
    step = _step(a, b, step)
    left = jnp.where((a < 0) & (b < 0), step, jnp.minimum(a, 0) - jnp.minimum(b, 0))
    return left, jnp.where((a > 0) & (b > 0), step, jnp.maximum(a, 0) - jnp.maximum(b, 0))


@dataclasses.dataclass(frozen=True)
class Exp(Transform):
    """The transform e^r, onto (0, ∞).

    >>> float(Exp().log_forward(-1000.0))  # e^-1000 is 0 in float32
    -1000.0
    """

    range = Interval(0, math.inf)
    logarithmic = True

    def formula(self, r: str = "r") -> str:
        return call("exp", r)

    def forward(self, raw: Array) -> Array:
        return special.exp(raw)

    def log_forward(self, raw: Array) -> Array:
        return raw

    def inverse(self, value: Array) -> Array:
        return special.log(value)

    def log_inverse(self, log_value: Array) -> Array:
        return log_value

    def log_ratio(self, a: Array, b: Array, step: Array | None = None) -> Array:
        return _step(a, b, step)

    def difference(self, a: Array, b: Array, step: Array) -> Array:
        return special.exp(b) * special.expm1_near(step)

    def factors(self, raw: Array) -> Factors:
        return Factors(raw)

    def power(self, raw: Array, exponent: float) -> Array:
        return special.exp(exponent * raw)


@dataclasses.dataclass(frozen=True)
class Softplus(Transform):
    """The transform log(1 + e^(beta r)) / beta, onto (0, ∞); beta = ln 2 gives 1 at r = 0.

    >>> float(Softplus().log_forward(-200.0))
    -200.0
    """

    beta: float = 1.0
    range = Interval(0, math.inf)

    def __post_init__(self) -> None:
        make_floats(self)
        require(0 < self.beta < math.inf, "Softplus.beta", self.beta, "positive and finite")

    def formula(self, r: str = "r") -> str:
        return call("softplus", scaled(self.beta, r)) + ("" if self.beta == 1 else f"/{number(self.beta)}")

    def forward(self, raw: Array) -> Array:
        return special.softplus(self.beta * raw) / self.beta

    def log_forward(self, raw: Array) -> Array:
        return special.log_softplus_over(self.beta * raw, self.beta)

    def log_gain(self, raw: Array) -> Array:
        return self.beta * special.sigmoid_over_softplus(self.beta * raw)

    def log_ratio(self, a: Array, b: Array, step: Array | None = None) -> Array:
        step = self.beta * _step(a, b, step)
        a, b = self.beta * a, self.beta * b
        (_, x), (e_b, y) = special.softplus_factors(a), special.softplus_factors(b)
        growth = special.softplus_difference(a, b, step)
        # Where g(a) / g(b) is between 1/e and e, or nearly so.
        near = jnp.abs(step) <= 1 + jnp.maximum(jnp.minimum(a, b), 0) / 2
        leads = special.difference(jnp.minimum(a, 0), jnp.minimum(b, 0))
        quotient = jnp.where(near, growth, x) / jnp.where(near & (b < 0), e_b * y, y)
        log = special.log_quotient(near, quotient, leads)
        return jnp.where(jnp.maximum(a, b) < special.TAIL, step, log)

    def difference(self, a: Array, b: Array, step: Array) -> Array:
        return special.softplus_difference(self.beta * a, self.beta * b, self.beta * step) / self.beta

    def factors(self, raw: Array) -> Factors:
        x = self.beta * raw
        _, w = special.softplus_factors(x)
        return Factors(jnp.minimum(x, 0), w if self.beta == 1 else w / self.beta)

    def inverse(self, value: Array) -> Array:
        return special.softplus_inverse(self.beta * value) / self.beta

    def log_inverse(self, log_value: Array) -> Array:
        # softplus_inverse(y) tends to log y.
        y = log_value + math.log(self.beta)
        return jnp.where(y < -40, y, special.softplus_inverse(special.exp(jnp.maximum(y, -40)))) / self.beta


@dataclasses.dataclass(frozen=True)
class Squareplus(Transform):
    """The transform (r + sqrt(r^2 + 4)) / 2, onto (0, ∞) (Barron 2021, arXiv:2112.11687).

    >>> float(Squareplus().forward(0.0))
    1.0
    """

    range = Interval(0, math.inf)

    def formula(self, r: str = "r") -> str:
        return f"({r} + √({r}² + 4))/2"

    def forward(self, raw: Array) -> Array:
        return special.squareplus(raw)

    def log_forward(self, raw: Array) -> Array:
        return special.log_squareplus(raw)

    def log_gain(self, raw: Array) -> Array:
        return 1 / special.hypot2(raw)

    def factors(self, raw: Array) -> Factors:
        return Factors(None, special.squareplus(raw))

    def power(self, raw: Array, exponent: float) -> Array:
        return super().power(raw, exponent) if exponent > 0 else super().power(-raw, -exponent)

    def scaled(self, x: Array, raw: Array, exponent: float) -> Array:
        return super().scaled(x, raw, exponent) if exponent > 0 else super().scaled(x, -raw, -exponent)

    def log_ratio(self, a: Array, b: Array, step: Array | None = None) -> Array:
        # g(a) = e^u with a = 2 sinh(u): tanh((u - v) / 2) = (sinh(u) - sinh(v)) / (cosh(u) + cosh(v)).
        step = _step(a, b, step)
        far = jnp.log(special.squareplus(a) * special.squareplus(-b))
        return special.log_ratio(step / 2 / (special.hypot2(a) / 2 + special.hypot2(b) / 2), far)

    def inverse(self, value: Array) -> Array:
        return (value - 1) * (1 + special.reciprocal(value))

    def log_inverse(self, log_value: Array) -> Array:
        return special.expm1(log_value) - special.expm1(-log_value)


@dataclasses.dataclass(frozen=True)
class ExpLinear(Transform):
    """The transform e^r for r <= 0 and 1 + r above, onto (0, ∞) (Dehaene & Brossard 2021, arXiv:2106.13739).

    >>> ExpLinear().forward(jnp.array([0.0, 2.0])).tolist()
    [1.0, 3.0]
    """

    range = Interval(0, math.inf)

    def formula(self, r: str = "r") -> str:
        return f"exp({r}) if {r} ≤ 0 else 1 + {r}"

    def forward(self, raw: Array) -> Array:
        return jnp.where(raw > 0, 1 + raw, special.exp(jnp.where(raw > 0, 0, raw)))

    def log_forward(self, raw: Array) -> Array:
        return with_slope(self._log_value, self.log_gain, raw)

    def log_gain(self, raw: Array) -> Array:
        return 1 / (1 + jnp.maximum(raw, 0))

    def factors(self, raw: Array) -> Factors:
        return Factors(jnp.minimum(raw, 0), 1 + jnp.maximum(raw, 0))

    def log_ratio(self, a: Array, b: Array, step: Array | None = None) -> Array:
        left, right = _either_side(a, b, step)
        x, y = 1 + jnp.maximum(a, 0), 1 + jnp.maximum(b, 0)
        return left + _log_ratio(x, y, right)

    def _log_value(self, raw: Array) -> Array:
        return jnp.where(raw > 0, special.log1p(jnp.maximum(raw, 0)), raw)

    def inverse(self, value: Array) -> Array:
        return jnp.where(value > 1, value - 1, special.log(jnp.minimum(value, 1)))

    def log_inverse(self, log_value: Array) -> Array:
        return jnp.where(log_value > 0, special.expm1(log_value), log_value)


@dataclasses.dataclass(frozen=True)
class Sigmoid(Transform):
    """The transform low + (high - low) sigmoid(r), onto (low, high).

    >>> float(Sigmoid(low=0.0, high=2.0).forward(0.0))
    1.0
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        make_floats(self)
        require(0 <= self.low < math.inf, "Sigmoid.low", self.low, "at least 0 and finite")
        require(self.low < self.high < math.inf, "Sigmoid.high", self.high, f"above low = {self.low!r} and finite")

    @property
    def range(self) -> Interval:
        return Interval(self.low, self.high)

    @property
    def width(self) -> float:
        return self.high - self.low

    def formula(self, r: str = "r") -> str:
        curve = scaled(self.width, call("sigmoid", r))
        return f"{number(self.low)} + {curve}" if self.low else curve

    def forward(self, raw: Array) -> Array:
        return self.low + self.width * special.sigmoid(raw)

    def log_forward(self, raw: Array) -> Array:
        return with_slope(self._log_value, self.log_gain, raw)

    def log_gain(self, raw: Array) -> Array:
        rest = special.sigmoid(-raw)
        return rest if self.low == 0 else self.width * special.sigmoid(raw) * rest / self.forward(raw)

    def difference(self, a: Array, b: Array, step: Array) -> Array:
        return self.width * special.sigmoid(b) * special.sigmoid(-a) * special.expm1_near(step)

    def factors(self, raw: Array) -> Factors:
        if self.low > 0:
            return Factors(None, self.forward(raw))
        high = None if self.high == 1 else jnp.full_like(raw, self.high)
        return Factors(jnp.minimum(raw, 0), high, 1 + jnp.exp(-jnp.abs(raw)))

    def log_ratio(self, a: Array, b: Array, step: Array | None = None) -> Array:
        # g(a) / g(b) - 1 = sigmoid(-a) expm1(a - b) for low = 0; for distant raws above 0 the differences of tails.
        step = _step(a, b, step)
        close = jnp.abs(step) <= 1
        grown = special.sigmoid(-a) * special.expm1_near(jnp.where(close, step, 0))
        fallen = jnp.exp(-jnp.abs(b)) - jnp.exp(-jnp.abs(a))
        growth = jnp.where(close, grown, fallen * special.sigmoid(jnp.abs(a)))
        if self.low == 0:
            near = close | ((a > 0) & (b > 0))
            quotient = (1 + jnp.exp(-jnp.abs(b))) * special.sigmoid(jnp.abs(a))
            leads = special.difference(jnp.minimum(a, 0), jnp.minimum(b, 0))
            return special.log_quotient(near, jnp.where(near, growth, quotient), leads)
        rise = jnp.where(close | (b > 0), special.sigmoid(b) * growth, special.sigmoid(a) - special.sigmoid(b))
        return _log_ratio(self.forward(a), self.forward(b), self.width * rise)

    def _log_value(self, raw: Array) -> Array:
        if (self.low, self.high) == (0, 1):
            return special.log_sigmoid(raw)
        # g - 1 in the form that has no cancellation of its own: from the nearer end, or from the middle.
        middle = (self.low - 1) / 2 + (self.high - 1) / 2 + self.width / 2 * special.tanh_half(raw)
        above = (self.high - 1) - self.width * special.sigmoid(-raw)
        below = (self.low - 1) + self.width * special.sigmoid(raw)
        away = jnp.where(raw > 1, above, jnp.where(raw < -1, below, middle))
        near = jnp.abs(away) < 0.5
        if self.low == 0:
            far = math.log(self.high) + special.log_sigmoid(raw)
            return jnp.where(near, special.log1p(jnp.where(near, away, 0)), far)
        return jnp.where(near, special.log1p(jnp.where(near, away, 0)), special.log(self.forward(raw)))

    def inverse(self, value: Array) -> Array:
        return special.log(value - self.low) - special.log(self.high - value)

    def log_inverse(self, log_value: Array) -> Array:
        if self.low > 0:
            return self.inverse(special.exp(log_value))
        below = math.log(self.high) - log_value
        return -below - special.log1mexp(below)


@dataclasses.dataclass(frozen=True)
class HalfBounded(Transform):
    """The transform high/2 e^r for r <= 0 and high/2 (2 - e^-r) above, onto (0, high).

    It is the up-bounded form of Dehaene & Brossard 2021, and ``high`` times the distribution function of a standard
    Laplace variable.

    >>> float(HalfBounded(high=2.0).forward(0.0))
    1.0
    """

    high: float = 1.0

    def __post_init__(self) -> None:
        make_floats(self)
        require(0 < self.high < math.inf, "HalfBounded.high", self.high, "positive and finite")

    @property
    def range(self) -> Interval:
        return Interval(0, self.high)

    def formula(self, r: str = "r") -> str:
        return f"{scaled(self.high / 2, f'exp({r})')} if {r} ≤ 0 else {number(self.high)} - " + scaled(
            self.high / 2, f"exp(-{r})"
        )

    def forward(self, raw: Array) -> Array:
        tail = special.exp(-jnp.abs(raw))
        return self.high / 2 * jnp.where(raw > 0, 2 - tail, tail)

    def log_forward(self, raw: Array) -> Array:
        return with_slope(self._log_value, self.log_gain, raw)

    def log_gain(self, raw: Array) -> Array:
        tail = special.exp(-jnp.abs(raw))
        return jnp.where(raw > 0, tail / (2 - tail), 1)

    def factors(self, raw: Array) -> Factors:
        return Factors(jnp.minimum(raw, 0), self.high / 2 * (2 - special.exp(-jnp.maximum(raw, 0))))

    def log_ratio(self, a: Array, b: Array, step: Array | None = None) -> Array:
        left, right = _either_side(a, b, step)
        tails = [special.exp(-jnp.maximum(x, 0)) for x in (a, b)]
        near = jnp.abs(right) <= 1
        inside = jnp.where(near, -right, 0)
        fall = jnp.where(near, tails[1] * special.expm1_near(inside), tails[0] - tails[1])
        return left + special.log_ratio(-fall / (4 - tails[0] - tails[1]), jnp.nan)

    def _log_value(self, raw: Array) -> Array:
        right = jnp.maximum(raw, 0)
        tail = special.exp(-right)
        risen = jnp.where(right < 1, -special.expm1_near(-jnp.minimum(right, 1)), 1 - tail)
        log = math.log(self.high / 2) + risen * special.log1p_over(risen)
        if self.high != 2:
            # high/2 (2 - e^-r) - 1, in the form that has no cancellation of its own at its end of the range.
            outer = (self.high - 1) - self.high / 2 * tail
            away = jnp.where(raw > 1, outer, (self.high / 2 - 1) + self.high / 2 * risen)
            near = jnp.abs(away) < 0.5
            log = jnp.where(near, special.log1p(jnp.where(near, away, 0)), log)
        return jnp.where(raw > 0, log, math.log(self.high / 2) + raw)

    def inverse(self, value: Array) -> Array:
        left = value <= self.high / 2
        rest = jnp.where(left, value, self.high - value) / (self.high / 2)
        return jnp.where(left, 1, -1) * special.log(rest)

    def log_inverse(self, log_value: Array) -> Array:
        x = log_value - math.log(self.high / 2)
        return jnp.where(x <= 0, x, self.inverse(special.exp(log_value)))


@dataclasses.dataclass(frozen=True)
class Identity(Transform):
    """The transform r itself, without a constraint.

    Its log is -inf at 0 and NaN below, which is why a constraint is necessary.

    >>> float(Identity().forward(-2.0))
    -2.0
    """

    range = Interval(-math.inf, math.inf)

    def formula(self, r: str = "r") -> str:
        return r

    def forward(self, raw: Array) -> Array:
        return raw

    def log_gain(self, raw: Array) -> Array:
        return special.reciprocal(raw)

    def log_ratio(self, a: Array, b: Array, step: Array | None = None) -> Array:
        return _log_ratio_of_any(a, b, _step(a, b, step))

    def inverse(self, value: Array) -> Array:
        return value

    def factors(self, raw: Array) -> Factors:
        return Factors(None, raw)

    def power(self, raw: Array, exponent: float) -> Array:
        return power(raw, exponent)


@dataclasses.dataclass(frozen=True)
class Abs(Transform):
    """The transform |r|, onto [0, ∞), which isn't invertible.

    It isn't smooth at 0, where its slope is 1, that from the right.

    >>> float(Abs().forward(-2.0))
    2.0
    """

    range = Interval(0, math.inf, closed=True)

    def formula(self, r: str = "r") -> str:
        return f"|{r}|"

    def forward(self, raw: Array) -> Array:
        return jnp.where(raw < 0, -raw, raw)

    def log_ratio(self, a: Array, b: Array, step: Array | None = None) -> Array:
        x, y = self.forward(a), self.forward(b)
        step = _step(a, b, step)
        one_sided = (a < 0) == (b < 0)
        return _log_ratio_of_any(x, y, jnp.where(one_sided, jnp.where(a < 0, -step, step), x - y))

    def inverse(self, value: Array) -> Array:
        return value

    def factors(self, raw: Array) -> Factors:
        return Factors(None, self.forward(raw))

    def power(self, raw: Array, exponent: float) -> Array:
        return power(self.forward(raw), exponent)


@dataclasses.dataclass(frozen=True)
class Square(Transform):
    """The transform r^2, onto [0, ∞), which isn't invertible.

    Its slope at 0 is 0; that of its log is the limit from the right, ∞, made finite.

    >>> float(Square().forward(-3.0))
    9.0
    """

    range = Interval(0, math.inf, closed=True)

    def formula(self, r: str = "r") -> str:
        return f"{r}²"

    def forward(self, raw: Array) -> Array:
        return jnp.square(raw)

    def log_ratio(self, a: Array, b: Array, step: Array | None = None) -> Array:
        return 2 * Abs().log_ratio(a, b, step)

    def log_forward(self, raw: Array) -> Array:
        return with_slope(self._log_value, self.log_gain, raw)

    def log_gain(self, raw: Array) -> Array:
        return special.finite(2 * special.reciprocal(raw))

    def _log_value(self, raw: Array) -> Array:
        return 2 * jnp.log(Abs().forward(raw))

    def inverse(self, value: Array) -> Array:
        return jnp.sqrt(value)

    def log_inverse(self, log_value: Array) -> Array:
        return special.exp(log_value / 2)

    def power(self, raw: Array, exponent: float) -> Array:
        # For a negative power, the two factors of the chain rule may over- and underflow where their product doesn't.
        return power(self.forward(raw), exponent) if exponent > 0 else super().power(raw, exponent)
