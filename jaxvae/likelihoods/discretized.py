"""The discretized Gaussian, on the grid of grey levels.

The probability of level v is that of the Gaussian between v - 1/2 and v + 1/2. The first and the last level also have
the probability of the tails.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxvae import gaussian, special
from jaxvae.distribution_functions import log_bin_probability
from jaxvae.gaussian import Gaussian
from jaxvae.likelihoods.categorical import expected_value, level_of, require_levels, rounded
from jaxvae.likelihoods.family import START_STD, ChannelLikelihood, scaled_by, start
from jaxvae.parameterizations import Parameterization, log_variance


@dataclasses.dataclass(frozen=True)
class DiscretizedGaussian(ChannelLikelihood):
    """A Gaussian that is rounded to the nearest grey level, whose outputs are a loc and a raw number for each channel.

    Attributes:
        levels: the number of grey levels.
        parameterization: how σ arises from a raw number.
        std: σ at the neutral outputs, in units of x.
    """

    levels: int
    parameterization: Parameterization = log_variance
    std: float = START_STD
    discrete = True

    def __post_init__(self) -> None:
        require_levels(self.levels)
        object.__setattr__(self, "parameterization", scaled_by(self.parameterization, self.std))

    @property
    def neutral(self) -> Sequence[float]:
        return start(self.parameterization, self.std)

    def _log_prob(self, parts: Array, x: Array, raw: ArrayLike | None) -> Array:
        level, steps = level_of(x, self.levels), self.levels - 1
        low = jnp.where(level <= 0, -jnp.inf, (level - 0.5) / steps)
        high = jnp.where(level >= steps, jnp.inf, (level + 0.5) / steps)
        width = jnp.where((level <= 0) | (level >= steps), jnp.inf, 1 / steps)
        return log_bin_probability(self.parameterization, low, high, width, parts[..., 0], parts[..., 1])

    def _mean(self, parts: Array, raw: ArrayLike | None) -> Array:
        p, loc, raws = self.parameterization, parts[..., 0], parts[..., 1]
        steps = self.levels - 1

        def survival(edge: Array) -> Array:
            return special.ndtr(-p.standardize(jnp.full_like(loc, edge / steps), loc, raws))

        return expected_value(survival, self.levels, loc)

    def _sample(self, key: Array, parts: Array, raw: ArrayLike | None) -> Array:
        return rounded(gaussian.sample(key, Gaussian(parts[..., 0], parts[..., 1], self.parameterization)), self.levels)
