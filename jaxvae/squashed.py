"""Gaussians squashed by a tanh onto any interval: the policy of soft actor-critic.

For a Gaussian x, y = (low + high)/2 + (high - low)/2 tanh(x) has the density of x divided by dy/dx:

    log p(y) = log N(x; mean, σ²) - log((high - low)/2) - log(1 - tanh²x)

(Haarnoja et al. 2018, arXiv:1801.01290, appendix C). Everything is elementwise and in nats. Near a bound, log p(y) is
computed from y's distance to the bound, and so is right up to the last number inside. Samples are rounded inwards, and
their density is computed from x, which has more digits than y there.
"""

import dataclasses
import functools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import require_broadcast, require_real, shown
from jaxvae.distribution import Leaf
from jaxvae.gaussian import (
    Delegate,
    Gaussian,
    aligned,
    entropy,
    kl_divergence,
    log_prob,
    ranked,
    reparameterize,
    sample,
    sample_and_log_prob,
)
from jaxvae.parameterizations import Parameterization, log_variance
from jaxvae.serialization import serializable


@serializable
@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True, eq=False, repr=False, init=False)
class TanhGaussian(Delegate):
    """The distribution of y = (low + high)/2 + (high - low)/2 tanh(x) with x ~ N(mean, σ²) (Haarnoja et al. 2018).

    Its elements are independent. ``sample``, ``sample_and_log_prob``, ``reparameterize``, ``log_prob``, ``entropy``,
    ``kl_divergence``, ``cross_entropy`` and ``jeffreys`` accept it. Samples lie strictly between the bounds. At the
    bounds, where x is infinite and the density tends to 0, and outside, ``log_prob`` is -inf with a gradient of 0. So
    if other code has clipped or rounded actions to a bound, first move them inside. The KL is that of the Gaussians of
    x, and needs equal bounds. The entropy has no closed form; it is integrated numerically, to the rounding of its
    terms.

    Attributes:
        loc: the location of x, of any shape; it is the mean, except under a natural parameterization.
        raw: the unconstrained number that the parameterization turns into σ of x.
        parameterization: the parameterization, which is static, or the name of a registered one; by default
            ``log_variance``.
        low: the lower bound of y, of any shape that broadcasts; it is stored in the full shape.
        high: the upper bound of y, which is stored in the same way.

    Raises:
        ValueError: if the shapes don't broadcast, if there is no number between the bounds, or if their distance
            overflows. If such bounds are traced, results are NaN.
        TypeError: if the parameterization is neither a ``Parameterization`` nor a name.

    >>> policy = TanhGaussian(jnp.zeros(2), jnp.zeros(2), low=0.0, high=jnp.array([10.0, 1.0]))
    >>> policy.median.tolist()
    [5.0, 0.5]
    """

    loc: Array
    raw: Array
    parameterization: Parameterization = log_variance
    low: Array = -1.0  # type: ignore[assignment]
    high: Array = 1.0  # type: ignore[assignment]

    _event_ranks: ClassVar = {"loc": 0, "raw": 0, "low": 0, "high": 0}

    def __init__(
        self,
        loc: Leaf,
        raw: Leaf,
        parameterization: Parameterization | str = log_variance,
        low: Leaf = -1.0,
        high: Leaf = 1.0,
    ) -> None:
        self._begin(parameterization, loc=loc, raw=raw, low=low, high=high)
        if isinstance(self.low, Array):
            _require_room(self.dtype, low, high)

    def _check(self) -> None:
        try:
            shape = self.shape
        except ValueError:
            shapes = ", ".join(f"{name} {x.shape}" for name, x in self._leaves().items())
            raise ValueError(f"TanhGaussian's leaves must broadcast, got shapes {shapes}") from None
        # Bounds cost nothing; in the full shape, they are mapped wherever loc is.
        self._set(low=jnp.broadcast_to(self.low, shape), high=jnp.broadcast_to(self.high, shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return jnp.broadcast_shapes(*(x.shape for x in self._leaves().values()))

    @property
    def base(self) -> Gaussian:
        """The Gaussian of x, in the dtype to compute in and the full shape."""
        loc, raw, *_ = ranked(*self._leaves().values())
        return Gaussian(jnp.broadcast_to(loc, self.shape), raw, self.parameterization)

    @property
    def median(self) -> Array:
        """The median of y, which is the y of x's mean, in the full shape and the samples' dtype.

        Actor-critic code calls it the mode, or the deterministic action.
        """
        return self.squash(self.base.mean)

    @property
    def mode(self) -> Array:
        """The y of highest density, in the full shape and the samples' dtype.

        Its x is the outermost root of x = mean + 2σ² tanh(x) on the mean's side. Where 2σ² > 1 and the mean is 0, there
        are two modes, and this is the upper one.
        """
        base = self.base
        return self.squash(_mode(*aligned(base.mean, base.std)))

    def squash(self, x: ArrayLike) -> Array:
        """Returns the y of x, strictly between the bounds, in the samples' dtype; x has any shape that broadcasts."""
        return _squash(*self._with_bounds(x=x), self.dtype)

    def unsquash(self, y: ArrayLike) -> Array:
        """Returns the x of y, which is infinite at the bounds and NaN outside."""
        return _unsquash(*self._with_bounds(y=y))

    def log_det_jacobian(self, x: ArrayLike) -> Array:
        """Returns log dy/dx = log((high - low)/2) + log(1 - tanh²x), elementwise.

        ``log_prob(base, x)`` minus this is log p(y). It is for actions that are stored as x, and is right even where y
        has no digits left.
        """
        x, low, high = self._with_bounds(x=x)
        return jnp.log(_half_width(low, high)) + special.log_sech2(x)

    def _with_bounds(self, **points: ArrayLike) -> list[Array]:
        require_real(**points)
        require_broadcast(q=self.shape, **{name: jnp.shape(x) for name, x in points.items()})
        return aligned(*points.values(), self.low, self.high)

    def _sample(self, key: Array, shape: tuple[int, ...]) -> Array:
        return self.squash(sample(key, self.base, shape))

    def _sample_and_log_prob(self, key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        x, log_density = sample_and_log_prob(key, self.base, shape)
        return self.squash(x), log_density - self.log_det_jacobian(x)

    def _reparameterize(self, noise: ArrayLike) -> Array:
        return self.squash(reparameterize(self.base, noise))

    def _log_prob(self, x: ArrayLike) -> Array:
        y, low, high = self._with_bounds(x=x)
        outside = (y <= low) | (y >= high)
        y = jnp.where(outside, low / 2 + high / 2, y)
        inside = log_prob(self.base, _unsquash(y, low, high)) - _log_slope(y, low, high)
        return jnp.where(outside, -jnp.inf, inside)

    def _entropy(self) -> Array:
        """Computes H(y) = H(x) + E[log dy/dx]."""
        base = self.base
        of_x, mean, std, low, high = aligned(entropy(base), base.mean, base.std, self.low, self.high)
        slope = _expected_log_sech2(mean, std)  # which tends to -inf faster than of_x to inf
        return jnp.where(of_x == jnp.inf, slope, of_x + slope) + jnp.log(_half_width(low, high))

    def _kl_divergence(self, p: Any) -> Array:
        if not isinstance(p, TanhGaussian):
            raise TypeError(f"p must be a TanhGaussian of the same bounds where q is one, got {_kind(p)}")
        require_broadcast(q=self.shape, p=p.shape)
        *bounds, kl = aligned(self.low, p.low, self.high, p.high, kl_divergence(self.base, p.base))
        same = (bounds[0] == bounds[1]) & (bounds[2] == bounds[3])
        try:
            if not jnp.all(same):
                found = " and ".join(f"{shown(x.low.tolist())}, {shown(x.high.tolist())}" for x in (self, p))
                raise ValueError(f"q and p must have the same bounds low and high, got {found}")
        except jax.errors.ConcretizationTypeError:
            pass
        return jnp.where(same, kl, jnp.nan)

    def _of_this_kind(self, q: Gaussian) -> "TanhGaussian":
        raise TypeError(f"q must be a TanhGaussian of the same bounds where p is one, got {_kind(q)}")


def _kind(x: object) -> str:
    return "None" if x is None else f"a {type(x).__name__}"


def _require_room(dtype: jnp.dtype, low: Any, high: Any) -> None:
    """Raises ValueError if known bounds have no number of this dtype between them, or their distance overflows."""
    if any(isinstance(x, jax.core.Tracer) for x in (low, high)):
        return
    low, high = (np.asarray(x).astype(dtype) for x in (low, high))
    with np.errstate(over="ignore", invalid="ignore"):
        proper = np.isfinite(high - low) & (np.nextafter(low, high) < high)
    if not np.all(proper):
        raise ValueError(
            f"TanhGaussian.low must be below high, with numbers of dtype {dtype} between and a finite distance, "
            f"got low = {shown(low.tolist())}, high = {shown(high.tolist())}"
        )


def _half_width(low: Array, high: Array) -> Array:
    """Returns (high - low)/2, and NaN where it isn't positive and finite."""
    width = high - low
    return jnp.where((width > 0) & (width < jnp.inf), width / 2, jnp.nan)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _squash(x: Array, low: Array, high: Array, dtype: jnp.dtype) -> Array:
    # y is computed from the middle or the nearer bound, by the form that has no cancellation of its own.
    half = _half_width(low, high)
    above = high - 2 * half * special.sigmoid(-2 * x)
    below = low + 2 * half * special.sigmoid(2 * x)
    middle = (low / 2 + high / 2) + half * special.tanh(x)
    y = jnp.where(x > 1, above, jnp.where(x < -1, below, middle))
    low, high = low.astype(dtype), high.astype(dtype)
    return jnp.clip(y.astype(dtype), _inside(low, high), _inside(high, low))


@_squash.defjvp
def _squash_jvp(dtype: jnp.dtype, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x, low, high), (dx, dlow, dhigh) = primals, tangents
    left, right = special.sigmoid(-2 * x), special.sigmoid(2 * x)
    dy = 4 * _half_width(low, high) * left * right * dx + left * dlow + right * dhigh
    return _squash(x, low, high, dtype), dy.astype(dtype)


def _inside(bound: Array, other: Array) -> Array:
    """Returns the number next to a bound towards the other one; it isn't subnormal, as XLA may flush such numbers."""
    tiny = jnp.asarray(jnp.finfo(bound.dtype).tiny, bound.dtype)
    step = jnp.where(bound == 0, jnp.sign(other) * tiny, jnp.zeros_like(bound))
    near = jnp.nextafter(bound, other)
    return jnp.where(jnp.abs(near) < tiny, step, near)


@jax.custom_jvp
def _unsquash(y: Array, low: Array, high: Array) -> Array:
    """Returns atanh(t) with t = (y - middle) / half, as ½ log1p(2|t| / (1 - |t|)) with the sign of t."""
    twice = 2 * y - (low + high)
    near, far = jnp.minimum(y - low, high - y), jnp.maximum(y - low, high - y)
    steep = near < 1e-30 * far
    by_logs = jnp.log(far) - jnp.log(near)
    x = jnp.where(steep, by_logs, special.log1p(jnp.abs(twice) / jnp.where(steep, 1, near))) / 2
    return jnp.sign(twice) * x


@_unsquash.defjvp
def _unsquash_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (y, low, high), (dy, dlow, dhigh) = primals, tangents
    return _unsquash(*primals), (dy - dlow) / (y - low) / 2 - (dhigh - dy) / (high - y) / 2


@jax.custom_jvp
def _log_slope(y: Array, low: Array, high: Array) -> Array:
    """Returns log dy/dx = log(2 (y - low) (high - y) / (high - low))."""
    near, far = jnp.minimum(y - low, high - y), jnp.maximum(y - low, high - y)
    return jnp.log(near * (far / _half_width(low, high)))


@_log_slope.defjvp
def _log_slope_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (y, low, high), (dy, dlow, dhigh) = primals, tangents
    slope = (dy - dlow) / (y - low) + (dhigh - dy) / (high - y) - (dhigh - dlow) / (2 * _half_width(low, high))
    return _log_slope(*primals), slope


@jax.custom_jvp
def _mode(mean: Array, std: Array) -> Array:
    """Returns the outermost root of x = mean + 2σ² tanh(x) on the mean's side, by Newton's method from beyond it.

    There x - |mean| - 2σ² tanh(x) is convex and increasing, and so the steps are downwards and never past the root.
    They shrink least, by 2/3, where 2σ² = 1 and the mean is 0, about a root that is known to a third of the digits.
    """
    least, twice = jnp.abs(mean), _twice_variance(std)

    def step(_: int, x: Array) -> Array:
        rise = 1 - twice * special.exp(special.log_sech2(x))
        down = (x - least - twice * special.tanh(x)) / jnp.where(rise > 0, rise, jnp.inf)
        return jnp.clip(x - down, least, x)

    x = jax.lax.fori_loop(0, 32 if mean.dtype == jnp.float32 else 64, step, least + twice)
    x = jnp.where(jnp.isinf(least), least, x)
    return jnp.where(mean < 0, -x, x)


def _twice_variance(std: Array) -> Array:
    """Returns 2σ², kept finite."""
    std = jnp.minimum(std, math.sqrt(float(np.finfo(std.dtype).max)) / 4)
    return 2 * std * std


@_mode.defjvp
def _mode_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # (1 - 2σ² sech²x) dx = dmean + tanh(x) d(2σ²), kept finite where two modes become one.
    x = _mode(*primals)
    twice, dtwice = jax.jvp(_twice_variance, primals[1:], tangents[1:])
    rise = 1 - twice * special.exp(special.log_sech2(x))
    dx = (tangents[0] + special.tanh(x) * dtwice) / jnp.maximum(rise, float(np.finfo(x.dtype).eps))
    return x, dx


def _expected_log_sech2(mean: Array, std: Array) -> Array:
    """Computes E[log(1 - tanh²x)] for x ~ N(mean, σ²), to a few eps of its terms.

    log(1 - tanh²x) = 2 log 2 - 2 E|x + ξ| + r(x) with ξ ~ N(0, 1): the first two terms have closed expectations, and r
    is analytic within π/2 of the real line and vanishes as fast as e^-2|x|. Its expectation is a sum over equidistant
    points, of x where σ is above 1 and of (x - mean)/σ where it isn't, whose error is below e^(-π²/step) (Trefethen &
    Weideman 2014, "The exponentially convergent trapezoidal rule", theorem 5.1).
    """
    step, count = (1 / 2, 18) if mean.dtype == jnp.float32 else (1 / 4, 80)
    u = jnp.asarray(step * np.arange(-count, count + 1).reshape(-1, *[1] * mean.ndim), mean.dtype)
    mean, std = mean[None], std[None]
    narrow = std < 1
    inner, outer = jnp.where(narrow, std, 1), jnp.where(narrow, 1, std)
    x = jnp.where(narrow, mean + inner * u, u)  # (points, ...)
    z = jnp.where(narrow, u, (u - mean) / outer)
    weights = step * jnp.exp(-z * (z / 2)) / (math.sqrt(2 * math.pi) * outer)
    rest = jnp.sum(weights * _localized(x), axis=0)
    wide = std > 1e9
    total = jnp.where(wide, std, jnp.sqrt(jnp.square(jnp.where(wide, 1, std)) + 1))
    return 2 * math.log(2) - 2 * _folded_mean(mean, total)[0] + rest


@jax.custom_jvp
def _folded_mean(mean: Array, std: Array) -> Array:
    """Returns E|x| for x ~ N(mean, std²), as |mean| and what is added to it."""
    return jnp.abs(mean) + std * _overlap(mean / std)


_folded_mean.defjvps(
    lambda dmean, ans, mean, std: jax.lax.erf(mean / std / math.sqrt(2)) * dmean,
    lambda dstd, ans, mean, std: math.sqrt(2 / math.pi) * jnp.exp(-jnp.square(mean / std) / 2) * dstd,
)


def _overlap(z: Array) -> Array:
    """Returns E|z + ξ| - |z| for ξ ~ N(0, 1)."""
    z = jnp.minimum(jnp.abs(z), 100)  # where it is 0
    return math.sqrt(2 / math.pi) * jnp.exp(-z * (z / 2)) - z * jax.lax.erfc(z / math.sqrt(2))


@jax.custom_jvp
def _localized(x: Array) -> Array:
    """Returns log(1 - tanh²x) - 2 log 2 + 2 E|x + ξ| for ξ ~ N(0, 1), without the terms that cancel."""
    return 2 * (_overlap(x) - special.log1p(jnp.exp(-2 * jnp.abs(x))))


_localized.defjvps(lambda dx, ans, x: 2 * (jax.lax.erf(x / math.sqrt(2)) - special.tanh(x)) * dx)
