"""Bounds and estimates of log p(x) from log-weights alone.

A log-weight is log w = log p(x, z) - log q(z|x) in nats, for z ~ q(z|x). ``log_weights`` is ``(K, *B)``, or
``(M, K, *B)`` if the samples come in M groups; ``*B`` is any number of batch axes. The caller has summed over the
latents' axes, and over time steps if whole sequences are weighted. Results are per example, ``(*B)``; a loss is minus
their mean over the batch. A weight of 0, i.e. a log-weight of -inf, is allowed. If all weights of an example are 0, the
gradient is NaN.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae.arguments import require, require_shapes, symbolic
from jaxvae.special import expm1mx, log1p, log_mean_exp

_MOST = 10**7
"""The largest number of entries that the jackknife's subsets may hold."""


def sampled_elbo(log_weights: Array) -> Array:
    """Returns 1/K Σ log w, the ELBO with a KL by Monte Carlo (Kingma & Welling 2014, eq. 6).

    Args:
        log_weights: log w, ``(K, *B)``.

    Returns:
        An array of shape ``(*B)``.
    """
    require_shapes("(K > 0, *B)", log_weights=log_weights)
    return jnp.mean(log_weights, axis=0)


def iwae(log_weights: Array) -> Array:
    """Returns log 1/K Σ w, the importance-weighted bound (Burda et al. 2016, arXiv:1509.00519, eq. 8).

    Args:
        log_weights: log w, ``(K, *B)``.

    Returns:
        An array of shape ``(*B)``.

    >>> print(jnp.exp(iwae(jnp.log(jnp.array([[1.0], [3.0]])))))
    [2.]
    """
    require_shapes("(K > 0, *B)", log_weights=log_weights)
    return log_mean_exp(log_weights, axis=0)


def miwae(log_weights: Array) -> Array:
    """Returns 1/M Σ_m log 1/K Σ_k w, the mean of M importance-weighted bounds.

    The signal-to-noise ratio of the gradient of q's parameters falls with K, and rises with M (Rainforth et al. 2018,
    arXiv:1802.04537).

    Args:
        log_weights: log w, ``(M, K, *B)``.

    Returns:
        An array of shape ``(*B)``.
    """
    require_shapes("(M > 0, K > 0, *B)", log_weights=log_weights)
    return jnp.mean(log_mean_exp(log_weights, axis=1), axis=0)


def ciwae(log_weights: Array, beta: ArrayLike) -> Array:
    """Returns β 1/K Σ log w + (1 - β) log 1/K Σ w, a bound between the ELBO and IWAE.

    It is from Rainforth et al. 2018, arXiv:1802.04537.

    Args:
        log_weights: log w, ``(K, *B)``.
        beta: β, a scalar in [0, 1], which may be traced.

    Returns:
        An array of shape ``(*B)``.
    """
    require_shapes("(K > 0, *B), ()", log_weights=log_weights, beta=beta)
    # Weights of 0 may make either bound -inf, and -inf times 0 would be NaN.
    elbo = jnp.where(beta == 0, 0.0, beta * sampled_elbo(log_weights))
    return elbo + jnp.where(beta == 1, 0.0, (1 - beta) * iwae(log_weights))


class PartialBounds(NamedTuple):
    """A bound for the generative parameters and one for the inference parameters, per example ``(*B)``."""

    generative: Array
    inference: Array


def piwae(log_weights: Array) -> PartialBounds:
    """Returns IWAE of all M K samples for p's parameters, and MIWAE for q's (Rainforth et al. 2018, arXiv:1802.04537).

    Maximize each bound with respect to its own parameters only. If ``f(theta, phi)`` returns the log-weights, the loss
    is

        stop = jax.lax.stop_gradient
        loss = -jnp.mean(piwae(f(theta, stop(phi))).generative + piwae(f(stop(theta), phi)).inference)

    The two calls of ``f`` are equal, and ``jit`` evaluates them once.

    Args:
        log_weights: log w, ``(M, K, *B)``.
    """
    require_shapes("(M > 0, K > 0, *B)", log_weights=log_weights)
    return PartialBounds(log_mean_exp(log_weights, axis=(0, 1)), miwae(log_weights))


