"""The numbers that are 0 and 1 of each feature, so that outputs are of one size whatever a feature is measured in."""

import dataclasses
import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from jaxvae.arguments import require


@dataclasses.dataclass(frozen=True)
class Standard:
    """x is (x - loc) / scale in units of its feature; without features, x itself.

    Attributes:
        loc: of each feature, (C,).
        scale: of each feature, (C,), positive.

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
        """x (..., C) in units of its features."""
        return (x - _along(self.loc, x)) / _along(self.scale, x) if self else x

    def inverse(self, y: Array) -> Array:
        """x (..., C) of what ``forward`` makes of it."""
        return _along(self.loc, y) + self.scaled(y) if self else y

    def scaled(self, y: Array) -> Array:
        """A difference (..., C) in units of its features, in those of x."""
        return y * _along(self.scale, y) if self else y

    def log_scale(self, like: Array) -> Array:
        """log scale, what a log-density of x has less than one in units of its features; broadcasts with (..., C)."""
        return _along([math.log(s) for s in self.scale], like) if self else jnp.zeros((), like.dtype)


def _along(numbers: Sequence[float], like: Array) -> Array:
    """Numbers of each feature, to broadcast with (..., C)."""
    return jnp.asarray(numbers, like.dtype).reshape((1,) * (like.ndim - 1) + (-1,))


PLAIN = Standard()
"""Features as they are."""
