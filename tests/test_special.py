import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from oracles import SPECIAL
from representatives import each
from ulp import ulp_error

from benchmarks.certify import DOMAIN_START, FUNCTIONS, ORDERS, certify
from jaxvae import special

# The roots away from 0. Where the value is below 1/2, the bound is absolute: an ulp of the numbers that cancel.
ROOT = {"log_softplus": 0.541324854612918, "softplus_inverse": 0.693147180559945, "log_mills": 0.30263084334096}
FLOAT32_ULPS = 4
FLOAT64_ULPS = 8
SIXTEEN_BIT_ULPS = 0.51  # rounded once, from a float32 that is right to 4 ulp
NAMES = sorted(SPECIAL)
REPRESENTATIVES = ("softplus", "log_sigmoid", "expm1mx", "log_mills")


def in_domain(name, x):
    return x[x > DOMAIN_START.get(name, -np.inf)]


def every(dtype):
    """All finite values of a 16-bit dtype but the subnormal, which XLA may flush."""
    x = np.arange(2**16, dtype=np.uint16).view(jnp.dtype(dtype))
    with np.errstate(invalid="ignore"):
        x64 = x.astype(np.float64)
    return x[np.isfinite(x64) & ((np.abs(x64) >= float(jnp.finfo(dtype).smallest_normal)) | (x64 == 0))]


def sampled(dtype, count, largest):
    """Log-uniform magnitudes of both signs, the small integers, and 0."""
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(np.log(largest[0]), np.log(largest[1]), count)) * rng.choice([-1, 1], count)
    return np.concatenate([x, rng.uniform(-100, 100, count), np.arange(-30, 31) / 4]).astype(dtype)


def true(name, order, x):
    f = SPECIAL[name][order]
    values = []
    for v in x.astype(np.float64):
        try:
            values.append(float(f(mpmath.mpf(float(v)))))
        except ZeroDivisionError:  # the limit from inside the domain
            values.append(np.inf)
    return np.array(values)


def slope(f):
    def derivative(x):
        return jax.jvp(f, (x,), (jnp.ones_like(x),))[1]

    return derivative


def computed(name, order, x):
    f = getattr(special, name)
    return np.asarray(jax.jit(f if order == 0 else slope(f))(jnp.asarray(x)))


def worst(name, order, x, dtype):
    with mpmath.workdps(50):
        want = true(name, order, x)
    got = computed(name, order, x)
    assert got.dtype == dtype
    error = ulp_error(got, want, dtype)
    if order == 0 and name in ROOT:
        near = np.abs(want) < 0.5
        with np.errstate(over="ignore", invalid="ignore"):
            absolute = np.abs(got.astype(np.float64) - want)
        eps = float(jnp.finfo(dtype).eps)
        assert np.all(absolute[near] <= 2 * eps), f"near the root: {absolute[near].max()}"
        error = np.where(near, 0, error)
    i = int(np.argmax(error))
    return error[i], f"{name} d{order} at {x[i]!r}: got {got[i]!r}, true {want[i]!r}, {error[i]:.2f} ulp"


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_float32_to_four_ulp(name, order):
    x = sampled(np.float32, 2000, (1.2e-38, 3e38))
    if name in ROOT:
        x = np.concatenate([x, np.float32(ROOT[name]) * (1 + np.float32([-1e-1, -1e-3, -1e-5, 0, 1e-5, 1e-3, 1e-1]))])
    error, message = worst(name, order, in_domain(name, x), np.float32)
    assert error <= FLOAT32_ULPS, message


@pytest.mark.parametrize("dtype", each((jnp.bfloat16, np.float16), kept=(jnp.bfloat16,)))
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", each(NAMES, REPRESENTATIVES))
def test_sixteen_bits_are_rounded_once(name, order, dtype):
    error, message = worst(name, order, in_domain(name, every(dtype)[::23]), dtype)
    assert error <= SIXTEEN_BIT_ULPS, message


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_bfloat16_is_rounded_once(name, order):
    """Against float64, which ``test_float64`` holds against mpmath."""
    row = certify(name, order, "bfloat16")
    assert row["passed"], row
    assert row["inputs"] == 2**16


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", each(NAMES, REPRESENTATIVES))
def test_float64(name, order):
    with jax.enable_x64(True):
        x = in_domain(name, sampled(np.float64, 500, (1e-20, 1e20)))
        error, message = worst(name, order, x, np.float64)
    assert error <= FLOAT64_ULPS, message


