"""Grey levels in order: the logistic distribution on the grid of levels, and mixtures of it.

Level v has the mass of the logistic distribution between v - 1/2 and v + 1/2; the first and the last level take the
tails as well (Kingma et al. 2016, arXiv:1606.04934; Salimans et al. 2017, arXiv:1701.05517). A parameterization's
σ is here the logistic's scale s, in units of x; the logistic's standard deviation is s π / √3.
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
    """1/s, kept finite, so that it doesn't meet a distance or a gain of 0."""
    return jnp.minimum(p.transform.power(raw, -p.exponent), float(np.finfo(raw.dtype).max))


@_inverse_scale.defjvp
def _inverse_scale_jvp(p: Parameterization, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (raw,), (draw,) = primals, tangents
    inverse = _inverse_scale(p, raw)
    return inverse, -inverse * p.log_std_gain(raw) * draw


def _log_mass(p: Parameterization, levels: int, loc: Array, raw: Array, x: Array) -> Array:
    """log(σ(b) - σ(a)) with a, b = (v ∓ 1/2 - mean) / s, in units of one level.

    By σ(b) - σ(a) = σ(b) σ(-a) (1 - e^(a - b)) a sum of logs of one sign: nothing cancels, at any scale.
    """
    steps = levels - 1
    level, mean, inverse = level_of(x, levels), p.mean(loc, raw) * steps, _inverse_scale(p, raw) / steps
    below_upper = special.log_sigmoid((level + 0.5 - mean) * inverse)
    above_lower = special.log_sigmoid((mean - (level - 0.5)) * inverse)
    # b - a = 1/s. Where that is small, log(1 - e^-w) = log w, which is right also where w itself underflows.
    wide = inverse < 1e-30
    width = jnp.where(wide, -p.log_std(raw) - math.log(steps), special.log1mexp(jnp.where(wide, 1, inverse)))
    inside = below_upper + above_lower + width
    return jnp.where(level <= 0, below_upper, jnp.where(level >= steps, above_lower, inside))


def _expectation(p: Parameterization, levels: int, loc: Array, raw: Array) -> Array:
    steps = levels - 1
    mean, inverse = p.mean(loc, raw) * steps, _inverse_scale(p, raw) / steps
    return expected_value(lambda edge: special.sigmoid((mean - edge) * inverse), levels, mean)


def _draw(p: Parameterization, levels: int, key: Array, loc: Array, raw: Array) -> Array:
    """The level nearest to a logistic draw."""
    noise = jax.random.logistic(key, loc.shape, loc.dtype)
    scale = jnp.minimum(p.std(raw), float(np.finfo(loc.dtype).max))
    return rounded(p.mean(loc, raw) + scale * noise, levels)


@dataclasses.dataclass(frozen=True)
class DiscretizedLogistic(ChannelLikelihood):
    """Outputs are locs, then raws.

    Attributes:
        levels: the number of grey levels.
        parameterization: how the scale s arises from a raw.
        std: s at the neutral outputs.
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
    """Outputs are M logits, M locs, M raws: a mixture of M logistics for every channel by itself.

    Unlike PixelCNN++'s, the channels of a pixel don't condition one another.

    Attributes:
        levels: the number of grey levels.
        components: M.
        parameterization: how the scale s arises from a raw.
        std: s of every component at the neutral outputs, where their means are spread evenly over [0, 1].
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
        """Log-weights, locs and raws, each (..., M)."""
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
