"""Accurate log-probability mass functions of the Poisson and the negative binomial, at any mean, dispersion and count.

From log μ and log θ, a log-probability is computed as a sum of deviances D and Stirling errors S (``jaxvae.gammas``).
For k >= 1, with n = θ + k, p = θ / (θ + μ), q = μ / (θ + μ) and D(a, b) = a log(a / b) + b - a, it is:

* for the Poisson: -D(k, μ) - ½ log 2πk - S(k);
* for the negative binomial: -D(k, n q) - D(θ, n p) - D(θ + 1, θ) - ½ log(2πk n / (θ + 1)) + S(n) - S(θ + 1) - S(k).

Loader 2000, "Fast and accurate computation of binomial probabilities", has these formulas for integers. Both
differences, k - n q = p (k - μ) and θ - n p = -p (k - μ), are computed from k - μ, so that nothing cancels if k is near
μ or θ is large.

These distributions are of whole numbers: for any other k the log-probability is NaN. The derivative with respect to k
is 0.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae import special
from jaxvae.gammas import deviance, elementwise, log_over_next, stirling, stirling_curvature, stirling_slope

MOST = 80.0
"""The bound of the logs of θ, μ and μ / θ; a θ of e^80 is as good as infinite, and so is a μ / θ of e^80."""
FURTHEST = 1e20
"""The largest log that is used, so that everything computed from it is finite."""


def _settled(log: Array) -> Array:
    return jnp.clip(log, -FURTHEST, FURTHEST)


def _counted(k: Array, value: Array) -> Array:
    """Returns the value where k is a count, and NaN elsewhere."""
    return jnp.where((k >= 0) & (k == jnp.floor(k)) & (k < jnp.inf), value, jnp.nan)


@jax.custom_jvp
def _mean(log_mean: Array) -> Array:
    return special.finite(special.exp(log_mean))


_mean.defjvps(lambda dm, ans, m: ans * dm)


@jax.custom_jvp
def _surplus(log_mean: Array, k: Array) -> Array:
    """Returns k - μ; if μ is near 1, it is computed as (k - 1) - (μ - 1)."""
    near = jnp.abs(log_mean) < 0.5
    return jnp.where(near, (k - 1) - special.expm1(jnp.where(near, log_mean, 0)), k - _mean(log_mean))


_surplus.defjvps(lambda dm, ans, m, k: jnp.broadcast_to(-_mean(m) * dm, ans.shape), None)


def _log_peak(k: Array) -> Array:
    """Returns ½ log 2πk + S(k) for k >= 1."""
    return jnp.log(2 * math.pi * k) / 2 + stirling(k)


@jax.custom_jvp
def _log_poisson(log_mean: Array, k: Array) -> Array:
    some = jnp.maximum(k, 1)
    away = deviance(k, _mean(log_mean), _surplus(log_mean, k), jnp.log(some) - _settled(log_mean))
    return -away - jnp.where(k > 0, _log_peak(some), 0)


_log_poisson.defjvps(lambda dm, ans, m, k: special.finite(_surplus(m, k)) * dm, None)


@elementwise
def log_poisson(log_mean: Array, k: Array) -> Array:
    """Returns the Poisson distribution's log P(k) = k log μ - μ - log k! in nats.

    The derivative with respect to log μ is k - μ.

    Args:
        log_mean: log μ.
        k: the counts; for other numbers the result is NaN.
    """
    return _counted(k, _log_poisson(log_mean, k))


def _bounded(log_mean: Array, log_theta: Array) -> tuple[Array, Array]:
    """Returns log μ and log θ, bounded so that μ doesn't overflow and p = θ / (θ + μ) doesn't underflow."""
    log_theta = jnp.minimum(_settled(log_theta), MOST)
    return jnp.minimum(_settled(log_mean), jnp.minimum(MOST, log_theta + MOST)), log_theta


def _log_grown(theta: Array, log_theta: Array, k: Array) -> Array:
    """Returns log((θ + k) / θ)."""
    near = k < theta
    return special.log_quotient(near, jnp.where(near, k / theta, theta + jnp.maximum(k, 1)), -log_theta) * (k > 0)


@jax.custom_jvp
def _pull(log_mean: Array, log_theta: Array, k: Array) -> Array:
    """Returns p (k - μ), the derivative of the log-probability with respect to log μ."""
    m, t = _bounded(log_mean, log_theta)
    return special.sigmoid(t - m) * _surplus(m, k)


def _spread(log_mean: Array, log_theta: Array, k: Array) -> Array:
    """Returns D(θ, n p) = -θ (log(1 + v) - v) with v = (k - μ) / (θ + μ)."""
    _, t = _bounded(log_mean, log_theta)
    theta = special.exp(t)
    pull = _pull(log_mean, log_theta, k)
    log = special.softplus(_settled(log_mean) - t) - _log_grown(theta, t, k)
    return deviance(theta, theta + pull, -pull, log)


@jax.custom_jvp
def _turn(log_mean: Array, log_theta: Array, k: Array) -> Array:
    """Returns the derivative of the log-probability with respect to log θ.

    It is R(k) - D(θ, n p) with R(k) = θ (ψ(n) - log n - ψ(θ) + log θ), a difference of two terms that nearly cancel
    only near its root. If μ is below ½ and below θ, the two are nearly equal for k = 1. Then the derivative is computed
    as the sum of R(k) - D(θ, n), which is the derivative of ``log_gamma_ratio`` with respect to log θ, and k q -
    p D(θ + μ, θ).
    """
    m, t = _bounded(log_mean, log_theta)
    theta, k1 = special.exp(t), jnp.maximum(k, 1)
    x, n, j = theta + 1, theta + k1, k1 - 1
    log_next = log_over_next(theta, t)
    raised = jnp.where(j > 0, theta / x * (j / (2 * n)) + theta * (stirling_slope(n) - stirling_slope(x)), 0)
    one = deviance(theta, x, -jnp.ones_like(x), -log_next)
    apart = jnp.where(k > 0, one + raised, 0) - _spread(log_mean, log_theta, k)
    ratio = raised - theta / x * deviance(x, n, -j, log_next - _log_grown(theta, t, k1)) - j / x
    mean, p = _mean(m), special.sigmoid(t - m)
    moved = k * special.sigmoid(m - t) - p * deviance(theta + mean, theta, mean, special.softplus(m - t))
    return jnp.where((mean < 0.5) & (m < t), jnp.where(k > 0, ratio, 0) + moved, apart)


@jax.custom_jvp
def _log_negative_binomial(log_mean: Array, log_theta: Array, k: Array) -> Array:
    _, t = _bounded(log_mean, log_theta)
    ratio = _settled(log_mean) - t  # log(μ / θ)
    theta, k1, pull = special.exp(t), jnp.maximum(k, 1), _pull(log_mean, log_theta, k)
    x, n, log_k = theta + 1, theta + k1, jnp.log(k1)
    log_next, log_grown = log_over_next(theta, t), _log_grown(theta, t, k)
    away = deviance(k, k - pull, pull, (log_k - _settled(log_mean)) - (log_grown - special.softplus(ratio)))
    peak = (math.log(2 * math.pi) + log_k + (log_grown - log_next)) / 2 + deviance(x, theta, jnp.ones_like(x), log_next)
    errors = stirling(n) - stirling(x) - stirling(k1)
    return -away - _spread(log_mean, log_theta, k) - jnp.where(k > 0, peak - errors, 0)


@_pull.defjvp
def _pull_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # The derivatives are -p (p μ + q k) by log μ and p q (k - μ) by log θ.
    (log_mean, log_theta, k), (dm, dt, _) = primals, tangents
    value = _pull(*primals)
    m, t = _bounded(log_mean, log_theta)
    p, q = special.sigmoid(t - m), special.sigmoid(m - t)
    return value, -p * (p * _mean(m) + q * k) * dm + q * value * dt


@_turn.defjvp
def _turn_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (log_mean, log_theta, k), (dm, dt, _) = primals, tangents
    m, t = _bounded(log_mean, log_theta)
    theta, k1, pull = special.exp(t), jnp.maximum(k, 1), _pull(*primals)
    x, n, j = theta + 1, theta + k1, k1 - 1
    one = deviance(theta, x, -jnp.ones_like(x), -log_over_next(theta, t))
    half = theta / x * (j / (2 * n)) * (1 / x - theta / n)
    first, second = (f(n) - f(x) for f in (stirling_slope, stirling_curvature))
    raised = jnp.where(k > 0, one - 1 / x + half + theta * (first + theta * second), 0)
    spread = _spread(*primals) - pull * (pull / jnp.maximum(theta + k, float(np.finfo(k.dtype).tiny)))
    return _turn(*primals), special.sigmoid(m - t) * pull * dm + special.finite(raised - spread) * dt


@_log_negative_binomial.defjvp
def _log_negative_binomial_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    dm, dt, _ = tangents
    return _log_negative_binomial(*primals), _pull(*primals) * dm + special.finite(_turn(*primals)) * dt


@elementwise
def log_negative_binomial(log_mean: Array, log_theta: Array, k: Array) -> Array:
    """Returns the negative binomial distribution's log P(k) in nats.

    A count has this distribution if it is Poisson with a mean drawn from Gamma(θ, μ / θ). The log-probability is
    log Γ(θ + k) - log Γ(θ) - log k! + k log(μ / (θ + μ)) - θ log(1 + μ / θ). The mean is μ, and the variance is
    μ + μ² / θ. The derivative with respect to log μ is θ (k - μ) / (θ + μ).

    Args:
        log_mean: log μ.
        log_theta: log θ; θ is the inverse dispersion, also called the total count.
        k: the counts; for other numbers the result is NaN.
    """
    return _counted(k, _log_negative_binomial(log_mean, log_theta, k))


@jax.custom_jvp
def _log_zero(logit: Array, log_mass: Array) -> Array:
    """Returns log(π + (1 - π) e^z) for z = log_mass and π = sigmoid(logit).

    It is log(1 + v) with v = (1 - π) (e^z - 1), and is computed like this if v > -½.
    """
    less = special.sigmoid(-logit) * special.expm1(log_mass)
    far = jnp.logaddexp(special.log_sigmoid(logit), special.log_sigmoid(-logit) + log_mass)
    return jnp.where(less > -0.5, special.log1p(jnp.maximum(less, -0.5)), far)


@_log_zero.defjvp
def _log_zero_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (logit, log_mass), (dlogit, dlog_mass) = primals, tangents
    value, log_rest = _log_zero(*primals), special.log_sigmoid(-logit)
    by_logit = -special.expm1(log_mass) * special.exp(special.log_sigmoid(logit) + log_rest - value)
    return value, by_logit * dlogit + special.exp(log_rest + log_mass - value) * dlog_mass


@elementwise
def log_zero_inflated(logit: Array, log_mass: Array, k: Array) -> Array:
    """Returns log P(k) in nats for a count that is 0 with probability π = sigmoid(logit).

    Otherwise the count has a distribution of its own.

    Args:
        logit: the logit of π.
        log_mass: the log-probability of k under the count's own distribution.
        k: the counts.
    """
    return jnp.where(k == 0, _log_zero(logit, log_mass), special.log_sigmoid(-logit) + log_mass)