@pytest.mark.parametrize("name", each(NAMES, REPRESENTATIVES))
def test_second_derivatives(name):
    x = in_domain(name, np.concatenate([np.linspace(-30, 30, 83), [1e-3, -1e-3, 90.0, -90.0]]).astype(np.float32))
    got = np.asarray(jax.jit(slope(slope(getattr(special, name))))(x), np.float64)
    want = np.array([float(mpmath.diff(SPECIAL[name][1], mpmath.mpf(float(v)), h=mpmath.mpf(10) ** -20)) for v in x])
    # An ulp of the first derivative changes the second by as much near its roots, and in the tail that tends to a line.
    steep = (np.abs(x) < 0.1) | ((name == "inverse_mills") & (x < 0))
    tolerance = 1e-5 * np.abs(want) + 1e-6 * np.abs(true(name, 1, x)) * steep + 1e-37
    close = (np.abs(got - want) <= tolerance) | ((np.abs(want) > 3e38) & (np.abs(got) > 3e38))
    assert np.all(close), f"at {x[~close]}: {got[~close]}, true {want[~close]}"


@pytest.mark.parametrize("name", each(NAMES, REPRESENTATIVES))
def test_reverse_mode_equals_forward_mode(name):
    x = in_domain(name, np.linspace(-20, 20, 41, dtype=np.float32))
    f = getattr(special, name)
    reverse, twice = jax.jit(lambda x: (jax.vmap(jax.grad(f))(x), jax.vmap(jax.hessian(f))(x)))(x)
    np.testing.assert_array_equal(reverse, jax.jit(slope(f))(x))
    np.testing.assert_allclose(twice, jax.jit(slope(slope(f)))(x), rtol=1e-6)


LIMITS = {  # at -inf, start of the domain, inf
    "exp": {-np.inf: 0, np.inf: np.inf},
    "expm1": {-np.inf: -1, 0.0: 0, np.inf: np.inf},
    "expm1mx": {-np.inf: np.inf, 0.0: 0, np.inf: np.inf},
    "log1p": {-1.0: -np.inf, 0.0: 0, np.inf: np.inf},
    "log1pmx": {-1.0: -np.inf, 0.0: 0, np.inf: -np.inf},
    "sigmoid": {-np.inf: 0, np.inf: 1},
    "tanh": {-np.inf: -1, 0.0: 0, np.inf: 1},
    "log_sech2": {-np.inf: -np.inf, 0.0: 0, np.inf: -np.inf},
    "softplus": {-np.inf: 0, np.inf: np.inf},
    "log_sigmoid": {-np.inf: -np.inf, np.inf: 0},
    "log_softplus": {-np.inf: -np.inf, np.inf: np.inf},
    "log1mexp": {0.0: -np.inf, np.inf: 0},
    "softplus_inverse": {0.0: -np.inf, np.inf: np.inf},
    "squareplus": {-np.inf: 0, np.inf: np.inf},
    "log_squareplus": {-np.inf: -np.inf, np.inf: np.inf},
    "ndtr": {-np.inf: 0, 0.0: 0.5, np.inf: 1},
    "log_ndtr": {-np.inf: -np.inf, np.inf: 0},
    "log_mills": {np.inf: -np.inf},
    "inverse_mills": {-np.inf: np.inf, np.inf: 0},
}


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16, np.float16])
@pytest.mark.parametrize("name", NAMES)
def test_limits(name, dtype):
    for x, limit in LIMITS[name].items():
        assert float(getattr(special, name)(jnp.asarray(x, dtype))) == limit, f"{name}({x})"
    assert np.isnan(getattr(special, name)(jnp.asarray(np.nan, dtype)))
    if name in DOMAIN_START:
        assert np.isnan(getattr(special, name)(jnp.asarray(DOMAIN_START[name] - 0.5, dtype)))


