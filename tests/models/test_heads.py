import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
from representatives import EIGHT
from ulp import ulp_error

import jaxvae as jv
from jaxvae.models import GaussianHead
from jaxvae.models.heads import project


def features(dtype=jnp.float32):
    return jnp.asarray(100 * np.random.default_rng(0).normal(size=(5, 7)), dtype)


def start(name, std, x=None):
    head = GaussianHead(3, jv.parameterization(name), std)
    return head.init_with_output(quick.key(0), features() if x is None else x)


@pytest.mark.parametrize(
    ("name", "std"),
    [
        pytest.param(name, std, marks=() if name in EIGHT else pytest.mark.slow)
        for name, p in jv.PARAMETERIZATIONS.items()
        for std in (0.3, 1.0)
        if std < p.std_range.high
    ],
)
def test_every_parameterization_starts_as_the_same_function(name, std):
    q, _ = start(name, std)
    assert q.shape == (5, 3)
    # raw is rounded once, and σ once or twice more; σ's slope in raw is at most its log's 0.55 here.
    assert ulp_error(q.std, np.full(q.shape, std), np.float32).max() <= 4
    # Seven products and as many sums, each rounded, the natural ones scaled before and after.
    reference, variables = start("log_variance", std)
    size = np.abs(features()) @ np.abs(variables["params"]["loc"]["kernel"])
    assert (np.abs(q.mean - reference.mean) <= 10 * np.finfo(np.float32).eps * size).all()
    assert np.std(reference.mean) > 10


@pytest.mark.parametrize(("name", "std"), [("log_variance", 0.0), ("log_variance", -1.0), ("sigmoid_std", 1.0)])
def test_a_start_out_of_range_is_refused_also_under_jit(name, std):
    for init in (start, jax.jit(start, static_argnums=(0, 1))):
        with pytest.raises(ValueError, match=rf"std must be in .* for {name}, got {std}"):
            init(name, std)


def test_a_head_computes_in_float32_whatever_its_features():
    x = features(jnp.bfloat16)
    q, variables = start("log_std", 0.3, x)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((q, variables)))
    variables = jax.tree.map(lambda leaf: leaf + 0.1, variables)
    head = GaussianHead(3, jv.log_std, 0.3)
    got, want = head.apply(variables, x), head.apply(variables, x.astype(jnp.float32))
    assert (got.loc == want.loc).all()
    assert (got.raw == want.raw).all()
    with jax.enable_x64(True):
        assert head.apply(variables, np.float64(x)).dtype == jnp.float32


def test_a_head_learns_from_its_start():
    head, x = GaussianHead(3, jv.log_variance, 0.3), features()
    variables = head.init(quick.key(0), x)
    grads = jax.grad(lambda v: jnp.sum(jv.kl_divergence(head.apply(v, x)) + head.apply(v, x).mean))(variables)["params"]
    assert all((grads[layer]["kernel"] != 0).all() for layer in ("loc", "raw"))


def test_projection_lets_only_gradients_pass_that_lead_back():
    x = jnp.array([-1.0, -1.0, 2.0, 2.0, 0.5])
    np.testing.assert_array_equal(project(x, 0.5), [0.5, 0.5, 2.0, 2.0, 0.5])
    slopes = jnp.array([3.0, -3.0, 3.0, -3.0, 3.0])  # descent along the first leads further out
    gradient = jax.grad(lambda x: jnp.sum(slopes * project(x, 0.5)))(x)
    np.testing.assert_array_equal(gradient, [0.0, -3.0, 3.0, -3.0, 3.0])


def test_projected_descent_reaches_the_nearest_allowed_point_and_returns_from_outside():
    x = jnp.array([-5.0, -5.0, 4.0])
    goals = jnp.array([2.0, -1.0, -3.0])
    for _ in range(100):
        x -= 0.2 * jax.grad(lambda x: jnp.sum(jnp.square(project(x, 0.5) - goals)) / 2)(x)
    np.testing.assert_allclose(project(x, 0.5), [2.0, 0.5, 0.5], rtol=1e-6)


def test_a_head_projects_and_preconditions():
    x = features()
    head = GaussianHead(3, jv.direct_std, 0.3, raw_min=0.1)
    variables = jax.tree.map(lambda v: v - 0.1 * jnp.ones_like(v), head.init(quick.key(0), x))
    q = head.apply(variables, x)
    free = GaussianHead(3, jv.direct_std, 0.3).apply(variables, x)
    assert (free.raw < 0.1).any()
    np.testing.assert_array_equal(q.raw, jnp.maximum(free.raw, 0.1))

    def gradient(preconditioned):
        head = GaussianHead(3, jv.log_std, 0.3, preconditioned=preconditioned)

        def loss(v):
            q = head.apply(v, x)
            return jnp.sum(q.raw) + 2 * jnp.sum(q.mean)

        return jax.grad(loss)(head.init(quick.key(0), x))["params"]

    plain, natural = gradient(False), gradient(True)
    # Of (loc, raw), divided by 1/0.09 and by 2.
    np.testing.assert_allclose(natural["loc"]["bias"], 0.09 * plain["loc"]["bias"], rtol=1e-5)
    np.testing.assert_allclose(natural["raw"]["bias"], plain["raw"]["bias"] / 2, rtol=1e-5)
