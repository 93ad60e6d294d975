"""Differences of log-gammas that keep their digits, for densities and probability masses that contain Γ.

A log-density of this kind is a difference of large logs that nearly cancel. Here it is a sum of terms that don't
(Loader 2000, "Fast and accurate computation of binomial probabilities"): a ``deviance``, which is 0 where x is as
expected, and Stirling errors S, which are small. S is defined by log Γ(x) = (x - ½) log x - x + ½ log 2π + S(x).

The conventions are those of ``jaxvae.special``.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import require_broadcast, require_real
from jaxvae.polynomials import ATANH, STIRLING, STIRLING_CURVATURE, STIRLING_SLOPE, Table, horner


def elementwise(function: Callable[..., Array]) -> Callable[..., Array]:
    """Makes a function broadcast its arrays, compute in float32 or float64, and round to the dtype of the arrays.

    What depends only on an array with an axis of length 1 is computed once along it.
    """
    names = tuple(inspect.signature(function).parameters)
    compiled = jax.jit(function)

    @special.weakly
    @functools.wraps(function)
    def wrapped(*operands: ArrayLike) -> Array:
        arguments = dict(zip(names, operands, strict=True))
        require_real(**arguments)
        require_broadcast(**{name: np.shape(x) for name, x in arguments.items()})
        dtype = special.compute_dtype(*operands)
        strong = [x for x in operands if not special.is_weak(x)]
        given = jnp.result_type(*strong) if strong else dtype
        rank = max(map(np.ndim, operands))
        wide = [jnp.expand_dims(jnp.asarray(x, dtype), tuple(range(rank - np.ndim(x)))) for x in operands]
        return compiled(*wide).astype(given if jnp.issubdtype(given, jnp.floating) else dtype)

    return wrapped


def deviance(a: Array, b: Array, difference: Array, log_ratio: Array) -> Array:
    """Returns a log(a / b) + b - a for a, b >= 0, which is never negative, and 0 only where a and b are equal.

    Args:
        a: the observed numbers.
        b: the expected numbers.
        difference: a - b, to its own digits.
        log_ratio: log(a / b), which is used where a and b aren't within a factor of e; any finite number for a = 0.
    """
    # With r = (a - b) / (a + b), log(a / b) = 2 atanh(r).
    r = difference / jnp.maximum(a + b, float(np.finfo(a.dtype).tiny))
    near = jnp.abs(r) <= math.tanh(0.5)
    inside = jnp.where(near, r, 0)
    rest = inside * horner(ATANH, jnp.square(inside))
    return jnp.where(near, difference * (inside + inside * ((1 + inside) * rest)), a * log_ratio - difference)


def _expansion(table: Table, x: Array) -> Array:
    return horner(table, (x - 3) / (x + 1))


@jax.custom_jvp
def stirling(x: Array) -> Array:
    """Returns S(x) for x >= 1."""
    x = jnp.minimum(x, float(np.finfo(x.dtype).max))
    return _expansion(STIRLING, x) * ((1 / 12) / x)


@jax.custom_jvp
def stirling_slope(x: Array) -> Array:
    """Returns S'(x) for x >= 1."""
    x = jnp.minimum(x, float(np.finfo(x.dtype).max))
    return _expansion(STIRLING_SLOPE, x) * ((-1 / 12) / x / x)


def stirling_curvature(x: Array) -> Array:
    """Returns S''(x) for x >= 1."""
    return _expansion(STIRLING_CURVATURE, x) * ((1 / 6) / x / x / x)


stirling.defjvps(lambda dx, ans, x: stirling_slope(x) * dx)
stirling_slope.defjvps(lambda dx, ans, x: stirling_curvature(x) * dx)


@elementwise
def stirling_error(x: Array) -> Array:
    """Returns S(x) = log Γ(x) - (x - ½) log x + x - ½ log 2π for x >= 1, which is between 1/(12x + 1) and 1/12x."""
    return jnp.where(x >= 1, stirling(jnp.maximum(x, 1)), jnp.nan)