def renyi(log_weights: Array, alpha: ArrayLike) -> Array:
    """Returns 1/(1 - α) log 1/K Σ w^(1 - α), the variational Rényi bound (Li & Turner 2016, arXiv:1602.02311).

    It is IWAE for α = 0, and tends to the ELBO as α tends to 1. It falls with α, from log max w at -∞ to log min w at
    ∞. For α ≥ 0 it is a lower bound of log p(x), in expectation. For α < 0 it is an upper bound only as K → ∞.

    At α = 1 the formula is 0/0. Near it, the bound is computed as m + log(1 + 1/K Σ (e^d - 1 - d)) / (1 - α), where m
    is the mean of log w, and d = (1 - α) (log w - m) has a mean of 0.

    Args:
        log_weights: log w, ``(K, *B)``. For α > 1, a log-weight of -inf makes the result -inf and the gradient NaN.
        alpha: α, a finite scalar, which may be traced; but the derivative with respect to it isn't right at 1.

    Returns:
        An array of shape ``(*B)``.
    """
    require_shapes("(K > 0, *B), ()", log_weights=log_weights, alpha=alpha)
    rest = jnp.asarray(1 - alpha, jnp.result_type(log_weights, 1.0))
    divisor = jnp.where(rest == 0, 1, rest)
    mean = sampled_elbo(log_weights)
    d = rest * (log_weights - mean[None])
    near = jnp.max(jnp.abs(d), axis=0) < 0.5
    close = mean + log1p(jnp.mean(expm1mx(jnp.where(near[None], d, 0)), axis=0)) / divisor
    far = log_mean_exp(divisor * log_weights, axis=0) / divisor
    return jnp.where(rest == 0, mean, jnp.where(near, close, far))


def jackknife(log_weights: Array, order: int) -> Array:
    """Returns a jackknife estimate of log p(x), which removes the first terms of IWAE's bias (Nowozin 2018, ICLR).

    It is Σ_j c_j · mean of IWAE over all subsets of K - j samples, for j = 0 … m, where m is the order. The weights are
    c_j = (-1)^j (K - j)^m / ((m - j)! j!) (Sharot 1976). The first m terms of IWAE's bias in powers of 1/K cancel, and
    what is left is of order K^-(m + 1). The result isn't a bound. Order 0 is IWAE.

    The c_j grow as K^m / m!, and the rounding error grows with them. The subsets, whose number is C(K, m), are all in
    memory at once.

    Args:
        log_weights: log w, ``(K, *B)``.
        order: m, at least 0 and below K, with K C(K, m) at most 10⁷; static, as K is.

    Returns:
        An array of shape ``(*B)``.

    Raises:
        ValueError: for an order that isn't allowed.
    """
    require_shapes("(K > 0, *B)", log_weights=log_weights)
    samples = log_weights.shape[0]
    require(not symbolic(samples), "log_weights.shape", log_weights.shape, "of a known number of samples")
    allowed = isinstance(order, int) and 0 <= order < samples
    require(allowed, "order", order, f"at least 0 and below the {samples} samples")
    numbers = samples * math.comb(samples, order)
    require(numbers <= _MOST, "order", order, f"one that takes at most {_MOST:,} numbers of {samples} samples")
    # Because Σ c = 1, the shift can be added back. Without it, the c would multiply the rounding of large log-weights.
    top = jax.lax.stop_gradient(jnp.max(log_weights, axis=0))
    shift = jnp.where(jnp.isfinite(top), top, 0)
    shifted = log_weights - shift[None]
    result = shift
    for j in range(order + 1):
        kept = np.array(list(itertools.combinations(range(samples), samples - j)))
        bounds = log_mean_exp(shifted[kept], axis=1)  # (subsets, B)
        weight = (-1) ** j * (samples - j) ** order / (math.factorial(order - j) * math.factorial(j))
        result = result + weight * jnp.mean(bounds, axis=0)
    return result
