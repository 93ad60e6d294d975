"""Balanced KL terms of the groups of latents in a hierarchy, so that no group is left unused."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae.arguments import require_shapes
from jaxvae.objectives.axes import split_axes

_OFFSET = 0.01
"""The number of nats that is added to a group's KL, as in NVAE's code, so that a group without KL keeps a weight."""


def balance(kl: Array, sizes: ArrayLike) -> Array:
    """Returns γ_g KL_g for each group g of latents, with weights γ_g ∝ (mean |KL_g| + 0.01) / size_g of mean 1.

    The weights are from Vahdat & Kautz 2020, arXiv:2007.03898, appendix A. A group's weight is its KL per latent, so
    that groups with little KL may use more. The paper says "proportional to the size", but its code and DVAE++
    (arXiv:1802.04920, appendix H) divide by the size. No gradient flows through γ. With these weights the objective
    isn't a bound; NVAE uses them only while β is below 1, i.e. during the warm-up.

    Args:
        kl: the KL of each group, summed over its latents, ``(*B, G)``; the mean is over the batch axes.
        sizes: the number of latents in each group, (G,).

    Returns:
        An array of shape ``(*B, G)``, which takes the place of ``kl``.

    >>> print(balance(jnp.array([[2.99, 0.99]]), jnp.array([1.0, 1.0])))  # γ = (1.5, 0.5)
    [[4.485 0.495]]
    """
    require_shapes("(*B, G), (G)", kl=kl, sizes=sizes)
    sizes = jnp.asarray(sizes, jnp.result_type(kl, 1.0))
    batch, _ = split_axes(np.shape(kl), -1)
    spent = (jnp.mean(jnp.abs(kl), axis=batch) + _OFFSET) / sizes
    return kl * jnp.broadcast_to(jax.lax.stop_gradient(spent / jnp.mean(spent)), np.shape(kl))
