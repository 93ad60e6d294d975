"""Every public function of the core, under every transformation of JAX: the numbers of the plain call; and at NaN, inf.

All functions are one program, which each transformation compiles once.
"""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
from jax.sharding import PartitionSpec

import jaxvae as jv
from jaxvae import special

B, L = 4, 3
P = jv.softplus_std

ELSEWHERE = {
    "check_parameterization": "runs on the host",
    "convert_head": "of kernels, affine",
    "convert_head_params": "of kernels, affine",
    "diagnose": "runs on the host",
    "from_bijector": "makes a parameterization",
    "from_distrax": "of another library's objects",
    "from_moments": "splits an array",
    "from_numpyro": "of another library's objects",
    "from_tfp": "of another library's objects",
    "load_safetensors": "reads a file",
    "parameterization": "looks up a name",
    "save_safetensors": "writes a file",
    "to_distrax": "of another library's objects",
    "to_numpyro": "of another library's objects",
    "to_tfp": "of another library's objects",
}
"""Public functions that no transformation is asked of, and why."""


def arguments(dtype=np.float32):
    """Two Gaussians' numbers, points, noise, and what correlates elements: all with a leading axis of B."""
    draw = np.random.default_rng(0)
    shapes = {"loc": (L,), "raw": (L,), "loc_p": (L,), "raw_p": (L,), "x": (L,), "lower": (L,), "factor": (L, 2)}
    return {name: jnp.asarray(draw.normal(size=(B, *shape)), dtype) for name, shape in shapes.items()}


def gaussians(a):
    return jv.Gaussian(a["loc"], a["raw"], P), jv.Gaussian(a["loc_p"], a["raw_p"], P)


def correlated(function):
    """Of both kinds, by one function of a Gaussian and another one."""

    def both(a):
        q, p = gaussians(a)
        return [function(kind(q.loc, q.raw, a[name], P), p, a) for kind, name in CORRELATED.items()]

    return both


def squashed(function):
    """Of squashed Gaussians, onto a range that a number and an array say."""

    def of_policies(a):
        q, p = (jv.TanhGaussian(x.loc, x.raw, P, low=-0.5, high=jnp.exp(a["x"])) for x in gaussians(a))
        return function(q, p, a)

    return of_policies


CORRELATED = {jv.CholeskyGaussian: "lower", jv.LowRankGaussian: "factor"}


def of_q(function):
    return lambda a: function(gaussians(a)[0])


def of_both(function):
    return lambda a: function(*gaussians(a))


def tail(a):
    """The last L - 1 elements, wherever batch axes stand."""
    return gaussians(a)[0][..., 1:]


FUNCTIONS = {
    "mean": of_q(lambda q: q.mean),
    "std": of_q(lambda q: q.std),
    "log_std": of_q(lambda q: q.log_std),
    "variance": of_q(lambda q: q.variance),
    "precision": of_q(lambda q: q.precision),
    "index": tail,
    "reshape": of_q(lambda q: q.reshape(*q.shape, 1)),
    "broadcast_to": of_q(lambda q: jv.broadcast_to(q, q.shape)),
    "stack": of_both(lambda q, p: jv.stack([q, p], axis=-1)),
    "concatenate": of_both(lambda q, p: jv.concatenate([q, p], axis=-1)),
    "where": lambda a: jv.where(a["x"] > 0, *gaussians(a)),
    "sample": lambda a: jv.sample(jax.random.key(1), gaussians(a)[0]),
    "reparameterize": lambda a: jv.reparameterize(gaussians(a)[0], a["x"]),
    "kl_divergence": of_both(jv.kl_divergence),
    "kl_divergence to a standard normal": of_q(jv.kl_divergence),
    "log_prob": lambda a: jv.log_prob(gaussians(a)[0], a["x"]),
    "entropy": of_q(jv.entropy),
    "cross_entropy": of_both(jv.cross_entropy),
    "jeffreys": of_both(jv.jeffreys),
    "wasserstein2": of_both(jv.wasserstein2),
    "fisher": of_q(jv.fisher),
    "natural_parameters": of_q(jv.natural_parameters),
    "expectation_parameters": of_q(jv.expectation_parameters),
    "from_natural_parameters": lambda a: jv.from_natural_parameters(a["loc"], -jnp.exp(a["raw"]), P),
    "convert": of_q(lambda q: jv.convert(q, jv.log_variance)),
    "product": of_both(jv.product),
    "cdf": lambda a: jv.cdf(gaussians(a)[0], a["x"]),
    "survival": lambda a: jv.survival(gaussians(a)[0], a["x"]),
    "log_cdf": lambda a: jv.log_cdf(gaussians(a)[0], a["x"]),
    "log_survival": lambda a: jv.log_survival(gaussians(a)[0], a["x"]),
    "quantile": lambda a: jv.quantile(gaussians(a)[0], special.sigmoid(a["x"])),
    "log_interval_probability": lambda a: jv.log_interval_probability(
        gaussians(a)[0], a["x"], a["x"] + jnp.exp(a["loc_p"])
    ),
    "mode": of_q(jv.mode),
    "median": of_q(jv.median),
    "natural_gradient": of_both(jv.natural_gradient),
    "precondition": of_q(jv.precondition),
    "sample_and_log_prob": of_q(lambda q: jv.sample_and_log_prob(jax.random.key(1), q)),
    "soft_clip": lambda a: jv.soft_clip(a["raw"], a["x"], a["loc"]),
    "log_floor": lambda a: jv.log_floor(a["raw"], jnp.exp(a["x"])),
    "squashed sample_and_log_prob": squashed(lambda q, p, a: jv.sample_and_log_prob(jax.random.key(1), q)),
    "squashed log_prob": squashed(lambda q, p, a: jv.log_prob(q, q.squash(a["loc_p"]))),
    "squashed entropy": squashed(lambda q, p, a: jv.entropy(q)),
    "squashed kl_divergence": squashed(lambda q, p, a: jv.kl_divergence(q, p)),
    "squashed mode and median": squashed(lambda q, p, a: (q.mode, q.median)),
    "squashed part": squashed(lambda q, p, a: jv.stack([q[..., 1:], q[..., :-1]])),
    "correlated sample_and_log_prob": correlated(lambda q, p, a: jv.sample_and_log_prob(jax.random.key(1), q)),
    "correlated sample": correlated(lambda q, p, a: jv.sample(jax.random.key(1), q)),
    "correlated log_prob": correlated(lambda q, p, a: jv.log_prob(q, a["x"])),
    "correlated entropy": correlated(lambda q, p, a: jv.entropy(q)),
    "correlated kl_divergence": correlated(lambda q, p, a: jv.kl_divergence(q, p)),
    "correlated cross_entropy": correlated(lambda q, p, a: jv.cross_entropy(q, p)),
    "correlated covariance": correlated(lambda q, p, a: q.covariance),
    "correlated part": correlated(lambda q, p, a: jv.stack([q, q])),
}


