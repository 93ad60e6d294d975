"""What one does with arrays and with trees, done to Gaussians: the same numbers, or a loud error."""

import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import quick
from jax.sharding import NamedSharding, PartitionSpec
from representatives import each

import jaxvae as jv

STD = np.float32([[1, np.e], [1, np.e]])
SHARED = jv.Gaussian(jnp.zeros((2, 2)), jnp.array([0.0, 2.0]))


def kinds(batch=(4, 3)):
    """One of each kind whose leaves differ in rank: (batch, 2) events, of which only loc has all axes."""
    loc = jnp.asarray(np.random.default_rng(0).normal(size=(*batch, 2)), jnp.float32)
    row = jnp.linspace(-1, 1, batch[-1])[:, None] * jnp.ones((1, 2))
    return {
        "independent": jv.Gaussian(loc[..., 0], row[:, 0], jv.softplus_std),
        "cholesky": jv.CholeskyGaussian(loc, row, jnp.ones(1), jv.softplus_std),
        "low rank": jv.LowRankGaussian(loc, jnp.zeros(2), row[..., None], jv.softplus_std),
    }


KINDS = tuple(kinds())


def same(q, p):
    assert jax.tree.structure(q) == jax.tree.structure(p)
    assert q.shape == p.shape
    for found, wanted in zip(numbers(q), numbers(p), strict=True):
        np.testing.assert_array_equal(found, wanted)


def numbers(q):
    """The mean, and what σ and the correlations come to: the entropy of each event."""
    return np.asarray(q.mean), np.asarray(jv.entropy(q))


def test_leaves_have_as_many_axes_each():
    assert (SHARED.loc.shape, SHARED.raw.shape) == ((2, 2), (1, 2))
    assert jv.Gaussian(0.0, jnp.zeros((5, 3))).loc.shape == (1, 1)
    q = jv.LowRankGaussian(jnp.zeros((4, 3)), 0.0, jnp.ones((3, 2)))
    assert (q.loc.shape, q.raw.shape, q.factor.shape) == ((4, 3), (1, 1), (1, 3, 2))


def test_what_maps_over_a_shared_leaf_is_right_or_raises():
    for i in range(2):
        np.testing.assert_array_equal(jax.tree.map(lambda x, i=i: x[i], SHARED).std, STD[i])
    np.testing.assert_array_equal(jax.tree.map(lambda *x: jnp.stack(x), SHARED, SHARED).std, [STD, STD])
    with pytest.raises(ValueError, match=r"inconsistent sizes(.|\n)*q.loc(.|\n)*q.raw"):
        jax.vmap(lambda q: q.std)(SHARED)
    with pytest.raises(ValueError, match="different leading axis sizes: 2, 1"):
        jax.lax.scan(lambda carry, q: (carry, q.std), 0, SHARED)
    mesh = jax.make_mesh((2,), ("x",))
    with pytest.raises(ValueError, match="evenly divisible"):
        jax.shard_map(lambda q: q.std, mesh=mesh, in_specs=PartitionSpec("x"), out_specs=PartitionSpec("x"))(SHARED)
    full = jv.broadcast_to(SHARED, SHARED.shape)
    np.testing.assert_array_equal(jax.vmap(lambda q: q.std)(full), STD)
    np.testing.assert_array_equal(jax.lax.scan(lambda carry, q: (carry, q.std), 0, full)[1], STD)


def test_a_slice_of_the_leaves_leaves_all_or_raises():
    q = jv.Gaussian(jnp.zeros((3, 2)), jnp.array([0.0, 2.0]))
    np.testing.assert_array_equal(jax.tree.map(lambda x: x[:2], q).std, STD)
    for part in (slice(1, 2), slice(2, 3), slice(1, 3)):
        with pytest.raises(ValueError, match=r"a slice of a shared leaf"):
            jax.tree.map(lambda x, part=part: x[part], q)
    empty = (q[:0], q[3:], jv.Gaussian(jnp.zeros((0, 2)), 0.0), jax.jit(lambda q: q[:0])(q))
    for part in empty:
        assert jax.tree.map(lambda x: x, part).shape == (0, 2)
        assert jax.grad(lambda q: jv.kl_divergence(q).sum())(part).raw.shape[0] == 0


