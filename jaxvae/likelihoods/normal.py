"""Gaussian likelihoods of pixels, whose σ is constant, learned once, an output for every pixel, or the best one."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae import gaussian, special
from jaxvae.arguments import require, require_numbers, require_real, require_shapes
from jaxvae.gaussian import Gaussian
from jaxvae.likelihoods.family import START_STD, ChannelLikelihood, scaled_by, start
from jaxvae.parameterizations import Parameterization, as_parameterization, direct_std, log_variance

SMALLEST_STD = math.exp(-6)
"""The lower bound of the best σ, 0.6 grey levels of 256; in σ-VAE's code it is a soft bound."""


class GaussianLikelihood(ChannelLikelihood):
    """The base class of Gaussian likelihoods, which make a ``Gaussian`` from the outputs and ``raw``."""

    def _gaussian(self, parts: Array, raw: ArrayLike | None) -> Gaussian:
        """Returns p(x | outputs) for parts (..., k)."""
        raise NotImplementedError

    def _log_prob(self, parts: Array, x: Array, raw: ArrayLike | None) -> Array:
        return gaussian.log_prob(self._gaussian(parts, raw), x)

    def _mean(self, parts: Array, raw: ArrayLike | None) -> Array:
        return self._gaussian(parts, raw).mean

    def _sample(self, key: Array, parts: Array, raw: ArrayLike | None) -> Array:
        return gaussian.sample(key, self._gaussian(parts, raw))


@dataclasses.dataclass(frozen=True)
class FixedGaussian(GaussianLikelihood):
    """A Gaussian with one constant σ, whose outputs are means; up to a constant, -log p is the squared error / (2σ²).

    Attributes:
        std: σ, in units of x.
    """

    std: float = START_STD

    def __post_init__(self) -> None:
        require_numbers(std=self.std)
        least, most = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
        require(least <= self.std <= most, "FixedGaussian.std", self.std, "positive and finite")

    @property
    def neutral(self) -> Sequence[float]:
        return (0.5,)

    def _gaussian(self, parts: Array, raw: ArrayLike | None) -> Gaussian:
        return Gaussian(parts[..., 0], jnp.float32(self.std), direct_std)


@dataclasses.dataclass(frozen=True)
class LearnedGaussian(GaussianLikelihood):
    """A Gaussian whose outputs are locs, and whose σ arises from ``raw``, one number that the model learns.

    Attributes:
        parameterization: how σ arises from ``raw``.
        std: σ at the start.
    """

    parameterization: Parameterization = log_variance
    std: float = START_STD

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameterization", scaled_by(self.parameterization, self.std))

    @property
    def raw_init(self) -> float:
        return start(self.parameterization, self.std)[1]

    @property
    def neutral(self) -> Sequence[float]:
        return start(self.parameterization, self.std)[:1]

    def _gaussian(self, parts: Array, raw: ArrayLike | None) -> Gaussian:
        return Gaussian(parts[..., 0], _given(raw), self.parameterization)


@dataclasses.dataclass(frozen=True)
class PixelGaussian(GaussianLikelihood):
    """A Gaussian with its own σ for every pixel; its outputs are a loc and a raw number for each channel.

    If a pixel never varies, its σ goes to 0 during training.

    Attributes:
        parameterization: how σ arises from a raw number.
        std: σ at the neutral outputs.
    """

    parameterization: Parameterization = log_variance
    std: float = START_STD

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameterization", scaled_by(self.parameterization, self.std))

    @property
    def neutral(self) -> Sequence[float]:
        return start(self.parameterization, self.std)

    def _gaussian(self, parts: Array, raw: ArrayLike | None) -> Gaussian:
        return Gaussian(parts[..., 0], parts[..., 1], self.parameterization)


@dataclasses.dataclass(frozen=True)
class OptimalGaussian(GaussianLikelihood):
    """A Gaussian whose outputs are means; without ``raw``, its σ² is the mean squared error.

    The mean is over everything that ``log_prob`` is given; under ``vmap`` or ``shard_map`` this is what one instance
    sees. This σ has the highest likelihood, in closed form (Rybkin et al. 2021, arXiv:2006.13202). No gradient flows
    through it. At the optimum, the derivative of the likelihood with respect to σ is 0; the gradient with respect to
    the outputs is therefore still that of the loss D/2 log MSE. If σ is at its bound, ``SMALLEST_STD``, it is the
    gradient for a constant σ. Second derivatives are those for a constant σ.

    With ``raw``, σ arises from it through the parameterization. ``fit`` gives ``raw`` for evaluation, from the error on
    the training data.
    """

    separable = False

    parameterization: Parameterization = log_variance

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameterization", as_parameterization(self.parameterization))

    @property
    def neutral(self) -> Sequence[float]:
        return (0.5,)

    def fit(self, mean_squared_error: ArrayLike) -> Array:
        """Returns the raw number whose σ is the root of this error, kept in range and above ``SMALLEST_STD``."""
        require_real(mean_squared_error=mean_squared_error)
        error = jnp.asarray(mean_squared_error, special.compute_dtype(mean_squared_error))
        low, high, _ = self.parameterization.std_range
        std = jnp.sqrt(jnp.maximum(error, SMALLEST_STD**2))
        # σ stays a thousandth inside the range, because raw is infinite at an open end.
        return self.parameterization.raw_from_std(jnp.clip(std, 1.001 * low, 0.999 * high))

    def _gaussian(self, parts: Array, raw: ArrayLike | None) -> Gaussian:
        raw = _given(raw)
        return Gaussian(self.parameterization.loc_from_mean(parts[..., 0], raw), raw, self.parameterization)

    def _log_prob(self, parts: Array, x: Array, raw: ArrayLike | None) -> Array:
        if raw is None:
            raw = self.fit(jax.lax.stop_gradient(jnp.mean(jnp.square(x - parts[..., 0]))))
        return super()._log_prob(parts, x, raw)

    def _mean(self, parts: Array, raw: ArrayLike | None) -> Array:
        return parts[..., 0]


def _given(raw: ArrayLike | None) -> Array:
    if raw is None:
        raise ValueError("raw must be the number that σ arises from, got None")
    require_shapes("()", raw=raw)
    return jnp.asarray(raw)
