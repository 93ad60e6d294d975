"""Likelihoods of real numbers: Gaussian, with heavier tails, positive, in an interval, or on a circle.

A scale arises from a raw number through a ``Parameterization``, any other positive number through a ``Transform``. If
features are measured in units of their own, ``standard`` gives the units: outputs and scales are in these units, but x
and its density aren't.
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
from jaxvae.likelihoods.roles import EXP, Numbers, Role, RoleLikelihood, require_scope, start_of
from jaxvae.likelihoods.standard import PLAIN, Standard
from jaxvae.parameterizations import Parameterization, log_variance
from jaxvae.transforms import Transform

START_FREEDOM = 4.0
"""The degrees of freedom of the Student-t distribution at the start."""
START_TOTAL = 2.0
"""The beta distribution's a + b at the start; with a mean of 1/2, it is the uniform distribution."""


@dataclasses.dataclass(frozen=True)
class ScaledLikelihood(RoleLikelihood):
    """The base class of likelihoods with a location and a scale.

    Attributes:
        parameterization: how the scale arises from a raw number.
        std: the scale at the start.
        scope: whether the scale is an output ("example"), learned for each feature ("feature"), learned once for all
            ("all"), or constant ("fixed").
        center: the mean at the neutral outputs.
        standard: the units of the features; for a log-normal distribution, those of log x.
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
        """Whether features, on the last axis, have units of their own."""
        return bool(self.standard)

    def encoder_input(self, x: Array) -> Array:
        """Returns x in units of its features."""
        return self.standard.forward(x)

    def _first_output(self, mean: Array) -> Array:
        if self.standard:  # the units are those in which the mean is 0
            return jnp.full_like(mean, self.neutral[0])
        return self.parameterization.loc_from_mean(self._center_at(mean), self.roles[1].start)

    def _center_at(self, mean: Array) -> Array:
        """Returns the mean of what the Gaussian or its like describes, for each mean of x."""
        return mean

    def _standardized(self, parts: Numbers, x: Array) -> tuple[Array, Array]:
        """Returns (x - loc) / scale, and the log of the scale in units of x."""
        p, loc, raw = self.parameterization, parts[0], parts[1]
        return p.standardize(self.standard.forward(x), loc, raw), p.log_std(raw) + self.standard.log_scale(x)

    def _mean(self, parts: Numbers, raw: Any) -> Array:
        return self.standard.inverse(self.parameterization.mean(parts[0], parts[1]))

    def _moved(self, parts: Numbers, noise: Array) -> Array:
        """Returns loc + scale · noise, in units of x."""
        return self._mean(parts, None) + self.standard.scaled(self.parameterization.std(parts[1]) * noise)

    def _gaussian(self, parts: Numbers) -> Gaussian:
        """Returns the Gaussian, in units of the features."""
        return Gaussian(parts[0], parts[1], self.parameterization)


@dataclasses.dataclass(frozen=True)
class Normal(ScaledLikelihood):
    """A Gaussian for each feature, whose outputs are locs and, if ``scope`` is "example", raw numbers for σ."""

    def _log_prob(self, parts: Numbers, x: Array, raw: Any) -> Array:
        return gaussian.log_prob(self._gaussian(parts), self.standard.forward(x)) - self.standard.log_scale(x)

    def _sample(self, key: Array, parts: Numbers, raw: Any) -> Array:
        return self.standard.inverse(gaussian.sample(key, self._gaussian(parts)))


@dataclasses.dataclass(frozen=True)
class StudentT(ScaledLikelihood):
    """The Student-t distribution, whose outputs are locs and, if ``scope`` is "example", raw numbers for the scale.

    The degrees of freedom ν are learned by default. ``mean`` is the location, even for ν of at most 1, where the mean
    isn't defined. As ν grows, the distribution tends to the Gaussian.

    Attributes:
        freedom: the transform from a raw number to ν.
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

    def _log_prob(self, parts: Numbers, x: Array, raw: Any) -> Array:
        z, log_std = self._standardized(parts, x)
        return log_student_t(z, self.freedom.log_forward(parts[2])) - log_std

    def _sample(self, key: Array, parts: Numbers, raw: Any) -> Array:
        # The noise is a Gaussian, divided by the root of an independent Gamma(θ, 1) / θ with θ = ν / 2.
        first, second = jax.random.split(key)
        noise = jax.random.normal(first, parts[0].shape, parts[0].dtype)
        log_theta = jnp.minimum(self.freedom.log_forward(parts[2]) - math.log(2), 30)
        log_gamma = jax.random.loggamma(second, special.exp(log_theta))
        return self._moved(parts, noise * special.exp((log_theta - log_gamma) / 2))


