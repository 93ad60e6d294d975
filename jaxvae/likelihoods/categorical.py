"""The categorical likelihood of grey levels, a softmax over the levels of each channel."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae.arguments import require
from jaxvae.likelihoods.family import ChannelLikelihood


def require_levels(levels: object) -> None:
    """Raises ValueError unless ``levels`` is an integer from 2 to 2¹⁶; it is None for data without grey levels."""
    require(isinstance(levels, int) and levels >= 2, "levels", levels, "the data's number of grey levels, at least 2")
    require(isinstance(levels, int) and levels <= 2**16, "levels", levels, "at most 2¹⁶")


def level_of(x: Array, levels: int) -> Array:
    """Returns the level whose value v / (levels - 1) is nearest to x, as a float that isn't clipped to the grid."""
    return jnp.round(x * (levels - 1))


def value_of(level: Array, levels: int, dtype: np.dtype) -> Array:
    """Returns level / (levels - 1) from a table, because compiled division by a constant may be an ulp off."""
    return jnp.asarray(np.arange(levels) / (levels - 1), dtype)[level.astype(jnp.int32)]


def rounded(x: Array, levels: int) -> Array:
    """Returns the value of the grid's level that is nearest to x."""
    return value_of(jnp.clip(level_of(x, levels), 0, levels - 1), levels, x.dtype)


def expected_value(survival: Callable[[Array], Array], levels: int, like: Array) -> Array:
    """Returns E[x], the sum over v of P(level > v) / (levels - 1), of a continuous variable that is rounded to a level.

    It differs from the variable's mean, because the ends of the grid take the tails.

    Args:
        survival: the function that returns P(variable > edge) for an edge between two levels, in units of one level.
        levels: the number of grey levels.
        like: an array of the result's shape and dtype.
    """

    def add(v: Array, total: Array) -> Array:
        return total + survival(v + 0.5)

    total: Array = jax.lax.fori_loop(0, levels - 1, add, jnp.zeros_like(like))
    return total / (levels - 1)


@dataclasses.dataclass(frozen=True)
class Categorical(ChannelLikelihood):
    """A categorical distribution over grey levels, whose outputs are one logit for each level of each channel.

    Attributes:
        levels: the number of grey levels.
    """

    levels: int
    discrete = True

    def __post_init__(self) -> None:
        require_levels(self.levels)

    @property
    def neutral(self) -> Sequence[float]:
        return (0.0,) * self.levels

    def _log_prob(self, parts: Array, x: Array, raw: ArrayLike | None) -> Array:
        level = level_of(x, self.levels)
        known = (level >= 0) & (level < self.levels)  # if not, also for a NaN, the result is NaN
        level = jnp.where(known, level, 0).astype(jnp.int32)[..., None]
        top = jax.lax.stop_gradient(jnp.max(parts, axis=-1, keepdims=True))
        chosen = jnp.take_along_axis(parts, level, axis=-1) - top
        log_mass = chosen - jnp.log(jnp.sum(jnp.exp(parts - top), axis=-1, keepdims=True))
        return jnp.where(known, log_mass[..., 0], jnp.nan)

    def _mean(self, parts: Array, raw: ArrayLike | None) -> Array:
        values = value_of(jnp.arange(self.levels), self.levels, parts.dtype)
        return jnp.matmul(jax.nn.softmax(parts), values, precision="highest")

    def _sample(self, key: Array, parts: Array, raw: ArrayLike | None) -> Array:
        return value_of(jax.random.categorical(key, parts), self.levels, parts.dtype)
