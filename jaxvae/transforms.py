"""From a raw, unconstrained number to a positive one.

A transform g is increasing and elementwise (``Square`` and ``Abs``, seen in the wild, are not increasing, and
``Identity`` is not positive; they are here to be measured). It knows four things: its value, the log of its
value (never by way of the value where that loses digits), its inverse, and log g(a)/g(b) for two raws that
may lie near each other. All else in the library follows.

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
"""Nodes in (-1, 1) and weights."""


class Interval(NamedTuple):
    """A range of real numbers; ``closed`` where its finite ends belong to it."""

    low: float
    high: float
    closed: bool = False

    def __str__(self) -> str:
        left = "[" if self.closed and math.isfinite(self.low) else "("
        right = "]" if self.closed and math.isfinite(self.high) else ")"
        return f"{left}{number(self.low)}, {number(self.high)}{right}"

    def map(self, increasing: Callable[[float], float]) -> "Interval":
        """The image under an increasing function."""
        return Interval(increasing(self.low), increasing(self.high), self.closed)


class Transform(abc.ABC):
    """An increasing map g from raw numbers to positive ones.

    ``forward``, ``inverse`` and ``range`` make a transform; the other methods have defaults that are right for
    an ordinary g, and are overridden where a g needs care to keep its digits. All are elementwise.
    """

    @property
    @abc.abstractmethod
    def range(self) -> Interval:
        """The values g can take."""

    def formula(self, r: str = "r") -> str:
        """g(r) as plain text."""
        return call(type(self).__name__, r)

    @abc.abstractmethod
    def forward(self, raw: Array) -> Array:
        """g(raw)."""

    @abc.abstractmethod
    def inverse(self, value: Array) -> Array:
        """The raw whose g is ``value``; anything outside the range."""

    def log_forward(self, raw: Array) -> Array:
        """log g(raw)."""
        return special.log(self.forward(raw))

    def log_inverse(self, log_value: Array) -> Array:
        """The raw whose log g is ``log_value``."""
        return self.inverse(special.exp(log_value))

    def log_gain(self, raw: Array) -> Array:
        """d log g / d raw."""
        _, gain = jax.jvp(self.log_forward, (raw,), (jnp.ones_like(raw),))
        return jnp.asarray(gain)

    def log_ratio(self, a: Array, b: Array) -> Array:
        """log(g(a) / g(b)), exactly 0 for a = b, to full relative accuracy for |a - b| <= 1.

        For near raws the integral of ``log_gain`` from b to a, which adds numbers of one sign (Gauss-Legendre with
        4 nodes), unless it contradicts the difference of logs, as it may across a kink; else that difference.
        """
        a, b = jnp.broadcast_arrays(a, b)
        log_a, log_b, step = self.log_forward(a), self.log_forward(b), a - b
        nodes, weights = (jnp.asarray(x, step.dtype).reshape(-1, *[1] * step.ndim) for x in _GAUSS_LEGENDRE)
        points = b[None] + (nodes + 1) / 2 * step[None]  # (nodes, ...)
        integral = step * jnp.sum(weights / 2 * self.log_gain(points), axis=0)
        rounding = 4 * float(np.finfo(log_a.dtype).eps) * (jnp.abs(log_a) + jnp.abs(log_b) + 1)
        near = jnp.abs(step) <= 1 + (jnp.abs(a) + jnp.abs(b)) / 8
        difference = special.difference(log_a, log_b)
        agree = (jnp.abs(integral - difference) <= rounding) & (rounding < jnp.inf)
        return jnp.where(step == 0, 0, jnp.where(near & agree, integral, difference))

    def power(self, raw: Array, exponent: float) -> Array:
        """g(raw)^exponent."""
        return _power(self, raw, exponent)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 2))
def _power(transform: Transform, raw: Array, exponent: float) -> Array:
    # By way of the log only where g is subnormal: elsewhere the log may have fewer digits than g.
    value = transform.forward(raw)
    limits = np.finfo(value.dtype)
    normal = (value >= float(limits.tiny)) & (value <= float(limits.max))
    return jnp.where(normal, power(value, exponent), special.exp(exponent * transform.log_forward(raw)))


@_power.defjvp
def _power_jvp(transform: Transform, exponent: float, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (raw,), (draw,) = primals, tangents
    value = _power(transform, raw, exponent)
    return value, special.finite(special.times(exponent * value, transform.log_gain(raw))) * draw


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _with_slope(value: Callable[[Array], Array], slope: Callable[[Array], Array], raw: Array) -> Array:
    """``value(raw)``, whose derivative is ``slope(raw)`` in place of what JAX would make of its branches."""
    return value(raw)


@_with_slope.defjvp
def _with_slope_jvp(
    value: Callable[[Array], Array], slope: Callable[[Array], Array], primals: tuple, tangents: tuple
) -> tuple[Array, Array]:
    return _with_slope(value, slope, *primals), slope(*primals) * tangents[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def power(x: Array, exponent: float) -> Array:
    """x^exponent for the exponents that lead from one quantity to another: +-1/2, +-1, +-2."""
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


@dataclasses.dataclass(frozen=True)
class Exp(Transform):
    """e^r, onto (0, ∞)."""

    range = Interval(0, math.inf)

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

    def log_ratio(self, a: Array, b: Array) -> Array:
        return jnp.where(a == b, 0, a - b)

    def power(self, raw: Array, exponent: float) -> Array:
        return special.exp(exponent * raw)


@dataclasses.dataclass(frozen=True)
class Softplus(Transform):
    """log(1 + e^(beta r)) / beta, onto (0, ∞); beta = ln 2 gives 1 at r = 0."""

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
        return _with_slope(self._log_value, self.log_gain, raw)

    def log_gain(self, raw: Array) -> Array:
        return self.beta * special.sigmoid_over_softplus(self.beta * raw)

    def _log_value(self, raw: Array) -> Array:
        # Near g = 1 by way of g - 1 = r - 1 + softplus(-x) / beta, whose terms cancel only about the root c;
        # there softplus(x) - softplus(c) = log1p(sigmoid(c) expm1(x - c)).
        x = self.beta * raw
        near = jnp.abs(self.forward(raw) - 1) < 0.5
        away = (raw - 1) + special.softplus(-x) / self.beta
        if self.beta < 40:  # else softplus(-x) is nothing beside a digit of r
            root = math.log(math.expm1(self.beta))
            coarse = float(np.asarray(root, x.dtype))
            rest = root - coarse  # XLA would add it to the other constant
            close = jnp.abs(x - coarse) < 1
            grown = special.expm1(jnp.where(close, x - coarse, 0)) * math.exp(-rest) + math.expm1(-rest)
            away = jnp.where(close, special.log1p(grown * -math.expm1(-self.beta)) / self.beta, away)
        far = special.log_softplus(x) - math.log(self.beta)
        return jnp.where(near, special.log1p(jnp.where(near, away, 0)), far)

    def inverse(self, value: Array) -> Array:
        return special.softplus_inverse(self.beta * value) / self.beta

    def log_inverse(self, log_value: Array) -> Array:
        # softplus_inverse(y) tends to log y.
        y = log_value + math.log(self.beta)
        return jnp.where(y < -40, y, special.softplus_inverse(special.exp(jnp.maximum(y, -40)))) / self.beta


@dataclasses.dataclass(frozen=True)
class Squareplus(Transform):
    """(r + sqrt(r^2 + 4)) / 2, onto (0, ∞) (Barron 2021, arXiv:2112.11687)."""

    range = Interval(0, math.inf)

    def formula(self, r: str = "r") -> str:
        return f"({r} + √({r}² + 4))/2"

    def forward(self, raw: Array) -> Array:
        return special.squareplus(raw)

    def log_forward(self, raw: Array) -> Array:
        return special.log_squareplus(raw)

    def inverse(self, value: Array) -> Array:
        return (value - 1) * (1 + special.reciprocal(value))

    def log_inverse(self, log_value: Array) -> Array:
        return special.expm1(log_value) - special.expm1(-log_value)


@dataclasses.dataclass(frozen=True)
class ExpLinear(Transform):
    """e^r for r <= 0, 1 + r above, onto (0, ∞) (Dehaene & Brossard 2021, arXiv:2106.13739)."""

    range = Interval(0, math.inf)

    def formula(self, r: str = "r") -> str:
        return f"exp({r}) if {r} ≤ 0 else 1 + {r}"

    def forward(self, raw: Array) -> Array:
        return jnp.where(raw > 0, 1 + raw, special.exp(jnp.where(raw > 0, 0, raw)))

    def log_forward(self, raw: Array) -> Array:
        return jnp.where(raw > 0, special.log1p(jnp.where(raw > 0, raw, 0)), raw)

    def inverse(self, value: Array) -> Array:
        return jnp.where(value > 1, value - 1, special.log(jnp.minimum(value, 1)))

    def log_inverse(self, log_value: Array) -> Array:
        return jnp.where(log_value > 0, special.expm1(log_value), log_value)


@dataclasses.dataclass(frozen=True)
class Sigmoid(Transform):
    """low + (high - low) sigmoid(r), onto (low, high)."""

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
        return _with_slope(self._log_value, self.log_gain, raw)

    def log_gain(self, raw: Array) -> Array:
        rest = special.sigmoid(-raw)
        return rest if self.low == 0 else self.width * special.sigmoid(raw) * rest / self.forward(raw)

    def _log_value(self, raw: Array) -> Array:
        # g - 1 in the form that has no cancellation of its own: from the nearer end, or from the middle.
        middle = (self.low - 1) / 2 + (self.high - 1) / 2 + self.width / 2 * special.tanh(raw / 2)
        above = (self.high - 1) - self.width * special.sigmoid(-raw)
        below = (self.low - 1) + self.width * special.sigmoid(raw)
        away = jnp.where(raw > 1, above, jnp.where(raw < -1, below, middle))
        near = jnp.abs(away) < 0.5
        far = math.log(self.high) + special.log_sigmoid(raw) if self.low == 0 else special.log(self.forward(raw))
        return jnp.where(near, special.log1p(jnp.where(near, away, 0)), far)

    def inverse(self, value: Array) -> Array:
        return special.log(value - self.low) - special.log(self.high - value)

    def log_inverse(self, log_value: Array) -> Array:
        if self.low > 0:
            return self.inverse(special.exp(log_value))
        below = math.log(self.high) - log_value
        return -below - special.log1mexp(below)


@dataclasses.dataclass(frozen=True)
class HalfBounded(Transform):
    """high/2 e^r for r <= 0, high/2 (2 - e^-r) above: onto (0, high), the up-bounded form of Dehaene & Brossard 2021.

    It is ``high`` times the distribution function of a standard Laplace variable.
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
        right = jnp.where(raw > 0, raw, 0)
        # high/2 (2 - e^-r) - 1, in the form that has no cancellation of its own at its end of the range.
        outer = (self.high - 1) - self.high / 2 * special.exp(-right)
        inner = (self.high / 2 - 1) - self.high / 2 * special.expm1(-right)
        away = jnp.where(raw > 1, outer, inner)
        near = jnp.abs(away) < 0.5
        above = special.log1p(jnp.where(near, away, 0))
        far = math.log(self.high / 2) + special.log1p(-special.expm1(-right))
        return jnp.where(raw > 0, jnp.where(near, above, far), math.log(self.high / 2) + raw)

    def inverse(self, value: Array) -> Array:
        left = value <= self.high / 2
        rest = jnp.where(left, value, self.high - value) / (self.high / 2)
        return jnp.where(left, 1, -1) * special.log(rest)

    def log_inverse(self, log_value: Array) -> Array:
        x = log_value - math.log(self.high / 2)
        return jnp.where(x <= 0, x, self.inverse(special.exp(log_value)))


