import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae as jv
from jaxvae.likelihoods import LIKELIHOODS, Bernoulli, LearnedGaussian, likelihood
from jaxvae.models import make_vae

SHAPE = (3, 2, 2)


def images(count=4, levels=5):
    return jnp.asarray(np.random.default_rng(0).integers(0, levels, (count, *SHAPE)) / (levels - 1), jnp.float32)


def vae(kind=None, **options):
    return make_vae(SHAPE, kind or Bernoulli(), latents=2, **{"hidden": (8, 6), **options})


def init(model, label=None):
    return jax.jit(model.init)(jax.random.key(0), images(), jax.random.key(1), label)


def shifted(variables):
    """Away from the start, where many kernels are 0."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: x + jnp.asarray(0.1 * rng.normal(size=x.shape), x.dtype), variables)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_trains(name):
    model = vae(likelihood(name, levels=5))
    variables, x, key = init(model), images(), jax.random.key(2)
    assert ("likelihood_raw" in variables["params"]) == (name == "gaussian_learned")

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


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_pixels_start_at_the_likelihoods_neutral_mean(name):
    model = vae(likelihood(name, levels=5))
    variables = init(model)
    outputs = variables["params"]["decoder"]["outputs"]
    outputs["kernel"] = jnp.zeros_like(outputs["kernel"])
    mean = jax.jit(lambda z: model.apply(variables, z, method="mean"))(jnp.ones((3, 2)))
    assert mean.shape == (3, *SHAPE)
    np.testing.assert_allclose(mean, 0.5, rtol=1e-6)


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_terms_are_float32_and_one_per_example_and_latent(architecture, dtype):
    model = vae(architecture=architecture, dtype=dtype)
    terms, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images(), jax.random.key(1))
    assert terms.log_likelihood.shape == (4,)
    assert terms.kl.shape == terms.posterior.shape == (4, 2)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((terms, variables)))


def test_terms_are_those_of_the_parts():
    model, x, key = vae(parameterization=jv.softplus_std, init_std=0.3), images(), jax.random.key(2)
    variables = shifted(init(model))
    terms = model.apply(variables, x, key)
    q = model.apply(variables, x, method="encode")
    assert q.parameterization == jv.softplus_std
    assert (terms.kl == jv.kl_divergence(q)).all()
    z = jv.sample(key, q)
    logits = np.asarray(model.apply(variables, z, method="decode"), np.float64)
    want = np.sum(np.where(x == 1, 1, x) * logits - np.logaddexp(0, logits), axis=(1, 2, 3))
    np.testing.assert_allclose(terms.log_likelihood, want, rtol=1e-5)


def test_a_leading_axis_of_samples():
    model, x = vae(classes=3), images()
    label = jnp.array([0, 1, 2, 0])
    variables = shifted(init(model, label))
    z = jnp.asarray(np.random.default_rng(2).normal(size=(5, 4, 2)), jnp.float32)
    scores = model.apply(variables, x, z, label, method="log_likelihood")
    assert scores.shape == (5, 4)
    for k in range(5):
        np.testing.assert_allclose(
            scores[k], model.apply(variables, x, z[k], label, method="log_likelihood"), rtol=1e-5
        )


def test_labels_condition_the_encoder_and_the_decoder():
    model, x, z = vae(classes=3), images(1), jnp.zeros((1, 2))
    variables = shifted(init(model, jnp.zeros(4, jnp.int32)))
    first, second = jnp.array([0]), jnp.array([1])
    encoded = [model.apply(variables, x, label, method="encode").loc for label in (first, second)]
    decoded = [model.apply(variables, z, label, method="decode") for label in (first, second)]
    assert (encoded[0] != encoded[1]).all()
    assert (decoded[0] != decoded[1]).any()


def test_a_given_raw_stands_in_for_the_learned_one():
    model, x, z = vae(LearnedGaussian(jv.log_std, 0.3)), images(), jnp.zeros((4, 2))
    variables = init(model)
    own = model.apply(variables, x, z, method="log_likelihood")
    same = model.apply(variables, x, z, None, jnp.log(0.3), method="log_likelihood")
    other = model.apply(variables, x, z, None, jnp.log(0.6), method="log_likelihood")
    np.testing.assert_allclose(own, same, rtol=1e-5)
    squares = jnp.sum(jnp.square(x - model.apply(variables, z, method="mean")), axis=(1, 2, 3))
    want = squares / 2 * (1 / 0.3**2 - 1 / 0.6**2) - x[0].size * np.log(2)
    np.testing.assert_allclose(other - own, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("architecture", "transformer", "mlp or conv"),
        ("activation", "swish", "one of elu, gelu, relu, silu, tanh"),
        ("hidden", (), "one or more widths, each at least 1"),
        ("hidden", (8, 0), "one or more widths, each at least 1"),
        ("latents", 0, "at least 1"),
        ("blocks", -1, "at least 0"),
        ("classes", -1, "at least 0"),
    ],
)
def test_a_bad_choice_is_refused(field, value, allowed):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        make_vae(SHAPE, Bernoulli(), **{"latents": 2, field: value})
    assert str(refusal.value) == f"{field} must be {allowed}, got {value!r}"