@dataclasses.dataclass(frozen=True)
class Laplace(ScaledLikelihood):
    """The Laplace distribution, whose outputs are locs and, if ``scope`` is "example", raw numbers for the scale b.

    Its density is e^(-|x - loc| / b) / (2b).
    """

    def _log_prob(self, parts: Numbers, x: Array, raw: Any) -> Array:
        z, log_std = self._standardized(parts, x)
        return -jnp.abs(z) - log_std - math.log(2)

    def _sample(self, key: Array, parts: Numbers, raw: Any) -> Array:
        return self._moved(parts, jax.random.laplace(key, parts[0].shape, parts[0].dtype))


@dataclasses.dataclass(frozen=True)
class LogNormal(ScaledLikelihood):
    """The log-normal distribution of x > 0, whose outputs are the mean of log x.

    If ``scope`` is "example", raw numbers for the σ of log x are outputs, too.
    """

    def encoder_input(self, x: Array) -> Array:
        """Returns log x in units of its features."""
        return self.standard.forward(jnp.log(x))

    def _center_at(self, mean: Array) -> Array:
        return jnp.log(mean) - self.std**2 / 2

    def _log_prob(self, parts: Numbers, x: Array, raw: Any) -> Array:
        positive = x > 0
        log_x = special.log(jnp.where(positive, x, 1))
        inside = gaussian.log_prob(self._gaussian(parts), self.standard.forward(log_x)) - log_x
        return jnp.where(positive, inside - self.standard.log_scale(x), jnp.where(x == 0, -jnp.inf, jnp.nan))

    def _mean(self, parts: Numbers, raw: Any) -> Array:
        q = self._gaussian(parts)
        return special.exp(self.standard.inverse(q.mean) + self.standard.scaled(self.standard.scaled(q.variance)) / 2)

    def _sample(self, key: Array, parts: Numbers, raw: Any) -> Array:
        return special.exp(self.standard.inverse(gaussian.sample(key, self._gaussian(parts))))


