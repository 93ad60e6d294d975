import functools

import jax
import jax.numpy as jnp
import linear
import numpy as np
import pytest
from representatives import each

from jaxvae.likelihoods import Bernoulli
from jaxvae.models import make_model
from jaxvae.objectives import iwae
from jaxvae.training.bounds import BOUNDS, log_weights

INFERENCES = each((None, "bottom_up", "top_down"), kept=(None,))
KEYS = 3000


def test_with_the_exact_posterior_every_weight_is_the_evidence():
    split = linear.images(5)
    task, x = linear.task(split), np.float32(linear.pixels(split))
    noise = np.random.default_rng(0).normal(size=(7, 5, 2)).astype(np.float32)
    weigh = functools.partial(log_weights, task.model, task.params, x.reshape(5, *linear.SHAPE), noise)
    for path in (False, True):
        found = jax.jit(functools.partial(weigh, path=path))().log_weights
        # Sums of squares as large as 1/σ² of float32's roundings, x among them.
        np.testing.assert_allclose(found, np.broadcast_to(linear.log_evidence(linear.pixels(split)), (7, 5)), rtol=2e-5)


@functools.cache
def gradients(inference):
    """Of every bound, over many keys: (keys, parameters) of q's own layers and of the rest; one program for all."""
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (2, 2, 2, 1)), jnp.float32)
    upper = {"upper_latents": (1,), "upper_hidden": (2,), "inference": inference} if inference else {}
    model = make_model((2, 2, 1), Bernoulli(), 1, hidden=(2,), **upper)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x, jax.random.key(0))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: np.float32(0.4 * rng.normal(size=leaf.shape)), shapes)

    def slopes(name, key):
        function, path = BOUNDS[name]

        def bound(params):
            noise = jax.random.normal(key, (4, 2, model.latents))
            weights = log_weights(model, params, x, noise, path=path)
            return jnp.mean(function(weights.log_weights, weights.tap))

        found = jax.grad(bound)(params)["params"]
        parts = {True: [], False: []}
        for layer, tree in found.items():
            parts[layer.startswith(("encoder", "head", "up"))] += jax.tree.leaves(tree)
        return tuple(jnp.concatenate([leaf.ravel() for leaf in parts[own]]) for own in (True, False))

    keys = jax.random.split(jax.random.key(2), KEYS)
    run = jax.jit(lambda keys: {name: jax.vmap(functools.partial(slopes, name))(keys) for name in BOUNDS})
    return jax.device_get(run(keys))


@pytest.mark.slow
@pytest.mark.parametrize("inference", INFERENCES)
@pytest.mark.parametrize(("name", "plain"), [("stl", "sampled_elbo"), ("dreg", "iwae")])
def test_gradients_by_the_path_are_those_of_the_plain_bound_in_the_mean(name, plain, inference):
    for less_noise, more_noise in zip(*(gradients(inference)[which] for which in (name, plain)), strict=True):
        difference = less_noise - more_noise
        error = np.std(difference, axis=0) / np.sqrt(KEYS)
        # Of some 50 parameters; a bias in any of them by the size of its noise would be 50 errors off.
        np.testing.assert_array_less(np.abs(np.mean(difference, axis=0)), 4.5 * error + 1e-6)


@pytest.mark.parametrize("inference", INFERENCES)
def test_doubly_reparameterized_gradients_have_less_noise(inference):
    plain, dreg = (np.sum(np.var(gradients(inference)[name][0], axis=0)) for name in ("iwae", "dreg"))
    assert dreg < plain


def test_the_weight_of_the_kl_is_what_beta_says():
    split = linear.images(3)
    task, x = linear.task(split, linear.params(widen=1.5)), np.float32(linear.pixels(split)).reshape(3, *linear.SHAPE)
    noise = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)

    @jax.jit
    def weights(beta):
        return log_weights(task.model, task.params, x, noise, beta=beta).log_weights

    none, half, whole = weights(0.0), weights(0.5), weights(1.0)
    np.testing.assert_allclose(half, (none + whole) / 2, rtol=1e-5)
    z = task.model.apply(task.params, x, noise, method="draw").latents
    np.testing.assert_allclose(none, task.model.apply(task.params, x, z, method="log_likelihood"), rtol=1e-5)


def test_iwae_of_what_was_observed_is_the_bound_for_missing_data():
    """log 1/K Σ p(x_o|z) p(z) / q(z|x_o): equation 4 of Mattei & Frellsen (2019, arXiv:1812.02633)."""
    rng = np.random.default_rng(0)
    x = np.where(rng.random((5, 4)) < 0.4, np.nan, linear.pixels(linear.images(5)))
    assert 0 < np.isnan(x).sum() < x.size
    kernel, spread, noise = 0.5 * rng.normal(size=(8, 2)), np.array([0.4, 0.7]), rng.normal(size=(3, 5, 2))
    head = {"loc": {"kernel": kernel, "bias": np.zeros(2)}, "raw": {"kernel": 0 * kernel, "bias": 2 * np.log(spread)}}
    params = jax.tree.map(np.float32, {"params": {**linear.params()["params"], "head": head}})
    model = linear.module(missing=True)
    images = np.float32(x).reshape(5, *linear.SHAPE)
    weigh = functools.partial(log_weights, model, params, images, np.float32(noise))
    found = jax.jit(lambda: iwae(weigh().log_weights))()

    there = ~np.isnan(x)
    seen = np.stack([np.where(there, x, 0), there], axis=-1).reshape(5, 8)  # the mask is a channel
    mean = seen @ kernel
    z = mean + spread * noise

    def log_normal(x, mean, std):
        return -np.square((x - mean) / std) / 2 - np.log(std * np.sqrt(2 * np.pi))

    of_x = np.where(there, log_normal(np.where(there, x, 0), linear.BIAS + z @ linear.W.T, linear.STD), 0).sum(-1)
    log_w = of_x + (log_normal(z, 0, 1) - log_normal(z, mean, spread)).sum(-1)
    np.testing.assert_allclose(found, np.log(np.mean(np.exp(log_w), axis=0)), rtol=1e-5)


def test_terms_are_those_of_the_same_samples():
    split = linear.images(3)
    task, x = linear.task(split, linear.params(widen=1.5)), np.float32(linear.pixels(split)).reshape(3, *linear.SHAPE)
    noise = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    found = jax.jit(functools.partial(log_weights, task.model, task.params, x, noise, beta=0.0))()
    np.testing.assert_allclose(found.terms.log_likelihood, np.mean(found.log_weights, axis=0), rtol=1e-5)
    assert (iwae(found.log_weights) >= found.terms.log_likelihood - 1e-4).all()
