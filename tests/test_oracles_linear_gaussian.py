"""The zero-noise oracle: under the exact posterior every log-weight is log p(x), whatever z and the parameterization.

The model is the best linear Gaussian fit of draws of one; its posterior is diagonal, and known in closed form.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import key
from representatives import EIGHT

import jaxvae as jv
from jaxvae.data.synthetic import linear_gaussian, probabilistic_pca
from jaxvae.objectives import elbo, iwae, sampled_elbo

COUNTS, POINTS = (1, 5, 50), 50
STD_NORMAL = jv.Gaussian(0.0, 0.0)


class Truth(NamedTuple):
    """The decoder, points (B, D), their exact posterior (B, L) and (L,), and log p(x) (B,)."""

    offset: np.ndarray
    weights: np.ndarray
    std: np.ndarray
    x: np.ndarray
    mean: np.ndarray
    posterior_std: np.ndarray
    evidence: np.ndarray

    def log_likelihood(self, z):
        """log p(x|z) of z (..., B, L): (..., B)."""
        loc = jnp.einsum("...l,dl->...d", z, self.weights) + jnp.expand_dims(self.offset, range(z.ndim - 1))
        return jnp.sum(jv.log_prob(jv.Gaussian(loc, self.std, jv.direct_std), self.x), axis=-1)

    def log_weights(self, q, z):
        return self.log_likelihood(z) + jnp.sum(jv.log_prob(STD_NORMAL, z) - jv.log_prob(q, z), axis=-1)


@functools.cache
def truth():
    data = linear_gaussian()
    model = probabilistic_pca(data.train.images.reshape(-1, 16), latents=4)
    x = data.test.images[:POINTS].reshape(POINTS, 16)
    mean, covariance = model.posterior(x)
    values = model.mean, model.weights, np.sqrt(model.variance), x, mean, np.sqrt(np.diag(covariance))
    return Truth(*(np.float32(value) for value in values), model.log_likelihood(x))


@jax.jit
def estimates(truth, z, log_q, mean, variance, kl):
    """Log-weights (P, K, B), the bounds of the first samples, and the ELBO in closed form, (P, B) each."""
    log_weights = truth.log_likelihood(z) + jnp.sum(jv.log_prob(STD_NORMAL, z) - log_q, axis=-1)
    # E_q (x - W z - μ)² = (x - W E z - μ)² + W² Var z, of each pixel.
    spread = jnp.sum(jnp.einsum("pbl,dl->pbd", variance, jnp.square(truth.weights)), axis=-1) / (2 * truth.std**2)
    bounds = {
        f"{bound.__name__} {k}": jax.vmap(bound)(log_weights[:, :k]) for bound in (sampled_elbo, iwae) for k in COUNTS
    }
    return {
        "log_weights": log_weights,
        "elbo": jax.vmap(elbo)(truth.log_likelihood(mean) - spread, kl),
        **bounds,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", [EIGHT, pytest.param(tuple(jv.PARAMETERIZATIONS), marks=pytest.mark.slow)], ids=["eight", "all"]
)
def test_the_exact_posterior_leaves_no_noise_under_any_parameterization(names):
    one, shape = truth(), (max(COUNTS), POINTS, 4)
    # All of one shape, and op by op: what the parameterizations share is compiled once.
    mean, std = (jnp.asarray(np.broadcast_to(x, shape)) for x in (one.mean, one.posterior_std))
    columns = []
    for seed, p in enumerate(map(jv.parameterization, names)):
        raw = p.raw_from_std(std)
        q = jv.Gaussian(p.loc_from_mean(mean, raw), raw, p)
        z = jv.sample(key(seed), q)
        columns.append((z, jv.log_prob(q, z), *(x[0] for x in (q.mean, q.variance, jv.kl_divergence(q)))))
    # Rounding: log p(x) is the sum of 24 terms, each off by some ulp; 3.1 eps of it was the largest of 75,000 errors.
    for name, value in estimates(one, *(np.stack(column) for column in zip(*columns, strict=True))).items():
        want = np.broadcast_to(one.evidence, value.shape)
        np.testing.assert_allclose(value, want, rtol=16 * np.finfo(np.float32).eps, err_msg=name)


@pytest.mark.slow
def test_importance_sampling_with_a_wrong_posterior_finds_the_evidence_within_its_standard_error():
    one, samples = truth(), 100_000

    @jax.jit
    def estimate(one, keys):
        def of(x, mean, key):
            q = jv.Gaussian(mean + 0.3 * one.posterior_std, jv.log_variance.raw_from_std(1.3 * one.posterior_std))
            z = jv.sample(key, q, (samples, 1))
            log_weights = one._replace(x=x[None]).log_weights(q, z)
            weights = jnp.exp(log_weights - jnp.max(log_weights))
            # The delta method: the standard error of a mean's log is that of the mean, over it.
            return iwae(log_weights)[0], jnp.std(weights) / jnp.mean(weights) / jnp.sqrt(samples)

        return jax.lax.map(lambda each: of(*each), (one.x, one.mean, keys))

    value, error = estimate(one, jax.random.split(key(1), POINTS))
    assert np.max(error) < 0.01
    chi_square = np.sum(((np.float64(value) - one.evidence) / error) ** 2)
    assert abs(chi_square - POINTS) < 4 * np.sqrt(2 * POINTS)
