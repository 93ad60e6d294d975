"""Functions that bound raw, for bounds that are learned or computed by a network.

A parameterization is static, and so are its numbers. Traced bounds are applied to raw before the parameterization:

    Gaussian(loc, soft_clip(raw, low, high), log_variance)    # PETS, which learns low and high
    Gaussian(loc, log_floor(raw, floor), log_variance)        # σ² = e^raw + floor
    Gaussian(loc, log_floor(p.log_std(raw), floor), log_std)  # σ = p.std(raw) + floor, p any parameterization
    Gaussian(loc, scale * raw + shift, p)                     # a learned gain

With numbers in place of arrays, these lines do the same as ``SoftClip``, ``Floor`` and ``Affine``.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import require, require_broadcast, require_real


@special.weakly
def soft_clip(raw: ArrayLike, low: ArrayLike = -math.inf, high: ArrayLike = math.inf) -> Array:
    """Clips raw on one side or both by softplus, as in PETS (Chua et al. 2018, arXiv:1805.12114).

    r <- high - softplus(high - r), then r <- low + softplus(r - low). With both bounds, the values end just above
    ``high``, at low + softplus(high - low). The derivatives with respect to the three arguments sum to 1 and keep
    their digits. PETS learns both bounds, and adds 0.01 (Σ high - Σ low) to its loss, which draws them together.

    Args:
        raw: an array of any shape.
        low: the lower bound, which is below ``high`` and broadcasts with raw.
        high: the upper bound, which broadcasts with raw.

    Returns:
        An array of the broadcast shape, differentiable in all three arguments.

    >>> [round(float(slope), 3) for slope in jax.grad(soft_clip, argnums=(0, 1, 2))(0.0, 0.0, 0.0)]
    [0.167, 0.667, 0.167]
    """
    r, bottom, top = _operands(raw=raw, low=low, high=high)
    if not _is(high, math.inf):
        r = -softplus_above(-r, -top)
    if not _is(low, -math.inf):
        r = softplus_above(r, bottom)
    return r.astype(_dtype(raw, low, high))


@special.weakly
def log_floor(log_value: ArrayLike, low: ArrayLike) -> Array:
    """Computes log(e^log_value + low), the log of a positive number to which a floor is added.

    Its derivative with respect to ``log_value`` is e^log_value / (e^log_value + low), and that with respect to ``low``
    is 1 / (e^log_value + low).

    Args:
        log_value: an array of any shape.
        low: the floor, which is positive and broadcasts with log_value.

    Returns:
        An array of the broadcast shape, differentiable in both arguments.

    Raises:
        ValueError: if ``low`` is a number that isn't positive. Where an element of an array isn't positive, the result
            is NaN.

    >>> float(log_floor(-200.0, 1.0))  # e^-200 is 0 in float32
    0.0
    """
    log_g, floor = _operands(log_value=log_value, low=low)
    if isinstance(low, int | float):
        require(low > 0, "low", low, "positive")
        log_low = jnp.asarray(math.log(low), log_g.dtype)
    else:
        log_low = jnp.log(jnp.where(floor > 0, floor, jnp.nan))
    return _log_add(log_g, floor, jax.lax.stop_gradient(log_low)).astype(_dtype(log_value, low))


def _is(x: ArrayLike, number: float) -> bool:
    return isinstance(x, float) and x == number


def _dtype(*arrays: ArrayLike) -> jnp.dtype:
    dtype = jnp.result_type(*arrays)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else special.compute_dtype(*arrays)


def _operands(**arrays: ArrayLike) -> list[Array]:
    """Returns the arrays broadcast to one shape, in the dtype to compute in."""
    require_real(**arrays)
    require_broadcast(**{name: jnp.shape(x) for name, x in arrays.items()})
    dtype = special.compute_dtype(*arrays.values())
    return jnp.broadcast_arrays(*(jnp.asarray(x, dtype) for x in arrays.values()))


def _log1p(ratio: Array) -> Array:
    return ratio * special.log1p_over(ratio)


@jax.custom_jvp
def softplus_above(r: Array, low: Array) -> Array:
    """Returns low + softplus(r - low), which equals r + softplus(low - r), by the form that adds the smaller number."""
    return jnp.where(r > low, r, low) + _log1p(jnp.exp(-jnp.abs(r - low)))


softplus_above.defjvps(
    lambda dr, ans, r, low: special.sigmoid(r - low) * dr,
    lambda dlow, ans, r, low: special.sigmoid(low - r) * dlow,
)


@jax.custom_jvp
def _log_add(log_g: Array, low: Array, log_low: Array) -> Array:
    above, ratio = _smaller_to_larger(log_g, low, log_low)
    return jnp.where(above, log_g, log_low) + _log1p(ratio)


def _smaller_to_larger(log_g: Array, low: Array, log_low: Array) -> tuple[Array, Array]:
    """Returns whether e^log_g is above low, and the ratio of the smaller to the larger of the two."""
    # Where low is the smaller, low itself is used, not its log.
    above = log_g > log_low
    return above, jnp.where(above, low, 1) * special.exp(jnp.where(above, -log_g, log_g - log_low))


@jax.custom_jvp
def _share(log_g: Array, low: Array, log_low: Array) -> Array:
    """Returns the share of e^log_g in its sum with low, which is sigmoid(log_g - log low)."""
    above, ratio = _smaller_to_larger(log_g, low, log_low)
    return jnp.where(above, 1, ratio) / (1 + ratio)


@_share.defjvp
def _share_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    _, ratio = _smaller_to_larger(*primals)
    slope = ratio / jnp.square(1 + ratio)
    return _share(*primals), slope * (tangents[0] - tangents[1] / primals[1])


_log_add.defjvps(
    lambda dlog_g, ans, log_g, low, log_low: _share(log_g, low, log_low) * dlog_g,
    lambda dlow, ans, log_g, low, log_low: special.exp(-ans) * dlow,
    None,  # the slope by low includes that by log_low
)
