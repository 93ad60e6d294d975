"""The contract of every likelihood, walked over the registry so that nothing registered escapes it."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from representatives import each

import jaxvae as jv
from jaxvae.likelihoods import COMPOSITIONS, COUNTS, LIKELIHOODS, OptimalGaussian

EVERY = sorted(LIKELIHOODS)
ALONE = [name for name in EVERY if name not in COMPOSITIONS]
"""Of which each element stands for itself."""
NAMES = [name for name in ALONE if name not in COUNTS]
"""Those of pixels; counts and compositions have tests of their own for what is particular to them."""
FOUR = ("bernoulli", "discretized_logistic", "gaussian_learned", "negative_binomial")
"""One of each family, which stands for the others where every kind compiles programs of its own."""
LEVELS = 8
EPS = float(np.finfo(np.float32).eps)


@functools.cache
def build(name):
    return LIKELIHOODS[name](LEVELS, jv.softplus_std)


def raw_for(kind, channels=1):
    """What a model would hold; for the optimal σ, a fitted scalar."""
    if isinstance(kind, OptimalGaussian):
        return kind.fit(0.04)
    return jax.tree.map(jnp.float32, kind.raw_start(channels))


def data(kind, shape, seed=0):
    """x on the grid of the kind's levels, in {0, 1} where a mass has none, anywhere in [0, 1] else."""
    u = np.random.default_rng(seed).uniform(size=shape).astype(np.float32)
    levels = getattr(kind, "levels", 2 if kind.discrete else None)
    return jnp.asarray(u if levels is None else np.round(u * (levels - 1)) / np.float32(levels - 1))


def outputs_for(kind, shape, seed=1):
    noise = np.random.default_rng(seed).normal(size=(*shape[:-1], kind.output_channels(shape[-1])))
    return jnp.asarray(kind.output_bias(shape[-1]) + 0.3 * noise, jnp.float32)


@pytest.mark.parametrize("name", each(EVERY, FOUR))
def test_results_have_the_data_s_shape_for_events_of_any_rank(name):
    kind = build(name)
    for event in ((1,), (4,), (5, 2), (3, 4, 1), (2, 3, 2, 3)):
        raw = raw_for(kind, event[-1])
        x, outputs = data(kind, (2, *event)), outputs_for(kind, (2, *event))
        assert kind.output_channels(event[-1]) == len(kind.neutral) * event[-1] == outputs.shape[-1]
        for dtype in (jnp.float32, jnp.bfloat16):
            o = outputs.astype(dtype)
            for f in (
                lambda o, x=x, raw=raw: kind.log_prob(o, x, raw),
                lambda o, raw=raw: kind.mean(o, raw),
                lambda o, raw=raw: kind.sample(jax.random.key(0), o, raw),
            ):
                result = jax.eval_shape(f, o)
                assert (result.shape, result.dtype) == ((2, *event), jnp.float32)


@functools.cache
def compiled(name):
    """(outputs, x) to log_prob and mean; compiled once for the tests that share its shapes."""
    kind = build(name)

    def both(o, x):
        raw = raw_for(kind, x.shape[-1])
        return kind.log_prob(o, x, raw), kind.mean(o, raw)

    return jax.jit(both)


def close(a, b, eps=8):
    chex.assert_trees_all_close(a, b, rtol=eps * EPS, atol=eps * EPS)


@pytest.mark.parametrize("name", each(ALONE, FOUR))
def test_every_element_stands_for_itself(name):
    """No axis is mixed with another, none is reduced: the same as a batch of single pixels."""
    kind, shape = build(name), (2, 3, 4, 3)
    x, outputs = data(kind, shape), outputs_for(kind, shape)
    together = compiled(name)(outputs, x)
    alone = compiled(name)(outputs.reshape(72, -1), x.reshape(72, 1))
    assert all(jnp.all(jnp.isfinite(a)) for a in together)
    close(together, jax.tree.map(lambda a: a.reshape(shape), alone))


@pytest.mark.parametrize("name", each(EVERY, FOUR))
def test_terms_are_of_one_number_each_where_they_are_said_to_be(name):
    kind = build(name)
    x, raw = data(kind, (3,)), kind.raw_start(3)
    outputs = outputs_for(kind, (3,))
    score = jax.jit(lambda x: kind.log_prob(outputs, x, raw))
    stays = np.array_equal(score(x)[1:], score(x.at[0].set(1 - x[0]))[1:])
    assert stays == kind.separable
    scored = jax.jit(jax.value_and_grad(lambda o: kind.log_prob(o, jnp.zeros(3), raw).sum()))
    value, slope = scored(outputs)  # as if all were missing
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", each(EVERY, FOUR))
def test_samples_of_outputs_broadcast_against_the_data(name):
    kind = build(name)
    x, outputs = data(kind, (72, 1)), outputs_for(kind, (3, 72, 1))
    one_by_one = [compiled(name)(o, x)[0] for o in outputs]
    close(compiled(name)(outputs, x)[0], jnp.stack(one_by_one))


@pytest.mark.parametrize("name", each(EVERY, FOUR))
def test_precisions(name):
    """bfloat16 outputs are exactly their float32 values; float64 stays so, and float32 agrees with it."""
    kind, raw = build(name), raw_for(build(name))
    x, outputs = data(kind, (72, 1)), outputs_for(kind, (72, 1))
    low = outputs.astype(jnp.bfloat16)
    close(compiled(name)(low, x), compiled(name)(low.astype(jnp.float32), x), 4)
    with jax.enable_x64(True):
        wide = compiled(name)(jnp.asarray(outputs, jnp.float64), x)
        assert {a.dtype for a in wide} == {np.dtype("float64")}
        assert jax.eval_shape(lambda o: kind.sample(jax.random.key(0), o, raw), jnp.zeros(low.shape)).dtype == "float64"
    close(compiled(name)(outputs, x), wide, 32)


