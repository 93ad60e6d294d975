import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from representatives import each
from ulp import ulp_error

import jaxvae as jv
from jaxvae.natural import natural_gradient, precondition

NAMES = list(jv.PARAMETERIZATIONS)


def gaussian(loc, raw, name="log_variance", dtype=None):
    return jv.Gaussian(jnp.asarray(loc, dtype), jnp.asarray(raw, dtype), jv.PARAMETERIZATIONS[name])


@pytest.mark.parametrize("name", each(NAMES))
def test_it_solves_the_metric(name):
    with jax.enable_x64(True):
        raw = np.array([0.3, 0.7, 1.9])
        q = gaussian([0.3, -1.2, 0.0], raw, name)
        g = gaussian([0.5, -2.0, 1.0], [-0.4, 3.0, 1.5], name)
        metric = jv.fisher(q)
        matrices = np.moveaxis(np.array([[metric.loc, metric.cross], [metric.cross, metric.raw]]), -1, 0)
        got = natural_gradient(q, g)
    for i, matrix in enumerate(matrices):
        want = np.linalg.solve(matrix, [g.loc[i], g.raw[i]])
        rounding = 4 * np.finfo(float).eps * np.linalg.cond(matrix)
        np.testing.assert_allclose([got.loc[i], got.raw[i]], want, rtol=1e-14, atol=rounding * np.abs(want).max())
    if name in ("log_variance", "natural_exp"):
        single = natural_gradient(*(jax.tree.map(jnp.float32, x) for x in (q, g)))
        for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(got), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)  # 80 ulp: the subtraction may cancel a digit


def smooth_loss(q):
    """Of the distribution, whatever its coordinates; with a cross term."""
    mean, log_std = q.mean, q.log_std
    return jnp.sin(3 * mean) * jnp.exp(log_std) + jnp.square(log_std + 1)


def moved(q, rate, through=precondition):
    """(mean, log σ) after one step of gradient descent on (loc, raw)."""
    slopes = jax.grad(lambda q: smooth_loss(through(q)))(q)
    new = jax.tree.map(lambda x, slope: x - rate * slope, q, slopes)
    return np.array([new.mean, new.log_std])


RATES = (2e-4, 1e-4)


@functools.cache
def straight():
    """A Gaussian in (mean, log σ), and its natural steps: straight lines there."""
    q = gaussian(0.3, np.log(0.5), "log_std")
    return q, [moved(q, rate) for rate in RATES]


@pytest.mark.parametrize(
    "name", each((name for name in NAMES if name != "log_std"), kept=("softplus_std", "natural_softplus"))
)
def test_all_parameterizations_take_the_same_step_to_first_order(name):
    """The discrepancy is c rate² + O(rate³): halving the rate divides it by 4."""
    with jax.enable_x64(True):
        start, wants = straight()
        q = jv.convert(start, jv.PARAMETERIZATIONS[name])
        bend, half = (moved(q, rate) - want for rate, want in zip(RATES, wants, strict=True))
    rounding = 16 * np.finfo(float).eps
    assert (np.abs(bend) < 100 * RATES[0] ** 2).all()
    np.testing.assert_allclose(bend, 4 * half, rtol=100 * RATES[0], atol=4 * rounding)


def test_euclidean_steps_differ_in_first_order():
    with jax.enable_x64(True):
        start, _ = straight()
        q = jv.convert(start, jv.log_variance)
        apart = [moved(q, rate, lambda q: q) - moved(start, rate, lambda q: q) for rate in RATES]
        slope = float(jax.grad(smooth_loss)(start).raw)
    for rate, (mean, log_std) in zip(RATES, apart, strict=True):
        assert abs(mean) < 1e-15
        np.testing.assert_allclose(log_std, rate * slope * (1 - 1 / 4), rtol=1e-9)  # gains 1 and ½, squared


@pytest.mark.parametrize("name", each(NAMES))
def test_extremes(name):
    """Of a gradient that is 1 in the orthonormal frame of the metric, even where the metric over- or underflows."""
    raw = jnp.asarray([80.0, 80.0] if name == "direct_variance" else [-80.0, 80.0])
    q = gaussian([0.0, 0.0], raw, name)
    slope, _ = q.parameterization.mean_slopes(q.loc, q.raw)
    gain = q.parameterization.log_std_gain(q.raw)
    # Under jit XLA would turn x / y / y into x / y². 2 ulp of the two divisions, 2 of a slope computed in fused code.
    run = jax.jit(natural_gradient) if name in ("log_std", "dehaene_up_bounded") else natural_gradient
    got = run(q, jv.Gaussian(slope, gain, q.parameterization))
    slope, gain = np.float64(slope), np.float64(gain)
    assert ulp_error(got.loc, 1 / slope, np.float32).max() <= 4
    want = np.divide(1, 2 * gain, out=np.zeros(2), where=gain != 0)  # 0 behind a clip
    assert ulp_error(got.raw, want, np.float32).max() <= 4
    still = run(q, jv.Gaussian(jnp.zeros(2), jnp.zeros(2), q.parameterization))
    assert all((x == 0).all() for x in jax.tree.leaves(still))


