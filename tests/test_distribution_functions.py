import functools
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from mpmath import mpf
from representatives import EIGHT, each

import jaxvae as jv

EPS = float(np.finfo(np.float32).eps)
LARGEST = float(np.finfo(np.float32).max)
FUNCTIONS = ("cdf", "survival", "log_cdf", "log_survival")
STDS = (-69, -3, 0, 2, 60)
"""Logs of σ."""


def slope_of(name, z):
    """A function of z, and its derivative."""
    if name in ("survival", "log_survival"):
        value, slope = slope_of(name.replace("survival", "cdf"), -z)
        return value, -slope
    if name == "cdf":
        return oracles.ndtr(z), oracles.normal_density(z)
    return oracles.log_ndtr(z), oracles.inverse_mills(z)


def standard(name, x, mean, log_std):
    """Value and slopes by x, mean and log σ."""
    std = oracles.exp(log_std)
    z = (x - mean) / std
    value, slope = slope_of(name, z)
    return value, slope / std, -slope / std, -slope * z


def interval(low, high, mean, log_std):
    """log(Φ(b) - Φ(a)), from the side of the mean on which it doesn't cancel, and its slopes by all four."""
    std = oracles.exp(log_std)
    a, b = (low - mean) / std, (high - mean) / std
    at, to = oracles.normal_density(a), oracles.normal_density(b)
    mass = oracles.ndtr(b) - oracles.ndtr(a) if a + b < 0 else oracles.ndtr(-a) - oracles.ndtr(-b)
    return mpmath.log(mass), -at / mass / std, to / mass / std, (at - to) / mass / std, (a * at - b * to) / mass


def check(oracle, inputs, got, eps=EPS):
    """To 8 eps, or to what 4 eps of each input move; numbers that may have been flushed are as good as 0."""
    inputs = [mpf(float(x)) for x in inputs]
    want = oracle(*inputs)
    moved = []
    for i in range(len(inputs)):
        for step in (-4 * eps, 4 * eps):
            others = list(inputs)
            others[i] *= 1 + mpf(step)
            if others[0] < others[1] or oracle is not interval:
                moved.append(oracle(*others))
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        nearby = max(abs(other[i] - w) for other in moved)
        if abs(w) > LARGEST and eps == EPS:
            assert abs(g) >= 0.99 * LARGEST
        else:
            assert abs(mpf(float(g)) - w) <= 8 * eps * abs(w) + nearby + 4e-38, (oracle, inputs, i, float(g), float(w))


@functools.cache
def answers(dtype):
    """Cases (x, mean, log σ), and (value, slopes) of each function, by one program."""
    z = (-141.0, -37.0, -8.0, -2.0, -0.3, -1e-6, 0.0, 0.6, 3.0, 12.0, 30.0, 141.0)
    cases = [(m + v * math.exp(s), m, s) for s in STDS for v in z for m in (0.0, 0.3 * math.exp(s), 7.0)]
    cases = np.array(cases, dtype)

    def slopes(x, mean, log_std):
        found = []
        for name in FUNCTIONS:
            f = getattr(jv, name)
            value, gradient = jax.value_and_grad(
                lambda x, m, s, f=f: f(jv.Gaussian(m, s, jv.log_std), x), argnums=(0, 1, 2)
            )(x, mean, log_std)
            found.append(jnp.stack([value, *gradient]))
        return jnp.stack(found)

    return cases, np.asarray(jax.jit(jax.vmap(slopes))(*cases.T))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tails_and_their_slopes_are_exact(name):
    """To a log of -1e4, about any mean, with σ from 1e-30 to 1e26."""
    cases, found = answers(np.float32)
    for case, got in zip(cases, found[:, FUNCTIONS.index(name)], strict=True):
        check(functools.partial(standard, name), case, got)


def test_float64_keeps_its_digits():
    with jax.enable_x64(True):
        cases, found = answers(np.float64)
    assert found.dtype == np.float64
    for case, got in list(zip(cases, found, strict=True))[::7]:
        for name, row in zip(FUNCTIONS, got, strict=True):
            check(functools.partial(standard, name), case, row, float(np.finfo(np.float64).eps))


