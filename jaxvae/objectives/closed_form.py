"""The evidence lower bound and its relatives with weighted or floored KL.

Shapes: ``log_likelihood`` (B,), summed over the event's axes; ``kl`` (B, L), one per latent. Results are per
example and unreduced; a loss is minus their mean over the batch.
"""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxvae.arguments import require_shapes


def elbo(log_likelihood: Array, kl: Array, beta: ArrayLike = 1.0) -> Array:
    """log p(x|z) - β Σ KL, in nats per example (Kingma & Welling 2014; β: Higgins et al. 2017).

    Args:
        log_likelihood: (B,).
        kl: (B, L).
        beta: a scalar; may be traced. A lower bound of log p(x) for β ≥ 1 only.

    Returns:
        An array of shape (B,).

    >>> elbo(jnp.array([-80.0]), jnp.array([[3.0, 1.0]]), beta=0.5).tolist()
    [-82.0]
    """
    require_shapes("(B), (B, L), ()", log_likelihood=log_likelihood, kl=kl, beta=beta)
    return log_likelihood - beta * jnp.sum(kl, axis=-1)


def free_bits(kl: Array, floor: ArrayLike) -> Array:
    """max(mean over the batch of KL, floor) per latent: no reward for a KL below (Kingma et al. 2016, eq. 15).

    The maximum is of the batch's mean, so that every example shares it.

    Args:
        kl: (B, L).
        floor: nats per latent, λ in the paper; a scalar.

    Returns:
        An array of shape (B, L), to stand in the place of ``kl``.

    >>> free_bits(jnp.array([[0.5, 0.0], [1.5, 0.1]]), 0.25).tolist()
    [[0.5, 0.25], [1.5, 0.25]]
    """
    require_shapes("(B, L), ()", kl=kl, floor=floor)
    return jnp.where(jnp.mean(kl, axis=0, keepdims=True) < floor, floor, kl)  # a NaN stays one
