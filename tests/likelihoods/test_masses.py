import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from mpmath import mpf
from representatives import each

from jaxvae.likelihoods import log_negative_binomial, log_poisson, log_zero_inflated

BAR = {np.float32: 1e-5, np.float64: 1e-12}
TRUTH = (
    oracles.log_negative_binomial,
    oracles.log_negative_binomial_by_log_mean,
    oracles.log_negative_binomial_by_log_theta,
)


def along(f, *operands):
    """f and its elementwise derivatives by all operands but the last, by forward mode."""
    slopes = []
    for i in range(len(operands) - 1):
        tangents = [jnp.full_like(x, i == n) for n, x in enumerate(operands)]
        slopes.append(jax.jvp(f, operands, tuple(tangents))[1])
    return [f(*operands), *slopes]


@functools.cache
def everywhere(dtype, seed=0, count=60):
    """(log μ, log θ, k): all over the range, few counts, counts of that mean, and means near 1."""
    rng = np.random.default_rng(seed)
    m, t = rng.uniform(np.log(1e-10), np.log(1e8), count), rng.uniform(np.log(1e-8), np.log(1e12), count)
    anything, few = np.floor(np.exp(rng.uniform(-1, np.log(1e9), count))), rng.integers(0, 3, count)
    near, one = rng.uniform(-2, np.log(1e8), count), rng.uniform(-1, 1, count) ** 3
    rows = [(m, t, anything), (m, t, few), (near, t, rng.poisson(np.exp(near))), (one, t, rng.poisson(1, count))]
    return tuple(np.concatenate(column).astype(dtype) for column in zip(*rows, strict=True))


def shares(got, truth, inputs, dtype):
    """Errors, as shares of what is allowed: the bar, or what 4 ulp of the logs change; a count is exact."""
    found = []
    for g, *row in zip(got, *inputs, strict=True):
        steps = (*(4 * float(np.spacing(np.abs(x))) for x in row[:-1]), 0.0)
        want, change = oracles.response(truth, tuple(map(float, row)), steps)
        allowed = max(BAR[dtype] * abs(want), change, mpf(float(np.finfo(dtype).tiny)))
        found.append(float(abs(mpf(float(g)) - want) / allowed))
    return np.array(found)


@pytest.mark.parametrize("dtype", each((np.float32, np.float64), kept=(np.float32,)))
def test_the_negative_binomial_and_its_slopes(dtype):
    """θ from 1e-8 to 1e12, μ from 1e-10 to 1e8, k from 0 to 1e9."""
    inputs = everywhere(dtype)
    with jax.enable_x64(dtype == np.float64):
        results = jax.jit(functools.partial(along, log_negative_binomial))(*inputs)
    for got, truth in zip(results, TRUTH, strict=True):
        assert got.dtype == dtype
        share = shares(got, truth, inputs, dtype)
        at = int(np.argmax(share))
        assert share[at] <= 1, (truth.__name__, [x[at] for x in inputs], float(got[at]), share[at])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", each((np.float32, np.float64), kept=(np.float32,)))
def test_second_derivatives(dtype):
    """To 1e-4 (1e-10 in float64), what 4 ulp of the inputs change, or a few ulp of the terms of the slope by log θ."""
    inputs = tuple(x[::5] for x in everywhere(dtype))
    with jax.enable_x64(dtype == np.float64):
        f = log_negative_binomial
        slope = [lambda m, t, k, i=i: along(f, m, t, k)[1 + i] for i in (0, 1)]
        second = jax.jit(lambda *x: [along(g, *x)[1:] for g in slope])(*inputs)
    assert np.all(np.isfinite(second))
    np.testing.assert_allclose(second[0][1], second[1][0], rtol=BAR[dtype])
    for i, j in ((0, 0), (0, 1), (1, 1)):
        truth = TRUTH[1 + i]

        def derivative(m, t, k, j=j, truth=truth):
            step = mpf(10) ** -20
            ends = [truth(m + s * step * (j == 0), t + s * step * (j == 1), k) for s in (1, -1)]
            return (ends[0] - ends[1]) / (2 * step)

        for got, m, t, k in zip(second[i][j], *inputs, strict=True):
            row, steps = tuple(map(float, (m, t, k))), [4 * float(np.spacing(np.abs(x))) for x in (m, t, k)]
            want, change = oracles.response(derivative, row, steps)
            terms = 8 * float(np.finfo(dtype).eps) * min(1, float(mpmath.exp(-t))) * float(k > 0)
            allowed = max(100 * BAR[dtype] * abs(want), change) + (terms if i == j == 1 else 0)
            assert abs(mpf(float(got)) - want) <= allowed + mpf(1e-37), (i, j, row, float(got), float(want))


def test_where_the_formula_by_log_gammas_fails():
    """float32 by way of log Γ is off by 1.0 at the first, and by 24 at the second, where the truth is -5e-4."""
    t = np.float32(np.log(1e6))
    value, _, _ = along(log_negative_binomial, *map(jnp.float32, (0, t, 3)))
    assert value == pytest.approx(float(oracles.log_negative_binomial(mpf(0), mpf(float(t)), mpf(3))), abs=1e-6)
    m, t = np.float32(np.log(1000)), np.float32(np.log(1e7))
    _, _, slope = along(log_negative_binomial, *map(jnp.float32, (m, t, 900)))
    want = float(oracles.log_negative_binomial_by_log_theta(mpf(float(m)), mpf(float(t)), mpf(900)))
    assert want == pytest.approx(-4.55e-4, rel=1e-3)
    assert slope == pytest.approx(want, rel=1e-5)


