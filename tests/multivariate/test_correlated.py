import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import quick

import jaxvae as jv
from jaxvae.multivariate.correlated import per_event

KINDS = {jv.CholeskyGaussian: ("lower", (3,)), jv.LowRankGaussian: ("factor", (3, 2))}


def gaussian(kind, batch=(), dtype=jnp.float32, p=jv.softplus_std):
    values = np.random.default_rng(0).normal(size=(*batch, 12))
    third = values[..., 6 : 6 + int(np.prod(KINDS[kind][1]))].reshape(*batch, *KINDS[kind][1])
    return kind(*(jnp.asarray(x, dtype) for x in (values[..., :3], values[..., 3:6], third)), p)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pytree_that_can_be_indexed(kind):
    q = gaussian(kind, (2,))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(q)]
    assert paths == [".loc", ".raw", f".{KINDS[kind][0]}"]
    part = jax.tree.map(lambda x: x[1], q)
    assert jax.tree.structure(part) == jax.tree.structure(q)
    assert part.shape == (3,)
    assert jax.tree.map(lambda _: None, q).loc is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", oracles.NATURAL)
def test_a_parameterization_that_moves_the_mean_is_refused(kind, name):
    with pytest.raises(ValueError, match=f"{kind.__name__}.parameterization must leave the mean alone, got '{name}'"):
        gaussian(kind, p=jv.PARAMETERIZATIONS[name])


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: jv.CholeskyGaussian(np.zeros(3), np.zeros(4), 0.0), ValueError, "raw must broadcast with loc"),
        (lambda: jv.CholeskyGaussian(np.zeros(3), 0.0, np.zeros(4)), ValueError, r"= 3 for .* L = 3, got shape \(4,\)"),
        (lambda: jv.CholeskyGaussian(np.zeros(3), 0.0, 0.0), ValueError, r"got shape \(\)"),
        (lambda: jv.CholeskyGaussian(0.0, 0.0, np.zeros(0)), ValueError, "must have the event's axis"),
        (lambda: jv.CholeskyGaussian(np.zeros((2, 3)), 0.0, np.zeros((4, 3))), ValueError, r"lower \(4, 3\)"),
        (
            lambda: jv.CholeskyGaussian(0.0, np.zeros(1), np.zeros(0), "exp"),
            ValueError,
            "parameterization must be one of",
        ),
        (lambda: jv.LowRankGaussian(np.zeros(3), 0.0, np.zeros((2, 3))), ValueError, r"L = 3 .* got shape \(2, 3\)"),
        (lambda: jv.LowRankGaussian(np.zeros(3), 0.0, np.zeros((3, 0))), ValueError, r"R > 0, got shape \(3, 0\)"),
        (lambda: jv.LowRankGaussian(np.zeros(3), 0.0, np.zeros(3)), ValueError, r"got shape \(3,\)"),
        (
            lambda: jv.kl_divergence(gaussian(jv.LowRankGaussian), gaussian(jv.LowRankGaussian)),
            TypeError,
            "p must be a Gaussian of independent elements where q is a LowRankGaussian, got a LowRankGaussian",
        ),
        (
            lambda: jv.kl_divergence(gaussian(jv.CholeskyGaussian), gaussian(jv.LowRankGaussian)),
            TypeError,
            "independent elements or a CholeskyGaussian where q is a CholeskyGaussian, got a LowRankGaussian",
        ),
        (
            lambda: jv.kl_divergence(jv.Gaussian(0.0, 0.0), gaussian(jv.LowRankGaussian)),
            TypeError,
            "independent elements or a CholeskyGaussian where q is a Gaussian, got a LowRankGaussian",
        ),
        (lambda: jv.cross_entropy(gaussian(jv.CholeskyGaussian), None), TypeError, "p must be a Gaussian"),
        (lambda: jv.kl_divergence(None, gaussian(jv.CholeskyGaussian)), TypeError, "q must be a Gaussian"),
        (
            lambda: jv.kl_divergence(jv.Gaussian(np.zeros(3), 0.0), jv.CholeskyGaussian(0.0, np.zeros(1), np.zeros(0))),
            ValueError,
            r"q.shape must be one that broadcasts to \(..., 1\), got \(3,\)",
        ),
    ],
)
def test_what_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