def every(a, without=()):
    """What all functions make of the arguments, as arrays."""
    found = {name: function(a) for name, function in FUNCTIONS.items() if name not in without}
    of_x = {name: function(jnp.abs(a["x"])) for name, function in elementary().items()}
    return jax.tree.map(jnp.asarray, {**found, **of_x})


def elementary():
    """The public functions of ``special``, of numbers above 0."""
    public = {name: f for name, f in vars(special).items() if hasattr(f, "__wrapped__") and not name.startswith("_")}
    return {f"special.{name}": f for name, f in public.items() if inspect.isfunction(f)}


ONLY_BACKWARD = ("natural_gradient", "precondition")
"""What acts on gradients, and so has none of its own or no forward mode."""

RUN = jax.jit(every)


def total(a):
    return sum(jnp.sum(x) for x in jax.tree.leaves(every(a, without=ONLY_BACKWARD)))


@functools.cache
def rows():
    """Of each row of the arguments by itself."""
    found = [RUN(jax.tree.map(lambda x, i=i: x[i], arguments())) for i in range(B)]
    return jax.tree.map(lambda *x: np.stack(x), *found)


def same(found, wanted, tolerance=1e-5):
    """To some ulp of the largest element: fusions differ from program to program."""
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(wanted), strict=True):
        bound = tolerance * np.max(np.abs(y), initial=1)
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=bound, err_msg=jax.tree_util.keystr(path))


def test_no_public_function_is_left_out():
    public = {name for name, f in vars(jv).items() if inspect.isfunction(f) and not name.startswith("_")}
    named = {word for name in FUNCTIONS for word in name.split()}
    assert public - named - set(ELSEWHERE) == set()
    assert set(ELSEWHERE) <= public


def test_vmap():
    turned = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), arguments())
    same(jax.jit(jax.vmap(every, in_axes=1))(turned), rows())


@pytest.mark.slow
def test_vmap_over_some():
    axes = {name: None if name in ("raw", "loc_p", "lower") else 0 for name in arguments()}
    first = {name: x if axes[name] == 0 else x[0] for name, x in arguments().items()}
    found = jax.jit(jax.vmap(every, in_axes=(axes,)))(first)
    for i in range(B):
        wanted = RUN({name: x[i] if axes[name] == 0 else x for name, x in first.items()})
        same(jax.tree.map(lambda x, i=i: x[i], found), wanted)


def tangents():
    return jax.tree.map(lambda x: jnp.roll(x, 1, axis=0), arguments())


@pytest.mark.slow
def test_derivatives_of_both_modes_agree():
    a, tangent = arguments(), tangents()

    def dot(one, other):
        return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))

    @jax.jit
    def first(a, t):
        return jax.grad(total)(a), jax.grad(jax.checkpoint(total))(a), jax.jvp(total, (a,), (t,))[1]

    gradient, rematerialized, along = first(a, tangent)
    chex.assert_tree_all_finite(gradient)
    same(rematerialized, gradient)
    np.testing.assert_allclose(along, dot(gradient, tangent), rtol=1e-4)


