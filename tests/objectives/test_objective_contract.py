"""What every objective promises, walked over all of them: nothing that is exported escapes."""

import dataclasses
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from representatives import each

from jaxvae import Gaussian, objectives
from jaxvae.objectives import (
    Decomposition,
    balance,
    beta_nll,
    beta_tc,
    capacity,
    ciwae,
    decompose,
    dreg,
    elbo,
    faithful,
    free_bits,
    gaussian_kernel,
    info_vae,
    inverse_multiquadratic,
    iwae,
    jackknife,
    miwae,
    mmd,
    path_log_weights,
    piwae,
    renyi,
    sampled_elbo,
    sampled_kl,
    stl,
    tapped,
)

K, B, L = 6, 4, 10
WIDE = {B: (2, 2), L: (2, 5)}
"""The same axes as two of each."""


@dataclasses.dataclass(frozen=True)
class Case:
    """An objective of arrays (..., B, ...), where their batch axes are, and the shapes of what it returns.

    One of ``whole_batch`` looks at other examples, too; where it pairs them, the batch has one axis.
    """

    function: Callable
    inputs: tuple
    batch_axes: tuple
    shapes: list
    of_log_weights: bool = False
    whole_batch: bool = False
    pairs: bool = False

    def wide(self, x):
        axes = {L: WIDE[L]} if self.pairs else WIDE
        return x.reshape([n for size in x.shape for n in axes.get(size, (size,))])