@pytest.mark.parametrize("name", each(EIGHT, ("softplus_std", "natural_softplus")))
def test_the_parameterization_gives_sigma(name):
    p = jv.PARAMETERIZATIONS[name]
    raw, x = np.meshgrid(np.float32([0.1, 0.9, 4.0]), np.float32([-2.0, 0.4, 1.5]))
    f = jax.value_and_grad(lambda r, x: jv.log_cdf(jv.Gaussian(0.5, r, p), x))
    values, slopes = jax.jit(jax.vmap(f))(raw.ravel(), x.ravel())
    for r, at, *got in zip(raw.ravel(), x.ravel(), values, slopes, strict=True):

        def oracle(r, x):
            def log_cdf(r):
                z = (x - oracles.mean(name, 0.5, r)) / oracles.exp(oracles.log_std(name, r))
                return oracles.log_ndtr(z)

            return log_cdf(r), mpmath.diff(log_cdf, r, h=mpf("1e-20"))

        check(oracle, (r, at), got)


def test_where_sigma_underflows_the_mean_halves_the_mass():
    # The adapters of distrax, TFP and NumPyro gave NaN here.
    q = jv.Gaussian(0.0, -120.0, jv.softplus_std)
    np.testing.assert_allclose(jv.log_prob(q, 0.0), 120 - math.log(2 * math.pi) / 2, rtol=4 * EPS)
    at = np.float32([-1, 0, 1])
    np.testing.assert_array_equal(jv.cdf(q, at), [0, 0.5, 1])
    np.testing.assert_array_equal(jv.survival(q, at), [1, 0.5, 0])
    np.testing.assert_allclose(jv.log_cdf(q, at), [-np.inf, math.log(0.5), 0], rtol=EPS)
    np.testing.assert_array_equal(jv.quantile(q, np.float32([0, 0.3, 1])), [-np.inf, 0, np.inf])


@pytest.mark.parametrize(
    "name",
    each(EIGHT, kept=("log_variance",)),
)
def test_no_slope_is_nan_and_a_masked_one_is_zero(name):
    """At raws from -200 to 200, at the mean, beside it, and at either infinity; ends in and out of order."""
    p, inf = jv.PARAMETERIZATIONS[name], np.inf
    ends = np.float32(
        [(-inf, 2), (-1, -inf), (-inf, -inf), (-1e30, 0.7), (0.7, 0.7), (0.7, 0.701), (0, 1e-3), (1, 0), (inf, inf)]
    )
    raw = np.float32(np.linspace(-200, 200, 41))
    raw = raw[raw > 0] if name == "direct_std" else raw
    cases = np.array([(r, *pair) for r in raw for pair in ends], np.float32)

    @jax.jit
    @jax.vmap
    def slopes(raw, low, high):
        def f(loc, raw, low, high):
            q = jv.Gaussian(loc, raw, p)
            tails = jv.cdf(q, low), jv.log_survival(q, high), jv.quantile(q, low)
            return jnp.stack([*tails, jv.log_interval_probability(q, low, high)])

        values, back = jax.vjp(f, jnp.float32(0.7), raw, low, high)
        return values, jax.vmap(back)(jnp.stack([jnp.zeros_like(values), jnp.where(jnp.isfinite(values), 1e-6, 0)]))

    values, through = slopes(*cases.T)
    assert not np.any(np.isnan(values[:, :2]))
    np.testing.assert_array_equal(np.isnan(values[:, 3]), cases[:, 1] > cases[:, 2])
    for slope in through:
        np.testing.assert_array_equal(slope[:, 0], 0)
    assert not np.any(np.isnan(through[1]))


