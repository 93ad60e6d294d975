import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from mpmath import mpf
from ulp import ulp_error

from jaxvae import gammas

PAIRS = ("log_gamma_ratio", "log_gamma_ratio_by_log_theta", "log_gamma_ratio_by_k")
DTYPES = [np.float32, np.float64]


def points(dtype, count=150):
    """θ from 1e-8 to 1e12, with counts up to 1e9 and the first few: log-uniform."""
    rng = np.random.default_rng(0)
    theta = np.exp(rng.uniform(np.log(1e-8), np.log(1e12), 2 * count)).astype(dtype)
    counts = np.floor(np.exp(rng.uniform(0, np.log(1e9), count)))
    return theta, np.concatenate([counts, rng.integers(0, 5, count)]).astype(dtype)


def slope(f, i):
    """The elementwise derivative by argument i, by forward mode."""

    def derivative(theta, k):
        tangents = [jnp.full_like(x, i == n) for n, x in enumerate((theta, k))]
        return jax.jvp(f, (theta, k), tuple(tangents))[1]

    return derivative


def true(f, *inputs):
    return np.array([float(f(*(mpf(float(x)) for x in row))) for row in zip(*inputs, strict=True)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_the_ratio_and_its_derivatives_at_counts(name, dtype):
    """To 8 ulp, which is less than 4 ulp of the inputs may change."""
    with jax.enable_x64(dtype == np.float64):
        theta, k = points(dtype)
        got = np.asarray(getattr(gammas, name)(theta, k))
    want = true(getattr(oracles, name), theta, k)
    zeros = (k <= 1) & (name != "log_gamma_ratio_by_k")
    np.testing.assert_array_equal(got[zeros], 0)
    error = ulp_error(got, want, dtype)[~zeros]
    assert got.dtype == dtype
    assert error.max() <= 8, (theta[~zeros][error.argmax()], k[~zeros][error.argmax()], error.max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_the_ratio_between_the_counts(name, dtype):
    """At real k, to 8 ulp but near the roots k = 1 and, by k, about ½: there to an ulp of the terms."""
    with jax.enable_x64(dtype == np.float64):
        theta = points(dtype, 60)[0]
        rng = np.random.default_rng(1)
        k = np.concatenate([rng.uniform(0, 1, 60), np.exp(rng.uniform(np.log(1e-8), np.log(1e9), 60))]).astype(dtype)
        got = np.asarray(getattr(gammas, name)(theta, k))
    want = true(getattr(oracles, name), theta, k)
    terms = np.where(k < 1, 1 / (12 * (theta + 1)), 0) * (k > 0.05)
    if name == "log_gamma_ratio_by_k":
        terms = np.where(k < 1, 2 / (theta + k), 0)
    allowed = 8 * float(np.finfo(dtype).eps) * (np.abs(want) + terms)
    assert np.all(np.abs(got - want) <= allowed)


@pytest.mark.parametrize("name", PAIRS)
def test_slopes_by_both(name):
    """Of the ratio and of its derivatives, in float64 to 1e-13 of the size of their terms."""
    theta, k = points(np.float64, 40)
    theta, k = theta[k > 0], k[k > 0]
    with jax.enable_x64(True):
        f = getattr(gammas, name)
        by_theta, by_k = (np.asarray(jax.jit(slope(f, i))(theta, k)) for i in (0, 1))
    for i, got in ((0, by_theta), (1, by_k)):
        for t, n, g in zip(theta, k, got, strict=True):
            inputs = [mpf(float(t)), mpf(float(n))]
            order = [0, 0]
            order[i] = 1
            # A central difference of 1e-20 in 60 digits.
            step = inputs[i] * mpf(10) ** -20
            ends = [
                getattr(oracles, name)(*(x + s * step * o for x, o in zip(inputs, order, strict=True))) for s in (1, -1)
            ]
            want = (ends[0] - ends[1]) / (2 * step)
            near_root = 1e-16 * (min(n, 1) / t + abs(n - 1)) / t if n <= 1 else 0
            assert abs(g - want) <= 1e-13 * abs(want) + near_root, (name, i, t, n, g, float(want))


@pytest.mark.slow
def test_all_is_finite_and_has_its_sign_everywhere():
    """Of θ and k from the smallest to the largest: no NaN, finite slopes, and second derivatives where they are."""
    ends = np.float32([1e-37, 1e-20, 1e-8, 1e-3, 0.6, 1, 30, 1e6, 1e12, 1e20, 1e37, 3e38])
    theta, k = (x.ravel() for x in np.meshgrid(ends, np.float32([0, 1e-20, 0.3, 0.5, 1, 2, 7, 1e5, 1e9, 1e20, 1e30])))
    within = (theta >= 9e-9) & (theta <= 1e20) & (k <= 1e9)
    for name in PAIRS:
        f = getattr(gammas, name)
        slopes = [slope(f, i) for i in (0, 1)]
        seconds = [slope(g, i) for g in slopes for i in (0, 1)]
        value, *found = jax.jit(lambda t, k, fs=(f, *slopes, *seconds): [f(t, k) for f in fs])(theta, k)
        assert not np.any(np.isnan(value))
        assert np.all(np.isfinite(found[:2]))
        assert np.all(np.isfinite(np.asarray(found[2:])[:, within]))
    ratio = np.asarray(gammas.log_gamma_ratio(theta, k))
    assert np.all(ratio[k >= 1] >= 0)
    assert np.all(ratio[k <= 1] <= 0)


def test_outside_the_domain():
    for name in PAIRS:
        assert np.all(np.isnan(getattr(gammas, name)(np.float32([-1, 0, 2]), np.float32([1, 1, -1]))))
    assert np.isnan(gammas.stirling_error(0.5))
    with pytest.raises(TypeError, match="theta must be an array of real numbers"):
        gammas.log_gamma_ratio("1", 2)
    with pytest.raises(ValueError, match=r"shapes must broadcast, got theta \(2,\), k \(3,\)"):
        gammas.log_gamma_ratio(np.ones(2), np.ones(3))


def test_dtypes_and_shapes():
    theta = jnp.ones((3, 1), jnp.bfloat16)
    assert gammas.log_gamma_ratio(theta, jnp.ones(2, jnp.bfloat16)).shape == (3, 2)
    assert gammas.log_gamma_ratio(theta, 2).dtype == jnp.bfloat16
    assert gammas.log_gamma_ratio(theta, np.float32(2)).dtype == np.float32
    assert gammas.log_gamma_ratio(1, 2).weak_type


@pytest.mark.parametrize("dtype", DTYPES)
def test_stirling_s_error(dtype):
    rng = np.random.default_rng(2)
    x = np.concatenate([[1], 1 + rng.exponential(size=40), np.exp(rng.uniform(0, 50, 40))]).astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        got = np.asarray(gammas.stirling_error(x))
    assert ulp_error(got, true(oracles.stirling_error, x), dtype).max() <= 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_deviance_is_exact_near_and_far(dtype):
    rng = np.random.default_rng(3)
    b = np.exp(rng.uniform(-20, 20, 200)).astype(dtype)
    difference = (
        b * np.where(rng.uniform(size=200) < 0.5, np.exp(rng.uniform(-30, 8, 200)), -rng.uniform(size=200))
    ).astype(dtype)
    rest = [mpf(float(d)) / mpf(float(x)) for d, x in zip(difference, b, strict=True)]
    want = np.array([float(mpf(float(x)) * ((1 + u) * mpmath.log1p(u) - u)) for u, x in zip(rest, b, strict=True)])
    with jax.enable_x64(dtype == np.float64):
        log = np.array([float(mpmath.log1p(u)) for u in rest], dtype)
        got = np.asarray(gammas.deviance(*(jnp.asarray(x, dtype) for x in (b + difference, b, difference, log))))
    assert ulp_error(got, want, dtype).max() <= 8
    assert np.all(got >= 0)
