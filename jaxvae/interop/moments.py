"""Gaussians from one array of mean and raw, as encoders return it."""

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
    """Makes a Gaussian from an array whose halves along an axis are mean and raw, which diffusers calls moments.

    The ``AutoencoderKL`` of diffusers has them along axis 1 in PyTorch, and along the last axis in Flax. It takes raw
    for a log-variance that it clamps to [-30, 20], as the default does. For a ``DiagonalGaussianDistribution`` d, use
    ``from_moments(d.parameters, 1)``.

    Args:
        moments: an array of any shape, or a detached PyTorch tensor on a device that JAX has too.
        axis: the axis that holds the means, then the raws.
        parameterization: the parameterization by which raw gives σ, or its name.

    Raises:
        ValueError: if there is no such axis, or it has an odd length.

    >>> from_moments(jnp.zeros((2, 8, 4, 4)), axis=1).shape
    (2, 4, 4, 4)
    """
    array = jnp.asarray(moments) if isinstance(moments, jax.Array | np.ndarray) else jnp.from_dlpack(moments)
    require(-array.ndim <= axis < array.ndim, "axis", axis, f"one of the {array.ndim} axes of moments")
    require(array.shape[axis] % 2 == 0, "moments.shape", array.shape, f"of an even length along axis {axis}")
    loc, raw = jnp.split(array, 2, axis)
    return Gaussian(loc, raw, parameterization)
