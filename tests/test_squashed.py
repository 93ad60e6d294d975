import dataclasses

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import oracles
import pytest
import quick
from ulp import ulp

import jaxvae as jv

NAMES = ("log_variance", "softplus_std", "natural_softplus")
"""One whose σ is e^(raw/2), one whose σ is raw where that is large, and one that moves the mean."""
RAWS = np.float32([-20, -7, -1, 0, 0.5, 4, 11, 20])
LOCS = np.float32([-3, 0, 0.7, 9])
LAST = np.nextafter(np.float32(1), np.float32(0))
STEP = 1e-25
"""Of differences at 50 digits."""


def grid(name):
    return jv.TanhGaussian(*np.meshgrid(LOCS, RAWS), name)


def effect(f, *inputs):
    """What 4 ulp of each input, in float32, make of f."""
    point, h = [mpmath.mpf(float(x)) for x in inputs], mpmath.mpf(STEP)
    moved = [[x + h * (i == j) for j, x in enumerate(point)] for i in range(len(point))]
    slopes = [(f(*other) - f(*point)) / h for other in moved]
    return float(sum(4 * abs(slope) * ulp(x, np.float32) for slope, x in zip(slopes, inputs, strict=True)))


def right(found, f, *inputs, relative=1e-6, within=0.0):
    """Whether a number is f of the inputs, to a relative error or to what 4 ulp of the inputs, or ``within``, make."""
    want = float(f(*(mpmath.mpf(float(x)) for x in inputs)))
    return abs(found - want) <= max(relative * abs(want), effect(f, *inputs) + within)


def x_of(name, noise, loc, raw):
    return oracles.mean(name, loc, raw) + mpmath.exp(oracles.log_std(name, raw)) * noise


def density_of_x(name, x, noise, raw):
    """log p(y) of x = mean + σ noise."""
    return oracles.log_prob(noise, 0, 0) - oracles.log_std(name, raw) - oracles.log_slope(x, 2)


def density_along_the_path(name, noise, loc, raw):
    return density_of_x(name, x_of(name, noise, loc, raw), noise, raw)


def density(name, y, loc, raw, low=-1, high=1):
    x = mpmath.atanh((2 * y - low - high) / (high - low))
    return oracles.log_prob(x, oracles.mean(name, loc, raw), oracles.log_std(name, raw)) - oracles.log_slope(
        x, high - low
    )


@pytest.mark.parametrize("name", NAMES)
def test_samples_and_their_densities(name):
    """The noise is known, and with it the exact sample."""
    q, key = grid(name), quick.key(0)
    y, log_prob = jax.jit(lambda q: jv.sample_and_log_prob(key, q, (3,)))(q)
    assert np.all(np.abs(y) < 1)
    noise = np.asarray(jax.random.normal(key, (3, *q.shape)))
    with mpmath.workdps(50):
        for i in np.ndindex(noise.shape):
            inputs = noise[i], q.loc[i[1:]], q.raw[i[1:]]
            x = float(x_of(name, *(mpmath.mpf(float(v)) for v in inputs)))
            sample = effect(lambda x, i=i: density_of_x(name, x, noise[i], q.raw[i[1:]]), x)
            close = right(log_prob[i], lambda *v: density_along_the_path(name, *v), *inputs, within=sample)
            assert close, (i, *inputs)
            squashed = right(y[i], lambda *x: mpmath.tanh(x_of(name, *x)), *inputs, relative=2**-23)
            assert squashed or abs(y[i]) == LAST, (i, *inputs)


@pytest.mark.parametrize("name", NAMES)
def test_densities_up_to_the_last_number_inside(name):
    q = grid(name)
    points = np.float32([0, 1e-30, 1e-4, 0.3, 0.5, 0.77, 0.9999, np.nextafter(LAST, np.float32(0)), LAST])
    y = np.concatenate([-points[1:], points])
    found = jax.jit(jv.log_prob)(q, y[:, None, None])
    with mpmath.workdps(50):
        for i in np.ndindex(found.shape):
            inputs = y[i[0]], q.loc[i[1:]], q.raw[i[1:]]
            want = float(density(name, *(mpmath.mpf(float(x)) for x in inputs)))
            overflown = want < -3e38 and found[i] == -np.inf
            assert overflown or right(found[i], lambda *x: density(name, *x), *inputs), (i, *inputs, found[i], want)


def test_no_density_of_an_own_sample_is_infinite():
    """At σ = e² more than a quarter are for distrax and TFP, whose samples are 1 and have lost what they came of."""
    loc, raw, key = jnp.zeros(()), jnp.asarray(2.0), quick.key(1)
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        q = jv.TanhGaussian(loc.astype(dtype), raw.astype(dtype), jv.log_std)
        y, log_prob = jax.jit(lambda q: jv.sample_and_log_prob(key, q, (10_000,)))(q)
        assert (y.dtype, log_prob.dtype) == (dtype, jnp.float32)
        assert np.all((y > -1) & (y < 1))
        assert np.all(np.isfinite(log_prob))
        assert np.all(np.isfinite(jax.jit(jv.log_prob)(q, y)))