@pytest.mark.parametrize("kind", each(KINDS, kept=("cholesky",)))
def test_a_mapped_distribution_is_that_of_its_parts(kind):
    q = kinds()[kind]
    full = jv.broadcast_to(q, q.shape)
    np.testing.assert_allclose(jax.vmap(jv.entropy)(full), jv.entropy(q), rtol=1e-6)
    part = jax.tree.map(lambda x: x[2], full)
    same(part, q[2])
    with pytest.raises(ValueError, match="inconsistent sizes"):
        jax.vmap(jv.entropy)(q)


def test_leaves_are_mapped_or_not_each_by_itself():
    q, axes = SHARED, jv.Gaussian(0, None)
    mapped = jax.vmap(lambda q: q.std, in_axes=(axes,))
    np.testing.assert_array_equal(mapped(q), STD)
    np.testing.assert_array_equal(jax.jit(mapped)(q), STD)
    # Mapped twice, with and without a batch axis of raw that the outer one maps.
    deep = jv.Gaussian(jnp.zeros((3, 2, 2)), jnp.log(jnp.square(jnp.arange(1.0, 4.0)))[:, None, None])
    for outer in (0, jv.Gaussian.tree(0, 0)):
        assert jax.vmap(mapped, in_axes=(outer,))(deep).shape == (3, 2, 2)
    np.testing.assert_array_equal(jax.vmap(mapped, in_axes=(0,))(deep), deep.std)
    kl = jax.vmap(jax.grad(lambda q: jv.kl_divergence(q).sum()), in_axes=(axes,))(q)
    assert (kl.loc.shape, kl.raw.shape) == ((2, 2), (2, 2))
    made = jax.vmap(lambda x: jv.Gaussian(x, jnp.zeros(2)), out_axes=axes)(jnp.zeros((3, 2)))
    assert (made.shape, made.raw.shape) == ((3, 2), (1, 2))
    assert jax.vmap(lambda x: jv.Gaussian(x, 0.0))(jnp.zeros((3, 2))).raw.shape == (3, 1)


def test_trees_of_other_things():
    spec, shape = PartitionSpec("x"), jax.ShapeDtypeStruct((4, 3), jnp.float32)
    for leaves in ((0, None), (spec, None), (True, False), (shape, shape)):
        q = jv.Gaussian(*leaves, jv.log_std)
        assert (q.loc, q.raw) == leaves
        assert jax.tree.structure(q, is_leaf=lambda x: True) is not None
        assert dataclasses.replace(q, loc=leaves[1]).loc == leaves[1]
    assert jv.Gaussian.tree(0, 1).raw == 1
    assert jv.CholeskyGaussian.tree(0, None, 1, parameterization="log_std").parameterization == jv.log_std
    assert dataclasses.replace(SHARED, loc=jnp.ones(2)).shape == (1, 2)
    q = jv.Gaussian(shape, jax.ShapeDtypeStruct((3,), jnp.float32))
    assert q.raw.shape == (1, 3)
    assert jax.eval_shape(jv.kl_divergence, q).shape == (4, 3)
    sharding = NamedSharding(jax.make_mesh((2,), ("x",)), spec)
    placed = jax.device_put(jv.Gaussian(jnp.zeros(4), jnp.zeros(4)), jv.Gaussian(sharding, sharding))
    assert placed.raw.sharding == sharding
    masked = optax.masked(optax.sgd(1.0), jv.Gaussian(True, False))
    q = jv.Gaussian(jnp.zeros(2), jnp.zeros(2))
    updates, _ = masked.update(jax.tree.map(jnp.ones_like, q), masked.init(q))
    assert (updates.loc.tolist(), updates.raw.tolist()) == ([-1, -1], [1, 1])
    for leaves in ((jnp.zeros(2), None), (None, 0.5), (spec, np.zeros(2))):
        with pytest.raises(TypeError, match="must be an array of real numbers, got a"):
            jv.Gaussian(*leaves)