def _log_weights(function, groups=()):
    shape = (*groups, K // int(np.prod(groups)), B)
    outputs = 2 if function is piwae else 1
    return Case(function, (shape,), (len(shape) - 1,), [(B,)] * outputs, of_log_weights=True)


def _dreg(log_weights):
    z, tap = tapped(log_weights[..., None], batch_ndim=max(0, log_weights.ndim - 1))
    return dreg(z[..., 0], tap)


def _infer(function):
    """Of q's leaves and z in place of q and z."""
    return lambda first, loc, raw, z: function(first, Gaussian(loc, raw), z)


def _mmd(kernel):
    axes, shapes = ((B, L), (B, L)), [()]
    return Case(lambda *x: mmd(*x, kernel), axes, (0, None), shapes, whole_batch=True, pairs=True)


def _free_bits(kl):
    return free_bits(jnp.square(kl), 0.5, event_axes=-1 if kl.ndim == 2 else (2, 3))


JOINT, TERMS = ((K, B), (B, L), (B, L), (K, B, L)), ((B,), (B, L))
CASES = {
    "sampled_elbo": _log_weights(sampled_elbo),
    "iwae": _log_weights(iwae),
    "miwae": _log_weights(miwae, (2,)),
    "ciwae 0": _log_weights(lambda x: ciwae(x, 0.0)),
    "ciwae": _log_weights(lambda x: ciwae(x, 0.3)),
    "piwae": _log_weights(piwae, (2,)),
    "renyi -1": _log_weights(lambda x: renyi(x, -1.0)),
    "renyi 0": _log_weights(lambda x: renyi(x, 0.0)),
    "renyi": _log_weights(lambda x: renyi(x, 0.5)),
    "renyi 1": _log_weights(lambda x: renyi(x, 1.0)),
    "renyi 2": _log_weights(lambda x: renyi(x, 2.0)),
    "jackknife 0": _log_weights(lambda x: jackknife(x, 0)),
    "jackknife": _log_weights(lambda x: jackknife(x, 2)),
    "dreg": _log_weights(_dreg),
    "stl": Case(_infer(stl), JOINT, (1, 0, 0, 1), [(B,)]),
    "path_log_weights": Case(_infer(path_log_weights), JOINT, (1, 0, 0, 1), [(K, B)]),
    "sampled_kl": Case(lambda *x: sampled_kl(Gaussian(*x[:2]), x[2]), JOINT[1:], (0, 0, 1), [(K, B, L)]),
    "elbo": Case(elbo, TERMS, (0, 0), [(B,)]),
    "free_bits": Case(_free_bits, TERMS[1:], (0,), [(B, L)], whole_batch=True),
    "beta_nll": Case(lambda *x: beta_nll(Gaussian(*x[:2]), x[2], 0.5), ((B, L),) * 3, (0, 0, 0), [(B, L)]),
    "faithful": Case(lambda *x: faithful(Gaussian(*x[:2]), x[2]), ((B, L),) * 3, (0, 0, 0), [(B, L)]),
    "balance": Case(lambda kl: balance(kl, jnp.array([1.0, 4.0, 16.0])), ((B, 3),), (0,), [(B, 3)], whole_batch=True),
    "capacity": Case(lambda *x: capacity(*x, 2.0, gamma=10.0), TERMS, (0, 0), [(B,)]),
    "decompose": Case(
        lambda *x: decompose(Gaussian(*x[:2]), x[2], 100),
        ((B, L),) * 3,
        (0, 0, 0),
        [(B,), (B,), (B, L)],
        whole_batch=True,
        pairs=True,
    ),
    "beta_tc": Case(
        lambda x, *parts: beta_tc(x, Decomposition(*parts), 6.0), ((B,), (B,), (B,), (B, L)), (0,) * 4, [(B,)]
    ),
    "info_vae": Case(lambda *x: info_vae(*x, alpha=0.5, weight=10.0), (*TERMS, ()), (0, 0, None), [(B,)]),
    "mmd": _mmd(gaussian_kernel(6.0)),
    "inverse_multiquadratic": _mmd(inverse_multiquadratic(6.0)),
}
CONSTRAINED = {"GecoState", "dual_ascent", "geco", "lagrangian", "lower_bound_violation", "reconstruction_constraint"}
"""Not per example; their own tests say what they promise."""
PARTS = {"Decomposition", "PartialBounds", "SCHEDULES", "beta_schedule", "gaussian_kernel", "stop_parameters", "tapped"}
"""What objectives are made of."""

KEPT = ("iwae", "piwae", "renyi", "dreg", "stl", "free_bits", "beta_nll", "balance", "decompose", "mmd")
every_case = pytest.mark.parametrize("case", each(CASES.values(), kept=[CASES[name] for name in KEPT]), ids=CASES)
of_log_weights = {name: case for name, case in CASES.items() if case.of_log_weights}
every_bound = pytest.mark.parametrize("name", each(of_log_weights, KEPT))


def draw(case, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(np.float32(rng.normal(size=shape)) for shape in case.inputs)


def test_nothing_escapes():
    public = {name for name in vars(objectives) if not name.startswith("_")}
    modules = {name for name in public if type(getattr(objectives, name)).__name__ == "module"}
    assert public - modules - PARTS - CONSTRAINED | {"mmd"} == {name.split()[0] for name in CASES}


@every_case
def test_shapes_vmap_and_one_trace(case):
    chex.clear_trace_counter()
    function = jax.jit(chex.assert_max_traces(case.function, n=1))
    sets = [draw(case, seed) for seed in range(3)]
    separate = [function(*inputs) for inputs in sets]
    for values in map(jax.tree.leaves, separate):
        assert [v.shape for v in values] == case.shapes
        assert all(v.dtype == np.float32 and np.isfinite(v).all() for v in values)
    together = jax.jit(jax.vmap(case.function))(*map(np.stack, zip(*sets, strict=True)))
    want = jax.tree.map(lambda *x: np.stack(x), *separate)
    chex.assert_trees_all_close(together, want, rtol=1e-5, atol=1e-5)

    order = np.array([2, 0, 3, 1])
    inputs = (x if axis is None else np.take(x, order, axis) for x, axis in zip(sets[0], case.batch_axes, strict=True))
    axes = [len(shape) - 1 if shape[-1:] == (B,) else len(shape) - 2 for shape in case.shapes]
    for one, other, axis in zip(*map(jax.tree.leaves, (separate[0], function(*inputs))), axes, strict=True):
        want = one if axis < 0 else np.take(np.asarray(one), order, axis)
        np.testing.assert_allclose(other, want, rtol=1e-5, atol=1e-5)


@every_case
def test_axes_are_of_any_number(case):
    """Two batch axes and two of the latents for one, and no batch axis inside ``vmap``."""
    inputs = draw(case)
    alone = (lambda *x: None) if case.whole_batch else jax.vmap(case.function, case.batch_axes)
    both = jax.jit(lambda inputs, wide: (case.function(*inputs), case.function(*wide), alone(*inputs)))
    value, wide, single = both(inputs, tuple(map(case.wide, inputs)))
    chex.assert_trees_all_close(wide, jax.tree.map(case.wide, value), rtol=1e-5, atol=1e-5)
    if not case.whole_batch:
        axes = [shape.index(B) for shape in case.shapes]
        moved = [np.moveaxis(x, 0, axis) for x, axis in zip(jax.tree.leaves(single), axes, strict=True)]
        chex.assert_trees_all_close(moved, jax.tree.leaves(value), rtol=1e-5, atol=1e-5)


def every_value(inputs):
    return {name: case.function(*inputs[name]) for name, case in CASES.items()}


def slopes(inputs):
    return jax.grad(lambda inputs: sum(jnp.sum(x) for x in jax.tree.leaves(every_value(inputs))))(inputs)


@pytest.mark.slow
def test_sizes_may_be_symbolic():
    """One program for every batch, and for every number of samples but the jackknife's, whose subsets it fixes."""
    b, k = jax.export.symbolic_shape("b, k")

    def resized(name, sizes):
        case, shapes = CASES[name], CASES[name].inputs
        if case.of_log_weights and not name.startswith("jackknife"):
            return [(*shapes[0][:-2], sizes[K], sizes[B])]
        fixed = case.of_log_weights
        return [tuple(n if fixed and n == K else sizes.get(n, n) for n in shape) for shape in shapes]

    def arrays(make, sizes):
        return {name: tuple(make(shape) for shape in resized(name, sizes)) for name in CASES}

    symbols = arrays(lambda shape: jax.ShapeDtypeStruct(shape, np.float32), {B: b, K: k})
    exported = jax.export.export(jax.jit(every_value))(symbols)
    rng = np.random.default_rng(0)
    for sizes in ({B: 3, K: 5}, {B: 2, K: 1}):
        inputs = arrays(lambda shape: np.float32(rng.normal(size=shape)), sizes)
        chex.assert_trees_all_close(exported.call(inputs), jax.jit(every_value)(inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_batch_may_be_sharded_explicitly():
    inputs = {name: draw(case) for name, case in CASES.items()}
    mesh = jax.make_mesh((B,), ("batch",))

    def placed(x, axis):
        spec = [None] * x.ndim
        if axis is not None:
            spec[axis] = "batch"
        return jax.device_put(x, jax.NamedSharding(mesh, jax.P(*spec)))

    sharded = {name: tuple(map(placed, inputs[name], CASES[name].batch_axes)) for name in CASES}
    both = jax.jit(lambda inputs: (every_value(inputs), slopes(inputs)))
    with jax.set_mesh(mesh):
        found = jax.device_get(both(sharded))
    chex.assert_trees_all_close(found, both(inputs), rtol=1e-5, atol=1e-5)


@every_case
def test_gradients_are_finite_where_the_value_is(case):
    total = jax.jit(jax.value_and_grad(lambda inputs: sum(map(jnp.sum, jax.tree.leaves(case.function(*inputs))))))

    def finite(inputs):
        value, slopes = total(inputs)
        return all(np.isfinite(x).all() for x in (value, *slopes))

    inputs = draw(case)
    assert finite(inputs)
    assert any((slope != 0).any() for slope in total(inputs)[1])
    assert finite(tuple(np.float32(30) * x for x in inputs))
    if case.of_log_weights:
        flat = inputs[0].reshape(K, B)  # a view
        flat[0], flat[1] = -1e4, 1e4
        assert finite(inputs)
        flat[:] = -1e4
        assert finite(inputs)
        flat[:] = draw(case, 1)[0].reshape(K, B)
        flat[2] = -np.inf
        value, (slope,) = total(inputs)
        assert not np.isnan(value)
        assert np.isfinite(slope).all() or case is CASES["renyi 2"]  # whose value is that of the least weight


@every_bound
def test_one_sample_is_its_own_bound(name):
    x = np.float32([[-3.5, 100.0, -1e4]])
    if name == "jackknife":
        with pytest.raises(ValueError, match="order must be at least 0 and below the 1 samples, got 2"):
            CASES[name].function(x)
        return
    groups = x if len(CASES[name].inputs[0]) == 2 else x[None]
    for value in jax.tree.leaves(jax.jit(CASES[name].function)(groups)):
        np.testing.assert_array_equal(value, x[0])


@every_bound
def test_a_factor_of_the_weights_is_one_of_the_evidence_and_equal_ones_leave_no_gap(name):
    case = CASES[name]
    x, function = draw(case)[0], jax.jit(case.function)
    for base, shifted in zip(jax.tree.leaves(function(x)), jax.tree.leaves(function(x - 64)), strict=True):
        # In ulps of 64; jackknife's coefficients sum to 1, and their magnitudes to 51.
        np.testing.assert_allclose(shifted + 64, base, atol=64 * 2**-23 * (51 if name == "jackknife" else 4))
    for leaf in jax.tree.leaves(function(np.full_like(x, -20))):
        np.testing.assert_allclose(leaf, -20, atol=20 * 2**-23 * 4)


@every_bound
def test_wrong_ranks_are_refused(name):
    with pytest.raises(ValueError, match="shape"):
        CASES[name].function(np.ones(CASES[name].inputs[0][:-2], np.float32))