@pytest.mark.parametrize("name", each(NAMES, REPRESENTATIVES))
def test_never_nan_in_the_domain(name):
    x = np.arange(0, 2**32, 99_991, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = in_domain(name, x[np.isfinite(x)])
    for order in (0, 1):
        assert not np.any(np.isnan(computed(name, order, x)))


def test_the_coefficients_of_the_tail():
    """Of ((x + c) G(x) - 1) / (1 - t²), with G(x) = λ(-x) - x and t = (x - 4) / (x + 4), by sums over 80 nodes."""
    angles = [mpmath.pi * (k + 0.5) / 80 for k in range(80)]
    values = []
    for angle in angles:
        t = mpmath.cos(angle)
        x = 4 * (1 + t) / (1 - t)
        with mpmath.workdps(60):
            excess = oracles.inverse_mills(-x) - x
            values.append(((x + mpmath.sqrt(mpmath.pi / 2)) * excess - 1) / (1 - t * t))
    for n, coefficient in enumerate(special._EXCESS):
        total = mpmath.fsum(v * mpmath.cos(n * angle) for v, angle in zip(values, angles, strict=True))
        assert abs(total * (2 if n else 1) / 80 - coefficient) < 1e-17


@pytest.mark.parametrize("name", each(NAMES, REPRESENTATIVES))
def test_slopes_are_finite(name):
    """At the border of the domain and past the ends of the range, too, so that a cotangent of 0 gives 0."""
    x = np.float32([*np.linspace(-200, 200, 41), 1e-30, -1e-30, 3e38, -3e38, *LIMITS[name]])
    f = getattr(special, name)
    # Outside the domain the value is NaN.
    at = x[x >= DOMAIN_START.get(name, -np.inf)]
    assert np.all(np.isfinite(jax.jit(slope(f))(at)))


def test_signs():
    x = jnp.asarray(sampled(np.float32, 20_000, (1e-38, 1e30)))
    assert jnp.all(special.expm1mx(x) >= 0)
    assert jnp.all(special.log1pmx(jnp.abs(x)) <= 0)
    assert special.expm1mx(jnp.float32(0)) == 0


def test_integers_are_computed_in_float32():
    assert special.softplus(jnp.arange(3)).dtype == jnp.float32


def test_log_mean_exp_is_the_log_of_the_mean():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, 5)) * 3, jnp.float32)
    for axis in (None, 0, 1, (0, 1)):
        want = np.log(np.mean(np.exp(np.asarray(x, np.float64)), axis=axis))
        np.testing.assert_allclose(special.log_mean_exp(x, axis=axis), want, rtol=1e-6, atol=1e-6)
    # The weighted mean of the logs, which some report in its place, is another number.
    weights = jax.nn.softmax(x, axis=0)
    assert np.all(np.abs(np.sum(weights * x, axis=0) - special.log_mean_exp(x, axis=0)) > 1e-2)


def test_log_mean_exp_at_extremes():
    inf = jnp.inf
    assert special.log_mean_exp(jnp.asarray([1e4, 1e4])) == 1e4
    assert special.log_mean_exp(jnp.asarray([-inf, -inf])) == -inf
    np.testing.assert_allclose(special.log_mean_exp(jnp.asarray([-inf, 0.0])), -np.log(2), rtol=1e-6)
    assert special.log_mean_exp(jnp.zeros((3, 4), jnp.bfloat16), axis=0).dtype == jnp.bfloat16
    slopes = jax.grad(special.log_mean_exp)
    gradient = slopes(jnp.asarray([-inf, 0.0, 0.0]))
    np.testing.assert_allclose(gradient, [0, 0.5, 0.5])
    np.testing.assert_array_equal(slopes(jnp.asarray([-inf, -inf])), [0, 0])
