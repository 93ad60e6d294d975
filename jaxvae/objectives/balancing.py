"""Balanced KL terms of a hierarchy's groups of latents, so that none is left unused."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae.arguments import require_shapes
from jaxvae.objectives.axes import split_axes

_OFFSET = 0.01
"""Nats, as in NVAE's code, so that a group of no KL keeps a weight."""


def balance(kl: Array, sizes: ArrayLike) -> Array:
    """γ_g KL_g, γ_g ∝ (mean |KL_g| + 0.01) / size_g, of mean 1 (Vahdat & Kautz 2020, arXiv:2007.03898, appendix A).

    A group's weight is its KL per latent, so that groups of little KL may use more. (The paper says "proportional
    to the size", but the code and DVAE++, arXiv:1802.04920, appendix H, divide by it.) γ has no gradient. Not a bound:
    NVAE has it only while β is below 1, that is during the warm-up.

    Args:
        kl: per group ``(*B, G)``, each summed over its latents; the mean is over the batch's axes.
        sizes: the number of latents in each group, (G,).

    Returns:
        An array of shape ``(*B, G)``, to stand in the place of ``kl``.

    >>> print(balance(jnp.array([[2.99, 0.99]]), jnp.array([1.0, 1.0])))  # γ = (1.5, 0.5)
    [[4.485 0.495]]
    """
    require_shapes("(*B, G), (G)", kl=kl, sizes=sizes)
    sizes = jnp.asarray(sizes, jnp.result_type(kl, 1.0))
    batch, _ = split_axes(np.shape(kl), -1)
    spent = (jnp.mean(jnp.abs(kl), axis=batch) + _OFFSET) / sizes
    return kl * jnp.broadcast_to(jax.lax.stop_gradient(spent / jnp.mean(spent)), np.shape(kl))
