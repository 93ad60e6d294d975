import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae import Gaussian, kl_divergence
from jaxvae.objectives import elbo, free_bits, stop_parameters


def terms(count=6, latents=3):
    rng = np.random.default_rng(0)
    return np.float32(-100 * rng.random(count)), np.float32(5 * rng.random((count, latents)))


def test_the_formula():
    log_likelihood, kl = terms()
    for beta in (0.0, 1.0, 2.5):
        want = log_likelihood.astype(np.float64) - beta * kl.astype(np.float64).sum(axis=1)
        np.testing.assert_allclose(elbo(log_likelihood, kl, beta), want, rtol=1e-6)
    assert (elbo(log_likelihood, kl) == elbo(log_likelihood, kl, 1.0)).all()


def test_the_slope_of_the_loss_by_beta_is_the_kl():
    log_likelihood, kl = terms()
    slope = jax.grad(lambda beta: -jnp.mean(elbo(log_likelihood, kl, beta)))(0.7)
    np.testing.assert_allclose(slope, kl.sum(axis=1).mean(), rtol=1e-6)


def test_a_hundred_betas_need_one_trace():
    traced = jax.jit(chex.assert_max_traces(elbo, n=1))
    log_likelihood, kl = terms()
    for beta in np.linspace(0, 2, 100, dtype=np.float32):
        want = log_likelihood - beta * kl.sum(axis=1)
        np.testing.assert_allclose(traced(log_likelihood, kl, beta), want, rtol=1e-5)


def test_tiling_the_batch_keeps_the_loss_and_doubling_the_latents_doubles_the_kl():
    log_likelihood, kl = terms()

    def loss(log_likelihood, kl):
        return -np.mean(np.asarray(elbo(log_likelihood, kl)), dtype=np.float64)

    once = loss(log_likelihood, kl)
    assert loss(np.tile(log_likelihood, 3), np.tile(kl, (3, 1))) == pytest.approx(once, rel=1e-7)
    twice = loss(log_likelihood, np.tile(kl, (1, 2))) - loss(log_likelihood, 0 * kl)
    assert twice == pytest.approx(2 * (once - loss(log_likelihood, 0 * kl)), rel=1e-6)


def test_wrong_shapes_are_refused():
    log_likelihood, kl = terms()
    for arguments in ((log_likelihood, kl[0]), (log_likelihood[:, None], kl), (log_likelihood, kl, np.ones(6))):
        with pytest.raises(ValueError, match="shape"):
            elbo(*arguments)
    with pytest.raises(ValueError, match="shape"):
        elbo(log_likelihood[1:], kl)
    with pytest.raises(ValueError, match="shape"):
        free_bits(kl, np.ones(3), event_axes=-1)
    for axes in (2, (1, 1), (0, -2), 1.0, None):
        with pytest.raises(ValueError, match=r"^event_axes must be different axes of an array of shape \(6, 3\), got"):
            free_bits(kl, 0.1, event_axes=axes)
    with pytest.raises(TypeError, match="event_axes"):  # a KL summed over its latents, (B, T), would pass for (B, L)
        free_bits(kl, 0.1)


def test_free_bits_are_the_larger_of_the_mean_and_the_floor():
    _, kl = terms()
    kl = kl * np.float32([0.01, 1, 0.1])
    floor = 0.3
    assert ((kl.mean(axis=0) < floor) == [True, False, True]).all()  # and single examples on either side
    np.testing.assert_allclose(np.mean(free_bits(kl, floor, -1), axis=0), np.maximum(kl.mean(axis=0), floor), rtol=1e-6)
    slopes = jax.grad(lambda kl: jnp.sum(free_bits(kl, floor, -1)))(kl)
    assert (slopes == np.float32([[0, 1, 0]])).all()
    assert (free_bits(kl, 0.0, -1) == kl).all()


def test_balanced_kl_with_free_nats_over_time_is_dreamers():
    """Of q and p (B, T, L), in float64: α max(free, KL(sg q ‖ p)) + β max(free, KL(q ‖ sg p)), summed over latents."""
    rng = np.random.default_rng(0)
    shape, free = (3, 4, 2), 1.0
    q, p = (Gaussian(*np.float32(rng.normal(scale=0.7, size=(2, *shape)))) for _ in range(2))

    def loss(q, p, weights, event_axes):
        dynamics = kl_divergence(stop_parameters(q), p).sum(-1)
        representation = kl_divergence(q, stop_parameters(p)).sum(-1)
        kls = (free_bits(kl, free, event_axes=event_axes) for kl in (dynamics, representation))
        return jnp.mean(sum(weight * kl for weight, kl in zip(weights, kls, strict=True)))

    @jax.jit
    def both(q, p):
        third = jax.value_and_grad(lambda q, p: loss(q, p, (1.0, 0.1), (0, 1)), (0, 1))(q, p)
        second = jax.value_and_grad(lambda q, p: loss(q, p, (0.8, 0.2), ()), (0, 1))(q, p)
        return third, second

    (mean_q, raw_q), (mean_p, raw_p) = ((np.float64(x.loc), np.float64(x.raw)) for x in (q, p))
    ratio, rest = np.exp(raw_q - raw_p), (mean_q - mean_p) / np.exp(raw_p)
    kl = ((ratio - 1 - np.log(ratio) + rest * (mean_q - mean_p)) / 2).sum(axis=-1)
    by_q, by_p = (rest, (ratio - 1) / 2), (-rest, (1 - ratio - rest * (mean_q - mean_p)) / 2)
    above = kl > free
    assert 0 < above.sum() < above.size
    assert kl.mean() > free
    steps = above.size
    for (value, slopes), weights, want, passes in (
        (both(q, p)[0], (1.0, 0.1), np.maximum(kl, free).mean(), above[..., None]),
        (both(q, p)[1], (0.8, 0.2), max(kl.mean(), free), 1.0),
    ):
        np.testing.assert_allclose(value, sum(weights) * want, rtol=1e-5)
        for slope, by, weight in zip(slopes, (by_q, by_p), weights[::-1], strict=True):
            for found, right in zip((slope.loc, slope.raw), by, strict=True):
                np.testing.assert_allclose(found, weight * passes * right / steps, rtol=1e-4, atol=1e-7)


def test_a_mean_below_the_free_nats_costs_the_floor():
    kl = np.float32([[0.5, 3.0], [0.1, 0.0]])  # (B, T), summed over latents
    assert free_bits(kl, 1.0, event_axes=()).tolist() == [[1, 1], [1, 1]]
    assert free_bits(kl, 1.0, event_axes=(0, 1)).tolist() == [[1, 3], [1, 1]]
    assert free_bits(kl, 1.0, event_axes=-1).tolist() == [[1, 3], [1, 0]]
    each = jax.vmap(lambda kl: free_bits(kl, 1.0, event_axes=-1))(kl)
    assert each.tolist() == [[1, 3], [1, 1]]


def test_a_kl_that_is_summed_already_is_told_by_the_shape():
    log_likelihood, kl = np.float32([[-1, -2, -3], [-4, -5, -6]]), np.float32([[1, 2, 3], [4, 5, 6]])
    assert elbo(log_likelihood, kl).tolist() == [[-2, -4, -6], [-8, -10, -12]]  # per time step
    assert elbo(log_likelihood[:, 0], kl).tolist() == [-7, -19]  # per sequence


def test_free_bits_do_not_hide_a_nan():
    kl = np.float32([[0.0, np.nan], [0.0, 0.0]])
    assert np.isnan(np.sum(free_bits(kl, 0.5, -1), axis=0)).tolist() == [False, True]
