import math
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import key

from jaxvae import Gaussian, kl_divergence, log_prob, parameterization, reparameterize
from jaxvae.objectives import (
    dreg,
    iwae,
    path_log_weights,
    sampled_elbo,
    sampled_kl,
    stl,
    stop_parameters,
    tapped,
)

K, B, L = 5, 3, 2
STANDARD_ERRORS = 3
X = np.float32([-1.0, 0.3, 2.0])
THETA = {"slope": np.float32([0.9, -0.4]), "bias": np.float32(0.2)}
PHI = {"loc": np.float32([[0.3, 0.1]] * B), "raw": np.float32([[0.1, -0.3]] * B)}
NAMES = ("log_variance", "natural_exp")
every_parameterization = pytest.mark.parametrize("name", NAMES)


def normal(mean=0.0, log_variance=0.0):
    return Gaussian(jnp.asarray(mean), jnp.asarray(log_variance))


def log_joint(theta, z):
    """p(z) = N(0, 1), p(x|z) = N(slope·z + bias, 1)."""
    mean = jnp.tensordot(z, theta["slope"], 1) + theta["bias"]
    return log_prob(normal(), z).sum(-1) + log_prob(normal(mean), jnp.broadcast_to(X, mean.shape))


def posterior(phi, name="log_variance"):
    return Gaussian(phi["loc"], phi["raw"], parameterization(name))


def weights(theta, phi, noise, name="log_variance"):
    q = posterior(phi, name)
    z = reparameterize(q, noise)
    return log_joint(theta, z) - log_prob(q, z).sum(-1)


def plain(bound):
    return lambda theta, phi, noise, name="log_variance": bound(weights(theta, phi, noise, name)).sum()


def doubly(theta, phi, noise, name="log_variance"):
    q = posterior(phi, name)
    z, tap = tapped(reparameterize(q, noise))
    return dreg(path_log_weights(log_joint(theta, z), q, z), tap).sum()


def landing(theta, phi, noise, name="log_variance"):
    q = posterior(phi, name)
    z = reparameterize(q, noise)
    return stl(log_joint(theta, z), q, z).sum()


class Slopes(NamedTuple):
    """Of many draws of the noise, flat (N, parameters)."""

    value: np.ndarray
    theta: np.ndarray
    phi: np.ndarray


def slopes(bound, count=20_000, samples=K, phi=PHI, theta=THETA, **options):
    noise = jax.random.normal(key(7), (count, samples, B, L))

    @jax.jit
    @jax.vmap
    def each(noise):
        value, grads = jax.value_and_grad(lambda *params: bound(*params, noise, **options), (0, 1))(theta, phi)
        return value, *(jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in grads)

    return Slopes(*(np.float64(part) for part in each(noise)))


def standard_errors(x):
    """How many the mean is away from 0, for each column."""
    return np.abs(x.mean(axis=0)) / (x.std(axis=0, ddof=1) / math.sqrt(len(x)))


def close(got, want):
    chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-5)


@every_parameterization
def test_only_the_path_is_left(name):
    noise = np.float32(np.random.default_rng(0).normal(size=(K, B, L)))

    def through_z(phi):
        q = posterior(phi, name)
        return log_prob(stop_parameters(q), reparameterize(q, noise)).sum()

    @jax.jit
    def expected(phi):
        fixed = posterior(phi, name)
        z, pull = jax.vjp(lambda phi: reparameterize(posterior(phi, name), noise), phi)
        return pull(jax.grad(lambda z: log_prob(fixed, z).sum())(z))[0]

    close(jax.jit(jax.grad(through_z))(PHI), expected(PHI))
    still = jax.grad(lambda phi: log_prob(stop_parameters(posterior(phi, name)), np.ones((K, B, L), np.float32)).sum())
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(jax.jit(still)(PHI)))


@every_parameterization
def test_dreg_is_the_formula(name):
    noise = np.float32(np.random.default_rng(1).normal(size=(K, B, L)))

    @jax.jit
    def expected(theta, phi):
        q = posterior(phi, name)
        z, pull = jax.vjp(lambda phi: reparameterize(posterior(phi, name), noise), phi)
        log_w, by_z = jax.vjp(lambda z: log_joint(theta, z) - log_prob(q, z).sum(-1), z)
        weight = jax.nn.softmax(log_w, axis=0)
        by_theta = jax.vjp(lambda theta: log_joint(theta, z), theta)[1](weight)[0]
        return by_theta, pull(by_z(weight**2)[0])[0]

    scaled = jax.jit(jax.grad(lambda theta, phi: -4 * doubly(theta, phi, noise, name), (0, 1)))
    close(jax.tree.map(lambda x: x / -4, scaled(THETA, PHI)), expected(THETA, PHI))


def agree(ours, theirs):
    """Values and the decoder's gradient but for rounding, the encoder's in the mean."""
    np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-5)
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=1e-4, atol=1e-4)
    assert (standard_errors(ours.phi - theirs.phi) < STANDARD_ERRORS).all()


