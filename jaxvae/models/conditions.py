"""What encoder and decoder are given of an image beside it: its class, and whatever else explains it."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.arguments import require


@dataclasses.dataclass(frozen=True)
class Condition:
    """One thing that is given of each image: which of several levels it has, or a number.

    Attributes:
        levels: how many there are, of which it is given the number, from 0, and which are seen one-hot; 0 for a number.
        loc: what is subtracted from a number before it is seen.
        scale: what that is divided by.

    Raises:
        ValueError: for fewer than no levels, or a scale that isn't positive.
    """

    levels: int = 0
    loc: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        require(self.levels >= 0, "levels", self.levels, "at least 0")
        require(self.scale > 0, "scale", self.scale, "above 0")


def laid_out(given: Array | None, conditions: Sequence[Condition]) -> Array | None:
    """What is given of images, (..., M), as encoder and decoder see it, side by side, (..., F); None for no conditions.

    Raises:
        ValueError: where something is given without conditions, nothing with some, or not as many as there are.
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
