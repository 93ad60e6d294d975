import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from mpmath import mpf
from representatives import EIGHT, each

import jaxvae as jv
from jaxvae.likelihoods import DiscretizedLogistic, DiscretizedLogisticMixture

EPS = float(np.finfo(np.float32).eps)
LEVELS = 256
SCALES = (1e-30, 1e-12, 1e-5, 1e-3, 0.03, 0.3, 5.0, 1e12, 1e30)
MEANS = (-1e6, -3.0, 0.0, 0.3, 100 / 255, 1.0, 2.5)


def cdf(z):
    return 1 / (1 + mpmath.exp(-z))


def log_mass(level, mean, log_scale):
    """log(σ(b) - σ(a)), from the side of the mean on which it doesn't cancel."""
    steps, scale = LEVELS - 1, mpmath.exp(log_scale)
    a, b = ((mpf(level) + half - mean * steps) / (scale * steps) for half in (-mpf("0.5"), mpf("0.5")))
    if level == 0:
        return mpmath.log(cdf(b))
    if level == steps:
        return mpmath.log(cdf(-a))
    return mpmath.log(cdf(-a) - cdf(-b) if a > 0 else cdf(b) - cdf(a))


def with_slopes(level, mean, log_scale):
    """log_mass and its slopes by mean and log s, by central differences: at 120 digits, 25 are right."""
    h = mpf("1e-30")
    step = h * mpmath.exp(min(log_scale, mpf(0)))
    by_mean = (log_mass(level, mean + step, log_scale) - log_mass(level, mean - step, log_scale)) / (2 * step)
    by_log_scale = (log_mass(level, mean, log_scale + h) - log_mass(level, mean, log_scale - h)) / (2 * h)
    return log_mass(level, mean, log_scale), by_mean, by_log_scale


@functools.cache
def scored():
    """Cases (level, mean, log s), and value and slopes by mean and log s, (N, 3) each."""
    cases = np.array([(v, m, np.log(s)) for v in (0, 1, 100, 255) for m in MEANS for s in SCALES], np.float32)
    kind = DiscretizedLogistic(LEVELS, jv.log_std)
    f = jax.value_and_grad(lambda o, x: kind.log_prob(o, x)[0])
    value, slope = jax.jit(jax.vmap(f))(cases[:, 1:], cases[:, :1] / np.float32(LEVELS - 1))
    return cases, np.column_stack([value, slope]).astype(np.float64)


def test_masses_and_their_slopes_are_exact_at_any_scale():
    """To 8 eps, and what 2 eps of the mean, of the level and of s (hence of log s's size) move.

    Slopes add terms of size up to 1/s and 1 + |z|, of which 8 eps are allowed too.
    """
    with mpmath.workdps(120):
        for (level, mean, log_scale), got in zip(*scored(), strict=True):
            v, m, r = int(level), mpf(float(mean)), mpf(float(log_scale))
            exact = with_slopes(v, m, r)
            dm, dr = 2 * EPS * (abs(m) + 1), 2 * EPS * (abs(r) + 1)
            moved = [with_slopes(v, m + i * dm, r + j * dr) for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1))]
            wide = min(1, mpmath.exp(-r))
            for i, (g, want, size) in enumerate(zip(got, exact, (0, wide, wide * (1 + abs(m)) + 1), strict=True)):
                nearby = max(abs(other[i] - want) for other in moved)
                allowed = 8 * EPS * (abs(want) + size) + nearby + 4e-38
                assert abs(g - want) <= allowed, (v, mean, log_scale, i, g, float(want))


def test_nothing_is_nan_at_the_extremes():
    assert np.all(np.isfinite(scored()[1]))
    kind = DiscretizedLogistic(LEVELS, jv.log_std)
    outputs = jnp.asarray([[0.3, -200.0], [0.3, 200.0], [1e30, -60.0], [-1e30, 0.0]] * 3)
    x = jnp.repeat(jnp.asarray([0, 100 / 255, 1]), 4)[:, None]
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(lambda o, x: kind.log_prob(o, x)[0])))(outputs, x)
    assert not jnp.any(jnp.isnan(value))
    assert not jnp.any(jnp.isnan(slope))
    # A scale of e^200: log(1 / (255 s)) + 2 log(1/2), where 1/s itself is no float32.
    np.testing.assert_allclose(value[5], -200 - np.log(255) - 2 * np.log(2), rtol=4 * EPS)