@pytest.mark.slow
@every_parameterization
def test_dreg_agrees_with_iwae_and_has_less_noise(name):
    ours, theirs = slopes(doubly, name=name), slopes(plain(iwae), name=name)
    agree(ours, theirs)
    assert (standard_errors(theirs.phi) > STANDARD_ERRORS).any()  # there is something to agree on
    assert ours.phi.var(axis=0).sum() < 0.8 * theirs.phi.var(axis=0).sum()


@pytest.mark.slow
def test_the_path_of_iwae_alone_is_biased():
    """The test above would tell: without the second weight, the score's mean isn't 0."""

    def sticking(theta, phi, noise):
        q = posterior(phi)
        z = reparameterize(q, noise)
        return iwae(path_log_weights(log_joint(theta, z), q, z)).sum()

    assert (standard_errors(slopes(sticking).phi - slopes(plain(iwae)).phi) > 2 * STANDARD_ERRORS).any()


@pytest.mark.slow
@every_parameterization
def test_stl_agrees_with_the_elbo(name):
    agree(slopes(landing, name=name), slopes(plain(sampled_elbo), name=name))


def exact(name="log_variance", off=0.0):
    """q's parameters at the exact posterior: one of the slopes is 0, so that it is diagonal."""
    theta = {"slope": np.float32([math.sqrt(3), 0.0]), "bias": np.float32(0.2)}
    variance = 1 / (1 + np.square(theta["slope"]))
    mean = (X - theta["bias"])[:, None] * theta["slope"] * variance
    p = parameterization(name)
    raw = np.broadcast_to(p.raw_from_std(np.sqrt(variance)), mean.shape)
    return theta, {"loc": np.asarray(p.loc_from_mean(mean + off, raw)), "raw": raw}


@pytest.mark.parametrize("bound", [landing, doubly])
@every_parameterization
def test_at_the_exact_posterior_nothing_pulls_at_q(bound, name):
    theta, phi = exact(name)
    path = slopes(bound, 100, phi=phi, theta=theta, name=name).phi
    assert np.abs(path).max() < 100 * np.finfo(np.float32).eps  # terms of up to 4 z, in 5 samples, cancel


def test_near_the_exact_posterior_the_path_has_less_noise():
    theta, phi = exact(off=0.05)
    path, both = (slopes(bound, phi=phi, theta=theta).phi for bound in (landing, plain(sampled_elbo)))
    assert (standard_errors(path - both) < STANDARD_ERRORS).all()
    assert (path.var(axis=0)[:6] <= both.var(axis=0)[:6]).all()
    assert path.var(axis=0).sum() < 0.1 * both.var(axis=0).sum()


def test_one_sample_of_dreg_is_stl():
    a, b = slopes(doubly, 10, samples=1), slopes(landing, 10, samples=1)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)


def test_a_tap_that_is_not_used_does_nothing():
    def sampled(phi, tap):
        q = posterior(phi)
        z = reparameterize(q, np.ones((K, B, L), np.float32))
        z = tapped(z)[0] if tap else z
        return stl(log_joint(THETA, z), q, z).sum()

    slope = jax.jit(jax.grad(sampled), static_argnums=1)
    close(slope(PHI, True), slope(PHI, False))


def test_the_decoder_is_run_once():
    def bound(theta, noise, finish):
        q = posterior(PHI)
        z, tap = tapped(reparameterize(q, noise))
        log_w = path_log_weights(jnp.tanh(z @ theta["slope"]), q, z)
        return finish(log_w, tap).sum()

    noise = np.zeros((K, B, L), np.float32)
    grad = jax.jit(jax.grad(bound), static_argnums=2)
    assert grad.lower(THETA, noise, dreg).compile().as_text().count(" tanh(") == 1


def test_inside_a_module_a_scan_and_a_checkpoint():
    noise = np.float32(np.random.default_rng(2).normal(size=(4, K, B, L)))

    class Model(nn.Module):
        @nn.compact
        def __call__(self, noise):
            phi = {name: self.param(name, lambda _, x=x: jnp.asarray(x)) for name, x in PHI.items()}
            q = posterior(phi)
            z, tap = tapped(reparameterize(q, noise))
            return dreg(path_log_weights(nn.Dense(1, name="decoder")(z)[..., 0], q, z), tap).sum()

    model = Model()
    params = jax.jit(model.init)(key(0), noise[0])
    one = jax.jit(jax.grad(model.apply))
    separate = jax.tree.map(lambda *x: sum(x), *(one(params, n) for n in noise))

    def scanned(params):
        step = jax.checkpoint(lambda total, n: (total + model.apply(params, n), None))
        return jax.lax.scan(step, 0.0, noise)[0]

    close(jax.jit(jax.grad(scanned))(params), separate)


def test_low_precision_samples():
    def bound(loc):
        z, tap = tapped(reparameterize(Gaussian(loc, jnp.zeros_like(loc)), np.ones((K, B, L), np.float32)))
        return dreg(jnp.sum(z.astype(jnp.float32), axis=-1), tap).sum()

    slope = jax.jit(jax.grad(bound))(jnp.zeros((B, L), jnp.bfloat16))
    assert slope.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(slope), 1 / K, rtol=2**-7)  # K equal weights, squared


