"""Gaussian pixels: σ fixed, learned as one number, given by the decoder for every pixel, or the best there is."""

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
"""Where the best σ stops, 0.6 of 256 grey levels: the bound of σ-VAE's code, there a soft one."""


class GaussianLikelihood(ChannelLikelihood):
    """What these share: outputs and ``raw`` make a ``Gaussian``, and that does the rest."""

    def _gaussian(self, parts: Array, raw: ArrayLike | None) -> Gaussian:
        """p(x | outputs) from parts (..., k)."""
        raise NotImplementedError

    def _log_prob(self, parts: Array, x: Array, raw: ArrayLike | None) -> Array:
        return gaussian.log_prob(self._gaussian(parts, raw), x)

    def _mean(self, parts: Array, raw: ArrayLike | None) -> Array:
        return self._gaussian(parts, raw).mean

    def _sample(self, key: Array, parts: Array, raw: ArrayLike | None) -> Array:
        return gaussian.sample(key, self._gaussian(parts, raw))


@dataclasses.dataclass(frozen=True)
class FixedGaussian(GaussianLikelihood):
    """Outputs are means; one constant σ, so that -log p is the squared error / (2σ²), up to a constant.

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
    """Outputs are locs; ``raw`` is one number that the model learns.

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
    """Outputs are locs, then raws: a σ for every pixel. A pixel that never varies drives its own to 0.

    Attributes:
        parameterization: how σ arises from a raw.
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
    """Outputs are means; without ``raw``, σ² is the mean squared error of all that ``log_prob`` is given.

    That is the σ of highest likelihood, in closed form (Rybkin et al. 2021, arXiv:2006.13202). No gradient flows
    through it: at the optimum the likelihood's slope in σ is 0, so that the gradient by the outputs is that of
    the loss D/2 log MSE all the same, and where σ is held up by ``SMALLEST_STD`` it is that of a constant σ.
    (Second derivatives are those at constant σ.) Under ``vmap`` or ``shard_map`` "all" is what one of them sees.

    With ``raw`` σ is that of the parameterization; ``fit`` gives it, from the training data's error, for evaluation.
    """

    separable = False

    parameterization: Parameterization = log_variance

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameterization", as_parameterization(self.parameterization))

    @property
    def neutral(self) -> Sequence[float]:
        return (0.5,)

    def fit(self, mean_squared_error: ArrayLike) -> Array:
        """The raw whose σ is the root of this error, or the nearest in range and above ``SMALLEST_STD``."""
        require_real(mean_squared_error=mean_squared_error)
        error = jnp.asarray(mean_squared_error, special.compute_dtype(mean_squared_error))
        low, high, _ = self.parameterization.std_range
        std = jnp.sqrt(jnp.maximum(error, SMALLEST_STD**2))
        # A thousandth inside the range: at an open end raw is infinite.
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
