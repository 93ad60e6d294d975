"""Values and slopes against 60 digits and more: to 1e-5 (1e-12 in float64), or what 4 ulp of the inputs change."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from mpmath import mpf
from representatives import each

from jaxvae.likelihoods import densities

exp, log, log_gamma = mpmath.exp, mpmath.log, mpmath.loggamma
BAR = {np.float32: 1e-5, np.float64: 1e-12}


def student_t(z, log_freedom):
    n = exp(log_freedom)
    constant = log_gamma((n + 1) / 2) - log_gamma(n / 2) - log(n * mpmath.pi) / 2
    return constant - (n + 1) / 2 * mpmath.log1p(z * z / n)


def gamma_density(x, log_mean, log_shape):
    a = exp(log_shape)
    return a * log_shape - log_gamma(a) - a * log_mean + (a - 1) * log(x) - a * x * exp(-log_mean)


def beta_density(x, logit, log_total):
    n = exp(log_total)
    a, b = n / (1 + exp(-logit)), n / (1 + exp(logit))
    return log_gamma(n) - log_gamma(a) - log_gamma(b) + (a - 1) * log(x) + (b - 1) * mpmath.log1p(-x)


def von_mises(angle, log_concentration):
    k = exp(log_concentration)
    if k < 200:
        bessel = log(mpmath.besseli(0, k)) - k
    else:
        bessel = log(mpmath.hyp2f0(mpf(1) / 2, mpf(1) / 2, 1 / (2 * k)).real) - log(2 * mpmath.pi * k) / 2
    return -2 * k * mpmath.sin(angle / 2) ** 2 - log(2 * mpmath.pi) - bessel


def points(name, count=24):
    """Anywhere in the range, and where the density is large."""
    rng = np.random.default_rng(0)

    def uniform(low, high):
        return rng.uniform(low, high, count)

    def around():
        return rng.normal(size=count)

    if name == "log_student_t":
        z = np.concatenate([np.exp(uniform(-20, 20)) * rng.choice([-1, 1], count), 2 * around()])
        return z, np.concatenate([uniform(-10, 30), uniform(-5, 60)])
    if name == "log_gamma_density":
        m, t = uniform(-20, 20), uniform(-2, 28)
        near = np.exp(m + around() * np.exp(-t / 2))
        return (
            np.concatenate([np.exp(uniform(-40, 30)), near]),
            np.concatenate([uniform(-20, 20), m]),
            np.concatenate([uniform(-18, 28), t]),
        )
    if name == "log_beta_density":
        r, t = uniform(-12, 12), uniform(0, 28)
        m = 1 / (1 + np.exp(-r))
        near = np.clip(m + around() * np.sqrt(m * (1 - m) * np.exp(-t)), 1e-12, 1 - 1e-6)
        edges = np.where(uniform(0, 1) < 0.5, np.exp(uniform(-80, 0)), 1 - np.exp(uniform(-14, 0)))
        return (
            np.concatenate([edges, near]),
            np.concatenate([uniform(-20, 12), r]),
            np.concatenate([uniform(-18, 28), t]),
        )
    angle = np.concatenate([uniform(-3.1, 3.1), around() * np.exp(-uniform(0, 10))])
    return angle, np.concatenate([uniform(-18, 28), uniform(-5, 28)])


TRUTH = {
    "log_student_t": student_t,
    "log_gamma_density": gamma_density,
    "log_beta_density": beta_density,
    "log_von_mises": von_mises,
}


def slopes(f, inputs):
    basis = [tuple(jnp.full_like(x, i == n) for n, x in enumerate(inputs)) for i in range(len(inputs))]
    return [jax.jvp(f, inputs, tangents)[1] for tangents in basis]


@pytest.mark.parametrize("dtype", each((np.float32, np.float64), kept=(np.float32,)))
@pytest.mark.parametrize("name", TRUTH)
def test_values_and_slopes(name, dtype):
    f, truth, inputs = getattr(densities, name), TRUTH[name], tuple(x.astype(dtype) for x in points(name))

    def derivative(i):
        def along(*x):
            step = abs(x[i]) * mpf(10) ** -20
            ends = [truth(*x[:i], x[i] + s * step, *x[i + 1 :]) for s in (1, -1)]
            return (ends[0] - ends[1]) / (2 * step)

        return along

    with jax.enable_x64(dtype == np.float64):
        found = jax.jit(lambda *x: [f(*x), *slopes(f, x)])(*map(jnp.asarray, inputs))
    with mpmath.workdps(110):
        for order, (got, exact) in enumerate(zip(found, [truth, *map(derivative, range(len(inputs)))], strict=True)):
            for g, *row in zip(got, *inputs, strict=True):
                steps = tuple(4 * float(np.spacing(np.abs(x))) for x in row)
                want, change = oracles.response(exact, tuple(map(float, row)), steps)
                want = min(want.real, mpf(float(np.finfo(dtype).max)))  # a slope is finite
                allowed = max(BAR[dtype] * abs(want), abs(change)) + float(np.finfo(dtype).tiny)
                assert abs(mpf(float(g)) - want) <= allowed, (order, row, float(g), float(want))


@pytest.mark.parametrize("name", each(TRUTH, ("log_student_t",)))
def test_second_derivatives_are_finite(name):
    f, inputs = getattr(densities, name), tuple(jnp.float32(x) for x in points(name, 100))
    if name != "log_student_t":  # an x near an end has slopes beyond float32
        inputs = (jnp.clip(inputs[0], 1e-4, 1 - 1e-4), *(jnp.clip(x, -10, 10) for x in inputs[1:]))
    ones = tuple(jnp.ones_like(x) for x in inputs)
    _, second = jax.jit(lambda *x: jax.jvp(lambda *y: slopes(f, y), x, ones))(*inputs)
    assert np.all(np.isfinite(second))


@pytest.mark.slow
def test_student_s_t_tends_to_the_gaussian():
    z = jnp.linspace(-30, 30, 61)
    want = -z * z / 2 - np.log(2 * np.pi) / 2
    for log_freedom in (np.log(1e12), 60, 100, 1e30):
        np.testing.assert_allclose(densities.log_student_t(z, jnp.full_like(z, log_freedom)), want, rtol=1e-6)
        _, slope = slopes(densities.log_student_t, (z, jnp.full_like(z, log_freedom)))
        assert np.all(np.isfinite(slope))


def test_the_ends():
    one = jnp.ones(3)
    shapes = jnp.log(jnp.float32([0.5, 1, 2]))
    np.testing.assert_allclose(
        densities.log_gamma_density(0 * one, 0.3 * one, shapes), [np.inf, -0.3, -np.inf], rtol=1e-6
    )
    assert np.isnan(densities.log_gamma_density(-one, one, one)).all()
    for x, r in ((0, -1), (1, 1)):
        totals = jnp.log(jnp.float32([1, 40]))
        found = densities.log_beta_density(jnp.full(2, x, float), jnp.full(2, float(r)), totals)
        assert found.tolist() == [np.inf, -np.inf]
    assert np.isnan(densities.log_beta_density(jnp.float32([-0.1, 1.1]), jnp.zeros(2), jnp.zeros(2))).all()
    # The uniform, at its ends and inside.
    x = jnp.float32([0, 0.3, 1])
    np.testing.assert_allclose(densities.log_beta_density(x, jnp.zeros(3), jnp.full(3, np.log(2))), 0, atol=1e-6)


def test_the_peak():
    """W(a) and its slope a (log a - ψ(a)), from log a."""
    t = np.linspace(-20, 28, 97, dtype=np.float32)
    got, slope = densities.log_peak(jnp.asarray(t)), slopes(densities.log_peak, (jnp.asarray(t),))[0]
    for g, s, x in zip(got, slope, t, strict=True):
        a = exp(mpf(float(x)))
        assert abs(float(g) - float(a * log(a) - a - log_gamma(a))) <= 2e-6 * (abs(x) / 4 + 1)
        assert abs(float(s) - float(a * (log(a) - mpmath.digamma(a)))) <= 1e-6
