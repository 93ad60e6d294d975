"""Real numbers: Gaussian, with heavier tails, positive, in an interval, or on a circle.

A scale arises from a raw number through a ``Parameterization``, another positive number through a ``Transform``. Where
features are measured in units of their own, ``standard`` says these: outputs and scales are in them, x and its density
are not.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae import gaussian, special
from jaxvae.gaussian import Gaussian
from jaxvae.likelihoods.densities import log_beta_density, log_gamma_density, log_student_t, log_von_mises
from jaxvae.likelihoods.family import START_STD, scaled_by, start
from jaxvae.likelihoods.roles import EXP, Role, RoleLikelihood, require_scope, start_of
from jaxvae.likelihoods.standard import PLAIN, Standard
from jaxvae.parameterizations import Parameterization, log_variance
from jaxvae.transforms import Transform

START_FREEDOM = 4.0
"""Student's degrees of freedom at the start."""
START_TOTAL = 2.0
"""The Beta's a + b at the start, which with a mean of 1/2 is the uniform."""


@dataclasses.dataclass(frozen=True)
class ScaledLikelihood(RoleLikelihood):
    """What those share that have a location and a scale.

    Attributes:
        parameterization: how the scale arises from a raw.
        std: the scale at the start.
        scope: whether the scale differs by "example" (an output) or "feature" (learned), is one for "all" (learned), or
            stays ("fixed").
        center: the mean at the neutral outputs.
        standard: the units of the features; of a log-normal those of log x.
    """

    parameterization: Parameterization = log_variance
    std: float = START_STD
    scope: str = "example"
    center: float = 0.0
    standard: Standard = PLAIN

    def __post_init__(self) -> None:
        require_scope(f"{type(self).__name__}.scope", self.scope)
        object.__setattr__(self, "parameterization", scaled_by(self.parameterization, self.std))

    @property
    def roles(self) -> tuple[Role, ...]:
        loc, raw = start(self.parameterization, self.std, self.center)
        return Role("loc", "example", loc), Role("scale", self.scope, raw)

    @property
    def joint(self) -> bool:  # type: ignore[override]
        """Whether features have units of their own, which are those of the last axis."""
        return bool(self.standard)

    def encoder_input(self, x: Array) -> Array:
        """x in units of its features."""
        return self.standard.forward(x)

    def _standardized(self, parts: Array, x: Array) -> tuple[Array, Array]:
        """(x - loc) / scale, and the log of the scale."""
        p, loc, raw = self.parameterization, parts[..., 0], parts[..., 1]
        return p.standardize(self.standard.forward(x), loc, raw), p.log_std(raw) + self.standard.log_scale(x)

    def _mean(self, parts: Array, raw: Any) -> Array:
        return self.standard.inverse(self.parameterization.mean(parts[..., 0], parts[..., 1]))

    def _moved(self, parts: Array, noise: Array) -> Array:
        """loc + scale noise."""
        return self._mean(parts, None) + self.standard.scaled(self.parameterization.std(parts[..., 1]) * noise)

    def _gaussian(self, parts: Array) -> Gaussian:
        """In units of the features."""
        return Gaussian(parts[..., 0], parts[..., 1], self.parameterization)


@dataclasses.dataclass(frozen=True)
class Normal(ScaledLikelihood):
    """Outputs are locs, and raws of σ where that is an output: a Gaussian, of which each feature may have its own σ."""

    def _log_prob(self, parts: Array, x: Array, raw: Any) -> Array:
        return gaussian.log_prob(self._gaussian(parts), self.standard.forward(x)) - self.standard.log_scale(x)

    def _sample(self, key: Array, parts: Array, raw: Any) -> Array:
        return self.standard.inverse(gaussian.sample(key, self._gaussian(parts)))


@dataclasses.dataclass(frozen=True)
class StudentT(ScaledLikelihood):
    """Outputs are locs, and raws of the scale where that is an output; ν, the degrees of freedom, is learned.

    ``mean`` is the location, of which the mean has none where ν is at most 1. As ν grows it tends to the Gaussian.

    Attributes:
        freedom: from a raw to ν.
        freedom_scope: as ``scope``, for ν.
    """

    freedom: Transform = EXP
    freedom_scope: str = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_scope("StudentT.freedom_scope", self.freedom_scope)
        start_of(self.freedom, math.log(START_FREEDOM))

    @property
    def roles(self) -> tuple[Role, ...]:
        return *super().roles, Role("freedom", self.freedom_scope, start_of(self.freedom, math.log(START_FREEDOM)))

    def _log_prob(self, parts: Array, x: Array, raw: Any) -> Array:
        z, log_std = self._standardized(parts, x)
        return log_student_t(z, self.freedom.log_forward(parts[..., 2])) - log_std

    def _sample(self, key: Array, parts: Array, raw: Any) -> Array:
        # A Gaussian over the root of an independent Gamma(θ, 1) / θ, θ = ν / 2.
        first, second = jax.random.split(key)
        noise = jax.random.normal(first, parts.shape[:-1], parts.dtype)
        log_theta = jnp.minimum(self.freedom.log_forward(parts[..., 2]) - math.log(2), 30)
        log_gamma = jax.random.loggamma(second, special.exp(log_theta))
        return self._moved(parts, noise * special.exp((log_theta - log_gamma) / 2))