INDICES = {
    "an integer": 1,
    "from the end": -1,
    "integers": (3, 1),
    "a slice": slice(1, 3),
    "nothing": slice(3, 3),
    "an ellipsis": (..., 2),
    "a new axis": (None, slice(None), None, 1),
    "a reverse": (slice(None, None, -1), slice(0, 3, 2)),
    "an array": jnp.array([0, 3, 3]),
    "two arrays": (jnp.array([0, 3]), np.array([1, 1])),
    "bools": np.array([True, False, True, True]),
    "bools of all axes": np.eye(4, 3, dtype=bool),
    "an array behind a slice": (slice(1, 3), jnp.array([[2, 0]])),
    "an array's integer": np.int32(2),
}


@pytest.mark.parametrize("kind", each(KINDS, kept=("independent",)))
def test_indexed_as_an_array_of_its_batch_axes(kind):
    q = kinds()[kind]
    mean, entropy = map(np.asarray, (q.mean, jv.entropy(q)))
    for name, index in INDICES.items():
        part = q[index]
        of = jax.tree.map(lambda i: np.asarray(i) if isinstance(i, jax.Array) else i, index)
        wanted = mean[of] if kind == "independent" else np.stack([mean[..., i][of] for i in range(2)], axis=-1)
        np.testing.assert_array_equal(part.mean, wanted, err_msg=name)
        np.testing.assert_array_equal(jv.entropy(part), entropy[of], err_msg=name)
    assert q[1].loc.shape == q.loc.shape[1:]
    assert len(q) == 4
    traced = jax.jit(lambda i: q[i, 1:])(2)
    same(traced, q[2, 1:])


def test_what_is_shared_stays_so():
    q = jv.Gaussian(jnp.zeros((4, 3)), 0.0)
    parts = (q[1:], q[None], q.reshape(12), jv.stack([q, q]), jv.concatenate([q, q], 1)[:, :1])
    assert [part.raw.size for part in parts[:3]] == [1, 1, 1]
    assert parts[3].raw.shape == (2, 1, 1)


@pytest.mark.parametrize("kind", each(KINDS, kept=("cholesky",)))
def test_reshaped_and_joined_as_arrays(kind):
    q = kinds()[kind]
    event = q.shape[2:]
    flat = q.reshape(-1)
    same(flat, q.reshape((12,)))
    np.testing.assert_array_equal(flat.mean, q.mean.reshape(12, *event))
    np.testing.assert_array_equal(jv.entropy(flat), jv.entropy(q).ravel())
    same(flat.reshape(4, 3), q)
    wide = jv.broadcast_to(q, (5, *q.shape))
    assert {x.shape[:3] for x in jax.tree.leaves(wide)} == {(5, 4, 3)}
    same(wide[0], q)
    other = q[::-1]
    for axis in (0, 1, -1):
        together = jv.stack([q, other], axis)
        at = (*[slice(None)] * (axis % 3), 1)
        same(together[at], other)
        if axis < 1:
            joined = jv.concatenate([q, other], axis)
            np.testing.assert_array_equal(joined.mean, np.concatenate([q.mean, other.mean], axis if axis == 0 else 1))
    same(jv.concatenate([q[:1], q[1:]]), q)
    same(jv.concatenate([q[:, :1], q[:, 1:]], axis=1), q)
    chosen = jv.where(jnp.array([True, False, False]), q, other)
    np.testing.assert_array_equal(chosen.mean[:, 0], q.mean[:, 0])
    np.testing.assert_array_equal(jv.entropy(chosen)[:, 1:], jv.entropy(other)[:, 1:])


