"""Likelihoods of counts: the Poisson, the negative binomial, and zero-inflated versions of both."""

import abc
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae import special
from jaxvae.arguments import require
from jaxvae.likelihoods.draws import draw_negative_binomial, draw_poisson
from jaxvae.likelihoods.masses import log_negative_binomial, log_poisson, log_zero_inflated
from jaxvae.likelihoods.roles import EXP, Numbers, Role, RoleLikelihood, require_scope, start_of
from jaxvae.transforms import Transform

START_INFLATION = 0.1
"""The probability of an additional zero at the start."""


class CountLikelihood(RoleLikelihood):
    """The base class of likelihoods of counts.

    The first role determines the mean. At the neutral outputs, the mean of the Poisson and the negative binomial is 1.
    A subclass defines ``_log_mass``, ``_log_mean`` and ``_draw``, which take numbers (...), one for each role, and
    log-sizes (...); and ``_outputs_of``.
    """

    discrete = True
    sized = True

    def encoder_input(self, x: Array) -> Array:
        """Returns log(1 + x), because counts may be of any order of magnitude."""
        return jnp.log1p(x)

    def _log_prob(self, parts: Numbers, x: Array, raw: Any) -> Array:
        return self._log_mass(parts[:-1], parts[-1], x)

    def _mean(self, parts: Numbers, raw: Any) -> Array:
        return special.exp(self._log_mean(parts[:-1], parts[-1]))

    def _sample(self, key: Array, parts: Numbers, raw: Any) -> Array:
        return self._draw(key, parts[:-1], parts[-1])

    @abc.abstractmethod
    def _log_mass(self, numbers: Numbers, log_size: Array, x: Array) -> Array:
        """Returns log P(x)."""

    @abc.abstractmethod
    def _log_mean(self, numbers: Numbers, log_size: Array) -> Array:
        """Returns log E[x]."""

    @abc.abstractmethod
    def _draw(self, key: Array, numbers: Numbers, log_size: Array) -> Array:
        """Returns a draw of x."""

    @abc.abstractmethod
    def _outputs_of(self, log_mean: Array) -> Array:
        """Returns the first output for each log E[x], if the other outputs are neutral."""

    def _first_output(self, mean: Array) -> Array:
        return self._outputs_of(jnp.log(jnp.maximum(mean, 1e-3)))


@dataclasses.dataclass(frozen=True)
class Poisson(CountLikelihood):
    """The Poisson distribution, whose outputs are raw numbers for the mean.

    Attributes:
        transform: the transform from a raw number to the mean, before it is multiplied by the size.

    >>> import numpy as np
    >>> np.round(np.float64(Poisson().log_prob(jnp.zeros((1, 3)), jnp.asarray([[0.0, 1.0, 2.0]]))), 4).tolist()
    [[-1.0, -1.0, -1.6931]]
    """

    transform: Transform = EXP

    def __post_init__(self) -> None:
        start_of(self.transform)

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role("mean", "example", start_of(self.transform)),)

    def _log_mass(self, numbers: Numbers, log_size: Array, x: Array) -> Array:
        return log_poisson(self._log_mean(numbers, log_size), x)

    def _log_mean(self, numbers: Numbers, log_size: Array) -> Array:
        return self.transform.log_forward(numbers[0]) + log_size

    def _draw(self, key: Array, numbers: Numbers, log_size: Array) -> Array:
        return draw_poisson(key, self._log_mean(numbers, log_size))

    def _outputs_of(self, log_mean: Array) -> Array:
        return self.transform.log_inverse(log_mean)