@dataclasses.dataclass(frozen=True)
class Laplace(ScaledLikelihood):
    """Outputs are locs, and raws of the scale b where that is an output: the density e^(-|x - loc| / b) / 2b."""

    def _log_prob(self, parts: Array, x: Array, raw: Any) -> Array:
        z, log_std = self._standardized(parts, x)
        return -jnp.abs(z) - log_std - math.log(2)

    def _sample(self, key: Array, parts: Array, raw: Any) -> Array:
        return self._moved(parts, jax.random.laplace(key, parts.shape[:-1], parts.dtype))


@dataclasses.dataclass(frozen=True)
class LogNormal(ScaledLikelihood):
    """Outputs are the mean of log x, and raws of its σ where that is an output. x is positive."""

    def encoder_input(self, x: Array) -> Array:
        """log x in units of its features, where these are known."""
        return self.standard.forward(jnp.log(x)) if self.standard else x

    def _log_prob(self, parts: Array, x: Array, raw: Any) -> Array:
        positive = x > 0
        log_x = special.log(jnp.where(positive, x, 1))
        inside = gaussian.log_prob(self._gaussian(parts), self.standard.forward(log_x)) - log_x
        return jnp.where(positive, inside - self.standard.log_scale(x), jnp.where(x == 0, -jnp.inf, jnp.nan))

    def _mean(self, parts: Array, raw: Any) -> Array:
        q = self._gaussian(parts)
        return special.exp(self.standard.inverse(q.mean) + self.standard.scaled(self.standard.scaled(q.variance)) / 2)

    def _sample(self, key: Array, parts: Array, raw: Any) -> Array:
        return special.exp(self.standard.inverse(gaussian.sample(key, self._gaussian(parts))))


@dataclasses.dataclass(frozen=True)
class Gamma(RoleLikelihood):
    """Outputs are raws of the mean μ; of the shape a too, where that is an output. x is positive, of variance μ² / a.

    Attributes:
        transform: from a raw to the mean.
        shape: from a raw to a, which is 1 at the start: then it is the exponential distribution.
        scope: whether a differs by "example" (an output), by "feature" (learned), or is one for "all" (learned).
        standard: the units of log x: means are in units of e^loc, and an encoder sees log x in both.
    """

    transform: Transform = EXP
    shape: Transform = EXP
    scope: str = "feature"
    standard: Standard = PLAIN

    def __post_init__(self) -> None:
        require_scope("Gamma.scope", self.scope)
        for transform in (self.transform, self.shape):
            start_of(transform)

    @property
    def roles(self) -> tuple[Role, ...]:
        return Role("mean", "example", start_of(self.transform)), Role("shape", self.scope, start_of(self.shape))

    @property
    def joint(self) -> bool:  # type: ignore[override]
        """Whether features have units of their own, which are those of the last axis."""
        return bool(self.standard)

    def encoder_input(self, x: Array) -> Array:
        """log x in units of its features, where these are known."""
        return self.standard.forward(jnp.log(x)) if self.standard else x

    def _logs(self, parts: Array) -> tuple[Array, Array]:
        """log μ, in the units of x, and log a."""
        log_mean = self.transform.log_forward(parts[..., 0])
        return log_mean + self.standard.inverse(jnp.zeros_like(log_mean)), self.shape.log_forward(parts[..., 1])

    def _log_prob(self, parts: Array, x: Array, raw: Any) -> Array:
        return log_gamma_density(x, *self._logs(parts))

    def _mean(self, parts: Array, raw: Any) -> Array:
        return special.exp(self._logs(parts)[0]) if self.standard else self.transform.forward(parts[..., 0])

    def _sample(self, key: Array, parts: Array, raw: Any) -> Array:
        log_mean, log_shape = self._logs(parts)
        log_shape = jnp.minimum(log_shape, 30)
        return special.exp(log_mean + (jax.random.loggamma(key, special.exp(log_shape)) - log_shape))