def test_selection_has_the_gradient_of_what_is_chosen():
    def kl(raw):
        q, p = jv.Gaussian(jnp.zeros(2), raw), jv.Gaussian(jnp.zeros(2), jnp.full(2, 1.0))
        return jv.kl_divergence(jv.where(jnp.array([True, False]), q, p)).sum()

    assert jax.grad(kl)(jnp.array([2.0, 200.0]))[1] == 0


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        (lambda q: q[2], IndexError, "index 2 is out of range for an axis of size 2"),
        (lambda q: q[0, 0, 0], IndexError, "at most 2 batch axes, got one of 3"),
        (lambda q: q[..., ...], IndexError, "one ellipsis"),
        (lambda q: len(q[0, 0]), TypeError, r"of shape \(\) has no axis"),
        (lambda q: list(q), TypeError, "'Gaussian' object is not iterable"),
        (lambda q: jv.broadcast_to(q, (3, 3)), ValueError, r"q of shape \(2, 2\) .* got \(3, 3\)"),
        (lambda q: jv.broadcast_to(q, (2,)), ValueError, r"q of shape \(2, 2\) .* got \(2,\)"),
        (lambda q: jv.broadcast_to(q.loc, (2, 2)), TypeError, "q must be a Gaussian, got a ArrayImpl"),
        (lambda q: jv.stack([]), ValueError, "at least one Gaussian"),
        (lambda q: jv.stack([q, q[0]]), ValueError, r"of one shape .* got \(2, 2\), \(2,\)"),
        (lambda q: jv.stack([q, q], 3), ValueError, "axis must be one of the 3 batch axes, got 3"),
        (lambda q: jv.concatenate([q[0, 0]]), ValueError, "axis must be one of the 0 batch axes, got 0"),
        (
            lambda q: jv.stack([q, jv.convert(q, "log_std")]),
            ValueError,
            "of one parameterization, got log_variance and",
        ),
        (lambda q: jv.where(True, q, kinds()["cholesky"]), TypeError, "of one kind, got a Gaussian and a Cholesky"),
    ],
)
def test_what_is_refused(do, error, message):
    with pytest.raises(error, match=message):
        do(SHARED)


def test_a_repr_of_one_line():
    assert repr(SHARED) == "Gaussian(shape=(2, 2), dtype=float32, parameterization=log_variance)"
    assert repr(jv.Gaussian(0, None, "log_std")) == "Gaussian(loc=0, raw=None, parameterization=log_std)"
    own = jv.Parameterization("std", jv.Softplus(beta=2.0))
    assert f"parameterization={own.formula})" in repr(jv.Gaussian(0.0, 0.0, own))
    assert "shape=(4, 3, 2)" in repr(jax.jit(lambda q: q)(kinds()["low rank"]))


def test_a_parameterization_s_name_stands_for_it():
    q = jv.Gaussian(jnp.zeros(2), jnp.zeros(2), "softplus_std")
    assert q.parameterization is jv.softplus_std
    assert jv.convert(q, "log_std").parameterization is jv.log_std
    assert jv.product(q, q, parameterization="log_std").parameterization is jv.log_std
    assert jv.from_natural_parameters(0.0, -0.5, "log_std").parameterization is jv.log_std
    assert jv.CholeskyGaussian(jnp.zeros(2), 0.0, jnp.zeros(1), "log_std").parameterization is jv.log_std
    with pytest.raises(ValueError, match=r"parameterization must be one of .*softplus_std.* got 'softplus'"):
        jv.Gaussian(0.0, 0.0, "softplus")