@pytest.mark.slow
def test_second_derivatives_of_both_modes_agree():
    a, tangent = arguments(), tangents()

    @jax.jit
    def second(a, t):
        forward = jax.jvp(jax.grad(total), (a,), (t,))[1]
        return forward, jax.grad(lambda a: jax.jvp(total, (a,), (t,))[1])(a)

    forward, backward = second(a, tangent)
    chex.assert_tree_all_finite(forward)
    same(backward, forward, 1e-4)


@pytest.mark.slow
def test_scan_and_cond():
    def step(carry, row):
        found = jax.lax.cond(carry < 0, lambda row: jax.tree.map(jnp.zeros_like, every(row)), every, row)
        return carry + 1, found

    count, found = jax.jit(lambda a: jax.lax.scan(step, 0, a))(arguments())
    assert count == B
    same(found, rows())


@pytest.mark.slow
def test_shard_map():
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    batch = PartitionSpec("batch")
    same(jax.jit(jax.shard_map(jax.vmap(every), mesh=mesh, in_specs=batch, out_specs=batch))(arguments()), rows())


@pytest.mark.slow
def test_exported_with_a_symbolic_batch():
    (batch,) = jax.export.symbolic_shape("batch")
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype), arguments())
    exported = jax.export.export(RUN)(shapes)
    same(exported.call(arguments()), RUN(arguments()))


@pytest.mark.slow
def test_with_everything_checked():
    """Where JAX looks for NaN, for dtypes and ranks that are promoted silently, and for keys that are used twice."""
    with jax.debug_nans(True), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        same(RUN(arguments()), jax.device_get(every(arguments())))
        chex.assert_tree_all_finite(RUN(arguments(jnp.bfloat16)))
    with jax.debug_key_reuse(True):
        q, key = gaussians(arguments())[0], quick.key(0)
        jv.sample(key, q)
        with pytest.raises(jax.errors.KeyReuseError):
            jv.sample(key, q)


NAMES = ("loc", "raw", "loc_p", "raw_p", "x", "lower", "factor")
AT = (1, 2)
"""Row and element that are changed."""
CHOOSES = {("x", "where")}
"""By what isn't a value but a condition."""
SHIFTED = ("part", "stack", "concatenate", "index", "correlated")
"""Whose elements are elsewhere, or of whose rows each is one event."""
NO_LIMIT = {
    "convert": "σ = 0 and σ = ∞ are in no parameterization's range",
    "wasserstein2": "σ beyond all numbers counts as the largest of them",
    "natural_gradient": "acts on gradients",
    "precondition": "acts on gradients",
    "squashed sample_and_log_prob": "log σ and the log of the slope are infinite, of opposite signs",
    "correlated": "an event of which one element is infinite",
}


@functools.cache
def with_one(name=None, value=0.0):
    """What all functions make of the arguments, of which one number may be another."""
    a = arguments()
    if name is not None:
        a[name] = a[name].at[AT if a[name].ndim == 2 else (*AT, 0)].set(value)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(RUN(a))}


def alike(x, y):
    return (x == y) | (np.isnan(x) & np.isnan(y))


def own(leaf, x):
    """Where the element that was changed may be seen."""
    mask = np.zeros(x.shape, bool)
    if any(word in leaf for word in SHIFTED):
        axis = x.shape.index(B)
        mask[(slice(None),) * axis + (AT[0],)] = True
    else:
        assert x.shape[:2] == (B, L), leaf
        mask[AT] = True
    return mask


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_seen_where_it_is_and_nowhere_else(name):
    before, after, seen = with_one(), with_one(name, np.nan), 0
    for leaf, x in after.items():
        moved = ~alike(with_one(name, 0.37)[leaf], before[leaf]) | ~alike(with_one(name, -0.61)[leaf], before[leaf])
        assert not (~alike(x, before[leaf]) & ~own(leaf, x)).any(), leaf
        if not any(name == of and f"['{function}']" in leaf for of, function in CHOOSES):
            assert np.isnan(x[moved]).all(), leaf
        seen += moved.any()
    assert seen >= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sign", [1, -1])
def test_infinity_gives_the_limit(name, sign):
    """As told by two numbers on the way there: what grows gets infinite, what falls 0, and what stays, stays."""
    compared = 0
    for leaf, x in with_one(name, sign * np.inf).items():
        if any(leaf.startswith(f"['{word}") for word in NO_LIMIT):
            continue
        near, far = (with_one(name, sign * value)[leaf].astype(np.float64) for value in (1e36, 3e38))
        with np.errstate(invalid="ignore"):
            grows, falls = np.abs(far) > 1.001 * np.abs(near), np.abs(far) < 0.999 * np.abs(near)
            limit = np.where(grows, np.sign(far) * np.inf, np.where(falls, 0, far))
        np.testing.assert_allclose(x, limit, rtol=1e-3, atol=1e-30, err_msg=leaf)
        compared += 1
    assert compared > 50
