"""The maximum mean discrepancy (MMD) of two samples, and objectives that use it to keep q(z) near p(z).

Kernels are functions of the squared distance r², with a scale C. For two draws of N(0, 1) in L dimensions, r² is 2 L on
average; 2 L is therefore a good C.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxvae.arguments import require, require_shapes, symbolic
from jaxvae.objectives.axes import sum_events, whole
from jaxvae.objectives.closed_form import elbo
from jaxvae.special import compute_dtype, exp

Kernel = Callable[[Array], Array]


def gaussian_kernel(scale: float) -> Kernel:
    """Returns the kernel e^(-r²/C), where C is twice the squared bandwidth.

    >>> float(gaussian_kernel(2.0)(jnp.array(0.0)))
    1.0
    """
    _require_scale(scale)
    return lambda square: exp(-square / scale)


def inverse_multiquadratic(scale: float) -> Kernel:
    """Returns the kernel C / (C + r²), which has a heavier tail (Tolstikhin et al. 2018, arXiv:1711.01558, section 4).

    >>> float(inverse_multiquadratic(2.0)(jnp.array(2.0)))
    0.5
    """
    _require_scale(scale)
    return lambda square: scale / (scale + square)


def _require_scale(scale: float) -> None:
    require_shapes("()", scale=scale)
    require(0 < scale < math.inf, "scale", scale, "above 0")


def mmd(x: Array, y: Array, kernel: Kernel) -> Array:
    """Returns E k(x, x') + E k(y, y') - 2 E k(x, y), the squared MMD of two samples (Gretton et al. 2012, eq. 3).

    This is the U-statistic: no point is paired with itself. It is unbiased, and may be below 0. A draw has any number
    of axes. If the time steps of sequences (B, T, L) are draws, ``jax.vmap`` over T gives each time step its own
    discrepancy.

    Args:
        x: draws of one distribution, ``(B, *L)``, B at least 2; e.g. one z of each example.
        y: draws of the other distribution, ``(P, *L)``, P at least 2; e.g. of p(z).
        kernel: a function of the squared distance.

    Returns:
        A scalar, float32 or float64.

    Raises:
        ValueError: for fewer than 2 draws of either distribution.
    """
    require_shapes("(B, L, *M), (P, L, *M)", x=x, y=y)
    x, y = (jnp.asarray(draws, compute_dtype(x, y)) for draws in (x, y))
    counts = x.shape[0], y.shape[0]
    if any(not symbolic(count) and count < 2 for count in counts):
        raise ValueError(f"mmd needs at least 2 draws of each, got {counts[0]} and {counts[1]}")
    return _within(x, kernel) + _within(y, kernel) - 2 * jnp.mean(kernel(_squares(x, y)))


def _squares(x: Array, y: Array) -> Array:
    return sum_events(jnp.square(x[:, None] - whole(y)[None]), 2)  # (B, P)


def _within(x: Array, kernel: Kernel) -> Array:
    count = jnp.asarray(x.shape[0], x.dtype)
    others = ~jnp.eye(x.shape[0], dtype=bool)
    return jnp.sum(jnp.where(others, kernel(_squares(x, x)), 0)) / (count * (count - 1))


def info_vae(log_likelihood: Array, kl: Array, divergence: Array, alpha: ArrayLike, weight: ArrayLike) -> Array:
    """Returns the objective of InfoVAE, log p(x|z) - (1 - α) Σ KL - (α + λ - 1) D(q(z) ‖ p(z)), per example.

    It is from Zhao et al. 2019, arXiv:1706.02262. With α = 0 and λ = 1 it is the ELBO. With α = 1 and the MMD as D it
    is the MMD-VAE, which has no KL term.

    Args:
        log_likelihood: log p(x|z), ``(*B)``.
        kl: ``(*B, *L)``.
        divergence: D, a scalar, which all examples share; e.g. ``mmd`` of one z per example and as many draws of p(z).
        alpha: α, a scalar.
        weight: λ, a scalar.

    Returns:
        An array of shape ``(*B)``.
    """
    require_shapes("(), (), ()", divergence=divergence, alpha=alpha, weight=weight)
    return elbo(log_likelihood, kl, 1 - alpha) - (alpha + weight - 1) * divergence
