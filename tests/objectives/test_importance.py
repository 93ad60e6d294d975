import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jaxvae.objectives import ciwae, iwae, jackknife, miwae, piwae, renyi, sampled_elbo

EPS = float(np.finfo(np.float32).eps)
bounds_of_renyi, leave_out = jax.jit(renyi), jax.jit(jackknife, static_argnums=1)


def draw(*shape, scale=3.0, seed=0):
    return np.float32(scale * np.random.default_rng(seed).normal(size=shape))


def log_mean(x, axis=0):
    x = np.float64(x)
    return logsumexp(x, axis=axis) - math.log(np.prod(np.take(x.shape, axis)))


def close(got, want):
    np.testing.assert_allclose(got, want, atol=16 * EPS * np.max(np.abs(want)))


def test_the_formulas():
    x, grouped = draw(6, 5), draw(4, 3, 5)
    close(sampled_elbo(x), np.float64(x).mean(axis=0))
    close(iwae(x), log_mean(x))
    close(miwae(grouped), log_mean(grouped, 1).mean(axis=0))
    close(ciwae(x, 0.3), 0.3 * np.float64(x).mean(axis=0) + 0.7 * log_mean(x))
    close(piwae(grouped).generative, log_mean(grouped.reshape(12, 5)))
    close(piwae(grouped).inference, miwae(grouped))


def test_the_ends_are_one_another():
    x = draw(6, 5)
    np.testing.assert_array_equal(ciwae(x, 0.0), iwae(x))
    np.testing.assert_array_equal(ciwae(x, 1.0), sampled_elbo(x))
    np.testing.assert_array_equal(bounds_of_renyi(x, 1.0), sampled_elbo(x))
    np.testing.assert_array_equal(miwae(x[None]), iwae(x))
    np.testing.assert_array_equal(miwae(x[:, None]), sampled_elbo(x))
    close(bounds_of_renyi(x, 0.0), iwae(x))
    close(leave_out(x, 0), iwae(x))
    for alpha, want in ((-1e6, x.max(axis=0)), (1e6, x.min(axis=0))):
        np.testing.assert_allclose(bounds_of_renyi(x, alpha), want, rtol=EPS, atol=math.log(6) / 1e6)


def test_iwae_weighs_its_gradient_by_the_normalized_weights():
    x = draw(6, 5)
    slope = jax.grad(lambda x: jnp.sum(iwae(x)))(x)
    np.testing.assert_allclose(slope, np.exp(x - logsumexp(x, axis=0)), rtol=1e-5)


def test_the_bounds_in_order():
    """Jensen's inequality, of each draw; and IWAE of K is above the mean of IWAE of K - 1 (Burda et al., theorem 1)."""
    x, slack = draw(6, 40), 100 * EPS
    assert (sampled_elbo(x) <= iwae(x)).all()
    for beta in (0.2, 0.8):
        assert ((sampled_elbo(x) <= ciwae(x, beta)) & (ciwae(x, beta) <= iwae(x))).all()
    grouped = x.reshape(2, 3, 40)
    assert ((sampled_elbo(x) <= miwae(grouped)) & (miwae(grouped) <= iwae(x) + slack)).all()
    falling = np.stack([bounds_of_renyi(x, alpha) for alpha in (-4, -1, 0, 0.5, 0.9999, 1, 1.0001, 1.5, 3)])
    assert (np.diff(falling, axis=0) <= slack).all()
    assert (falling[0] > falling[-1]).all()
    fewer = np.mean([log_mean(np.delete(x, k, axis=0)) for k in range(6)], axis=0)
    assert (fewer <= iwae(x) + slack).all()


def every_draw(samples):
    """log w of all equally likely draws of so many weights of 1 or 2: means over the batch are expectations."""
    return np.float32(math.log(2) * np.array(list(itertools.product((0, 1), repeat=samples))).T)


def expected(bound, samples, *arguments):
    values = jax.jit(lambda x: bound(x, *arguments))(every_draw(samples))
    return float(np.mean(np.asarray(values), dtype=np.float64))


def test_in_expectation_bounds_rise_with_the_samples_towards_the_evidence():
    bounds = [expected(iwae, samples) for samples in (1, 2, 4, 8)]
    assert bounds[0] == pytest.approx(math.log(2) / 2, rel=1e-6)  # the ELBO
    assert (np.diff([*bounds, math.log(1.5)]) > 0).all()