INTERVALS = [
    (mean + z * math.exp(log_std), mean + (z + width) * math.exp(log_std), mean, log_std)
    for log_std in (-30, -3, 0, 20)
    for z, width in (
        (-30, 1e-5), (-30, 0.4), (-30, 70), (-9, 1), (-1, 1e-6), (-1, 0.3), (-0.7, 1.5), (-0.2, 0.4), (-1e-3, 2e-3),
        (-2, 4), (-5, 10), (0, 1e-12), (0, 0.7), (1e-4, 1e-3), (0.5, 1), (0.5, 20), (3, 1e-4), (3, 2), (20, 0.01),
        (20, 100),
    )
    for mean in (0.0, 0.4 * math.exp(log_std))
]  # fmt: skip


@functools.cache
def intervals(dtype):
    cases = np.array(INTERVALS, dtype)
    cases = cases[cases[:, 0] < cases[:, 1]]
    f = jax.value_and_grad(
        lambda low, high, m, s: jv.log_interval_probability(jv.Gaussian(m, s, jv.log_std), low, high), (0, 1, 2, 3)
    )
    value, slopes = jax.jit(jax.vmap(f))(*cases.T)
    return cases, np.column_stack([value, *slopes])


@pytest.mark.slow
def test_intervals_and_their_slopes_are_exact():
    """Narrow, wide, about the mean, and in the far tail."""
    for case, got in zip(*intervals(np.float32), strict=True):
        check(interval, case, got)


@pytest.mark.slow
def test_intervals_in_float64():
    with jax.enable_x64(True):
        cases, found = intervals(np.float64)
    assert found.dtype == np.float64
    for case, got in list(zip(cases, found, strict=True))[::5]:
        check(interval, case, got, float(np.finfo(np.float64).eps))


def test_the_ends_of_intervals():
    q, inf = jv.Gaussian(0.3, -1.0), np.inf
    low = np.float32([-inf, -inf, -inf, 1, 1, 1, 2, inf, -3e38, -3e38])
    high = np.float32([-2, 2, inf, inf, 3e38, 1, 1, inf, 3e38, 1])
    got = jax.jit(jv.log_interval_probability)(q, low, high)
    below, above = (np.asarray(f(q, np.float32([-2, 2, 1]))) for f in (jv.log_cdf, jv.log_survival))
    want = [below[0], below[1], 0, above[2], above[2], -inf, np.nan, -inf, 0, below[2]]
    np.testing.assert_allclose(got, want, rtol=8 * EPS)
    assert math.isnan(jv.log_interval_probability(q, math.nan, 1.0))


def test_intervals_where_sigma_leaves_the_floats():
    """Density times width where σ is e^200; everything or nothing where it is e^-200."""

    def f(raw, low, high):
        return jv.log_interval_probability(jv.Gaussian(0.5, raw, jv.log_std), low, high)

    f = jax.jit(jax.vmap(jax.value_and_grad(f)))
    ends = np.float32([[0, 1], [-3, 9], [0.5, 1], [0.6, 0.9]]).T
    value, slope = f(np.full(4, 200, np.float32), *ends)
    np.testing.assert_allclose(value, np.log(ends[1] - ends[0]) - 200 - math.log(2 * math.pi) / 2, rtol=4 * EPS)
    np.testing.assert_allclose(slope, -1, rtol=4 * EPS)
    value, slope = f(np.full(4, -200, np.float32), *ends)
    np.testing.assert_allclose(value, [0, 0, -math.log(2), -np.inf], rtol=4 * EPS)
    np.testing.assert_array_equal(slope[:3], 0)


