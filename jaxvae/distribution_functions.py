"""Distribution functions of a Gaussian, their logs, their inverse, and the probability of an interval.

The conventions are those of ``jaxvae.gaussian``; all functions are elementwise, for independent elements. An x may be
infinite. Each function gets z = (x - mean) / σ from the parameterization, and so is right even where σ itself under- or
overflows. Derivatives keep their digits in both tails, and are finite if the value is finite. Results are float32 or
float64, except that the mode and the median of a ``TanhGaussian`` have its samples' dtype.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.gaussian import Gaussian, ranked, require_gaussian, require_points
from jaxvae.parameterizations import Parameterization
from jaxvae.squashed import TanhGaussian


def cdf(q: Gaussian, x: ArrayLike) -> Array:
    """Computes P(X <= x) = Φ((x - mean) / σ), elementwise, with relative accuracy even near 0.

    Args:
        q: Gaussians of any shape.
        x: points that broadcast with q.

    Returns:
        An array of the broadcast shape, float32 or float64.

    >>> float(cdf(Gaussian(1.0, 0.0), 1.0))
    0.5
    """
    return special.ndtr(_z(q, x))


def survival(q: Gaussian, x: ArrayLike) -> Array:
    """Computes P(X > x) = Φ((mean - x) / σ), elementwise, with relative accuracy even near 0.

    >>> float(survival(Gaussian(1.0, 0.0), 1.0))
    0.5
    """
    return special.ndtr(-_z(q, x))


def log_cdf(q: Gaussian, x: ArrayLike) -> Array:
    """Computes log P(X <= x) in nats, elementwise, exact in both tails.

    Its derivative with respect to x is λ(z) / σ, with λ = φ / Φ.

    >>> round(float(log_cdf(Gaussian(0.0, 0.0), -40.0)), 2)  # where the probability is 0 in float32
    -804.61
    """
    return special.log_ndtr(_z(q, x))


def log_survival(q: Gaussian, x: ArrayLike) -> Array:
    """Computes log P(X > x) in nats, elementwise, exact in both tails.

    >>> round(float(log_survival(Gaussian(0.0, 0.0), 40.0)), 2)
    -804.61
    """
    return special.log_ndtr(-_z(q, x))


def _z(q: Gaussian, x: ArrayLike) -> Array:
    require_points(q, x=x)
    return _standardized(q.parameterization, *ranked(x, q.loc, q.raw))


def _standardized(p: Parameterization, x: Array, loc: Array, raw: Array) -> Array:
    """Returns (x - mean) / σ, kept finite even for an infinite x."""
    infinite = jnp.isinf(x)
    z = p.standardize(jnp.where(infinite, 0, x), loc, raw)
    return jnp.where(infinite, jnp.sign(x) * float(np.finfo(x.dtype).max), z)


def mode(q: Gaussian | TanhGaussian) -> Array:
    """Returns the point of highest density, in the full shape: a ``Gaussian``'s mean, or a ``TanhGaussian``'s mode.

    >>> mode(Gaussian(jnp.array([1.0, 2.0]), 0.0)).tolist()
    [1.0, 2.0]
    """
    if isinstance(q, TanhGaussian):
        return q.mode
    require_gaussian(q=q)
    return q.mean


def median(q: Gaussian | TanhGaussian) -> Array:
    """Returns the median, in the full shape: the mean of a ``Gaussian``, which is squashed for a ``TanhGaussian``.

    >>> median(Gaussian(jnp.array([1.0, 2.0]), 0.0)).tolist()
    [1.0, 2.0]
    """
    if isinstance(q, TanhGaussian):
        return q.median
    require_gaussian(q=q)
    return q.mean


def quantile(q: Gaussian, probability: ArrayLike) -> Array:
    """Returns the x with P(X <= x) = probability, mean + σ Φ⁻¹(probability), elementwise: the inverse of ``cdf``.

    A probability near 1 has few digits. There, compute 2 mean - quantile(q, tail), where ``tail`` is the probability of
    the upper tail.

    Args:
        q: Gaussians of any shape.
        probability: numbers in [0, 1] that broadcast with q. At 0 and 1 the quantile is infinite, and outside it is
            NaN.

    >>> float(quantile(Gaussian(1.0, 0.0), 0.5))
    1.0
    """
    require_points(q, probability=probability)
    probability, mean, raw = ranked(probability, q.mean, q.raw)
    z = _ndtri(probability)
    finite = jnp.isfinite(z)
    return jnp.where(finite, mean + _scaled(q.parameterization, jnp.where(finite, z, 0), raw), z)


@jax.custom_jvp
def _ndtri(p: Array) -> Array:
    return jax.scipy.special.ndtri(p)


@_ndtri.defjvp
def _ndtri_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # The slope 1 / φ(z) is computed as 1 / (p λ(z)): the rounding of z costs λ(z) less than φ(z).
    (p,), (dp,) = primals, tangents
    z, inside = _ndtri(p), (p > 0) & (p < 1)
    tail = jnp.where(inside, jnp.minimum(p, 1 - p), 1)
    slope = 1 / (tail * special.inverse_mills(jnp.where(inside, -jnp.abs(z), 0)))
    return z, jnp.where(inside, slope, float(np.finfo(p.dtype).max)) * dp


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _scaled(p: Parameterization, z: Array, raw: Array) -> Array:
    """Returns σ z, which is 0 for z = 0 at any raw, and inf only where it overflows itself."""
    log_std = p.log_std(raw)
    large = log_std > math.log(float(np.finfo(z.dtype).max)) - 1
    by_logs = special.exp(jnp.where(large, log_std, 0) + jnp.log(jnp.where(z == 0, 1, jnp.abs(z))))
    return jnp.where(z == 0, 0, jnp.where(large, jnp.sign(z) * by_logs, jnp.where(large, 1, p.std(raw)) * z))


@_scaled.defjvp
def _scaled_jvp(p: Parameterization, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (z, raw), (dz, draw) = primals, tangents
    value, largest = _scaled(p, z, raw), float(np.finfo(z.dtype).max)
    by_raw = jnp.clip(value, -largest, largest) * p.log_std_gain(raw)
    return value, jnp.minimum(p.std(raw), largest) * dz + jnp.clip(by_raw, -largest, largest) * draw


def log_interval_probability(q: Gaussian, low: ArrayLike, high: ArrayLike) -> Array:
    """Computes log P(low < X <= high) in nats, elementwise: the log-likelihood of a rounded or censored number.

    It is log(Φ(b) - Φ(a)) with a, b = (low - mean) / σ, (high - mean) / σ. Value and derivatives keep their digits for
    intervals of any width, even in the tails.

    Args:
        q: Gaussians of any shape.
        low: the lower end, which broadcasts with q and may be -inf.
        high: the upper end, which broadcasts with q and may be inf. The result is -inf where ``high`` equals ``low``,
            and NaN where it is below ``low``.

    >>> round(float(log_interval_probability(Gaussian(0.0, 0.0), 40.0, 41.0)), 2)
    -804.61
    """
    require_points(q, low=low, high=high)
    low, high, loc, raw = ranked(low, high, q.loc, q.raw)
    return log_bin_probability(q.parameterization, low, high, high - low, loc, raw)


def log_bin_probability(p: Parameterization, low: Array, high: Array, width: Array, loc: Array, raw: Array) -> Array:
    """Computes ``log_interval_probability`` given a width more accurate than ``high - low``, as in a grid of levels.

    The arrays have one rank and the dtype to compute in.
    """
    largest, tiny = float(np.finfo(raw.dtype).max), float(np.finfo(raw.dtype).tiny)
    proper = low < high
    a, b = _standardized(p, low, loc, raw), _standardized(p, high, loc, raw)
    # The width is computed in units of σ, as b - a has lost digits, and by logs where it underflows.
    width = jnp.where(proper & (width > tiny), width, tiny)
    scaled = _standardized(p, width, jnp.zeros_like(loc), raw)
    thin = scaled < 1e-30
    by_logs = jnp.log(jnp.minimum(width, largest)) - p.log_std(raw)
    log_width = jnp.where(thin, by_logs, jnp.log(jnp.where(thin, 1, scaled)))
    # The interval is mirrored if necessary, so that the end nearer to the mean is the lower one.
    near = jnp.where(a + b >= 0, a, -b)
    mass = _log_mass(*(jnp.where(proper, x, 1) for x in jnp.broadcast_arrays(near, scaled, log_width)))
    return jnp.where(proper, mass, jnp.log(jnp.where(low <= high, 0.0, -1.0).astype(mass.dtype)))


def _log_mass(a: Array, width: Array, log_width: Array) -> Array:
    """Returns log(Φ(a + width) - Φ(a)) for |a| <= a + width, from the density within or, if it varies, from tails."""
    # With a width of 200 the tail of the farther end is already 0, wherever the interval lies.
    width, a = jnp.minimum(width, 200), jnp.maximum(a, -100)
    narrow = jnp.abs(a) * width + jnp.square(width) / 2 < 1
    within = log_width + _log_mean_density(jnp.where(narrow, a, 0), jnp.where(narrow, width, 0))
    return jnp.where(narrow, within, _log_tail_difference(jnp.where(narrow, 0, a), jnp.where(narrow, 2, width)))


def _log_mean_density(a: Array, width: Array) -> Array:
    """Returns the log of the mean of φ over [a, a + width], where φ varies by a factor of at most e.

    φ(a + u) / φ(a) = e^(-u (a + u/2)) is summed by the Gauss-Legendre rule, whose weights are positive.
    """
    nodes, weights = np.polynomial.legendre.leggauss(5 if a.dtype == jnp.float32 else 9)
    s, share = (jnp.asarray(x / 2, a.dtype).reshape(-1, *[1] * a.ndim) for x in (nodes + 1, weights))
    u = width[None] * s
    total = jnp.sum(share * special.exp(-u * (a[None] + u / 2)), axis=0)
    return jnp.log(total) - a * (a / 2) - math.log(2 * math.pi) / 2


@jax.custom_jvp
def _log_tail_difference(a: Array, width: Array) -> Array:
    """Returns log(Φ(-a) - Φ(-b)) for b = a + width >= |a|.

    It is log Φ(-a) + log(1 - e^-d) with d = log Φ(-a) - log Φ(-b).
    """
    return special.log_ndtr(-a) + special.log1mexp(_log_tail_ratio(a, width))


def _log_tail_ratio(a: Array, width: Array) -> Array:
    """Returns d = log Φ(-a) - log Φ(-b), in which a²/2 cancels for a > 0."""
    b = a + width
    one_sided = width * (a + width / 2) + special.log_mills(jnp.abs(a))
    straddling = special.log_ndtr(-a) + b * (b / 2) + math.log(2 * math.pi) / 2
    return jnp.where(a > 0, one_sided, straddling) - special.log_mills(b)


@_log_tail_difference.defjvp
def _log_tail_difference_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # The slope by a is (φ(b) - φ(a)) / P, and that by the width is φ(b) / P, where φ(b) = φ(a) e^-s.
    (a, width), (da, dwidth) = primals, tangents
    density = special.inverse_mills(-a) / -special.expm1(-_log_tail_ratio(a, width))
    s = width * (a + width / 2)
    slopes = density * special.expm1(-s), density * special.exp(-s)
    return _log_tail_difference(a, width), slopes[0] * da + slopes[1] * dwidth