@pytest.mark.parametrize("raw", [-80.0, 80.0])
def test_extremes_of_the_natural_parameterization(raw):
    q = gaussian(0.7 * np.exp(raw / 2), raw, "natural_exp")  # mean = 0.7 σ
    slope, raw_slope = q.parameterization.mean_slopes(q.loc, q.raw)
    run = jax.jit(natural_gradient)
    # A gradient by log σ of 3 moves that alone, by 3/2 = gain Δraw; and one by mean / σ of 1 moves mean / σ by 1.
    got = run(q, jv.Gaussian(jnp.zeros(()), 3 * q.parameterization.log_std_gain(raw)))
    np.testing.assert_allclose(-0.5 * got.raw, 1.5, rtol=1e-6)
    np.testing.assert_allclose(slope * got.loc + raw_slope * got.raw, 0, atol=1e-6)
    got = run(q, jv.Gaussian(slope, raw_slope))
    np.testing.assert_allclose(-0.5 * got.raw, 0, atol=1e-6)
    np.testing.assert_allclose(slope * got.loc + raw_slope * got.raw, 1, rtol=1e-6)


def test_a_gradient_behind_a_clip_is_dropped_but_not_a_nan():
    q = gaussian([0.0] * 3, [50.0] * 3, "sac_log_std")
    got = natural_gradient(q, gaussian([1.0] * 3, [1.0, np.nan, np.inf]))
    np.testing.assert_array_equal(got.raw, [0, np.nan, np.nan])
    np.testing.assert_allclose(got.loc[0], np.exp(4), rtol=1e-6)


@pytest.mark.parametrize("name", ["log_variance", "natural_exp"])
def test_the_step_through_precondition_is_the_natural_one(name):
    q = gaussian(np.linspace(-1, 1, 6).reshape(2, 3), np.linspace(-3, 2, 6).reshape(2, 3), name)
    value, plain = jax.value_and_grad(lambda q: smooth_loss(q).sum())(q)
    same, got = jax.value_and_grad(lambda q: smooth_loss(precondition(q)).sum())(q)
    assert same == value
    chex.assert_trees_all_equal(got, natural_gradient(q, plain))
    chex.assert_trees_all_equal(precondition(q), q)


def test_broadcast_parts_receive_the_sum():
    q = gaussian(np.ones((2, 3)), np.float32([0.5, -1.0, 2.0]))
    full = gaussian(q.loc, np.broadcast_to(q.raw, (2, 3)))
    weights = np.arange(6.0, dtype=np.float32).reshape(2, 3)

    def loss(q):
        return jnp.sum(weights * smooth_loss(precondition(q)))

    got, want = jax.grad(loss)(q), jax.grad(loss)(full)
    np.testing.assert_allclose(got.loc, want.loc, rtol=1e-6)
    np.testing.assert_allclose(got.raw, want.raw.sum(axis=0, keepdims=True), rtol=1e-6)
    assert precondition(q).raw.shape == (2, 3)
    assert jax.grad(lambda q: loss(q))(gaussian(np.ones((2, 3)), 0.5)).raw.shape == (1, 1)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16])
def test_dtypes(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        q = gaussian([0.5, -1.0], [-2.0, 1.5], dtype=dtype)
        for through in (precondition, jax.jit(precondition)):
            assert {x.dtype for x in jax.tree.leaves(through(q))} == {jnp.dtype(dtype)}
        got = jax.grad(lambda q: smooth_loss(precondition(q)).sum())(q)
        assert {x.dtype for x in jax.tree.leaves(got)} == {jnp.dtype(dtype)}
        plain = jax.grad(lambda q: smooth_loss(q).sum())(q)
        want = (np.exp([-2.0, 1.5]) * np.float64(plain.loc), 2 * np.float64(plain.raw))
    # In 16 bits, the gradient's own rounding and that of the result; before, a few operations.
    eps = 8 * float(jnp.finfo(dtype).eps)
    for a, b in zip((got.loc, got.raw), want, strict=True):
        np.testing.assert_allclose(np.float64(a), b, rtol=eps)


def test_leaves_of_two_dtypes_keep_them():
    q = jv.Gaussian(jnp.ones(2, jnp.bfloat16), jnp.ones(2, jnp.float32))
    got = jax.grad(lambda q: smooth_loss(precondition(q)).sum())(q)
    assert (got.loc.dtype, got.raw.dtype) == (jnp.bfloat16, jnp.float32)


def test_under_transformations():
    q = gaussian(np.linspace(-1, 1, 12).reshape(4, 3), np.linspace(-2, 2, 12).reshape(4, 3))
    slope = jax.grad(lambda q: smooth_loss(precondition(q)).sum())
    want = slope(q)

    def scanned(q):
        return jax.lax.scan(lambda total, q: (total + smooth_loss(precondition(q)).sum(), None), 0.0, q)[0]

    traced = jax.jit(chex.assert_max_traces(lambda q: slope(q), n=1))
    for got in (traced(q), traced(q), jax.jit(jax.vmap(slope))(q), jax.jit(jax.grad(scanned))(q)):
        chex.assert_trees_all_close(got, want, rtol=3e-6, atol=1e-6)


def test_wrong_shapes_are_refused():
    q = gaussian([0.0, 1.0], [0.0, 1.0])
    for a, b in (
        (gaussian([0.0, 1.0], 0.0), q),
        (q, gaussian(0.0, [0.0, 1.0])),
        (q, gaussian([[0.0, 1.0]], [[0.0, 1.0]])),
    ):
        with pytest.raises(ValueError, match="natural_gradient needs loc and raw of one shape"):
            natural_gradient(a, b)


def test_forward_mode_is_refused():
    q = gaussian(0.0, 0.0)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(precondition, (q,), (q,))
