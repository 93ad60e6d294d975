import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from jaxvae import Gaussian
from jaxvae.objectives import Decomposition, beta_schedule, beta_tc, capacity, decompose, sampled_kl

B, L, N = 5, 3, 1000
parts_of = jax.jit(decompose)


def draw(seed=0):
    rng = np.random.default_rng(seed)
    loc, raw, z = np.float32(rng.normal(size=(3, B, L)))
    return Gaussian(loc, raw), z


def densities(q, z):
    """log q(z_b|x_c) of each latent, (B, B, L)."""
    mean, std = np.float64(q.mean), np.float64(q.std)
    return np.array([[stats.norm.logpdf(z[b], mean[c], std[c]) for c in range(len(z))] for b in range(len(z))])


def test_the_decomposition_is_that_of_the_paper():
    q, z = draw()
    pairs = densities(q, z)
    own = pairs[np.arange(B), np.arange(B)].sum(axis=1)
    joint = logsumexp(pairs.sum(axis=2), axis=1) - math.log(N * B)
    marginals = logsumexp(pairs, axis=1) - math.log(N * B)
    parts = parts_of(q, z, N)
    np.testing.assert_allclose(parts.mutual_information, own - joint, rtol=1e-5)
    np.testing.assert_allclose(parts.total_correlation, joint - marginals.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(parts.dimensionwise_kl, marginals - stats.norm.logpdf(z), rtol=1e-4)


def test_the_parts_add_up_whatever_the_size():
    q, z = draw()
    want = np.sum(sampled_kl(q, z), axis=1)
    for size in (B, N, 10**7):
        information, correlation, kl = parts_of(q, z, size)
        np.testing.assert_allclose(information + correlation + kl.sum(axis=1), want, atol=1e-4)
        np.testing.assert_allclose(beta_tc(np.zeros(B, np.float32), parts_of(q, z, size), 1.0), -want, atol=1e-4)


def test_independent_latents_have_no_total_correlation_and_copies_have_some():
    z = np.float32(np.random.default_rng(0).normal(size=(400, 1)))
    other = np.random.default_rng(1).permutation(z)
    narrow = np.full((400, 2), 2 * math.log(0.3), np.float32)

    def correlation(pair):
        parts = parts_of(Gaussian(np.concatenate(pair, axis=1), narrow), np.concatenate(pair, axis=1), 400)
        return float(np.mean(parts.total_correlation))

    # Of two copies, TC is I(z₁; z₂), by which log q(z₁) q(z₂) is smaller than log q(z) = log q(z₁) + log q(z₂|z₁).
    assert correlation((z, z)) > correlation((z, other)) + 0.5


def test_one_posterior_for_all_is_as_far_off_as_stated():
    q = Gaussian(np.zeros((B, L), np.float32), np.zeros((B, L), np.float32))
    parts = parts_of(q, draw()[1], N)
    np.testing.assert_allclose(parts.mutual_information, math.log(N), rtol=1e-5)
    np.testing.assert_allclose(parts.total_correlation, (L - 1) * math.log(N), rtol=1e-5)


@pytest.mark.slow
def test_far_away_posteriors_keep_finite_gradients():
    q, z = draw()
    total = jax.jit(
        jax.grad(lambda loc, z: sum(jnp.sum(x) for x in decompose(Gaussian(loc, q.raw - 20), z, N)), (0, 1))
    )
    assert all(np.isfinite(slope).all() for slope in total(1e3 * q.loc, z))


def test_each_part_has_its_weight():
    log_likelihood, kl = np.float32([-10.0]), np.float32([[1.0, 2.0]])
    parts = Decomposition(np.float32([0.5]), np.float32([0.25]), kl)
    assert beta_tc(log_likelihood, parts, 4.0, alpha=2.0, gamma=3.0).tolist() == [-10 - 1 - 1 - 9]
    slopes = jax.grad(lambda parts: beta_tc(log_likelihood, parts, 4.0, 2.0, 3.0).sum())(parts)
    assert [x.tolist() for x in slopes] == [[-2.0], [-4.0], [[-3.0, -3.0]]]


def test_capacity_pulls_the_kl_from_both_sides():
    log_likelihood, kl = np.zeros(2, np.float32), np.float32([[1, 1], [2, 3]])
    slopes = jax.grad(lambda kl: capacity(log_likelihood, kl, 3.0, 7.0).sum())(kl)
    assert slopes.tolist() == [[7, 7], [-7, -7]]
    assert capacity(log_likelihood, kl, 3.0, 7.0).tolist() == [-7, -14]


def test_the_capacity_rises_with_the_linear_schedule():
    target = beta_schedule("linear", 25.0, steps=100)
    kl, log_likelihood = np.full((1, 1), 10.0, np.float32), np.zeros(1, np.float32)
    bound = jax.jit(lambda step: capacity(log_likelihood, kl, target(step), 1.0)[0])
    np.testing.assert_allclose([bound(step) for step in (0, 10, 20, 50, 99)], [-10, -5, 0, -15, -15], atol=1e-5)


@pytest.mark.slow
def test_wrong_shapes_are_refused():
    q, z = draw()
    for arguments in ((q, z[0], N), (q, z, np.ones(2))):
        with pytest.raises(ValueError, match="shape"):
            decompose(*arguments)
    with pytest.raises(ValueError, match="shape"):
        decompose(q, z[1:], N)
    with pytest.raises(ValueError, match="shape"):
        capacity(np.zeros(2, np.float32), z, 1.0, 1.0)
    with pytest.raises(ValueError, match="shape"):
        beta_tc(np.zeros(2, np.float32), decompose(q, z, N), 1.0)
