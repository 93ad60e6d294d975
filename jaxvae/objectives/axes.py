"""The axes of an objective's arrays: any number of batch axes, then event axes, which are summed.

``(*B)`` stands for any number of batch axes: (B), or (B, T) of sequences, or none for one example inside ``vmap``.
``(*L)`` stands for the axes of the latents: (L), or (H, W, C).
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
    """Σ over the axes of x ``(*B, *L)`` behind the batch's, of which there are so many."""
    return jnp.sum(x, axis=tuple(range(batch_ndim, np.ndim(x))))


def split_axes(shape: tuple[int, ...], event_axes: Axes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of the batch, which are the others, and those of the event, as numbers of at least 0.

    Raises:
        ValueError: for what aren't different axes of this shape.

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
    """x with all of its first axis on every device, where its sharding is explicit: to pair each with each."""
    sharding = jax.typeof(x).sharding
    if not sharding.spec or sharding.spec[0] is None:
        return x
    return jax.sharding.reshard(x, NamedSharding(sharding.mesh, PartitionSpec(None, *sharding.spec[1:])))