def hierarchy(score):
    """q(z₂) q(z₁|z₂) under p(z₂) p(z₁|z₂) p(x|z₁); ``score`` says what of log q(z₁|z₂)'s gradient is kept."""
    theta = {"slope": np.float32(0.8)}
    phi = {"top": np.float32(0.2), "raw": np.float32(-0.3), "slope": np.float32(0.9), "bias": np.float32(-0.2)}

    def lower(phi, top):
        return normal(phi["slope"] * top + phi["bias"] * X[None, :, None], -1.0)

    def bound(theta, phi, noise):
        upper = normal(phi["top"] * X[:, None], phi["raw"])
        top = reparameterize(upper, noise[..., :1])
        bottom = reparameterize(lower(phi, top), noise[..., 1:])
        if score == "all":
            tap, upper_q, lower_q = None, upper, lower(phi, top)
        else:
            (top, bottom), tap = tapped((top, bottom))
        if score == "indirect":
            upper_q, lower_q = stop_parameters(upper), lower(jax.lax.stop_gradient(phi), top)
        elif score == "none":
            upper_q, lower_q = stop_parameters(upper), stop_parameters(lower(phi, top))
        joint = log_prob(normal(), top) + log_prob(normal(theta["slope"] * top), bottom)
        joint = joint + log_prob(normal(bottom), jnp.broadcast_to(X[:, None], bottom.shape))
        log_w = (joint - log_prob(upper_q, top) - log_prob(lower_q, bottom))[..., 0]
        return (iwae(log_w) if tap is None else dreg(log_w, tap)).sum()

    return bound, {"theta": theta, "phi": phi}


@pytest.mark.slow
def test_dreg_of_a_hierarchy():
    runs = {}
    for score in ("all", "indirect", "none"):
        bound, params = hierarchy(score)
        runs[score] = slopes(bound, samples=3, **params)
    iwae_phi, ours, naive = (runs[score].phi for score in runs)
    np.testing.assert_allclose(runs["indirect"].value, runs["all"].value, rtol=1e-4)
    np.testing.assert_allclose(runs["indirect"].theta, runs["all"].theta, rtol=1e-3, atol=1e-4)
    assert (standard_errors(ours - iwae_phi) < STANDARD_ERRORS).all()
    assert ours.var(axis=0).sum() < iwae_phi.var(axis=0).sum()
    assert (standard_errors(naive - iwae_phi) > 2 * STANDARD_ERRORS).any()  # biased


def test_sampled_kl():
    q, p = posterior(PHI), normal(np.full((B, L), 0.5, np.float32), np.full((B, L), 0.4, np.float32))
    z = reparameterize(q, jax.random.normal(key(3), (20_000, B, L)))
    for prior in (None, p):
        drawn = np.float64(jax.jit(sampled_kl)(q, z, prior))
        assert (standard_errors(drawn - np.float64(kl_divergence(q, prior))) < STANDARD_ERRORS).all()
    np.testing.assert_array_equal(jax.jit(sampled_kl)(q, z, q), 0)


def test_dreg_weighs_what_flows_back_whatever_the_batch_axes():
    noise, (loc, *_) = np.float32(np.random.default_rng(0).normal(size=(2, K, 4, L, 1)))

    def bound(loc, noise, batch_ndim):
        q = Gaussian(loc, jnp.zeros_like(loc))
        z, tap = tapped(reparameterize(q, noise), batch_ndim)
        log_joint = -jnp.sum(jnp.square(z - 1), axis=tuple(range(1 + batch_ndim, z.ndim)))
        return dreg(path_log_weights(log_joint, q, z), tap).sum()

    def wide(x):
        return x.reshape(*x.shape[:-3], 2, 2, L, 1)

    @jax.jit
    def slopes(loc, noise):
        slope = jax.grad(bound)
        alone = jax.vmap(lambda loc, noise: slope(loc, noise, 0), (0, 1))
        return slope(loc, noise, 1), slope(wide(loc), wide(noise), 2), alone(loc, noise)

    flat, two, none = slopes(loc, noise)
    assert (flat != 0).all()
    np.testing.assert_allclose(two, wide(flat), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(none, flat, rtol=1e-5, atol=1e-6)


def test_wrong_shapes_are_refused():
    q, z = posterior(PHI), np.ones((K, B, L), np.float32)
    joint = np.ones((K, B), np.float32)
    with pytest.raises(ValueError, match="shape"):
        stl(joint, q, z[0])
    with pytest.raises(ValueError, match="shape"):
        stl(joint[1:], q, z)
    with pytest.raises(ValueError, match="shape"):
        dreg(joint, np.ones((K, 1), np.float32))
    with pytest.raises(ValueError, match=r"^tap.shape must be log_weights', .* by its batch_ndim, got"):
        dreg(joint[:, 0], tapped(z[:, 0])[1])  # of one example
    for x, ndim in ((z[:, 0, 0], 1), (z, 4), (z, -1), (z, 1.0)):
        with pytest.raises(ValueError, match="batch_ndim"):
            tapped(x, ndim)
    with pytest.raises(ValueError, match="shape"):
        tapped((z, z[1:]))