@pytest.mark.parametrize("levels", [2, 3, 256])
def test_masses_sum_to_one(levels):
    """In float32, to 8 eps of log p's size where the mass lies, which is log(levels) at most."""
    kind = DiscretizedLogistic(levels, jv.log_std)
    mean, raw = (jnp.asarray(a.ravel(), jnp.float32) for a in np.meshgrid(MEANS, np.log(SCALES)))
    x = jnp.arange(levels, dtype=jnp.float32) / (levels - 1)
    p = jnp.exp(jax.jit(kind.log_prob)(jnp.stack([mean, raw], -1), x[:, None, None]))
    total = np.asarray(p, np.float64).sum(0)
    np.testing.assert_allclose(total, 1, rtol=8 * EPS * (1 + np.log(levels)))


@pytest.mark.parametrize("name", each((*EIGHT, "softplus_variance", "diffusers_log_variance", "dreamer_std")))
def test_the_parameterization_scales_the_logistic(name):
    p = jv.PARAMETERIZATIONS[name]
    kind = DiscretizedLogistic(LEVELS, p)
    std = min(max(0.1, 1.01 * p.std_range.low), 0.99 * p.std_range.high)
    raw = p.raw_from_std(std)
    outputs, x = jnp.stack([p.loc_from_mean(0.4, raw), raw]), jnp.asarray([100 / 255])
    value, slope = jax.jit(jax.value_and_grad(lambda o: kind.log_prob(o, x)[0]))(outputs)
    at = float(raw)
    want = log_mass(100, oracles.mean(name, float(outputs[0]), at), oracles.log_std(name, at))
    # 4 ulp of raw, by the gain of σ, by at most 1 + |z| < 6.
    moved = 4 * EPS * (1 + abs(at * float(oracles.gain(name, at)))) * 6
    assert abs(float(value) - want) <= 8 * EPS * abs(want) + moved
    assert jnp.all(jnp.isfinite(slope))
    assert slope[1] != 0


def test_the_mean_is_that_of_the_masses():
    for kind in (DiscretizedLogistic(16, jv.log_std), DiscretizedLogisticMixture(16, 3, jv.log_std)):
        outputs = jnp.asarray(np.random.default_rng(0).normal(size=(20, kind.output_channels(1))), jnp.float32)
        x = jnp.arange(16.0) / 15
        p = jnp.exp(jax.jit(kind.log_prob)(outputs, x[:, None, None]))
        np.testing.assert_allclose(jax.jit(kind.mean)(outputs), (p * x[:, None, None]).sum(0), rtol=32 * EPS)


def test_a_mixture_is_the_weighted_sum_of_its_components():
    kind, single = DiscretizedLogisticMixture(LEVELS, 3, jv.log_std), DiscretizedLogistic(LEVELS, jv.log_std)
    parts = jnp.asarray(np.random.default_rng(1).normal(size=(7, 2, 3, 3)), jnp.float32)  # (B, C, 3, M)
    x = jnp.round(jnp.linspace(0, 1, 14).reshape(7, 2) * 255) / 255
    logits, loc, raw = (parts[:, :, i] for i in range(3))
    alone = [jax.jit(single.log_prob)(jnp.stack([loc[..., m], raw[..., m]], -1).reshape(7, 4), x) for m in range(3)]
    want = jnp.log((jax.nn.softmax(logits) * jnp.exp(jnp.stack(alone, -1))).sum(-1))
    np.testing.assert_allclose(jax.jit(kind.log_prob)(parts.reshape(7, 18), x), want, rtol=16 * EPS)


def test_one_component_is_the_logistic():
    outputs = jnp.asarray(np.random.default_rng(2).normal(size=(9, 2)), jnp.float32)
    x = jnp.linspace(0, 1, 9)[:, None]
    x = jnp.round(x * 255) / 255
    mixture = jax.jit(DiscretizedLogisticMixture(LEVELS, 1).log_prob)(jnp.pad(outputs, ((0, 0), (1, 0))), x)
    np.testing.assert_allclose(mixture, jax.jit(DiscretizedLogistic(LEVELS).log_prob)(outputs, x), rtol=4 * EPS)


def test_neutral_components_are_spread_evenly():
    kind = DiscretizedLogisticMixture(LEVELS, 4, jv.natural_exp)
    logits, loc, raw = np.split(kind.output_bias(1), 3)
    assert np.all(logits == 0)
    np.testing.assert_allclose(jv.natural_exp.mean(loc, raw), [0.125, 0.375, 0.625, 0.875], rtol=4 * EPS)
    np.testing.assert_allclose(jv.natural_exp.std(raw), 0.3, rtol=4 * EPS)
