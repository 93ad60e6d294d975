"""What every objective promises, walked over all of them: nothing that is exported escapes."""

import dataclasses
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

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

K, B, L = 6, 4, 3


@dataclasses.dataclass(frozen=True)
class Case:
    """An objective of arrays (..., B, ...), where their batch axes are, and the shapes of what it returns."""

    function: Callable
    inputs: tuple
    batch_axes: tuple
    shapes: list
    of_log_weights: bool = False


def _log_weights(function, groups=()):
    shape = (*groups, K // int(np.prod(groups)), B)
    outputs = 2 if function is piwae else 1
    return Case(function, (shape,), (len(shape) - 1,), [(B,)] * outputs, of_log_weights=True)


def _dreg(log_weights):
    z, tap = tapped(log_weights[..., None])
    return dreg(z[..., 0], tap)


def _infer(function):
    """Of q's leaves and z in place of q and z."""
    return lambda first, loc, raw, z: function(first, Gaussian(loc, raw), z)


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
    "free_bits": Case(lambda kl: free_bits(jnp.square(kl), 0.5), TERMS[1:], (0,), [(B, L)]),
    "beta_nll": Case(lambda *x: beta_nll(Gaussian(*x[:2]), x[2], 0.5), ((B, L),) * 3, (0, 0, 0), [(B, L)]),
    "faithful": Case(lambda *x: faithful(Gaussian(*x[:2]), x[2]), ((B, L),) * 3, (0, 0, 0), [(B, L)]),
    "balance": Case(lambda kl: balance(kl, jnp.array([1.0, 4.0, 16.0])), TERMS[1:], (0,), [(B, L)]),
    "capacity": Case(lambda *x: capacity(*x, 2.0, gamma=10.0), TERMS, (0, 0), [(B,)]),
    "decompose": Case(
        lambda *x: decompose(Gaussian(*x[:2]), x[2], 100), ((B, L),) * 3, (0, 0, 0), [(B,), (B,), (B, L)]
    ),
    "beta_tc": Case(
        lambda x, *parts: beta_tc(x, Decomposition(*parts), 6.0), ((B,), (B,), (B,), (B, L)), (0,) * 4, [(B,)]
    ),
    "info_vae": Case(lambda *x: info_vae(*x, alpha=0.5, weight=10.0), (*TERMS, ()), (0, 0, None), [(B,)]),
    "mmd": Case(lambda *x: mmd(*x, gaussian_kernel(6.0)), ((B, L), (B, L)), (0, None), [()]),
    "inverse_multiquadratic": Case(lambda *x: mmd(*x, inverse_multiquadratic(6.0)), ((B, L), (B, L)), (0, None), [()]),
}
CONSTRAINED = {"GecoState", "dual_ascent", "geco", "lagrangian", "lower_bound_violation", "reconstruction_constraint"}
"""Not per example; their own tests say what they promise."""
PARTS = {"Decomposition", "PartialBounds", "SCHEDULES", "beta_schedule", "gaussian_kernel", "stop_parameters", "tapped"}
"""What objectives are made of."""

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
of_log_weights = {name: case for name, case in CASES.items() if case.of_log_weights}
every_bound = pytest.mark.parametrize("name", of_log_weights)


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
        CASES[name].function(np.ones(K, np.float32))
