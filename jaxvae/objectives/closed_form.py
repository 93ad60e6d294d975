"""The evidence lower bound (ELBO), and variants with a weighted KL or a floor for it.

``log_likelihood`` is ``(*B)``, summed over the event axes, with any number of batch axes. ``kl`` is ``(*B, *L)``, with
one number per latent. Its axes after those of the log-likelihood are the latents', and are summed. Results are per
example and unreduced; a loss is minus their mean over the batch.

A world model learns its prior, and balances the KL so that the prior moves faster than the posterior (Hafner et al.
2021, arXiv:2010.02193, algorithm 2). This example has q and p of shape (B, T, L), and 1 free nat per time step as in
the code of DreamerV3 (Hafner et al. 2023, arXiv:2301.04104):

>>> from jaxvae import Gaussian, kl_divergence
>>> from jaxvae.objectives import stop_parameters
>>> q, p = Gaussian(jnp.ones((2, 3, 4)), jnp.zeros((2, 3, 4))), Gaussian(jnp.zeros((2, 3, 4)), jnp.zeros((2, 3, 4)))
>>> dynamics = kl_divergence(stop_parameters(q), p).sum(-1)  # (B, T), which moves p
>>> representation = kl_divergence(q, stop_parameters(p)).sum(-1)  # (B, T), which moves q
>>> steps = (0, 1)  # each time step of each sequence has a floor of its own
>>> kl = 1.0 * free_bits(dynamics, 1.0, event_axes=steps) + 0.1 * free_bits(representation, 1.0, event_axes=steps)
>>> kl.shape
(2, 3)

The weights of DreamerV2 are 0.8 and 0.2. Its code has an option for a single floor, for the mean over batch and time;
here this is ``event_axes=()``.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae.arguments import require_shapes
from jaxvae.objectives.axes import Axes, split_axes, sum_events


def elbo(log_likelihood: Array, kl: Array, beta: ArrayLike = 1.0) -> Array:
    """Returns log p(x|z) - β Σ KL, in nats per example (Kingma & Welling 2014; β: Higgins et al. 2017).

    Args:
        log_likelihood: log p(x|z), ``(*B)``.
        kl: ``(*B, *L)``, or the shape of ``log_likelihood`` if it is summed already.
        beta: β, a scalar, which may be traced. Only for β ≥ 1 the result is a lower bound of log p(x).

    Returns:
        An array of shape ``(*B)``.

    >>> elbo(jnp.array([-80.0]), jnp.array([[3.0, 1.0]]), beta=0.5).tolist()
    [-82.0]
    """
    require_shapes("(*B), (*B, *L), ()", log_likelihood=log_likelihood, kl=kl, beta=beta)
    return log_likelihood - beta * sum_events(kl, np.ndim(log_likelihood))


def free_bits(kl: Array, floor: ArrayLike, event_axes: Axes) -> Array:
    """Returns the KL, with a floor for each latent's mean over the batch (Kingma et al. 2016, eq. 15).

    If a latent's mean KL is below the floor, the floor replaces it, so that a lower KL brings no reward. Because the
    floor is one for the mean, all examples share it. The shape doesn't tell which axes are the latents': a KL per
    latent, (B, L), looks like a KL of sequences that is summed over its latents, (B, T).

    Args:
        kl: an array of any shape.
        floor: λ in the paper, in nats per latent; a scalar.
        event_axes: the axes along which each element has its own floor; the mean is over the others. It is -1 for
            (B, L) and (B, T, L), (1, 2, 3) for (B, H, W, C), and () for a KL that is summed over its latents.

    Returns:
        An array of the shape of ``kl``, which takes its place.

    >>> free_bits(jnp.array([[0.5, 0.0], [1.5, 0.1]]), 0.25, event_axes=-1).tolist()
    [[0.5, 0.25], [1.5, 0.25]]
    """
    require_shapes("(*B), ()", kl=kl, floor=floor)
    batch, _ = split_axes(np.shape(kl), event_axes)
    return jnp.where(jnp.mean(kl, axis=batch, keepdims=True) < floor, floor, kl)  # a NaN stays NaN
