import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
from representatives import each

import jaxvae as jv
from jaxvae.likelihoods import COMPOSITIONS, COUNTS, LIKELIHOODS, Bernoulli, LearnedGaussian, likelihood
from jaxvae.models import Condition, make_model

SHAPE = (3, 2, 2)
THREE = (Condition(3),)


def images(count=4, levels=5):
    return jnp.asarray(np.random.default_rng(0).integers(0, levels, (count, *SHAPE)) / (levels - 1), jnp.float32)


def vae(kind=None, **options):
    return make_model(SHAPE, kind or Bernoulli(), latents=2, **{"hidden": (8, 6), **options})


def init(model, label=None):
    return jax.jit(model.init)(quick.key(0), images(), quick.key(1), label)


def shifted(variables):
    """Away from the start, where raw's kernel is 0."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: np.asarray(x) + np.float32(0.1 * rng.normal(size=x.shape)), variables)


def jitted(model, method):
    return jax.jit(functools.partial(model.apply, method=method))


@pytest.mark.slow
@pytest.mark.parametrize("name", each(LIKELIHOODS, ("bernoulli", "gaussian_learned", "negative_binomial")))
def test_every_likelihood_starts_at_its_neutral_mean_and_trains(name):
    model = vae(likelihood(name, levels=5))
    variables, x, key = init(model), images(), quick.key(2)
    x = jnp.round(5 * x) if name in (*COUNTS, *COMPOSITIONS) else x
    raw = variables["params"].get("likelihood_raw")
    learned = ("gaussian_learned", "negative_binomial", "zero_inflated_negative_binomial", "dirichlet_multinomial")
    assert (raw is not None) == (name in learned)
    outputs = variables["params"]["decoder"]["outputs"]["bias"].reshape(3, 2, -1)
    mean = jax.jit(model.likelihood.mean)(outputs, raw)
    assert mean.shape == SHAPE
    neutral = 1 / SHAPE[-1] if name in COMPOSITIONS else 1.0 if name in COUNTS[:2] else 0.9 if name in COUNTS else 0.5
    np.testing.assert_allclose(mean, neutral, rtol=1e-6)

    @jax.jit
    def descend(variables, rate):
        def loss(variables):
            terms = model.apply(variables, x, key)
            return -jnp.mean(terms.log_likelihood - jnp.sum(terms.kl, axis=-1))

        value, grads = jax.value_and_grad(loss)(variables)
        return value, jax.tree.map(lambda v, g: v - rate * g, variables, grads)

    before, variables = descend(variables, 1e-3)
    after, variables = descend(variables, 1e-3)
    assert np.isfinite(before)
    assert after < before
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


def test_a_bernoulli_decoder_starts_at_the_mean_of_the_data():
    mean = np.linspace(0.1, 0.9, 12).reshape(SHAPE)
    logit = np.log(mean / (1 - mean))
    bias = init(vae(mean=mean))["params"]["decoder"]["outputs"]["bias"]
    np.testing.assert_allclose(bias.reshape(SHAPE), logit, rtol=1e-5, atol=1e-6)
    decoder = vae(mean=mean, architecture="conv").decoder
    channels = mean.mean(axis=(0, 1))
    np.testing.assert_allclose(decoder.output_bias, np.log(channels / (1 - channels)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_terms_are_float32_and_one_per_example_and_latent(architecture, dtype):
    model = vae(architecture=architecture, dtype=dtype)
    terms, variables = jax.eval_shape(model.init_with_output, quick.key(0), images(), quick.key(1))
    assert terms.log_likelihood.shape == (4,)
    assert terms.kl.shape == terms.posterior.shape == (4, 2)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((terms, variables)))


def test_terms_are_those_of_the_parts():
    model, x, key = vae(parameterization=jv.softplus_std, init_std=0.3), images(), quick.key(2)
    variables = shifted(init(model))

    @jax.jit
    def parts(variables):
        q = model.apply(variables, x, method="encode")
        return q, jv.kl_divergence(q), model.apply(variables, jv.sample(key, q), method="decode")

    terms = jax.jit(model.apply)(variables, x, key)
    q, kl, logits = parts(variables)
    assert q.parameterization == terms.posterior.parameterization == jv.softplus_std
    np.testing.assert_allclose(terms.kl, kl, rtol=1e-6)
    logits = np.asarray(logits, np.float64)
    want = np.sum(np.asarray(x) * logits - np.logaddexp(0, logits), axis=(1, 2, 3))
    np.testing.assert_allclose(terms.log_likelihood, want, rtol=1e-5)


def test_a_leading_axis_of_samples():
    model, x = vae(conditions=THREE), images()
    label = jnp.array([[0.0], [1], [2], [0]])
    variables = shifted(init(model, label))
    z = jnp.asarray(np.random.default_rng(2).normal(size=(5, 4, 2)), jnp.float32)
    score = jitted(model, "log_likelihood")
    scores = score(variables, x, z, label)
    assert scores.shape == (5, 4)
    for k in range(5):
        np.testing.assert_allclose(scores[k], score(variables, x, z[k], label), rtol=1e-5)
    for i in range(4):  # each image with its own label
        own = score(variables, x[i : i + 1], z[:, i : i + 1], label[i : i + 1])
        np.testing.assert_allclose(scores[:, i], own[:, 0], rtol=1e-5)


def test_labels_condition_the_encoder_and_the_decoder():
    model, x, z = vae(conditions=THREE), images(1), jnp.zeros((1, 2))
    variables = shifted(init(model, jnp.zeros((4, 1))))
    first, second = jnp.zeros((1, 1)), jnp.ones((1, 1))
    encoded = [jitted(model, "encode")(variables, x, label).loc for label in (first, second)]
    decoded = [jitted(model, "decode")(variables, z, label) for label in (first, second)]
    assert (encoded[0] != encoded[1]).all()
    assert (decoded[0] != decoded[1]).any()


def test_a_given_raw_stands_in_for_the_learned_one():
    model, x, z = vae(LearnedGaussian(jv.log_std, 0.3)), images(), jnp.zeros((4, 2))
    variables = init(model)
    score = jitted(model, "log_likelihood")
    own, same, other = (score(variables, x, z, None, raw) for raw in (None, np.log(0.3), np.log(0.6)))
    np.testing.assert_allclose(own, same, rtol=1e-5)
    squares = np.sum(np.square(x - np.asarray(jitted(model, "mean")(variables, z))), axis=(1, 2, 3))
    want = squares / 2 * (1 / 0.3**2 - 1 / 0.6**2) - x[0].size * np.log(2)
    np.testing.assert_allclose(other - own, want, rtol=1e-4, atol=1e-5)
