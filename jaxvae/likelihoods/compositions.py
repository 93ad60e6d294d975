"""Likelihoods of counts with a known total N over C channels.

Given their total, independent Poisson counts have a multinomial distribution. Independent negative binomial counts with
the same μ / θ have a Dirichlet-multinomial distribution. The joint log-probability is therefore the sum over the
channels of log P(x_c), minus log P(N), for means whose sum is N. Each channel's term contains an equal share of
log P(N).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae import special
from jaxvae.likelihoods.counts import CountLikelihood
from jaxvae.likelihoods.masses import log_negative_binomial, log_poisson
from jaxvae.likelihoods.roles import EXP, Numbers, Role, start_of
from jaxvae.transforms import Transform


def _total(x: Array) -> tuple[Array, Array]:
    """Returns N of each example, (..., 1), and log N, which is 0 if N = 0."""
    total = jnp.sum(x, axis=-1, keepdims=True)
    return total, jnp.log(jnp.maximum(total, 1))


def _terms(own: Array, total: Array, log_mass_of_total: Array) -> Array:
    terms = own - log_mass_of_total / own.shape[-1]
    return jnp.where(total == 0, jnp.where(jnp.isnan(own), own, 0), terms)


def _divided(key: Array, log_size: Array, log_share: Array) -> Array:
    """Returns a multinomial draw whose total is the size, rounded to a whole number."""
    total = jnp.round(special.exp(jnp.max(log_size, axis=-1)))
    return jax.random.multinomial(key, total, special.exp(log_share), dtype=log_share.dtype)


class CompositionLikelihood(CountLikelihood):
    """The base class of likelihoods of counts with a known total.

    ``log_prob`` takes the total from x; ``mean`` and ``sample`` take it from ``log_size``.
    """

    joint = True
    separable = False

    def _log_mean(self, numbers: Numbers, log_size: Array) -> Array:
        return self._log_share(numbers) + log_size

    def _outputs_of(self, log_mean: Array) -> Array:
        return log_mean - jax.nn.logsumexp(log_mean, axis=-1, keepdims=True)

    def _log_share(self, numbers: Numbers) -> Array:
        """Returns the log of each channel's expected share of the total."""
        return jax.nn.log_softmax(numbers[0])


@dataclasses.dataclass(frozen=True)
class Multinomial(CompositionLikelihood):
    """The multinomial distribution, whose probabilities are the softmax of the outputs over the channels.

    >>> round(float(Multinomial().log_prob(jnp.zeros((1, 2)), jnp.ones((1, 2))).sum()), 4)
    -0.6931
    """

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role("share", "example", 0.0),)

    def _log_mass(self, numbers: Numbers, log_size: Array, x: Array) -> Array:
        total, log_total = _total(x)
        return _terms(log_poisson(log_total + self._log_share(numbers), x), total, log_poisson(log_total, total))

    def _draw(self, key: Array, numbers: Numbers, log_size: Array) -> Array:
        return _divided(key, log_size, self._log_share(numbers))


@dataclasses.dataclass(frozen=True)
class DirichletMultinomial(CompositionLikelihood):
    """The Dirichlet-multinomial distribution, whose outputs are logits of the channels' mean shares.

    The shares vary around their means, and the model learns how much. The parameters α are the mean shares times the
    concentration A, which is the number of channels C at the start. As A grows, the distribution tends to the
    multinomial.

    Attributes:
        concentration: the transform from the raw number that the model learns to A / C.
    """

    concentration: Transform = EXP

    def __post_init__(self) -> None:
        start_of(self.concentration)

    @property
    def roles(self) -> tuple[Role, ...]:
        return Role("share", "example", 0.0), Role("concentration", "all", start_of(self.concentration))

    def _log_concentration(self, numbers: Numbers) -> Array:
        """Returns log A, (..., 1)."""
        return self.concentration.log_forward(numbers[1][..., :1]) + jnp.log(float(numbers[0].shape[-1]))

    def _log_mass(self, numbers: Numbers, log_size: Array, x: Array) -> Array:
        (total, log_total), log_share = _total(x), self._log_share(numbers)
        log_a = self._log_concentration(numbers)
        own = log_negative_binomial(log_total + log_share, log_a + log_share, x)
        return _terms(own, total, log_negative_binomial(log_total, log_a, total))

    def _draw(self, key: Array, numbers: Numbers, log_size: Array) -> Array:
        shares, counts = jax.random.split(key)
        log_alpha = self._log_concentration(numbers) + self._log_share(numbers)
        return _divided(counts, log_size, jax.nn.log_softmax(jax.random.loggamma(shares, special.exp(log_alpha))))