def test_each_order_of_the_jackknife_takes_a_power_of_bias():
    bias = np.array([[expected(jackknife, k, m) - math.log(1.5) for k in (4, 8)] for m in range(3)])
    assert (np.diff(np.abs(bias), axis=0) < 0).all()
    # Of order K^-(m + 1): twice the samples take at least a factor of about that power of 2.
    ratio = np.abs(bias[:, 0] / bias[:, 1])
    assert (ratio > 0.85 * 2.0 ** np.arange(1, 4)).all(), ratio


def test_the_jackknife_is_the_mean_over_subsets():
    x = draw(7, 3)
    leave_one = np.mean([log_mean(np.delete(x, k, axis=0)) for k in range(7)], axis=0)
    pairs = list(itertools.combinations(range(7), 2))
    leave_two = np.mean([log_mean(np.delete(x, pair, axis=0)) for pair in pairs], axis=0)
    np.testing.assert_allclose(leave_out(x, 1), 7 * log_mean(x) - 6 * leave_one, atol=1e-5)
    want = 49 / 2 * log_mean(x) - 36 * leave_one + 25 / 2 * leave_two
    np.testing.assert_allclose(leave_out(x, 2), want, atol=1e-5 * 73)


def test_the_jackknife_of_far_away_weights_keeps_its_digits():
    x = np.round(draw(7, 3) * 64) / 64  # so that the shift is exact
    np.testing.assert_allclose(leave_out(x - 4096, 2) + 4096, leave_out(x, 2), atol=2 * 4096 * EPS)


@pytest.mark.parametrize("order", [-1, 6])
def test_refused_orders(order):
    with pytest.raises(ValueError, match=f"^order must be at least 0 and below the 6 samples, got {order}$"):
        jackknife(draw(6, 5), order)


def renyi_oracle(x, rest):
    x = np.float64(x)
    mean = x.mean(axis=0)
    with np.errstate(over="ignore"):
        near = mean + np.log1p(np.mean(np.expm1(rest * (x - mean)), axis=0)) / rest
    return np.where(np.max(np.abs(rest * (x - mean)), axis=0) < 1, near, log_mean(rest * x) / rest)


def test_renyi_near_the_elbo_and_away():
    x = draw(6, 40) - 80
    for rest in (s * r for r in (1e-7, 1e-5, 1e-3, 0.05, 0.1, 0.3, 1.0, 3.0) for s in (-1, 1)):
        alpha = np.float32(1 - rest)
        if alpha == 1:
            continue
        np.testing.assert_allclose(bounds_of_renyi(x, alpha), renyi_oracle(x, 1 - np.float64(alpha)), atol=8 * 80 * EPS)


def test_renyi_weighs_its_gradient_by_powers_of_the_weights():
    x, slope = draw(6, 20), jax.jit(jax.grad(lambda x, alpha: jnp.sum(renyi(x, alpha))))
    for alpha in (-1.0, 0.0, 0.5, 0.98, 1.0, 1.02, 2.0):
        powers = (1 - alpha) * np.float64(x)
        np.testing.assert_allclose(slope(x, alpha), np.exp(powers - logsumexp(powers, axis=0)), rtol=1e-4, atol=1e-6)


def test_renyi_of_a_weight_of_0():
    x = draw(6, 5)
    x[0] = -np.inf
    close(bounds_of_renyi(x, 0.5), 2 * log_mean(x / 2))
    assert (bounds_of_renyi(x, 1.0) == -np.inf).all()
    assert (bounds_of_renyi(x, 2.0) == -np.inf).all()


def test_piwae_climbs_two_bounds_with_one_decoder():
    noise, w0, m0 = draw(2, 3, 5, scale=1.0), jnp.float32(0.7), jnp.float32(-0.3)

    def log_weights(w, m):
        z = m + noise
        return jnp.tanh(w * z) - z**2 / 2 + (z - m) ** 2

    def loss(w, m):
        stop = jax.lax.stop_gradient
        return -jnp.mean(piwae(log_weights(w, stop(m))).generative + piwae(log_weights(stop(w), m)).inference)

    slopes = jax.jit(jax.grad(loss, (0, 1)))
    generative = jax.jit(jax.grad(lambda w: -jnp.mean(piwae(log_weights(w, m0)).generative)))(w0)
    inference = jax.jit(jax.grad(lambda m: -jnp.mean(piwae(log_weights(w0, m)).inference)))(m0)
    np.testing.assert_allclose(slopes(w0, m0), [generative, inference], rtol=1e-5)
    assert slopes.lower(w0, m0).compile().as_text().count(" tanh(") == 1