@dataclasses.dataclass(frozen=True)
class Beta(RoleLikelihood):
    """Outputs are logits of the mean m; raws of n = a + b too, where that is an output. x lies in (0, 1).

    The variance is m (1 - m) / (n + 1).

    Attributes:
        total: from a raw to n, which is 2 at the start.
        scope: whether n differs by "example" (an output), by "feature" (learned), or is one for "all" (learned).
    """

    total: Transform = EXP
    scope: str = "feature"

    def __post_init__(self) -> None:
        require_scope("Beta.scope", self.scope)
        start_of(self.total, math.log(START_TOTAL))

    @property
    def roles(self) -> tuple[Role, ...]:
        return Role("mean", "example", 0.0), Role("total", self.scope, start_of(self.total, math.log(START_TOTAL)))

    def _log_prob(self, parts: Array, x: Array, raw: Any) -> Array:
        return log_beta_density(x, parts[..., 0], self.total.log_forward(parts[..., 1]))

    def _mean(self, parts: Array, raw: Any) -> Array:
        return special.sigmoid(parts[..., 0])

    def _sample(self, key: Array, parts: Array, raw: Any) -> Array:
        # a-Gamma over the sum of an a-Gamma and a b-Gamma, by their logs.
        log_n = jnp.minimum(self.total.log_forward(parts[..., 1]), 30)
        first, second = (
            jax.random.loggamma(k, special.exp(log_n + special.log_sigmoid(r)))
            for k, r in zip(jax.random.split(key), (parts[..., 0], -parts[..., 0]), strict=True)
        )
        return special.sigmoid(first - second)


@dataclasses.dataclass(frozen=True)
class VonMises(RoleLikelihood):
    """Outputs are angles, in radians; raws of the concentration κ too, where that is an output. x is an angle.

    Near its location it is a Gaussian of variance 1 / κ, as κ grows. ``mean`` is the location, in [-π, π].

    Attributes:
        concentration: from a raw to κ, which is 1 at the start.
        scope: whether κ differs by "example" (an output), by "feature" (learned), or is one for "all" (learned).
    """

    concentration: Transform = EXP
    scope: str = "feature"

    def __post_init__(self) -> None:
        require_scope("VonMises.scope", self.scope)
        start_of(self.concentration)

    @property
    def roles(self) -> tuple[Role, ...]:
        return Role("loc", "example", 0.0), Role("concentration", self.scope, start_of(self.concentration))

    def _log_prob(self, parts: Array, x: Array, raw: Any) -> Array:
        return log_von_mises(x - parts[..., 0], self.concentration.log_forward(parts[..., 1]))

    def _mean(self, parts: Array, raw: Any) -> Array:
        return _wrapped(parts[..., 0])

    def _sample(self, key: Array, parts: Array, raw: Any) -> Array:
        kappa = special.exp(jnp.minimum(self.concentration.log_forward(parts[..., 1]), 30))
        return _wrapped(parts[..., 0] + _draw_angle(key, kappa))


def _wrapped(angle: Array) -> Array:
    return angle - 2 * math.pi * jnp.round(angle / (2 * math.pi))


def _draw_angle(key: Array, kappa: Array) -> Array:
    """By rejection from a wrapped Cauchy distribution (Best & Fisher 1979), in terms of half the angle φ.

    The proposal has tan(φ / 2) = s c, of a Cauchy variate c and s² = 1 / (1 + 4κ). With y = sin²(φ / 2) the ratio of
    the two densities goes with e^(-2κ y) (1 + 4κ y), whose maximum is at 4κ y = 1, or at y = 1 if that is less.
    """
    scale, most = jnp.sqrt(1 / (1 + 4 * kappa)), jnp.minimum(4 * kappa, 1)

    def more(state: tuple[Array, Array, Array]) -> Array:
        return jnp.any(~state[1])

    def attempt(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        key, done, found = state
        key, first, second = jax.random.split(key, 3)
        half = jnp.arctan(scale * jax.random.cauchy(first, kappa.shape, kappa.dtype))
        q = 4 * kappa * jnp.square(jnp.sin(half))
        accepted = jax.random.exponential(second, kappa.shape, kappa.dtype) >= (
            (q - most) / 2 - jnp.log1p(q) + jnp.log1p(most)
        )
        return key, done | accepted, jnp.where(done, found, 2 * half)

    known = jnp.isfinite(kappa)
    return jax.lax.while_loop(more, attempt, (key, ~known, jnp.where(known, 0, jnp.nan).astype(kappa.dtype)))[2]