@pytest.mark.slow
def test_curvatures_are_those_of_differences():
    """In float64: the slopes' central differences, which leave 1e-7."""
    points = np.array([(-8, 0.01), (-8, 3), (-0.4, 0.1), (-0.4, 3), (0.7, 1e-4), (2, 30)])

    def f(theta, x):
        q = jv.Gaussian(theta[0], theta[1], jv.softplus_std)
        return jv.log_interval_probability(q, x[0], x[0] + x[1]) + jv.log_cdf(q, x[0]) + jv.quantile(q, 0.1)

    with jax.enable_x64(True):
        slope, theta = jax.jit(jax.vmap(jax.grad(f), (None, 0))), np.array([0.3, 0.8])
        got = jax.jit(jax.vmap(jax.hessian(f), (None, 0)))(theta, points)
        steps = 1e-5 * np.eye(2)
        want = np.stack([(slope(theta + h, points) - slope(theta - h, points)) / 2e-5 for h in steps], axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_quantiles_and_their_slopes_are_exact():
    cases = np.float32([(p, m, s) for p in (1e-37, 1e-9, 0.02, 0.3, 0.4999, 0.5, 0.5001, 0.8, 0.98, 1 - 1e-6)
                        for m in (0, 7) for s in (-20, 0, 60)])  # fmt: skip

    def f(p, mean, log_std):
        return jv.quantile(jv.Gaussian(mean, log_std, jv.log_std), p)

    value, slopes = jax.jit(jax.vmap(jax.value_and_grad(f, (0, 1, 2))))(*cases.T)

    def oracle(p, mean, log_std):
        tail, std = min(p, 1 - p), oracles.exp(log_std)
        z = mpmath.findroot(lambda z: oracles.log_ndtr(z) - mpmath.log(tail), -mpmath.sqrt(-2 * mpmath.log(2 * tail)))
        z = z if p < 0.5 else -z
        return mean + std * z, std / oracles.normal_density(z), mpf(1), std * z

    for case, *got in zip(cases, value, *slopes, strict=True):
        check(oracle, case, got)


def test_quantiles_at_the_ends_and_out_of_range():
    q = jv.Gaussian(2.0, 0.0)
    p = np.float32([0, 0.5, 1, -0.1, 1.1, np.nan])
    np.testing.assert_array_equal(jv.quantile(q, p), [-np.inf, 2, np.inf, np.nan, np.nan, np.nan])
    # σ is e^100, beyond float32; σ Φ⁻¹(p) is not.
    wide, near = jv.Gaussian(2.0, 100.0, jv.log_std), np.float32(0.5 - 2**-25)
    want = -math.exp(100) * 2**-25 * math.sqrt(2 * math.pi)
    assert jnp.isinf(wide.std)
    np.testing.assert_allclose(jv.quantile(wide, near), want, rtol=4 * 100 * EPS)  # 4 ulp of log σ
    assert jv.quantile(wide, 0.5) == 2


def test_mode_and_median_are_the_mean():
    q = jv.Gaussian(np.float32([1, -2]), np.float32([[0.3], [0.4]]), jv.natural_softplus)
    for point in (jv.mode(q), jv.median(q)):
        assert point.shape == (2, 2)
        np.testing.assert_array_equal(point, q.mean)
    np.testing.assert_array_equal(jv.cdf(q, jv.median(q)), 0.5)


def test_shapes_and_dtypes():
    q = jv.Gaussian(jnp.zeros((4, 3), jnp.bfloat16), jnp.zeros(3, jnp.bfloat16))

    def everything(q, x):
        functions = [getattr(jv, name) for name in FUNCTIONS] + [jv.quantile]
        return [f(q, x) for f in functions] + [jv.log_interval_probability(q, x, x + 1)]

    for result in jax.eval_shape(everything, q, jnp.zeros((5, 1, 3), jnp.bfloat16)):
        assert (result.shape, result.dtype) == ((5, 4, 3), jnp.float32)


@pytest.mark.parametrize("name", [*FUNCTIONS, "quantile", "mode", "median", "log_interval_probability"])
def test_correlated_elements_are_refused(name):
    q = jv.CholeskyGaussian(jnp.zeros(2), jnp.zeros(2), jnp.zeros(1))
    points = {"mode": (), "median": (), "log_interval_probability": (0.0, 1.0)}.get(name, (0.5,))
    with pytest.raises(TypeError, match="q must be a Gaussian of independent elements, got a CholeskyGaussian"):
        getattr(jv, name)(q, *points)
