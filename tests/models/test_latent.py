"""What every model with latents promises, walked over all kinds of them."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import kinds
import numpy as np
import pytest
import quick
from representatives import each

from jaxvae.likelihoods import Beta, Columns, Group, LogNormal, Poisson
from jaxvae.models import Condition, Draws, log_prob_of_observed
from jaxvae.objectives import elbo

every_kind = pytest.mark.parametrize("kind", each(kinds.OPTIONS, ("gaussian", "top_down of three")))
SAMPLES = 20_000
TWO = Condition(2), Condition(loc=0.5, scale=2.0)
GIVEN = np.array([[0, 1.5], [1, -1], [1, 0]], np.float32)


class Found(NamedTuple):
    """What a model makes of its images: all in one program, as compiling is what takes time."""

    draws: Draws
    same: jax.Array  # log q of the draws as given points
    log_prior: jax.Array
    log_likelihood: jax.Array  # of the draws, and of what the prior generates
    of_generated: jax.Array
    mean: jax.Array
    at_means: Draws
    without_noise: Draws


@functools.cache
def found(kind):
    made, x, given = kinds.model(kind, conditions=TWO), kinds.images(), GIVEN

    @jax.jit
    def everything(params, noise):
        def apply(method, *inputs):
            return made.apply(params, *inputs, method=method)

        draws = apply("draw", x, noise, given)
        return Found(
            draws,
            apply("log_posterior", x, draws.latents, given),
            apply("log_prior", draws.latents),
            apply("log_likelihood", x, draws.latents, given),
            apply("log_likelihood", x, apply("generate", noise), given),
            apply("mean", draws.latents[0], given),
            apply("at_means", x, given),
            apply("draw", x, 0 * noise[:2], given),
        )

    noise = np.random.default_rng(2).normal(size=(SAMPLES, len(x), made.latents)).astype(np.float32)
    return jax.device_get(everything(kinds.params(made, given), noise))


@every_kind
def test_shapes(kind):
    f, shape = found(kind), (SAMPLES, 3, kinds.model(kind).latents)
    assert f.draws.latents.shape == f.draws.log_posterior.shape == f.log_prior.shape == shape
    assert f.draws.kl.shape == f.draws.posterior.shape == shape[1:]
    assert f.log_likelihood.shape == shape[:2]
    assert f.mean.shape == (3, *kinds.SHAPE)


@every_kind
def test_the_density_of_samples_is_that_of_the_same_points(kind):
    f = found(kind)
    # A flow's inverse and a scale's quotients, each rounded once or twice.
    np.testing.assert_allclose(f.same, f.draws.log_posterior, rtol=1e-4, atol=5e-5)


@every_kind
def test_samples_are_the_means_where_there_is_no_noise(kind):
    f = found(kind)
    np.testing.assert_allclose(f.at_means.latents[0], f.without_noise.latents[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(f.at_means.posterior.raw, f.without_noise.posterior.raw, rtol=1e-5, atol=1e-6)


@every_kind
def test_the_kl_is_the_mean_of_the_log_ratio(kind):
    f = found(kind)
    ratio = f.draws.log_posterior - f.log_prior
    error = np.std(ratio, axis=0) / np.sqrt(SAMPLES)
    np.testing.assert_array_less(np.abs(np.mean(ratio, axis=0) - f.draws.kl), 4.5 * error + 1e-6)


@every_kind
def test_the_evidence_is_the_same_from_the_prior_and_from_the_posterior(kind):
    """p(z), q(z|x), p(x|z) and their samplers all have to fit together for it."""
    f = found(kind)
    ratio = np.sum(f.draws.log_posterior - f.log_prior, axis=-1)
    weights = np.exp(f.of_generated), np.exp(f.log_likelihood - ratio)
    error = np.hypot(*(np.std(w, axis=0) for w in weights)) / np.sqrt(SAMPLES)
    np.testing.assert_array_less(np.abs(np.mean(weights[0], axis=0) - np.mean(weights[1], axis=0)), 4.5 * error)


@pytest.mark.slow
@every_kind
def test_terms_are_means_over_samples_and_every_parameter_has_a_gradient(kind):
    made, x, key = kinds.model(kind), kinds.images(), quick.key(3)
    params = kinds.params(made)

    @jax.jit
    def terms(params):
        def loss(params):
            terms = made.apply(params, x, key, samples=5)
            return jnp.sum(terms.kl) - jnp.sum(terms.log_likelihood), terms

        draws = made.apply(params, x, jax.random.normal(key, (5, len(x), made.latents)), method="draw")
        scores = made.apply(params, x, draws.latents, method="log_likelihood")
        return jax.grad(loss, has_aux=True)(params), scores, draws

    (slopes, terms), scores, draws = terms(params)
    np.testing.assert_allclose(terms.log_likelihood, np.mean(scores, axis=0), rtol=1e-5)
    np.testing.assert_allclose(terms.kl, draws.kl, rtol=1e-5, atol=1e-6)
    for path, leaf in jax.tree_util.tree_leaves_with_path(slopes):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf != 0), path


@pytest.mark.slow
def test_the_batch_may_be_symbolic():
    """One exported program for every batch: all that each kind can do, and its loss, here with one gradient."""
    made = {kind: kinds.model(kind, conditions=TWO) for kind in kinds.OPTIONS}
    made["conv"] = kinds.model("gaussian", conditions=TWO, architecture="conv")
    params = {kind: kinds.params(model, GIVEN) for kind, model in made.items()}

    def all_of(kind, x, given):
        def apply(method, *inputs):
            return made[kind].apply(params[kind], *inputs, method=method)

        def loss(params):
            terms = made[kind].apply(params, x, quick.key(0), given)
            return -jnp.mean(elbo(terms.log_likelihood, terms.kl))

        draws = apply("at_means", x, given)
        z = draws.latents[0]
        encoded = apply("encode", x, given).mean if hasattr(made[kind], "encode") else ()
        scores = apply("log_posterior", x, draws.latents, given), apply("log_prior", z), apply("generate", z)
        rows = encoded, z, apply("decode", z, given), apply("mean", z, given)
        return rows, scores, (jax.grad(loss) if kind == "conv" else loss)(params[kind])

    function = jax.jit(lambda *inputs: {kind: all_of(kind, *inputs) for kind in made})
    (b,) = jax.export.symbolic_shape("b")
    abstract = jax.ShapeDtypeStruct((b, *kinds.SHAPE), np.float32), jax.ShapeDtypeStruct((b, 2), np.float32)
    exported = jax.export.export(function)(*abstract)
    three, one = (exported.call(kinds.images(size), GIVEN[:size]) for size in (3, 1))
    chex.assert_trees_all_close(three, function(kinds.images(3), GIVEN), rtol=1e-5, atol=1e-5)
    for kind in made:
        first = jax.tree.map(lambda x: x[:1], three[kind][0])
        chex.assert_trees_all_close(one[kind][0], first, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", each(("gaussian", "flow", "top_down of three"), kept=("gaussian",)))
def test_what_is_missing_is_seen_as_such_and_not_scored(kind):
    made, x = kinds.model(kind, missing=True), kinds.images()
    params, noise = kinds.params(made), np.random.default_rng(3).normal(size=(2, len(x), made.latents))
    missing = jnp.asarray(np.random.default_rng(4).random(x.shape) < 0.4)
    assert 0 < missing.sum() < missing.size
    given = jnp.where(missing, jnp.nan, x)

    @jax.jit
    def both(params, given):
        def loss(params, given):
            terms = made.apply(params, given, jnp.float32(noise), method="terms")
            return jnp.sum(terms.kl) - jnp.sum(terms.log_likelihood)

        draws = made.apply(params, given, jnp.float32(noise), method="draw")
        outputs = made.apply(params, draws.latents, method="decode")
        scored = made.apply(params, given, draws.latents, method="log_likelihood")
        whole = made.likelihood.log_prob(outputs, x)
        return scored, jnp.where(missing, 0, whole).sum(axis=(-3, -2, -1)), jax.grad(loss, (0, 1))(params, given), draws

    scored, wanted, slopes, draws = both(params, given)
    np.testing.assert_allclose(scored, wanted, rtol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((slopes, draws)))
    assert not np.any(np.where(missing, slopes[1], 0))
    zeros = both(params, jnp.where(missing, 0, x))[-1]
    assert not np.allclose(zeros.latents, draws.latents)  # a zero that is missing isn't one that was observed


def test_models_of_complete_data_are_as_they_were():
    plain, missing = kinds.model("gaussian"), kinds.model("gaussian", missing=True)
    shapes = [kinds.params(made)["params"]["encoder"]["MLP_0"]["Dense_0"]["kernel"].shape for made in (plain, missing)]
    assert shapes == [(4, 4), (8, 4)]
    x = kinds.images().at[0, 0, 0].set(jnp.nan)
    assert np.isnan(kinds.applied(plain, "at_means")(kinds.params(plain), x).latents).any()  # refused before


@pytest.mark.slow
def test_nothing_that_is_missing_spoils_a_gradient():
    """Nor where the likelihood is of positive numbers, whose density at what stands in for a missing one is 0."""
    table = Columns((Group(LogNormal(), (0, 2)), Group(Beta(), (3,)), Group(Poisson(), (1,))))
    x = jnp.array([[0.5, jnp.nan, jnp.nan, 0.3], [jnp.nan, 4.0, 2.0, jnp.nan]])
    outputs, raw = jnp.asarray(table.output_bias(4)), table.raw_start(4)
    outputs = jnp.broadcast_to(outputs, (2, len(outputs)))

    @jax.jit
    def slopes(outputs, raw):
        return jax.value_and_grad(lambda *a: log_prob_of_observed(table, a[0], x, a[1]).sum(), (0, 1))(outputs, raw)

    value, found = slopes(outputs, raw)
    alone = table.log_prob(outputs, jnp.where(jnp.isnan(x), 0.5, x), raw)
    np.testing.assert_allclose(value, jnp.where(jnp.isnan(x), 0, alone).sum(), rtol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