@dataclasses.dataclass(frozen=True)
class Identity(Transform):
    """r itself: no constraint. Its log is NaN below 0, which is what makes a constraint necessary, and -inf at 0."""

    range = Interval(-math.inf, math.inf)

    def formula(self, r: str = "r") -> str:
        return r

    def forward(self, raw: Array) -> Array:
        return raw

    def inverse(self, value: Array) -> Array:
        return value

    def power(self, raw: Array, exponent: float) -> Array:
        return power(raw, exponent)


@dataclasses.dataclass(frozen=True)
class Abs(Transform):
    """|r|, onto [0, ∞): neither invertible nor smooth at 0, where its slope is 1, that from the right."""

    range = Interval(0, math.inf, closed=True)

    def formula(self, r: str = "r") -> str:
        return f"|{r}|"

    def forward(self, raw: Array) -> Array:
        return jnp.where(raw < 0, -raw, raw)

    def inverse(self, value: Array) -> Array:
        return value

    def power(self, raw: Array, exponent: float) -> Array:
        return power(self.forward(raw), exponent)


@dataclasses.dataclass(frozen=True)
class Square(Transform):
    """r^2, onto [0, ∞): not invertible, and of zero slope at 0; that of its log is the limit from the right, ∞."""

    range = Interval(0, math.inf, closed=True)

    def formula(self, r: str = "r") -> str:
        return f"{r}²"

    def forward(self, raw: Array) -> Array:
        return jnp.square(raw)

    def log_forward(self, raw: Array) -> Array:
        return _with_slope(self._log_value, self.log_gain, raw)

    def log_gain(self, raw: Array) -> Array:
        return special.finite(2 * special.reciprocal(raw))

    def _log_value(self, raw: Array) -> Array:
        return 2 * jnp.log(Abs().forward(raw))

    def inverse(self, value: Array) -> Array:
        return jnp.sqrt(value)

    def log_inverse(self, log_value: Array) -> Array:
        return special.exp(log_value / 2)

    def power(self, raw: Array, exponent: float) -> Array:
        # Of a negative power the two factors of the chain rule may over- and underflow where their product doesn't.
        return power(self.forward(raw), exponent) if exponent > 0 else super().power(raw, exponent)
