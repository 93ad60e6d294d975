"""Poisson and negative binomial masses that keep their digits, at any mean, dispersion and count.

With log μ and log θ as they are known, a log-mass is a sum of deviances and Stirling errors S (``jaxvae.gammas``), for
k >= 1 and with n = θ + k, p = θ / (θ + μ), q = μ / (θ + μ), D(a, b) = a log(a / b) + b - a:

* Poisson: -D(k, μ) - ½ log 2πk - S(k);
* negative binomial: -D(k, n q) - D(θ, n p) - D(θ + 1, θ) - ½ log(2πk n / (θ + 1)) + S(n) - S(θ + 1) - S(k).

Loader 2000, "Fast and accurate computation of binomial probabilities", has them for integers. Both differences,
k - n q = p (k - μ) and θ - n p = -p (k - μ), come from k - μ, so that nothing cancels where k is near μ, or θ large.

A mass is of integers: elsewhere its log is NaN, and it has no slope in k.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae import special
from jaxvae.gammas import deviance, elementwise, log_over_next, stirling, stirling_curvature, stirling_slope

MOST = 80.0
"""Beyond e^80 a θ makes no difference to the Poisson, nor does a μ to p and q."""


def _counted(k: Array, value: Array) -> Array:
    """The value where k is a count, else NaN."""
    return jnp.where((k >= 0) & (k == jnp.floor(k)) & (k < jnp.inf), value, jnp.nan)


@jax.custom_jvp
def _mean(log_mean: Array) -> Array:
    return special.finite(special.exp(log_mean))


_mean.defjvps(lambda dm, ans, m: ans * dm)


@jax.custom_jvp
def _surplus(log_mean: Array, k: Array) -> Array:
    """k - μ, for μ near 1 by way of μ - 1."""
    near = jnp.abs(log_mean) < 0.5
    return jnp.where(near, (k - 1) - special.expm1(jnp.where(near, log_mean, 0)), k - _mean(log_mean))


_surplus.defjvps(lambda dm, ans, m, k: -_mean(m) * dm, None)


def _log_peak(k: Array) -> Array:
    """½ log 2πk + S(k), of k >= 1."""
    return jnp.log(2 * np.pi * k) / 2 + stirling(k)


@jax.custom_jvp
def _log_poisson(log_mean: Array, k: Array) -> Array:
    some = jnp.maximum(k, 1)
    away = deviance(k, _mean(log_mean), _surplus(log_mean, k), jnp.log(some) - special.finite(log_mean))
    return -away - jnp.where(k > 0, _log_peak(some), 0)


_log_poisson.defjvps(lambda dm, ans, m, k: special.finite(_surplus(m, k)) * dm, None)


@elementwise
def log_poisson(log_mean: Array, k: Array) -> Array:
    """log P(k) = k log μ - μ - log k! in nats, of a Poisson distribution.

    Its derivative by log μ is k - μ.

    Args:
        log_mean: log μ.
        k: counts.
    """
    return _counted(k, _log_poisson(log_mean, k))


def _bounded(log_mean: Array, log_theta: Array) -> tuple[Array, Array]:
    """log μ and log θ, kept where neither a mean nor a share of it over- or underflows and still counts."""
    log_theta = jnp.minimum(special.finite(log_theta), MOST)
    return jnp.minimum(special.finite(log_mean), jnp.minimum(MOST, log_theta + MOST)), log_theta


def _pull(log_mean: Array, log_theta: Array, k: Array) -> Array:
    """p (k - μ), the derivative of the log-mass by log μ."""
    m, t = _bounded(log_mean, log_theta)
    return special.sigmoid(t - m) * _surplus(m, k)


@jax.custom_jvp
def _spread(log_mean: Array, log_theta: Array, k: Array) -> Array:
    """D(θ, n p) = -θ (log(1 + v) - v) with v = (k - μ) / (θ + μ)."""
    m, t = _bounded(log_mean, log_theta)
    theta = special.exp(t)
    log = t - _log_n(theta, t, k) + special.softplus(special.finite(log_mean) - t)
    expected = (theta + k) * special.sigmoid(t - m)
    return deviance(theta, expected, -_pull(log_mean, log_theta, k), log)


@_spread.defjvp
def _spread_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (log_mean, log_theta, k), (dm, dt, _) = primals, tangents
    value, pull = _spread(*primals), _pull(*primals)
    m, t = _bounded(log_mean, log_theta)
    by_mean = -pull * special.sigmoid(m - t)
    by_theta = value - special.finite(special.over(jnp.square(pull), special.exp(t) + k))
    return value, special.finite(by_mean) * dm + special.finite(by_theta) * dt


def _log_n(theta: Array, log_theta: Array, k: Array) -> Array:
    """log(θ + k)."""
    return jnp.where(k > 0, jnp.log(theta + jnp.maximum(k, 1)), log_theta)


def _next(theta: Array, log_theta: Array, log: float) -> tuple[Array, Array]:
    """D(θ + 1, θ) and D(θ, θ + 1)."""


@jax.custom_jvp
def _rise(log_theta: Array, k: Array) -> Array:
    """θ (log θ - ψ(θ) - log(θ + k) + ψ(θ + k)) >= 0."""
    t = jnp.minimum(special.finite(log_theta), MOST)
    theta, some = special.exp(t), jnp.maximum(k, 1)
    x, n = theta + 1, theta + some
    one = deviance(theta, x, -jnp.ones_like(x), -log_over_next(theta, t))
    rest = theta / x * ((some - 1) / (2 * n)) + theta * (stirling_slope(n) - stirling_slope(x))
    return jnp.where(k > 0, one + rest, 0)
