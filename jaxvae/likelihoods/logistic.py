"""Likelihoods of ordered grey levels: the logistic distribution on the grid of levels, and mixtures of it.

The probability of level v is that of the logistic distribution between v - 1/2 and v + 1/2. The first and the last
level also have the probability of the tails (Kingma et al. 2016, arXiv:1606.04934; Salimans et al. 2017,
arXiv:1701.05517). Here a parameterization's σ is the scale s of the logistic distribution, in units of x; its standard
deviation is s π / √3.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import require
from jaxvae.likelihoods.categorical import expected_value, level_of, require_levels, rounded
from jaxvae.likelihoods.family import START_STD, ChannelLikelihood, scaled_by, start
from jaxvae.parameterizations import Parameterization, log_variance


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _inverse_scale(p: Parameterization, raw: Array) -> Array:
    """Returns 1/s, kept finite, because infinity times a distance or a gain of 0 would be NaN."""
    return jnp.minimum(p.transform.power(raw, -p.exponent), float(np.finfo(raw.dtype).max))


@_inverse_scale.defjvp
def _inverse_scale_jvp(p: Parameterization, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (raw,), (draw,) = primals, tangents
    inverse = _inverse_scale(p, raw)
    return inverse, -inverse * p.log_std_gain(raw) * draw


def _log_mass(p: Parameterization, levels: int, loc: Array, raw: Array, x: Array) -> Array:
    """Returns log(σ(b) - σ(a)) with a, b = (v ∓ 1/2 - mean) / s, in units of one level.

    By the identity σ(b) - σ(a) = σ(b) σ(-a) (1 - e^(a - b)) it is a sum of logs of one sign, so that nothing cancels at
    any scale.
    """
    steps = levels - 1
    level, mean, inverse = level_of(x, levels), p.mean(loc, raw) * steps, _inverse_scale(p, raw) / steps
    below_upper = special.log_sigmoid((level + 0.5 - mean) * inverse)
    above_lower = special.log_sigmoid((mean - (level - 0.5)) * inverse)
    # For a small w = b - a = 1/s, log(1 - e^-w) is log w, which is right even if w itself underflows.
    wide = inverse < 1e-30
    width = jnp.where(wide, -p.log_std(raw) - math.log(steps), special.log1mexp(jnp.where(wide, 1, inverse)))
    inside = below_upper + above_lower + width
    return jnp.where(level <= 0, below_upper, jnp.where(level >= steps, above_lower, inside))


def _expectation(p: Parameterization, levels: int, loc: Array, raw: Array) -> Array:
    steps = levels - 1
    mean, inverse = p.mean(loc, raw) * steps, _inverse_scale(p, raw) / steps
    return expected_value(lambda edge: special.sigmoid((mean - edge) * inverse), levels, mean)


def _draw(p: Parameterization, levels: int, key: Array, loc: Array, raw: Array) -> Array:
    """Returns the value of the level nearest to a draw of the logistic distribution."""
    noise = jax.random.logistic(key, loc.shape, loc.dtype)
    scale = jnp.minimum(p.std(raw), float(np.finfo(loc.dtype).max))
    return rounded(p.mean(loc, raw) + scale * noise, levels)


@dataclasses.dataclass(frozen=True)
class DiscretizedLogistic(ChannelLikelihood):
    """A logistic distribution rounded to the nearest grey level, whose outputs are a loc and a raw number per channel.

    Attributes:
        levels: the number of grey levels.
        parameterization: how the scale s arises from a raw number.
        std: s at the neutral outputs, in units of x.
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
        return _log_mass(self.parameterization, self.levels, parts[..., 0], parts[..., 1], x)

    def _mean(self, parts: Array, raw: ArrayLike | None) -> Array:
        return _expectation(self.parameterization, self.levels, parts[..., 0], parts[..., 1])

    def _sample(self, key: Array, parts: Array, raw: ArrayLike | None) -> Array:
        return _draw(self.parameterization, self.levels, key, parts[..., 0], parts[..., 1])


@dataclasses.dataclass(frozen=True)
class DiscretizedLogisticMixture(ChannelLikelihood):
    """A mixture of M discretized logistic distributions for each channel.

    The outputs of each channel are M logits, M locs and M raw numbers. Unlike in PixelCNN++, the channels of a pixel
    are independent given the outputs.

    Attributes:
        levels: the number of grey levels.
        components: M, the number of components.
        parameterization: how the scale s arises from a raw number.
        std: s of every component at the neutral outputs, where the means are spread evenly over [0, 1].
    """

    levels: int
    components: int = 5
    parameterization: Parameterization = log_variance
    std: float = START_STD
    discrete = True

    def __post_init__(self) -> None:
        require_levels(self.levels)
        known, field = isinstance(self.components, int), "DiscretizedLogisticMixture.components"
        require(known and self.components >= 1, field, self.components, "at least 1")
        require(self.components <= 1000, field, self.components, "at most 1,000")
        object.__setattr__(self, "parameterization", scaled_by(self.parameterization, self.std))

    @property
    def neutral(self) -> Sequence[float]:
        means = [(m + 0.5) / self.components for m in range(self.components)]
        locs, raws = zip(*(start(self.parameterization, self.std, mean) for mean in means), strict=True)
        return (*[0.0] * self.components, *locs, *raws)

    def _components(self, parts: Array) -> tuple[Array, Array, Array]:
        """Returns the log-weights, locs and raw numbers, each (..., M)."""
        logits, loc, raw = jnp.split(parts, 3, axis=-1)
        return jax.nn.log_softmax(logits), loc, raw

    def _log_prob(self, parts: Array, x: Array, raw: ArrayLike | None) -> Array:
        log_weight, loc, raws = self._components(parts)
        log_mass = _log_mass(self.parameterization, self.levels, loc, raws, x[..., None])
        return jax.nn.logsumexp(log_weight + log_mass, axis=-1)

    def _mean(self, parts: Array, raw: ArrayLike | None) -> Array:
        log_weight, loc, raws = self._components(parts)
        return jnp.sum(jnp.exp(log_weight) * _expectation(self.parameterization, self.levels, loc, raws), axis=-1)

    def _sample(self, key: Array, parts: Array, raw: ArrayLike | None) -> Array:
        log_weight, loc, raws = self._components(parts)
        choice, noise = jax.random.split(key)
        component = jax.random.categorical(choice, log_weight)[..., None]
        loc, raws = (jnp.take_along_axis(a, component, axis=-1)[..., 0] for a in (loc, raws))
        return _draw(self.parameterization, self.levels, noise, loc, raws)
