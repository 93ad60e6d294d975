"""Losses of a regression that predicts its own noise: y ~ q(y|x) = N(mean(x), σ(x)²).

The negative log-likelihood itself is ``-log_prob(q, y)``. Its gradient with respect to the mean is divided by σ².
Points that are fitted badly therefore get a large σ, and then are hardly fitted any more. The losses here avoid that.
So do natural parameters (Immer et al. 2023), which need no loss of their own: use ``-log_prob`` of a
``natural_softplus`` Gaussian.

Results are elementwise and unreduced, in nats. q may have any shape, and y broadcasts with it. A loss is the mean of
the results over the batch.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import require_broadcast, require_real, require_shapes
from jaxvae.gaussian import Gaussian, log_prob, require_gaussian


def beta_nll(q: Gaussian, y: ArrayLike, beta: ArrayLike) -> Array:
    """Returns -σ^2β log q(y), whose weight σ^2β has no gradient: the β-NLL (Seitzer et al. 2022, arXiv:2203.09168).

    β = 0 gives the negative log-likelihood (NLL); at β = 1 the gradient of the mean is that of the squared error. The
    paper recommends 0.5. Values for different β, or for different σ, can't be compared.

    Args:
        q: Gaussians of any shape.
        y: points that broadcast with q.
        beta: β, a scalar in [0, 1], which may be traced.

    Returns:
        An array of the broadcast shape, float32 or float64.

    >>> q = Gaussian(0.0, jnp.log(4.0))
    >>> slope = jax.grad(lambda q, beta: beta_nll(q, 1.0, beta))
    >>> [round(float(slope(q, beta).loc), 6) for beta in (0.0, 0.5, 1.0)]
    [-0.25, -0.5, -1.0]
    """
    require_shapes("()", beta=beta)
    nll = -log_prob(q, y)
    weight = jax.lax.stop_gradient(special.exp(2 * beta * q.log_std))
    return jnp.broadcast_to(weight, nll.shape) * nll


def faithful(q: Gaussian, y: ArrayLike) -> Array:
    """Returns ½ (y - mean)² - log N(y; mean, σ²), where the second term has no gradient with respect to the mean.

    The mean is therefore learned as if by the squared error alone, and σ by the negative log-likelihood of the
    residuals (Stirn et al. 2023, arXiv:2212.09184). If mean and σ share features, the caller keeps this property by
    stopping the features' gradient on the way to σ: ``raw_head(jax.lax.stop_gradient(features))``. Under a natural
    parameterization the mean depends on raw, which the squared error then changes, too.

    Args:
        q: Gaussians of any shape.
        y: points that broadcast with q.

    Returns:
        An array of the broadcast shape, float32 or float64.

    >>> slope = jax.grad(lambda q: faithful(q, 1.0))(Gaussian(0.0, jnp.log(4.0)))
    >>> float(slope.loc), round(float(slope.raw), 6)
    (-1.0, 0.375)
    """
    require_gaussian(q=q)
    require_real(y=y)
    require_broadcast(q=q.shape, y=jnp.shape(y))
    y, mean = jnp.broadcast_arrays(*(jnp.asarray(x, special.compute_dtype(y, q.loc, q.raw)) for x in (y, q.mean)))
    rest = y - mean
    centred = Gaussian(jnp.zeros_like(q.loc), q.raw, q.parameterization)
    return rest * (rest / 2) - log_prob(centred, jax.lax.stop_gradient(rest))
