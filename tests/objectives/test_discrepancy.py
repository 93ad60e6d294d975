import math

import jax
import numpy as np
import pytest
from quick import key

from jaxvae.objectives import elbo, gaussian_kernel, info_vae, inverse_multiquadratic, mmd

STANDARD_ERRORS = 3


def test_the_u_statistic():
    rng = np.random.default_rng(0)
    x, y = np.float32(rng.normal(size=(4, 3))), np.float32(rng.normal(0.5, size=(6, 3)))
    for kernel, formula in (
        (gaussian_kernel(5.0), lambda r: math.exp(-r / 5)),
        (inverse_multiquadratic(5.0), lambda r: 5 / (5 + r)),
    ):
        k = lambda a, b: formula(float(np.sum(np.square(np.float64(a) - b))))  # noqa: B023, E731
        within_x = np.mean([k(x[i], x[j]) for i in range(4) for j in range(4) if i != j])
        within_y = np.mean([k(y[i], y[j]) for i in range(6) for j in range(6) if i != j])
        want = within_x + within_y - 2 * np.mean([k(a, b) for a in x for b in y])
        both = jax.jit(lambda x, y, kernel=kernel: (mmd(x, y, kernel), mmd(y, x, kernel)))
        np.testing.assert_allclose(both(x, y), [want] * 2, atol=1e-6)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_it_is_unbiased(shift):
    """k = e^(-r²/C) of x - y ~ N(m, 2): E k = (1 + 4/C)^-½ e^(-m²/(C + 4))."""
    scale, kernel = 2.0, gaussian_kernel(2.0)
    x, y = jax.random.normal(key(0), (2, 5000, 4, 1))
    drawn = np.float64(jax.jit(jax.vmap(lambda x, y: mmd(x, y, kernel)))(x + shift, y))
    want = 2 * (1 + 4 / scale) ** -0.5 * (1 - math.exp(-(shift**2) / (scale + 4)))
    error = drawn.std(ddof=1) / math.sqrt(len(drawn))
    assert abs(drawn.mean() - want) < STANDARD_ERRORS * error
    assert drawn.min() < 0
    # Counting each point with itself would add as much as this.
    assert 2 * (1 - (1 + 4 / scale) ** -0.5) / 4 > 10 * error


def test_it_pulls_the_draws_together():
    x, y = jax.random.normal(key(1), (2, 50, 2))
    for kernel in (gaussian_kernel(4.0), inverse_multiquadratic(4.0)):
        slope = jax.jit(jax.grad(lambda shift, k=kernel: mmd(x + shift[None], y, k)))
        assert (slope(np.float32([1, -1])) * np.float32([1, -1]) > 0).all()


def test_equal_points_have_a_gradient():
    x = np.ones((3, 2), np.float32)
    for kernel in (gaussian_kernel(4.0), inverse_multiquadratic(4.0)):
        assert (jax.jit(jax.grad(lambda x, k=kernel: mmd(x, x, k)))(x) == 0).all()


def test_info_vae():
    log_likelihood, kl, divergence = np.float32([-8.0, -9.0]), np.float32([[1, 2], [3, 1]]), np.float32(0.25)
    np.testing.assert_array_equal(info_vae(log_likelihood, kl, divergence, 0.0, 1.0), elbo(log_likelihood, kl))
    assert info_vae(log_likelihood, kl, divergence, 1.0, 8.0).tolist() == [-10, -11]
    assert info_vae(log_likelihood, kl, divergence, 0.5, 2.5).tolist() == [-10, -11.5]


def test_refused_shapes():
    x = np.ones((3, 2), np.float32)
    with pytest.raises(ValueError, match=r"^mmd needs at least 2 draws of each, got 3 and 1$"):
        mmd(x, x[:1], gaussian_kernel(4.0))
    with pytest.raises(ValueError, match="shape"):
        mmd(x, x[:, :1], gaussian_kernel(4.0))
    with pytest.raises(ValueError, match="shape"):
        info_vae(np.ones(3, np.float32), x, x[0], 0.5, 1.0)
