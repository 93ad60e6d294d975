import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from mpmath import mpf

from jaxvae.likelihoods import Bernoulli, ContinuousBernoulli

EPS = float(np.finfo(np.float32).eps)
POWERS = 10.0 ** np.array([-30, -20, -10, -5, -3, -2, -1])
LARGE = np.array([0.3, 0.5, 0.999, 1, 1.001, 1.5, 3, 5, 10, 17, 30, 60, 87, 88, 89, 104, 200, 1e4, 1e10, 1e30])
LOGITS = np.concatenate([-LARGE, -POWERS, [0], POWERS, LARGE]).astype(np.float32)
GREY = np.array([0, 1e-3, 0.25, 0.5, 0.7, 0.999, 1], np.float32)
BINARY = np.array([0, 1], np.float32)


def grid(x):
    """Every logit with every x, as (logits, x), each (N, 1)."""
    return (a.reshape(-1, 1) for a in np.meshgrid(LOGITS, x))


def derivatives(kind, logits, x):
    """Value, slope and curvature of log_prob by the logit."""

    def f(r, x):
        return kind.log_prob(r[None], x[None])[0]

    slope = jax.grad(f)
    all_of_it = jax.jit(jax.vmap(lambda r, x: (f(r, x), slope(r, x), jax.grad(slope)(r, x))))
    return (np.asarray(a, np.float64) for a in all_of_it(logits[:, 0], x[:, 0]))


def softplus(r):
    return max(r, mpf(0)) + mpmath.log1p(mpmath.exp(-abs(r)))


def small(want):
    """What is flushed to 0."""
    return abs(want) < 1.2e-38


def test_the_bernoulli_is_exact_where_x_is_binary():
    """Value, slope and curvature to 8 ulp, at logits up to 1e30, where flax's own loss is NaN from 88."""
    logits, x = grid(BINARY)
    results = derivatives(Bernoulli(), logits, x)
    for r, y, *got in zip(logits[:, 0], x[:, 0], *results, strict=True):
        sign = 1 if y else -1
        tail = oracles.sigmoid(mpf(float(-sign * r))) if abs(r) < 1e4 else mpf(int(-sign * r > 0))
        curvature = -tail * (1 - tail)
        for g, want in zip(got, (-softplus(mpf(float(-sign * r))), sign * tail, curvature), strict=True):
            assert abs(g - want) <= 8 * EPS * abs(want) or (small(want) and abs(g) < 1.2e-38), (r, y, g, want)


def test_the_bernoulli_of_grey_pixels_is_the_cross_entropy():
    logits, x = grid(GREY)
    value, slope, _ = derivatives(Bernoulli(), logits, x)
    for r, y, v, s in zip(logits[:, 0], x[:, 0], value, slope, strict=True):
        r, y = mpf(float(r)), mpf(float(y))
        want = y * r - softplus(r)
        assert abs(v - want) <= 8 * EPS * abs(want) + 1e-38
        gradient = y - (oracles.sigmoid(r) if abs(r) < 1e4 else mpf(int(r > 0)))
        assert abs(s - gradient) <= 4 * EPS


def excess(r):
    """log((e^r - 1) / r), the log of the continuous Bernoulli's normalizer."""
    if r == 0:
        return mpf(0)
    a = abs(r)
    return max(r, mpf(0)) + mpmath.log(-mpmath.expm1(-a) / a)


def continuous_mean(r):
    if r == 0:
        return mpf("0.5")
    a = abs(r)
    low = 1 / a - (1 / mpmath.expm1(a) if a < 1e4 else 0)
    return 1 - low if r > 0 else low


def continuous_variance(r):
    if abs(r) < 1e-8:
        return 1 / mpf(12)
    a = abs(r)
    return 1 / a**2 - (1 / (4 * mpmath.sinh(a / 2) ** 2) if a < 1e4 else 0)


def test_the_continuous_bernoulli_is_accurate_near_zero_and_far_off():
    """Value and slope to 8 eps of their terms; those are (x - 1/2) r and r²/24 up to |r| = 1, so 0 comes out exact."""
    logits, x = grid(GREY)
    value, slope, curvature = derivatives(ContinuousBernoulli(), logits, x)
    with mpmath.workdps(160):  # the differences below lose up to 90
        for r, y, v, s, c in zip(logits[:, 0], x[:, 0], value, slope, curvature, strict=True):
            r, y = mpf(float(r)), mpf(float(y))
            want = y * r - excess(r)
            near = abs(r) <= 1
            terms = abs((y - mpf("0.5")) * r) + r * r / 24 if near else abs((y - (r > 0)) * r) + mpmath.log(1 + abs(r))
            assert abs(v - want) <= 8 * EPS * terms + 1e-38, (r, y, v, want)
            mean = continuous_mean(r)
            terms = abs(y - mpf("0.5")) + abs(r) / 12 if near else abs(y - (r > 0)) + min(mean, 1 - mean)
            assert abs(s - (y - mean)) <= 8 * EPS * terms + 1e-38, (r, y, s)
            # Beyond 1 a difference of 1/r² and what it exceeds by at most 12 times.
            assert abs(c + continuous_variance(r)) <= 64 * EPS * continuous_variance(r) + 1e-38, (r, y, c)


def test_the_continuous_mean_keeps_its_digits():
    got = np.asarray(ContinuousBernoulli().mean(LOGITS[:, None])[:, 0], np.float64)
    for r, g in zip(LOGITS, got, strict=True):
        with mpmath.workdps(160):
            want = continuous_mean(mpf(float(r)))
        assert abs(g - want) <= 8 * EPS * want


def test_the_uniform_is_its_middle():
    kind = ContinuousBernoulli()
    x = jnp.linspace(0, 1, 5)[:, None]
    assert jnp.all(kind.log_prob(jnp.zeros((5, 1)), x) == 0)
    assert kind.mean(jnp.zeros(1)) == 0.5


@pytest.mark.parametrize("logit", [-300.0, -8.0, -1e-3, 0.0, 1e-25, 1e-3, 1.0, 8.0, 300.0])
def test_continuous_draws_follow_their_distribution_function(logit):
    """Kolmogorov-Smirnov: sup |F_n - F| √n exceeds 2.2 once in 8,000 samples."""
    n = 20_000
    draws = jax.jit(ContinuousBernoulli().sample)(jax.random.key(7), jnp.full((n, 1), logit))
    x = np.sort(np.asarray(draws[:, 0], np.float64))
    assert x.min() >= 0
    assert x.max() <= 1
    exact = np.expm1(logit * x) / np.expm1(logit) if logit else x
    assert np.max(np.abs(exact - (np.arange(n) + 0.5) / n)) * np.sqrt(n) < 2.2
