"""Gaussians from mean and raw in one array, as encoders return them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.arguments import require
from jaxvae.gaussian import Gaussian
from jaxvae.parameterizations import Parameterization, diffusers_log_variance


def from_moments(
    moments: Any, axis: int = -1, parameterization: Parameterization | str = diffusers_log_variance
) -> Gaussian:
    """The Gaussian of an array whose halves along an axis are mean and raw: what diffusers calls moments.

    Its ``AutoencoderKL`` has them along axis 1 in PyTorch, the last in Flax, and takes raw for a log-variance that it
    clamps to [-30, 20], as the default does. For a ``DiagonalGaussianDistribution``: ``from_moments(d.parameters, 1)``.

    Args:
        moments: an array of any shape, or a PyTorch tensor, detached, on a device that JAX has, too.
        axis: the one that holds the means, then the raws.
        parameterization: how σ arises from raw; or its name.

    Raises:
        ValueError: where there is no such axis, or it has an odd length.

    >>> from_moments(jnp.zeros((2, 8, 4, 4)), axis=1).shape
    (2, 4, 4, 4)
    """
    array = jnp.asarray(moments) if isinstance(moments, jax.Array | np.ndarray) else jnp.from_dlpack(moments)
    require(-array.ndim <= axis < array.ndim, "axis", axis, f"one of the {array.ndim} axes of moments")
    require(array.shape[axis] % 2 == 0, "moments.shape", array.shape, f"of an even length along axis {axis}")
    loc, raw = jnp.split(array, 2, axis)
    return Gaussian(loc, raw, parameterization)