def test_others_lose_more_than_a_quarter():
    distrax = pytest.importorskip("distrax")
    tfp = pytest.importorskip("tensorflow_probability.substrates.jax")
    loc, std, key = jnp.zeros(()), jnp.exp(2.0), quick.key(1)
    peers = {
        "distrax": distrax.Transformed(distrax.Normal(loc, std), distrax.Tanh()),
        "TFP": tfp.distributions.TransformedDistribution(tfp.distributions.Normal(loc, std), tfp.bijectors.Tanh()),
    }
    for name, peer in peers.items():
        y = jnp.copy(peer.sample(seed=key, sample_shape=(10_000,)))  # a copy, as TFP remembers x of its own array
        assert np.mean(~np.isfinite(peer.log_prob(y))) > 0.25, name


def test_sixteen_bits_are_scored_before_they_are_rounded():
    q = jv.TanhGaussian(*(x.astype(jnp.bfloat16) for x in (jnp.asarray([0.0, 3.0]), jnp.asarray([0.0, 1.0]))))
    wide = jv.TanhGaussian(q.loc.astype(jnp.float32), q.raw.astype(jnp.float32))
    found, exact = (jv.sample_and_log_prob(quick.key(2), x, (50,)) for x in (q, wide))
    np.testing.assert_array_equal(found[1], exact[1])
    np.testing.assert_allclose(found[0].astype(np.float32), exact[0], rtol=2**-8)


def test_at_the_bounds_and_outside_the_density_is_zero():
    q = jv.TanhGaussian(0.3, 1.0, low=-1.0, high=3.0)
    y = jnp.asarray([-jnp.inf, -1.5, -1.0, 3.0, 4.0, jnp.inf])
    value, slope = jax.vmap(jax.value_and_grad(lambda y, q: jv.log_prob(q, y), (0, 1)), (0, None))(y, q)
    assert np.all(value == -np.inf)
    assert all(np.all(x == 0) for x in jax.tree.leaves(slope))
    assert np.isnan(jv.log_prob(q, jnp.nan))
    np.testing.assert_array_equal(q.unsquash(jnp.asarray([-1.0, 1.0, 3.0])), [-np.inf, 0, np.inf])
    assert np.isnan(q.unsquash(3.5))


RANGES = [(0.0, 1.0), (-2.0, 0.0), (-1e-3, 5.0), (100.0, 101.0), (-3e30, 1e30), (0.0, 1e-30)]


def test_any_range():
    low, high = np.float32(RANGES).T
    q = jv.TanhGaussian(jnp.asarray(0.4), jnp.asarray(0.2), jv.softplus_std, low, high)
    x = np.float32([[-40], [-3], [-0.5], [0], [0.1], [0.9], [2], [40]])
    y = jax.jit(lambda q: q.squash(x))(q)
    assert np.all((y > low) & (y < high))
    with mpmath.workdps(50):
        for i in np.ndindex(y.shape):
            a, b, v = float(low[i[1]]), float(high[i[1]]), float(x[i[0], 0])
            nearer = min(b - float(y[i]), float(y[i]) - a)
            want = a + (b - a) / (1 + mpmath.exp(-2 * mpmath.mpf(v)))
            # Half an ulp of y and of what it is made of, and as much of the middle.
            assert abs(y[i] - float(want)) <= 2 * ulp(max(abs(a), abs(b)) if nearer > (b - a) / 8 else y[i], np.float32)
    found = jax.jit(jv.log_prob)(q, y)
    with mpmath.workdps(50):
        for i in np.ndindex(y.shape):
            a, b = float(low[i[1]]), float(high[i[1]])
            assert right(found[i], lambda *v: density("softplus_std", *v), y[i], 0.4, 0.2, a, b), (i, a, b, y[i])


def test_a_range_of_few_numbers():
    """Of bfloat16 there are 2 between 100 and 101.5; of float16's, which may be subnormal, none that XLA may flush."""
    q = jv.TanhGaussian(jnp.zeros((), jnp.bfloat16), jnp.asarray(4.0, jnp.bfloat16), low=100.0, high=101.5)
    assert set(jv.sample(quick.key(0), q, (99,)).tolist()) == {100.5, 101.0}
    half = jv.TanhGaussian(jnp.zeros((), jnp.float16), jnp.asarray(12.0, jnp.float16), low=0.0)
    assert np.min(jv.sample(quick.key(0), half, (99,))) == np.finfo(np.float16).tiny