X = np.float32(0.5)
WEAK = {
    "log_prob of a prior": lambda q, p: jv.log_prob(p, X),
    "log_prob of a number": lambda q, p: jv.log_prob(q, 0.5),
    "kl_divergence": lambda q, p: jv.kl_divergence(q, p),
    "kl_divergence from a prior": lambda q, p: jv.kl_divergence(p, q),
    "cross_entropy": lambda q, p: jv.cross_entropy(q, p),
    "jeffreys": lambda q, p: jv.jeffreys(p, q),
    "wasserstein2": lambda q, p: jv.wasserstein2(q, p),
    "product": lambda q, p: jv.product(p, q).raw,
    "reparameterize": lambda q, p: jv.reparameterize(p, X),
    "correlated": lambda q, p: jv.kl_divergence(jv.CholeskyGaussian(q.loc, q.raw, jnp.zeros(3, jnp.float32)), p),
    "correlated q": lambda q, p: jv.log_prob(jv.CholeskyGaussian(q.loc, 0.0, jnp.zeros(3, jnp.float32)), 0.5),
    "from_natural_parameters": lambda q, p: jv.from_natural_parameters(X, -0.5).raw,
}
NUMBERS = {
    "std": lambda p: p.std,
    "entropy": lambda p: jv.entropy(p),
    "kl_divergence": lambda p: jv.kl_divergence(p),
    "natural_parameters": lambda p: jv.natural_parameters(p)[1],
    "convert": lambda p: jv.convert(p, "softplus_std").raw,
    "raw_from_std": lambda p: p.parameterization.raw_from_std(0.5),
    "special": lambda p: jv.special.expm1mx(0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", each(("log_variance", "softplus_std", "natural_softplus"), kept=("softplus_std",)))
def test_python_numbers_do_not_widen(name):
    p = jv.PARAMETERIZATIONS[name]
    with jax.enable_x64(True):
        q = jv.Gaussian(jnp.zeros(3, jnp.float32), jnp.zeros(3, jnp.float32), p)
        prior = jv.Gaussian(0.0, 0.5, p)
        for what, function in WEAK.items():
            if "correlated" in what and p is jv.natural_softplus:
                continue
            assert function(q, prior).dtype == np.float32, what
            if p is jv.softplus_std:
                traced = jax.jit(lambda loc, function=function: function(q, jv.Gaussian(loc, 0.5, p)))(0.0)
                assert traced.dtype == np.float32, what
        for what, function in NUMBERS.items():
            assert (function(prior) * X).dtype == np.float32, what
        wide = jv.Gaussian(jnp.zeros(3), jnp.zeros(3), p)
        assert jv.kl_divergence(wide, prior).dtype == np.float64
        # A prior's digits are those of float64 where it meets float64.
        np.testing.assert_array_equal(
            jv.log_prob(prior, jnp.zeros(3)), jv.log_prob(jv.Gaussian(jnp.zeros(3), jnp.full(3, 0.5), p), jnp.zeros(3))
        )


@pytest.mark.parametrize("dtype", [jnp.float8_e4m3fn, jnp.float8_e5m2, jnp.bfloat16, jnp.float16])
def test_narrow_floats_are_computed_in_float32_and_sampled_as_they_are(dtype):
    q = jv.Gaussian(jnp.zeros(3, dtype), jnp.ones(3, dtype))
    wide = jv.Gaussian(jnp.zeros(3), jnp.ones(3))
    assert jv.sample(quick.key(0), q).dtype == dtype
    np.testing.assert_array_equal(jv.kl_divergence(q), jv.kl_divergence(wide))


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint8, int])
def test_integers_and_bools_are_numbers_of_float32(kind):
    q = jv.Gaussian(np.array([0, 1], kind), np.array([1, 0], kind))
    assert q.dtype == np.float32
    np.testing.assert_array_equal(jv.log_prob(q, np.array([1, 1], kind)), jv.log_prob(q, jnp.ones(2)))


def test_pickled_and_copied():
    for q in kinds().values():
        same(pickle.loads(pickle.dumps(q)), q)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_axes_of_explicit_sharding(kind):
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    q = jv.broadcast_to(kinds()[kind], kinds()[kind].shape)
    functions = {
        "kl": jv.kl_divergence,
        "entropy": jv.entropy,
        "log_prob": lambda q: jv.log_prob(q, q.mean),
        "sample": lambda q: jv.sample(quick.key(0), q),
        "kl to another": lambda q: jv.kl_divergence(q, jv.Gaussian(0.0, 1.0)),
        "covariance": lambda q: q.std if kind == "independent" else q.covariance,
        "part": lambda q: q[:, 1].mean,
    }
    together = jax.jit(lambda q: {name: function(q) for name, function in functions.items()})
    wanted = together(q)
    with jax.set_mesh(mesh):
        placed = jax.device_put(q, PartitionSpec("x"))
        for name, found in together(placed).items():
            np.testing.assert_allclose(found, wanted[name], rtol=1e-6, atol=1e-6, err_msg=name)
            assert "x" in str(jax.typeof(found).sharding.spec), name
