"""The raw numbers for which a parameterization's KL and its derivative are right in floating point."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae.gaussian import Gaussian, kl_divergence
from jaxvae.parameterizations import Parameterization

TOLERANCE = 1e-5
"""The relative error up to which a float32 result counts as right."""

NORMAL = {
    "float32": (2.0**-126, (2 - 2.0**-23) * 2.0**127),
    "bfloat16": (2.0**-126, (2 - 2.0**-7) * 2.0**127),
    "float16": (2.0**-14, (2 - 2.0**-10) * 2.0**15),
}
"""The smallest and the largest normal number of each dtype, between which a std can be used to sample."""


class Shape(NamedTuple):
    """The values at each raw: log σ, σ, the gain, the KL, and its derivative.

    The KL is KL(N(0, σ²) ‖ N(0, 1)) in nats, and its derivative is that with respect to raw.
    """

    log_std: np.ndarray
    std: np.ndarray
    gain: np.ndarray
    kl: np.ndarray
    slope: np.ndarray


class Exactness(NamedTuple):
    """The exactness at each raw: whether KL and derivative are right in float32 and σ responds to raw; σ in float64."""

    exact: np.ndarray
    responds: np.ndarray
    std: np.ndarray


def shape(p: Parameterization, raw: ArrayLike) -> Shape:
    """Computes a ``Shape`` elementwise, by one program for each shape and dtype of raw."""
    return Shape(*map(np.asarray, _shape(p, np.asarray(raw))))


def exactness(p: Parameterization, raw: ArrayLike) -> Exactness:
    """Compares KL(N(0, σ²) ‖ N(0, 1)) and its derivative with respect to raw in float32 with float64.

    Computations with 16-bit raws are in float32, so the result holds for them too.
    """
    raw = np.asarray(raw, np.float32)
    approximate = shape(p, raw)
    with jax.enable_x64(True):
        true = shape(p, raw.astype(np.float64))
    pairs = ((approximate.kl, true.kl), (approximate.slope, true.slope))
    right = [np.isclose(x, y, rtol=TOLERANCE, atol=0) & np.isfinite(x) for x, y in pairs]
    return Exactness(right[0] & right[1], true.gain != 0, true.std)


@functools.partial(jax.jit, static_argnums=0)
def _shape(p: Parameterization, raw: Array) -> tuple[Array, ...]:
    def kl(raw: Array) -> Array:
        return kl_divergence(Gaussian(jnp.zeros_like(raw), raw, p))

    return p.log_std(raw), p.std(raw), p.log_std_gain(raw), *jax.jvp(kl, (raw,), (jnp.ones_like(raw),))


class Saturation(NamedTuple):
    """The saturation of each element: whether σ is at its floor, at its ceiling, or does not respond to raw."""

    floor: Array
    ceiling: Array
    dead: Array


def saturation(q: Gaussian) -> Saturation:
    """Returns elementwise whether σ is at an end of its parameterization's range or of the float's, or its gain is 0.

    A σ that is NaN is at neither end.
    """
    low, high, _ = q.parameterization.std_range
    std = q.std
    limits = jnp.finfo(std.dtype)
    slack = 4 * float(limits.eps)
    return Saturation(
        std <= max(low * (1 + slack), float(limits.tiny)),
        std >= min(high * (1 - slack), float(limits.max)),
        q.parameterization.log_std_gain(q.raw) == 0,
    )


def runs(x: np.ndarray, mask: np.ndarray) -> Iterator[tuple[float, float]]:
    """Yields the first and the last x of each stretch in which the mask is true."""
    changes = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    for start, stop in changes.reshape(-1, 2):
        yield float(x[start]), float(x[stop - 1])