@pytest.mark.parametrize("name", each(EVERY, FOUR))
def test_under_vmap_and_two_derivatives(name):
    kind, raw = build(name), raw_for(build(name))
    x, outputs = data(kind, (6, 1)), outputs_for(kind, (6, 1))

    @jax.jit
    def slopes(o, x):
        f = jax.grad(lambda o, x: kind.log_prob(o, x, raw).sum())
        return f(o, x), jax.vmap(f)(o, x), jax.vmap(jax.jacfwd(f))(o, x)

    at_once, one_by_one, second = slopes(outputs, x)
    chex.assert_trees_all_close(one_by_one, at_once, rtol=1e-5, atol=1e-6)
    assert jnp.all(jnp.isfinite(second))


@pytest.mark.parametrize("name", EVERY)
def test_kinds_are_static_and_comparable(name):
    kind = build(name)
    again = LIKELIHOODS[name](LEVELS, jv.softplus_std)
    assert kind == again
    assert hash(kind) == hash(again)

    traces = []

    @functools.partial(jax.jit, static_argnums=0)
    def score(kind, outputs, x):
        traces.append(kind)
        return kind.log_prob(outputs, x, raw_for(kind))

    for k in (kind, again):
        score(k, outputs_for(kind, (2, 1)), data(kind, (2, 1)))
    assert len(traces) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", each(NAMES, FOUR))
def test_the_mean_of_samples_is_the_mean(name):
    """Within 4.5 standard errors of 40,000 draws, for each of 6 outputs; draws lie on the grid, or in [0, 1]."""
    kind, draws = build(name), 40_000
    outputs, raw = outputs_for(kind, (3, 2), seed=5), raw_for(kind)
    x = jax.jit(kind.sample)(jax.random.key(3), jnp.broadcast_to(outputs, (draws, *outputs.shape)), raw)
    x = np.asarray(x)
    error = np.abs(np.mean(x, axis=0, dtype=np.float64) - kind.mean(outputs, raw))
    assert np.all(error <= 4.5 * np.std(x, axis=0, dtype=np.float64) / math.sqrt(draws) + 4 * EPS)
    if hasattr(kind, "levels"):
        grid = np.arange(kind.levels, dtype=np.float32) / np.float32(kind.levels - 1)
        assert np.isin(x, grid).all()
    elif "bernoulli" in name:
        assert np.all((x >= 0) & (x <= 1))
    assert kind.discrete == np.all(np.unique(x).size <= LEVELS)


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_sum_to_one(name):
    """Masses over the levels to 64 eps; densities by the trapezoid rule over [0, 1] or ±12 σ, in float64."""
    kind, raw = build(name), raw_for(build(name))
    with jax.enable_x64(True):
        outputs = jnp.asarray(outputs_for(kind, (6, 1)), jnp.float64)
        low, high = (0, 1) if kind.discrete or name == "continuous_bernoulli" else (-12, 12)
        x = jnp.linspace(low, high, getattr(kind, "levels", 2) if kind.discrete else 40_001)
        p = np.exp(jax.jit(kind.log_prob)(outputs, x[:, None, None], raw))
    total = p.sum(0) if kind.discrete else np.trapezoid(p, np.asarray(x), axis=0)
    np.testing.assert_allclose(total, 1, rtol=64 * np.finfo(np.float64).eps if kind.discrete else 1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_neutral_outputs_mean_one_half(name):
    for p in (jv.log_variance, jv.natural_exp, jv.dreamer_std, jv.direct_std):
        kind = LIKELIHOODS[name](LEVELS, p)
        raw = kind.fit(0.04) if isinstance(kind, OptimalGaussian) else kind.raw_init
        np.testing.assert_allclose(kind.mean(kind.output_bias(3), raw), 0.5, rtol=16 * EPS)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_refused(name):
    kind, raw = build(name), raw_for(build(name))
    with pytest.raises(ValueError, match=r"x.shape must be \(..., 3\), the outputs' channels, got \(2, 1\)"):
        kind.log_prob(outputs_for(kind, (2, 3)), jnp.zeros((2, 1)), raw)
    with pytest.raises(ValueError, match=r"ncompatible shapes|broadcast"):
        kind.log_prob(outputs_for(kind, (2, 3)), jnp.zeros((4, 3)), raw)
    with pytest.raises(ValueError, match=r"outputs.shape must be \(..., \d+ C\) for C channels, got"):
        kind.mean(jnp.zeros(()), raw)
    if len(kind.neutral) > 1:
        with pytest.raises(ValueError, match=r"outputs.shape must be"):
            kind.mean(jnp.zeros((2, kind.output_channels(1) + 1)), raw)


def test_the_start_may_be_asked_for_inside_a_trace():
    @jax.jit
    def score(o):
        kind = LIKELIHOODS["gaussian_learned"](None, jv.squareplus_std, 0.7)
        return kind.log_prob(o + kind.output_bias(1)[None], jnp.zeros((2, 1)), kind.raw_init)

    want = -0.5 * (0.5 / 0.7) ** 2 - math.log(0.7) - 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(score(jnp.zeros((2, 1))), want, rtol=8 * EPS)
