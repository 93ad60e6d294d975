"""Objectives for disentangled latents, which split the KL into parts or hold it at a value.

``*B`` stands for any number of batch axes, and ``*L`` for any number of latent axes. Results are per example, ``(*B)``,
in nats; a loss is minus their mean over the batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae.arguments import require, require_shapes
from jaxvae.gaussian import Gaussian, log_prob, require_gaussian, standard_log_prob
from jaxvae.objectives.axes import sum_events, whole
from jaxvae.special import log_mean_exp


def capacity(log_likelihood: Array, kl: Array, target: ArrayLike, gamma: ArrayLike) -> Array:
    """Returns log p(x|z) - γ |Σ KL - C|, which holds the KL at C (Burgess et al. 2018, arXiv:1804.03599).

    C rises during training. Its schedule is ``beta_schedule("linear", C, steps)``, with C in the place of β.

    Args:
        log_likelihood: log p(x|z), ``(*B)``.
        kl: ``(*B, *L)``, or the shape of ``log_likelihood`` if it is summed already.
        target: C in nats, a scalar, which may be traced.
        gamma: γ, a scalar; 1000 in the paper.

    Returns:
        An array of shape ``(*B)``.

    >>> capacity(jnp.array([-80.0, -80.0]), jnp.array([[3.0, 1.0], [9.0, 1.0]]), 5.0, gamma=10.0).tolist()
    [-90.0, -130.0]
    """
    require_shapes("(*B), (*B, *L), (), ()", log_likelihood=log_likelihood, kl=kl, target=target, gamma=gamma)
    return log_likelihood - gamma * jnp.abs(sum_events(kl, np.ndim(log_likelihood)) - target)


class Decomposition(NamedTuple):
    """The three parts of log q(z|x) - log p(z): the first two are ``(*B)``, the last is ``(*B, *L)``, per latent."""

    mutual_information: Array
    total_correlation: Array
    dimensionwise_kl: Array


def decompose(q: Gaussian, z: Array, size: ArrayLike) -> Decomposition:
    """Returns mutual information, total correlation and dimension-wise KL (Chen et al. 2018, arXiv:1802.04942, eq. 2).

    They are log q(z|x) - log q(z), log q(z) - Σ log q(z_l) and log q(z_l) - log p(z_l), for a standard normal p. q(z)
    is the distribution of z over all N examples, of which the batch is a sample. It is estimated by minibatch-weighted
    sampling (eq. 3): log q(z_b) ≈ log 1/(N B) Σ_c q(z_b|x_c), and likewise for each latent. On average this estimate is
    too low: by log N if all posteriors are equal. A part should therefore be compared with other values of the same
    part, not with 0.

    Each example is paired with each, and so there is one batch axis. For sequences (B, T, L) where each time step has
    its own q(z), ``jax.vmap(decompose, (1, 1, None), 1)`` gives the parts per time step.

    Args:
        q: q(z|x) of the batch, ``(B, *L)``.
        z: one sample per example, ``(B, *L)``.
        size: N, the number of examples in the data set; a scalar, at least B.
    """
    require_gaussian(q=q)
    require_shapes("(B, L, *M), ()", z=z, size=size)
    require(q.shape == z.shape, "q.shape", q.shape, f"z's, {z.shape}")
    z = jnp.asarray(z)
    pairs = log_prob(jax.tree.map(whole, q), z[:, None])  # (B, B, *L), for each sample under each posterior
    joint = log_mean_exp(sum_events(pairs, 2), axis=1) - jnp.log(size)
    marginals = log_mean_exp(pairs, axis=1) - jnp.log(size)  # (B, *L)
    own = sum_events(log_prob(q, z), 1)
    total = joint - sum_events(marginals, 1)
    return Decomposition(own - joint, total, marginals - standard_log_prob(z))


def beta_tc(
    log_likelihood: Array, parts: Decomposition, beta: ArrayLike, alpha: ArrayLike = 1.0, gamma: ArrayLike = 1.0
) -> Array:
    """Returns the objective of the β-TCVAE, log p(x|z) - α MI - β TC - γ Σ KL_l, per example.

    It is from Chen et al. 2018, arXiv:1802.04942, eq. 4. With α = β = γ = 1 it is exactly the ELBO with a KL by Monte
    Carlo, whatever the error of q(z).

    Args:
        log_likelihood: log p(x|z), ``(*B)``.
        parts: MI, TC and KL_l from ``decompose``, of shapes ``(*B)``, ``(*B)`` and ``(*B, *L)``.
        beta: β, the weight of the total correlation TC; a scalar.
        alpha: α, the weight of the mutual information MI; a scalar.
        gamma: γ, the weight of the dimension-wise KL; a scalar.

    Returns:
        An array of shape ``(*B)``.
    """
    information, correlation, kl = parts
    shared = {"log_likelihood": log_likelihood, "mutual_information": information, "total_correlation": correlation}
    weights = {"beta": beta, "alpha": alpha, "gamma": gamma}
    require_shapes("(*B), (*B), (*B), (*B, *L), (), (), ()", **shared, dimensionwise_kl=kl, **weights)
    return log_likelihood - alpha * information - beta * correlation - gamma * sum_events(kl, np.ndim(log_likelihood))