def _rise(s: "_Shifted", function: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Array:
    """Returns function(n) - function(x); where j is small, it is j times the mean slope, as accurate as j."""
    nodes, weights = np.polynomial.legendre.leggauss(2 if s.j.dtype == jnp.float32 else 4)
    near = s.j < 0.05 * s.x
    step = jnp.where(near, s.j, 0)
    mean = sum(w / 2 * slope(s.x + (u + 1) / 2 * step) for u, w in zip(nodes, weights, strict=True))
    return jnp.where(near, step * mean, function(s.n) - function(s.x))


def log_over_next(x: Array, log: Array) -> Array:
    """Returns log((x + 1) / x) for x > 0, given log x, which is used where x is below 0.58."""
    r = 1 / (2 * x + 1)
    near = r <= math.tanh(0.5)
    inside = jnp.where(near, r, 0)
    return jnp.where(near, special.log_ratio(inside, 0.0), jnp.log(x + 1) - log)


class _Shifted(NamedTuple):
    """The ratio Γ(θ + k) / Γ(θ) in terms of numbers of at least 1: θ Γ(n) / Γ(x), divided by θ + k where k < 1.

    Here x = θ + 1 and n = x + j, with j = k - 1 for k >= 1, and j = k otherwise.
    """

    theta: Array
    k: Array
    large: Array
    j: Array
    x: Array
    n: Array
    log: Array
    """log(n / x)"""


def _shifted(theta: Array, k: Array) -> _Shifted:
    most = float(np.finfo(k.dtype).max) / 4
    theta, k = jnp.clip(theta, 0, most), jnp.clip(k, 0, most)
    large = k >= 1
    j, x = jnp.where(large, k - 1, k), theta + 1
    n = x + j
    return _Shifted(theta, k, large, j, x, n, special.log_ratio(j / (x + n), jnp.log(n / x)))


def _where_defined(theta: Array, k: Array, value: Array) -> Array:
    return jnp.where((theta > 0) & (k >= 0), value, jnp.nan)


@jax.custom_jvp
def _log_gamma_ratio(theta: Array, k: Array) -> Array:
    s = _shifted(theta, k)
    raised = deviance(s.n, s.x, s.j, s.log) - s.log / 2 + _rise(s, stirling, stirling_slope)  # of x and j
    log_next = log_over_next(s.theta, jnp.log(s.theta))
    # k log(1 + 1/θ) - log(1 + k/θ), without the k/θ of both; near 0 without the log θ of both.
    far, small = s.theta > 0.6, jnp.where(s.large, 0, s.k)
    inverse = jnp.where(far, 1 / s.theta, 0)
    parted = small * special.log1pmx(inverse) - special.log1pmx(small * inverse)
    near = small * special.log1p((1 - small) / (s.theta + small)) - (1 - small) * special.log1p(small / s.theta)
    return _where_defined(theta, k, raised + jnp.where(s.large, s.j * log_next, jnp.where(far, parted, near)))


@jax.custom_jvp
def _by_log_theta(theta: Array, k: Array) -> Array:
    s = _shifted(theta, k)
    rest = jnp.where(s.large, -s.j, s.k * (1 - s.k) / (s.theta + s.k)) / s.x
    return _where_defined(theta, k, s.theta / s.x * _lean(s) + rest)


def _lean(s: _Shifted) -> Array:
    """Returns the derivative of ``log_gamma_ratio`` with respect to log θ, at x and j: x (ψ(n) - ψ(x)) - j."""
    return s.j / (2 * s.n) + s.x * _rise(s, stirling_slope, stirling_curvature) - deviance(s.x, s.n, -s.j, -s.log)


def _by_log_theta_twice(theta: Array, k: Array) -> Array:
    """Returns the second derivative of ``log_gamma_ratio`` with respect to log θ.

    It is θ (ψ(θ + k) - ψ(θ)) + θ² (ψ'(θ + k) - ψ'(θ)).
    """
    s = _shifted(theta, k)
    first, second = _rise(s, stirling_slope, stirling_curvature), stirling_curvature(s.n) - stirling_curvature(s.x)
    bent = s.x / s.n * (deviance(s.n, s.x, s.j, s.log) - s.j / (2 * s.n)) + s.x * (first + s.x * second)
    grown = s.x * s.log + s.j / (2 * s.n) + s.x * first  # x (ψ(n) - ψ(x)), which is _lean(s) + j
    share = s.theta / s.x
    n = s.theta + s.k
    lower = share / s.x * _lean(s) - s.k * (1 - s.k) / s.x / n * (share + s.theta / n)
    return jnp.where(s.large, share / s.x * grown, lower) + jnp.square(share) * bent


def _mixed(theta: Array, k: Array) -> Array:
    """Returns the mixed derivative of ``log_gamma_ratio`` with respect to log θ and k: θ ψ'(θ + k) - 1."""
    s = _shifted(theta, k)
    n = s.theta + s.k
    below = jnp.where(s.large, 0, s.theta / n / n)
    return (s.theta / s.n / 2 - (s.j + 1)) / s.n + s.theta * stirling_curvature(s.n) + below


def _trigamma(theta: Array, k: Array) -> Array:
    """Returns ψ'(θ + k)."""
    s = _shifted(theta, k)
    n = s.theta + s.k
    below = jnp.where(s.large, 0, 1 / n / n)
    return (1 + 0.5 / s.n) / s.n + stirling_curvature(s.n) + below


@jax.custom_jvp
def _by_k(theta: Array, k: Array) -> Array:
    s = _shifted(theta, k)
    far = jnp.where(s.theta > 1, jnp.log(s.n / s.theta), jnp.log(s.n) - jnp.log(s.theta))
    log = special.log_ratio((s.j + 1) / (s.n + s.theta), far)
    below = jnp.where(s.large, 0, 1 / (s.theta + s.k))
    return _where_defined(theta, k, log - 1 / (2 * s.n) + stirling_slope(s.n) - below)


@_by_log_theta.defjvp
def _by_log_theta_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (theta, k), (dtheta, dk) = primals, tangents
    by_theta = special.finite(special.over(_by_log_theta_twice(theta, k), theta))
    return _by_log_theta(theta, k), by_theta * dtheta + special.finite(_mixed(theta, k)) * dk


@_by_k.defjvp
def _by_k_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (theta, k), (dtheta, dk) = primals, tangents
    by_theta = special.finite(special.over(_mixed(theta, k), theta))
    return _by_k(theta, k), by_theta * dtheta + special.finite(_trigamma(theta, k)) * dk


@_log_gamma_ratio.defjvp
def _log_gamma_ratio_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (theta, k), (dtheta, dk) = primals, tangents
    by_theta = special.finite(special.over(_by_log_theta(theta, k), theta))
    return _log_gamma_ratio(theta, k), by_theta * dtheta + special.finite(_by_k(theta, k)) * dk


@elementwise
def log_gamma_ratio(theta: Array, k: Array) -> Array:
    """Computes log(Γ(θ + k) / Γ(θ)) - k log θ for θ > 0 and k >= 0, which tends to 0 as θ grows.

    For an integer k it is the sum of log(1 + i/θ) over i < k. It is 0 for k = 0 and k = 1, and negative between.
    """
    return _log_gamma_ratio(theta, k)


@elementwise
def log_gamma_ratio_by_log_theta(theta: Array, k: Array) -> Array:
    """Computes the derivative of ``log_gamma_ratio`` with respect to log θ.

    It is θ (ψ(θ + k) - ψ(θ)) - k, which is between -k and ¼.
    """
    return _by_log_theta(theta, k)


@elementwise
def log_gamma_ratio_by_k(theta: Array, k: Array) -> Array:
    """Computes the derivative of ``log_gamma_ratio`` with respect to k: ψ(θ + k) - log θ."""
    return _by_k(theta, k)
