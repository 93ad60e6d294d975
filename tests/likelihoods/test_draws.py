import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxvae.likelihoods.draws import FEW, draw_negative_binomial, draw_poisson

DRAWS = 40_000


@pytest.mark.slow
def test_poisson_draws_have_their_masses():
    """χ² over the counts that are expected at least ten times, at means on both sides of the change of method."""
    means = np.float32([0.01, 1, 0.99 * FEW, 1.01 * FEW, 40])
    log_mean = jnp.broadcast_to(jnp.log(means), (DRAWS, means.size))
    draws = np.asarray(jax.jit(draw_poisson)(jax.random.key(0), log_mean))
    for mean, x in zip(means, draws.T, strict=True):
        expected = DRAWS * scipy.stats.poisson.pmf(np.arange(200), mean)
        often = expected >= 10
        found = np.bincount(x.astype(int), minlength=200)
        rest = DRAWS - found[often].sum(), DRAWS - expected[often].sum()
        observed, wanted = np.append(found[often], rest[0]), np.append(expected[often], rest[1])
        assert scipy.stats.chisquare(observed, wanted).pvalue > 1e-4


@pytest.mark.slow
def test_large_means_neither_overflow_nor_drift():
    """Mean and variance to 5 standard errors, at means where counts leave int32, too."""
    log_mean = np.float32([5, 10, 18.42, 24])
    draws = np.float64(jax.jit(draw_poisson)(jax.random.key(1), jnp.broadcast_to(log_mean, (DRAWS, 4))))
    mean = np.exp(np.float64(log_mean))
    spacing = np.spacing(np.float32(mean)).astype(float)
    assert np.all(np.abs(draws.mean(0) - mean) <= 5 * np.sqrt(mean / DRAWS) + spacing)
    assert np.all(np.abs(draws.var(0) / mean - 1) <= 5 * np.sqrt(2 / DRAWS) + spacing**2 / mean)
    assert draws.max() > 2**31


@pytest.mark.slow
@pytest.mark.parametrize(("log_mean", "log_theta"), [(0.0, 0.0), (3.0, 2.0), (1.0, -3.0), (6.0, 30.0)])
def test_negative_binomial_draws_follow_their_distribution_function(log_mean, log_theta):
    """χ² over the counts that are expected at least ten times."""
    shape = (DRAWS,)
    draws = jax.jit(draw_negative_binomial)(jax.random.key(2), jnp.full(shape, log_mean), jnp.full(shape, log_theta))
    theta = np.exp(log_theta)
    p = 1 / (1 + np.exp(log_mean - log_theta))
    k = np.arange(3000)
    exact = scipy.stats.nbinom.pmf(k, theta, p) if log_theta < 30 else scipy.stats.poisson.pmf(k, np.exp(log_mean))
    expected = DRAWS * exact
    often = expected >= 10
    found = np.bincount(np.asarray(draws, int), minlength=3000)[:3000]
    observed, wanted = (np.append(x[often], DRAWS - x[often].sum()) for x in (found, expected))
    assert wanted[-1] > 1
    assert scipy.stats.chisquare(observed, wanted).pvalue > 1e-4


def test_no_mean_no_draw():
    draws = draw_poisson(jax.random.key(3), jnp.float32([jnp.nan, 100.0, -jnp.inf, 0]))
    assert np.isnan(draws[:2]).all()
    assert draws[2] == 0
    assert draws[3] >= 0


def test_any_generator_of_random_numbers_will_do():
    draws = jax.jit(draw_poisson)(jax.random.key(0, impl="rbg"), jnp.full((1000,), 3.0))
    assert abs(draws.mean() - np.exp(3)) < 5 * np.sqrt(np.exp(3) / 1000)
