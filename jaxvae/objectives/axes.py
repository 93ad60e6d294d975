"""The axes of an objective's arrays: any number of batch axes, then event axes, which are summed.

``(*B)`` stands for any number of batch axes: (B), (B, T) for sequences, or () for one example inside ``vmap``. ``(*L)``
stands for the axes of the latents: (L), or (H, W, C).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from jaxvae.arguments import require

Axes = int | Sequence[int]


def sum_events(x: ArrayLike, batch_ndim: int) -> Array:
    """Returns the sum of x ``(*B, *L)`` over the axes after the first ``batch_ndim``."""
    return jnp.sum(x, axis=tuple(range(batch_ndim, np.ndim(x))))


def split_axes(shape: tuple[int, ...], event_axes: Axes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the axes of the batch and those of the event, as numbers of at least 0.

    The batch has all axes that aren't event axes.

    Raises:
        ValueError: if ``event_axes`` aren't different axes of this shape.

    >>> split_axes((4, 5, 3), -1)
    ((0, 1), (2,))
    """
    rank = len(shape)
    axes = tuple(event_axes) if isinstance(event_axes, tuple | list) else (event_axes,)
    events = tuple(sorted(axis % rank for axis in axes if isinstance(axis, int) and -rank <= axis < rank))
    known = len(set(events)) == len(axes)
    require(known, "event_axes", event_axes, f"different axes of an array of shape {shape}")
    return tuple(axis for axis in range(rank) if axis not in events), events


def whole(x: Array) -> Array:
    """Returns x with its whole first axis on every device, so that all pairs can be formed.

    If x has no explicit sharding, it is returned as it is.
    """
    sharding = jax.typeof(x).sharding
    if not sharding.spec or sharding.spec[0] is None:
        return x
    return jax.sharding.reshard(x, NamedSharding(sharding.mesh, PartitionSpec(None, *sharding.spec[1:])))
