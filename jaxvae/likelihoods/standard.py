"""The units of features, which keep outputs in the same range whatever a feature is measured in."""

import dataclasses
import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from jaxvae.arguments import require


@dataclasses.dataclass(frozen=True)
class Standard:
    """The units of features: x becomes (x - loc) / scale, or stays as it is if there are no units.

    Attributes:
        loc: the location of each feature, (C,).
        scale: the scale of each feature, (C,), positive.

    >>> Standard((170.0,), (10.0,)).forward(jnp.asarray([185.0])).tolist()
    [1.5]
    """

    loc: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require(len(self.scale) == len(self.loc), "Standard.scale", self.scale, f"{len(self.loc)} numbers, as loc")
        require(all(map(math.isfinite, self.loc)), "Standard.loc", self.loc, "finite")
        fits = all(0 < s < math.inf for s in self.scale)
        require(fits, "Standard.scale", self.scale, "positive and finite")

    def __bool__(self) -> bool:
        return bool(self.loc)

    def forward(self, x: Array) -> Array:
        """Returns x (..., C) in units of its features."""
        return (x - _along(self.loc, x)) / _along(self.scale, x) if self else x

    def inverse(self, y: Array) -> Array:
        """Returns the x (..., C) that ``forward`` maps to y."""
        return _along(self.loc, y) + self.scaled(y) if self else y

    def scaled(self, y: Array) -> Array:
        """Returns a difference y (..., C), which is in units of the features, in the units of x."""
        return y * _along(self.scale, y) if self else y

    def log_scale(self, like: Array) -> Array:
        """Returns log scale, by which a log-density of x is below one in units of the features.

        It broadcasts with (..., C).
        """
        return _along([math.log(s) for s in self.scale], like) if self else jnp.zeros((), like.dtype)


def _along(numbers: Sequence[float], like: Array) -> Array:
    """Returns the features' numbers as an array that broadcasts with (..., C)."""
    return jnp.asarray(numbers, like.dtype).reshape((1,) * (like.ndim - 1) + (-1,))


PLAIN = Standard()
"""No units: the features stay as they are."""
