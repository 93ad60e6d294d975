"""The likelihoods with one logit per pixel: the Bernoulli, and the continuous Bernoulli on [0, 1].

With a logit r, both log-probabilities have the form (x - [r > 0]) r - t(|r|), where [r > 0] is 1 if r > 0 and 0
otherwise. For the Bernoulli t(a) = log(1 + e^-a); for the continuous Bernoulli t(a) = log((1 - e^-a) / a). No large
terms cancel in this form. The derivative with respect to r, x - E[x | r], is computed in the same way. If |r| <= 1, the
continuous Bernoulli is computed from a power series instead.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import require_real
from jaxvae.likelihoods.family import ChannelLikelihood

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)
"""The Bernoulli numbers B_2, B_4, …, B_20."""


def _shed(r: Array, x: Array) -> Array:
    """Returns x - [r > 0]."""
    return jnp.where(r > 0, x - 1, x)


@jax.custom_jvp
def _log_mass(r: Array, x: Array) -> Array:
    return _shed(r, x) * r - jnp.log1p(jnp.exp(-jnp.abs(r)))


@_log_mass.defjvp
def _log_mass_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # The derivative by r is x - sigmoid(r), and sigmoid(r) = 1 - sigmoid(-r) is used for r > 0.
    (r, x), (dr, dx) = primals, tangents
    tail = special.sigmoid(jnp.where(r > 0, -r, r))
    return _log_mass(r, x), (_shed(r, x) + jnp.where(r > 0, tail, -tail)) * dr + r * dx


@dataclasses.dataclass(frozen=True)
class Bernoulli(ChannelLikelihood):
    """The Bernoulli distribution, whose outputs are logits r: log p = x r - softplus(r).

    For x in {0, 1} this is a log-probability. For grey x it is minus the usual cross-entropy, which isn't the log of a
    density; ``ContinuousBernoulli`` has a density.

    >>> Bernoulli().log_prob(jnp.asarray([1e30, -1e30]), jnp.ones(2)).tolist()
    [0.0, -1.0000000150474662e+30]
    """

    discrete = True

    def outputs_at(self, mean: ArrayLike) -> np.ndarray:
        """Returns the logits of the mean, which is first clipped to [0.001, 0.999]."""
        require_real(mean=mean)
        mean = np.clip(np.asarray(mean, np.float64), 1e-3, 1 - 1e-3)
        return np.log(mean / (1 - mean)).astype(np.float32)

    def _log_prob(self, parts: Array, x: Array, raw: ArrayLike | None) -> Array:
        return _log_mass(parts[..., 0], x)

    def _mean(self, parts: Array, raw: ArrayLike | None) -> Array:
        return special.sigmoid(parts[..., 0])

    def _sample(self, key: Array, parts: Array, raw: ArrayLike | None) -> Array:
        mean = self._mean(parts, raw)
        return jax.random.bernoulli(key, mean).astype(mean.dtype)


def _near(r: Array) -> tuple[Array, Array, Array]:
    """Returns whether |r| <= 1, with r where this holds (otherwise 0) and |r| where it doesn't (otherwise 1)."""
    near = jnp.abs(r) <= 1
    return near, jnp.where(near, r, 0), jnp.where(near, 1, jnp.where(r > 0, r, -r))


def _series(r: Array, weights: list[float]) -> Array:
    """Returns sum_k weights[k] r^2k for |r| <= 1, accurate to the last digit of the dtype."""
    terms = weights[: 5 if r.dtype == np.float32 else 10]
    square, total = jnp.square(r), jnp.zeros_like(r)
    for weight in reversed(terms):
        total = total * square + weight
    return total


def _excess(r: Array) -> Array:
    """Returns log(sinh(r/2) / (r/2)) = sum_n B_2n r^2n / (2n (2n)!) = r²/24 - r⁴/2880 + ... for |r| <= 1."""
    weights = [b / (2 * n * math.factorial(2 * n)) for n, b in enumerate(_BERNOULLI, 1)]
    return jnp.square(r) * _series(r, weights)


def _lean(r: Array) -> Array:
    """Returns E[x] - 1/2 = coth(r/2)/2 - 1/r = r/12 - r³/720 + ... for |r| <= 1, the derivative of ``_excess``."""
    weights = [b / math.factorial(2 * n) for n, b in enumerate(_BERNOULLI, 1)]
    return r * _series(r, weights)


@jax.custom_jvp
def _distance_to_end(a: Array) -> Array:
    """Returns 1/a - 1/(e^a - 1) for a >= 1, which is E[x] at r = -a and 1 - E[x] at r = a."""
    return 1 / a - 1 / special.expm1(a)


@_distance_to_end.defjvp
def _distance_to_end_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (a,), (da,) = primals, tangents
    bose = 1 / special.expm1(a)
    return _distance_to_end(a), (bose * (1 + bose) - jnp.square(1 / a)) * da


@jax.custom_jvp
def _log_density(r: Array, x: Array) -> Array:
    near, inside, a = _near(r)
    return jnp.where(near, (x - 0.5) * inside - _excess(inside), _shed(r, x) * r + (jnp.log(a) - special.log1mexp(a)))


@_log_density.defjvp
def _log_density_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (r, x), (dr, dx) = primals, tangents
    near, inside, a = _near(r)
    tail = _distance_to_end(a)
    slope = jnp.where(near, (x - 0.5) - _lean(inside), _shed(r, x) + jnp.where(r > 0, tail, -tail))
    return _log_density(r, x), slope * dr + r * dx


@dataclasses.dataclass(frozen=True)
class ContinuousBernoulli(ChannelLikelihood):
    """The continuous Bernoulli distribution on [0, 1], whose outputs are logits r.

    Its density is r e^(r x) / (e^r - 1); at r = 0 it is uniform. Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845,
    write its normalizing constant in terms of λ = sigmoid(r).
    """

    def _log_prob(self, parts: Array, x: Array, raw: ArrayLike | None) -> Array:
        return _log_density(parts[..., 0], x)

    def _mean(self, parts: Array, raw: ArrayLike | None) -> Array:
        """Returns E[x] = 1 / (1 - e^-r) - 1/r."""
        r = parts[..., 0]
        near, inside, a = _near(r)
        tail = _distance_to_end(a)
        return jnp.where(near, 0.5 + _lean(inside), jnp.where(r > 0, 1 - tail, tail))

    def _sample(self, key: Array, parts: Array, raw: ArrayLike | None) -> Array:
        """Returns a draw of x, by the inverse distribution function.

        At r = -a it is -log(1 - u (1 - e^-a)) / a for a uniform u; for r > 0 it is mirrored.
        """
        r = parts[..., 0]
        u = jax.random.uniform(key, r.shape, r.dtype)
        a = jnp.maximum(jnp.abs(r), 1e-20)  # not 0/0; at 1e-20 x is u to the last digit
        x = jnp.minimum(-special.log1p(u * special.expm1(-a)) / a, 1)
        return jnp.where(r > 0, 1 - x, x)