@dataclasses.dataclass(frozen=True)
class Gamma(RoleLikelihood):
    """The gamma distribution of x > 0, of mean μ, shape a and variance μ² / a.

    The outputs are raw numbers for μ. If ``scope`` is "example", raw numbers for a are outputs, too.

    Attributes:
        transform: the transform from a raw number to μ.
        shape: the transform from a raw number to a, which is 1 at the start; this is the exponential distribution.
        scope: whether a is an output ("example"), learned for each feature ("feature"), learned once for all ("all"),
            or constant ("fixed").
        standard: the units of log x; means are in units of e^loc, and an encoder sees (log x - loc) / scale.
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
        """Whether features, on the last axis, have units of their own."""
        return bool(self.standard)

    def encoder_input(self, x: Array) -> Array:
        """Returns log x in units of its features."""
        return self.standard.forward(jnp.log(x))

    def _first_output(self, mean: Array) -> Array:
        return self.transform.log_inverse(jnp.zeros_like(mean) if self.standard else jnp.log(mean))

    def _logs(self, parts: Numbers) -> tuple[Array, Array]:
        """Returns log μ, for μ in the units of x, and log a."""
        log_mean = self.transform.log_forward(parts[0])
        return log_mean + self.standard.inverse(jnp.zeros_like(log_mean)), self.shape.log_forward(parts[1])

    def _log_prob(self, parts: Numbers, x: Array, raw: Any) -> Array:
        return log_gamma_density(x, *self._logs(parts))

    def _mean(self, parts: Numbers, raw: Any) -> Array:
        return special.exp(self._logs(parts)[0]) if self.standard else self.transform.forward(parts[0])

    def _sample(self, key: Array, parts: Numbers, raw: Any) -> Array:
        log_mean, log_shape = self._logs(parts)
        log_shape = jnp.minimum(log_shape, 30)
        return special.exp(log_mean + (jax.random.loggamma(key, special.exp(log_shape)) - log_shape))


@dataclasses.dataclass(frozen=True)
class Beta(RoleLikelihood):
    """The beta distribution of x in (0, 1), of mean m and variance m (1 - m) / (n + 1), where n = a + b.

    The outputs are logits of m. If ``scope`` is "example", raw numbers for n are outputs, too.

    Attributes:
        total: the transform from a raw number to n, which is 2 at the start.
        scope: whether n is an output ("example"), learned for each feature ("feature"), learned once for all ("all"),
            or constant ("fixed").
    """

    total: Transform = EXP
    scope: str = "feature"

    def __post_init__(self) -> None:
        require_scope("Beta.scope", self.scope)
        start_of(self.total, math.log(START_TOTAL))

    @property
    def roles(self) -> tuple[Role, ...]:
        return Role("mean", "example", 0.0), Role("total", self.scope, start_of(self.total, math.log(START_TOTAL)))

    def _first_output(self, mean: Array) -> Array:
        return jnp.log(mean) - jnp.log1p(-mean)

    def _log_prob(self, parts: Numbers, x: Array, raw: Any) -> Array:
        return log_beta_density(x, parts[0], self.total.log_forward(parts[1]))

    def _mean(self, parts: Numbers, raw: Any) -> Array:
        return special.sigmoid(parts[0])

    def _sample(self, key: Array, parts: Numbers, raw: Any) -> Array:
        # x is A / (A + B) with A ~ Gamma(a, 1) and B ~ Gamma(b, 1), computed from their logs.
        log_n = jnp.minimum(self.total.log_forward(parts[1]), 30)
        first, second = (
            jax.random.loggamma(k, special.exp(log_n + special.log_sigmoid(r)))
            for k, r in zip(jax.random.split(key), (parts[0], -parts[0]), strict=True)
        )
        return special.sigmoid(first - second)


@dataclasses.dataclass(frozen=True)
class VonMises(RoleLikelihood):
    """The von Mises distribution of an angle x in radians, whose outputs are locations.

    If ``scope`` is "example", raw numbers for the concentration κ are outputs, too. As κ grows, the distribution tends
    to a Gaussian of variance 1 / κ around the location. ``mean`` is the location, in [-π, π].

    Attributes:
        concentration: the transform from a raw number to κ, which is 1 at the start.
        scope: whether κ is an output ("example"), learned for each feature ("feature"), learned once for all ("all"),
            or constant ("fixed").
    """

    concentration: Transform = EXP
    scope: str = "feature"

    def __post_init__(self) -> None:
        require_scope("VonMises.scope", self.scope)
        start_of(self.concentration)

    @property
    def roles(self) -> tuple[Role, ...]:
        return Role("loc", "example", 0.0), Role("concentration", self.scope, start_of(self.concentration))

    def _first_output(self, mean: Array) -> Array:
        return mean

    def _log_prob(self, parts: Numbers, x: Array, raw: Any) -> Array:
        return log_von_mises(x - parts[0], self.concentration.log_forward(parts[1]))

    def _mean(self, parts: Numbers, raw: Any) -> Array:
        return _wrapped(parts[0])

    def _sample(self, key: Array, parts: Numbers, raw: Any) -> Array:
        kappa = special.exp(jnp.minimum(self.concentration.log_forward(parts[1]), 30))
        return _wrapped(parts[0] + _draw_angle(key, kappa))


def _wrapped(angle: Array) -> Array:
    return angle - 2 * math.pi * jnp.round(angle / (2 * math.pi))


def _draw_angle(key: Array, kappa: Array) -> Array:
    """Returns a draw of the angle φ, by rejection from a wrapped Cauchy distribution (Best & Fisher 1979).

    The computation uses φ / 2. The proposal has tan(φ / 2) = s c, for a Cauchy variate c and s² = 1 / (1 + 4κ). With
    y = sin²(φ / 2), the ratio of the two densities is proportional to e^(-2κ y) (1 + 4κ y). Its maximum is at 4κ y = 1,
    or at y = 1 if 4κ < 1.
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
