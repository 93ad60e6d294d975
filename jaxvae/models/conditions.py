"""The conditions of a model: what encoder and decoder are given with an image, such as its class."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.arguments import require


@dataclasses.dataclass(frozen=True)
class Condition:
    """One thing that is given with each image: one of several levels, or a number.

    Attributes:
        levels: the number of levels; an image's level is given as a number from 0, and seen one-hot. 0 for a number.
        loc: what is subtracted from a number before the networks see it.
        scale: what the difference is divided by.

    Raises:
        ValueError: for a negative number of levels, or a scale that isn't positive.
    """

    levels: int = 0
    loc: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        require(self.levels >= 0, "levels", self.levels, "at least 0")
        require(self.scale > 0, "scale", self.scale, "above 0")


def laid_out(given: Array | None, conditions: Sequence[Condition]) -> Array | None:
    """Returns the conditions' values, (..., M), side by side as encoder and decoder see them, (..., F).

    Without conditions, the result is None.

    Raises:
        ValueError: if the number of given values isn't that of the conditions.
    """
    found = 0 if given is None else given.shape[-1]
    if found != len(conditions):
        raise ValueError(
            f"given must have {len(conditions)} numbers of each image, one for each condition, got {found}"
        )
    if given is None:
        return None
    parts = [
        jax.nn.one_hot(x.astype(jnp.int32), condition.levels)
        if condition.levels
        else ((x - condition.loc) / condition.scale)[..., None]
        for x, condition in zip(jnp.moveaxis(given, -1, 0), conditions, strict=True)
    ]
    return jnp.concatenate(parts, axis=-1)
