"""Random counts, drawn as whole numbers in the dtype of their mean, so that no integer overflows.

``jax.random.poisson`` counts in int32. It accepts a candidate by differences of log-factorials in float32; at a mean of
1e6, such a difference has hardly a correct digit.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae import special
from jaxvae.likelihoods.masses import log_poisson

FEW = 10.0
"""The mean below which arrivals are counted one by one; Hörmann's method is for means of at least 10."""


def draw_poisson(key: Array, log_mean: Array) -> Array:
    """Returns a Poisson draw for each element, exact up to the spacing of its dtype; NaN if the mean isn't finite."""
    mean = jnp.exp(log_mean)
    known = jnp.isfinite(mean)
    few, many = jax.random.split(key)
    small = known & (mean < FEW)
    counted = _arrivals(few, jnp.where(small, mean, 0))
    large = known & ~small
    drawn = _rejection(many, jnp.where(large, log_mean, math.log(FEW)), large)
    return jnp.where(small, counted, jnp.where(large, drawn, jnp.nan))


def _arrivals(key: Array, mean: Array) -> Array:
    """Returns the number of arrivals before the time ``mean``, with exponentially distributed gaps between them."""

    def more(state: tuple[Array, Array, Array]) -> Array:
        return jnp.any(state[1] < mean)

    def wait(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        key, time, count = state
        key, now = jax.random.split(key)
        time = time + jax.random.exponential(now, mean.shape, mean.dtype)
        return key, time, jnp.where(time < mean, count + 1, count)

    first, key = jax.random.split(key)
    time = jax.random.exponential(first, mean.shape, mean.dtype)
    _, _, count = jax.lax.while_loop(more, wait, (key, time, jnp.where(time < mean, 1, 0).astype(mean.dtype)))
    return count


def _rejection(key: Array, log_mean: Array, wanted: Array) -> Array:
    """Returns Poisson draws by transformed rejection, and 0 for elements that aren't wanted.

    The method is from Hörmann 1993, "The transformed rejection method for generating Poisson variables".
    """
    mean = jnp.exp(log_mean)
    b = 0.931 + 2.53 * jnp.sqrt(mean)
    a = -0.059 + 0.02483 * b
    log_inverse_alpha = jnp.log(1.1239 + 1.1328 / (b - 3.4))
    limit = 0.9277 - 3.6224 / (b - 2)

    def more(state: tuple[Array, Array, Array]) -> Array:
        return jnp.any(~state[1])

    def attempt(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        key, done, found = state
        key, first, second = jax.random.split(key, 3)
        u = jax.random.uniform(first, mean.shape, mean.dtype) - 0.5
        v = jax.random.uniform(second, mean.shape, mean.dtype, float(np.finfo(mean.dtype).tiny))
        edge = 0.5 - jnp.abs(u)
        k = jnp.floor((2 * a / edge + b) * u + mean + 0.43)
        fits = jnp.log(v) + log_inverse_alpha - jnp.log(a / jnp.square(edge) + b) <= log_poisson(log_mean, k)
        sure = (edge >= 0.07) & (v <= limit)
        accepted = sure | (fits & (k >= 0) & ((edge >= 0.013) | (v <= edge)))
        return key, done | accepted, jnp.where(done, found, k)

    _, _, found = jax.lax.while_loop(more, attempt, (key, ~wanted, jnp.zeros_like(mean)))
    return found


def draw_negative_binomial(key: Array, log_mean: Array, log_theta: Array) -> Array:
    """Returns a negative binomial draw for each element: a Poisson draw, whose mean is drawn from Gamma(θ, μ / θ)."""
    spread, count = jax.random.split(key)
    log_gamma = jax.random.loggamma(spread, special.exp(log_theta))
    # A θ above 1/eps² is as good as infinite, and rounding hides the spread of its gamma variate.
    eps = float(np.finfo(log_mean.dtype).eps)
    noise = jnp.where(log_theta < -2 * math.log(eps), log_gamma - log_theta, 0)
    return draw_poisson(count, log_mean + noise)