def everything(q, noise):
    z = jv.reparameterize(q, noise)
    return (
        z,
        jv.log_prob(q, z),
        jv.kl_divergence(q),
        jv.entropy(q),
        jv.kl_divergence(q, jv.Gaussian(q.loc, q.raw)),
        q.covariance,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_16_bits_are_computed_in_float32(kind, dtype):
    q = gaussian(kind, dtype=dtype)
    noise = np.zeros(5 if kind is jv.LowRankGaussian else 3, np.float32)
    with jax.numpy_dtype_promotion("strict"):
        z, *scores = jax.eval_shape(everything, q, noise)
    assert z.dtype == q.dtype == jax.eval_shape(jv.sample, quick.key(0), q).dtype == dtype
    assert all(x.dtype == jnp.float32 for x in scores)
    if dtype == jnp.bfloat16:
        kl = jax.jit(lambda q: jv.kl_divergence(q))
        # The same numbers, fused otherwise: 8 ulp.
        np.testing.assert_allclose(kl(q), kl(jax.tree.map(jnp.float32, q)), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_mix(kind):
    q = gaussian(kind, p=jv.log_std)
    assert kind(0.0, q.raw.astype(jnp.bfloat16), jax.tree.leaves(q)[2].astype(jnp.bfloat16)).dtype == jnp.bfloat16
    with jax.enable_x64(True):
        x = np.zeros(3)
        wide, p = jax.tree.map(jnp.float64, q), jv.Gaussian(x, x)
        run = jax.jit(lambda q: jv.log_prob(q, x))
        np.testing.assert_allclose(run(q), run(wide), rtol=1e-14)
        assert jax.eval_shape(lambda: jv.kl_divergence(q, p)).dtype == jnp.float64
        assert jax.eval_shape(jv.kl_divergence, q).dtype == jnp.float32
        assert jax.eval_shape(jv.sample, quick.key(0), wide).dtype == jnp.float64


def loss(q, noise):
    return jv.kl_divergence(q).sum() + jv.log_prob(q, jv.reparameterize(q, noise)).sum() + jv.entropy(q).sum()


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_a_vmap(kind):
    q = gaussian(kind, (4,), p=jv.log_std)
    noise = np.random.default_rng(1).normal(size=(4, 5 if kind is jv.LowRankGaussian else 3)).astype(np.float32)
    chex.assert_trees_all_close(
        jax.jit(jax.grad(loss))(q, noise), jax.jit(jax.vmap(jax.grad(loss)))(q, noise), rtol=1e-5, atol=1e-5
    )


def test_batch_axes_broadcast_also_where_their_number_differs():
    outer = per_event("(i),(i,j)->(j)")(lambda x, y: x @ y)
    x, y = np.ones((5, 2), np.float32), np.ones((4, 1, 2, 3), np.float32)
    assert outer(x, y).shape == (4, 5, 3)
    assert outer(x[0], y).shape == (4, 1, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "function",
    [
        lambda q, g: jv.fisher(q),
        lambda q, g: jv.convert(q, jv.log_std),
        lambda q, g: jv.wasserstein2(g, q),
        lambda q, g: jv.natural_parameters(q),
        lambda q, g: jv.precondition(q),
        lambda q, g: jv.product(q, g),
        lambda q, g: jv.diagnose(q),
    ],
)
def test_functions_of_independent_elements_refuse_it(function, kind):
    with pytest.raises(TypeError, match=f"Gaussian of independent elements, got a {kind.__name__}"):
        function(gaussian(kind), jv.Gaussian(0.0, 0.0))


@pytest.mark.parametrize(
    "function",
    [
        lambda q: jv.sample(quick.key(0), q),
        lambda q: jv.reparameterize(q, 0.0),
        lambda q: jv.kl_divergence(q),
        lambda q: jv.log_prob(q, 0.0),
        lambda q: jv.entropy(q),
        lambda q: jv.cross_entropy(q, jv.Gaussian(0.0, 0.0)),
    ],
)
def test_functions_of_any_gaussian_refuse_what_is_none(function):
    with pytest.raises(TypeError, match=r"^q must be a Gaussian, got a tuple$"):
        function((0.0, 0.0))
