import jax
import numpy as np
import pytest

from jaxvae.objectives import balance

SIZES = np.float32([2, 8, 32])


def draw():
    return np.float32(np.random.default_rng(0).uniform(0, 10, size=(6, 3)))


def test_the_formula():
    kl = draw()
    spent = (np.float64(kl).mean(axis=0) + 0.01) / SIZES
    np.testing.assert_allclose(balance(kl, SIZES), kl * spent * 3 / spent.sum(), rtol=1e-6)


def test_equal_shares_of_each_latent_are_left_as_they_are():
    kl = np.float32([[1, 1, 1], [2, 2, 2]]) * SIZES - np.float32(0.01) * (1 - SIZES)
    np.testing.assert_allclose(balance(kl, SIZES), kl, rtol=1e-6)


def test_the_weights_have_mean_1_and_no_gradient():
    kl = draw()
    weights = jax.grad(lambda kl: balance(kl, SIZES).sum())(kl)
    np.testing.assert_allclose(weights, np.asarray(balance(kl, SIZES)) / kl, rtol=1e-6)
    np.testing.assert_allclose(weights.mean(axis=1), 1, rtol=1e-6)
    assert (np.diff(np.asarray(weights), axis=0) == 0).all()


def test_a_group_without_kl_costs_least_and_has_a_gradient():
    kl = draw() * np.float32([1, 1, 0])
    weights = jax.grad(lambda kl: balance(kl, np.ones(3, np.float32)).sum())(kl)[0]
    assert 0 < weights[2] < min(weights[0], weights[1])


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        balance(draw()[:, 0], SIZES)
    with pytest.raises(ValueError, match="shape"):
        balance(draw(), SIZES[:2])