def test_the_poisson():
    m, _, k = everywhere(np.float32)
    results = jax.jit(functools.partial(along, log_poisson))(m, k)
    for got, truth in zip(results, (oracles.log_poisson, lambda m, k: k - oracles.exp(m)), strict=True):
        assert shares(got, truth, (m, k), np.float32).max() <= 1
    second = jax.jit(lambda m, k: along(lambda m, k: along(log_poisson, m, k)[1], m, k)[1])(m, k)
    np.testing.assert_allclose(second, -np.exp(m), rtol=1e-6)


def test_a_large_theta_is_the_poisson():
    m, _, k = everywhere(np.float32)
    for t in (75, 100, np.inf):
        limit, given = log_negative_binomial(m, np.float32(t), k), log_poisson(m, k)
        np.testing.assert_allclose(limit, given, rtol=2e-6)


@pytest.mark.slow
def test_nothing_is_nan_at_any_raw():
    """Neither value nor slopes nor second derivatives, for logs of any size; a log-mass is never above 0."""
    ends = np.float32([-np.inf, -1e4, -200, -100, -88, -50, -20, -1, 0, 1, 20, 50, 79, 81, 88, 90, 200, 1e4, np.inf])
    m, t, k = (x.ravel() for x in np.meshgrid(ends, ends, np.float32([0, 1, 2, 100, 1e5, 1e9])))

    def all_of_it(m, t, k):
        value, *slopes = along(log_negative_binomial, m, t, k)
        second = [along(lambda *x, i=i: along(log_negative_binomial, *x)[i], m, t, k)[1:] for i in (1, 2)]
        return value, slopes, second, along(log_poisson, m, k)

    value, slopes, second, (poisson, slope) = jax.jit(all_of_it)(m, t, k)
    assert not np.any(np.isnan(value))
    assert not np.any(np.isnan(poisson))
    assert np.all(value <= 0)
    assert np.all(poisson <= 0)
    assert np.all(np.isfinite(slopes))
    assert np.all(np.isfinite(second))
    assert np.all(np.isfinite(slope))


def test_masses_sum_to_one():
    k = np.arange(2000, dtype=np.float64)
    with jax.enable_x64(True):
        for m, t in ((0.0, 0.0), (3.0, -1.0), (5.0, 8.0), (4.0, 60.0)):
            assert abs(np.sum(np.exp(log_negative_binomial(m, t, k))) - 1) < 1e-12
            inflated = log_zero_inflated(0.3, log_negative_binomial(m, t, k), k)
            assert abs(np.sum(np.exp(inflated)) - 1) < 1e-12
        assert abs(np.sum(np.exp(log_poisson(5.0, k))) - 1) < 1e-12


def test_what_is_no_count_has_no_mass():
    bad = np.float32([-1, 0.5, 2.5, np.inf, np.nan])
    assert np.all(np.isnan(log_poisson(np.float32(0), bad)))
    assert np.all(np.isnan(log_negative_binomial(np.float32(0), np.float32(1), bad)))


@pytest.mark.parametrize("dtype", each((np.float32, np.float64), kept=(np.float32,)))
def test_more_zeros(dtype):
    """Value and slopes by both, to 8 ulp or what 4 ulp of the inputs change."""
    rng = np.random.default_rng(5)
    logit = np.concatenate([rng.uniform(-60, 60, 60), rng.normal(size=60)]).astype(dtype)
    log_mass = -np.exp(rng.uniform(-30, 5, 120)).astype(dtype)
    k = np.concatenate([np.zeros(90), np.ones(30)]).astype(dtype)

    def truth(a, z, k):
        p = oracles.sigmoid(a)
        return mpmath.log(p + (1 - p) * oracles.exp(z)) if k == 0 else mpmath.log(1 - p) + z

    def by_logit(a, z, k):
        p = oracles.sigmoid(a)
        return p * (1 - p) * -mpmath.expm1(z) / (p + (1 - p) * oracles.exp(z)) if k == 0 else -p

    def by_mass(a, z, k):
        p = oracles.sigmoid(a)
        return (1 - p) * oracles.exp(z) / (p + (1 - p) * oracles.exp(z)) if k == 0 else mpf(1)

    with jax.enable_x64(dtype == np.float64):
        results = jax.jit(functools.partial(along, log_zero_inflated))(logit, log_mass, k)
    for got, f in zip(results, (truth, by_logit, by_mass), strict=True):
        for g, a, z, count in zip(got, logit, log_mass, k, strict=True):
            fixed = functools.partial(f, k=count)
            steps = [4 * float(np.spacing(np.abs(x))) for x in (a, z)]
            want, change = oracles.response(fixed, (float(a), float(z)), steps)
            eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
            assert abs(mpf(float(g)) - want) <= 8 * eps * abs(want) + change + tiny, (
                f.__name__,
                a,
                z,
                count,
                g,
                float(want),
            )