@dataclasses.dataclass(frozen=True)
class NegativeBinomial(CountLikelihood):
    """The negative binomial distribution of mean μ and variance μ + μ² / θ.

    The outputs are raw numbers for μ, or logits log(μ / θ) if ``transform`` is None. If ``scope`` is "example", raw
    numbers for θ are outputs, too. θ is the inverse dispersion, also called the total count; it is 1 at the start.

    Attributes:
        transform: the transform from a raw number to μ, before it is multiplied by the size; None if outputs are
            logits.
        dispersion: the transform from a raw number to θ.
        scope: whether θ is an output ("example"), learned for each feature ("feature"), learned once for all ("all"),
            or constant ("fixed").

    >>> import numpy as np
    >>> kind = NegativeBinomial(scope="all")
    >>> log_prob = kind.log_prob(jnp.zeros((1, 2)), jnp.asarray([[0.0, 1.0]]), {"dispersion": 0.0})
    >>> np.round(np.float64(log_prob), 4).tolist()
    [[-0.6931, -1.3863]]
    """

    transform: Transform | None = EXP
    dispersion: Transform = EXP
    scope: str = "feature"

    def __post_init__(self) -> None:
        require_scope("NegativeBinomial.scope", self.scope)
        for transform in (self.transform, self.dispersion):
            if transform is not None:
                start_of(transform)

    @property
    def roles(self) -> tuple[Role, ...]:
        mean = 0.0 if self.transform is None else start_of(self.transform)
        return Role("mean", "example", mean), Role("dispersion", self.scope, start_of(self.dispersion))

    def _logs(self, numbers: Numbers, log_size: Array) -> tuple[Array, Array]:
        """Returns log μ and log θ."""
        log_theta = self.dispersion.log_forward(numbers[1])
        first = numbers[0]
        log_mean = first + log_theta if self.transform is None else self.transform.log_forward(first)
        return log_mean + log_size, log_theta

    def _log_mass(self, numbers: Numbers, log_size: Array, x: Array) -> Array:
        return log_negative_binomial(*self._logs(numbers, log_size), x)

    def _log_mean(self, numbers: Numbers, log_size: Array) -> Array:
        return self._logs(numbers, log_size)[0]

    def _draw(self, key: Array, numbers: Numbers, log_size: Array) -> Array:
        return draw_negative_binomial(key, *self._logs(numbers, log_size))

    def _outputs_of(self, log_mean: Array) -> Array:
        return log_mean if self.transform is None else self.transform.log_inverse(log_mean)


@dataclasses.dataclass(frozen=True)
class ZeroInflated(CountLikelihood):
    """A zero-inflated distribution: a count is 0 with probability π, and otherwise follows another distribution.

    The outputs are those of the other distribution. If ``scope`` is "example", a logit of π for every channel is an
    output, too.

    Attributes:
        kind: the likelihood of the other distribution, such as ``Poisson()`` or ``NegativeBinomial()``.
        scope: whether π is an output ("example"), learned for each feature ("feature"), learned once for all ("all"),
            or constant ("fixed").
    """

    kind: CountLikelihood
    scope: str = "example"

    def __post_init__(self) -> None:
        require_scope("ZeroInflated.scope", self.scope)
        inflatable = isinstance(self.kind, CountLikelihood) and not self.kind.joint
        require(
            inflatable and not isinstance(self.kind, ZeroInflated), "ZeroInflated.kind", self.kind, "a kind of counts"
        )

    @property
    def roles(self) -> tuple[Role, ...]:
        logit = math.log(START_INFLATION / (1 - START_INFLATION))
        return *self.kind.roles, Role("inflation", self.scope, logit)

    def _log_mass(self, numbers: Numbers, log_size: Array, x: Array) -> Array:
        return log_zero_inflated(numbers[-1], self.kind._log_mass(numbers[:-1], log_size, x), x)

    def _log_mean(self, numbers: Numbers, log_size: Array) -> Array:
        return self.kind._log_mean(numbers[:-1], log_size) + special.log_sigmoid(-numbers[-1])

    def _draw(self, key: Array, numbers: Numbers, log_size: Array) -> Array:
        which, count = jax.random.split(key)
        zero = jax.random.bernoulli(which, special.sigmoid(numbers[-1]))
        return jnp.where(zero, 0, self.kind._draw(count, numbers[:-1], log_size))

    def _outputs_of(self, log_mean: Array) -> Array:
        return self.kind._outputs_of(log_mean - math.log1p(-START_INFLATION))
