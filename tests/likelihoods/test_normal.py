import math

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from mpmath import mpf
from representatives import each

import jaxvae as jv
from jaxvae.likelihoods import FixedGaussian, LearnedGaussian, OptimalGaussian, PixelGaussian

EPS = float(np.finfo(np.float32).eps)


def std_near(p, std=0.1):
    """This σ, or the nearest a little inside the range."""
    return min(max(std, 1.01 * p.std_range.low), 0.99 * p.std_range.high)


@pytest.mark.parametrize("std", [1e-3, 0.1, 1.0, 50.0])
def test_a_fixed_std_is_exact(std):
    mean, x = np.float32([-2, 0, 0.3, 0.3]), np.float32([0, 1, 0.3, 0.31])
    got = FixedGaussian(std).log_prob(mean[:, None], x[:, None])[:, 0]
    for m, y, g in zip(mean, x, got, strict=True):
        want = oracles.log_prob(mpf(float(y)), mpf(float(m)), oracles.mpmath.log(mpf(float(np.float32(std)))))
        square = (float(y) - float(m)) ** 2 / (2 * std**2)
        assert abs(float(g) - want) <= 4 * EPS * (square + abs(math.log(std)) + 1)


@pytest.mark.parametrize("name", each(kept=("log_variance", "softplus_std", "direct_std")))
def test_every_parameterization_gives_value_and_slopes(name):
    """Learned and per-pixel σ are the same Gaussian; both match the oracle, and their slopes are finite."""
    p = jv.PARAMETERIZATIONS[name]
    raw = p.raw_from_std(std_near(p))
    loc = p.loc_from_mean(jnp.asarray([[0.0], [0.4], [1.0]]), raw)
    x = jnp.asarray([[0.0], [0.5], [0.2]])

    @jax.jit
    def both(loc, raw):
        outputs = jnp.concatenate([loc, jnp.full((3, 1), raw)], axis=-1)
        return (
            jax.value_and_grad(lambda loc, raw: LearnedGaussian(p).log_prob(loc, x, raw).sum(), (0, 1))(loc, raw),
            jax.value_and_grad(lambda o: PixelGaussian(p).log_prob(o, x).sum())(outputs),
        )

    (value, (by_loc, by_raw)), (value_too, slopes) = both(loc, raw)
    assert all(jnp.all(jnp.isfinite(a)) for a in (value, by_loc, by_raw, slopes))
    assert jnp.all(by_raw != 0)
    np.testing.assert_allclose(value_too, value, rtol=4 * EPS)
    np.testing.assert_allclose(slopes[:, :1], by_loc, rtol=8 * EPS, atol=8 * EPS)
    np.testing.assert_allclose(slopes[:, 1].sum(), by_raw, rtol=2e-6 * 16, atol=1e-6)
    at = float(raw)
    want = sum(
        oracles.log_prob(mpf(float(y)), oracles.mean(name, float(m), at), oracles.log_std(name, at))
        for y, m in zip(x[:, 0], loc[:, 0], strict=True)
    )
    # 4 ulp of raw move σ by this, and the sum by up to the squares' 2 (0.8 / 0.1)² times it.
    moved = 4 * EPS * (1 + abs(at) * abs(float(oracles.gain(name, at)))) * 2 * 64
    assert abs(float(value) - want) <= moved + 8 * EPS * abs(want)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["log_variance", "softplus_std", "log_precision", "nvae_log_std"])
def test_a_learned_noise_finds_the_true_one(name):
    # diffusers#5731: a trainable decoder log-variance, here by Fisher scoring from the kind's own start.
    p = jv.PARAMETERIZATIONS[name]
    kind = LearnedGaussian(p)
    clean = jnp.full((4_000, 10, 1), 0.5)
    x = clean + 0.17 * jax.random.normal(jax.random.key(0), clean.shape)

    @jax.jit
    def step(raw):
        slope = jax.grad(lambda raw: -kind.log_prob(clean, x, raw).mean())(raw)
        return raw - slope / (2 * p.log_std_gain(raw) ** 2)

    raw = jnp.float32(kind.raw_init)
    np.testing.assert_allclose(p.std(raw), kind.std, rtol=1e-5)
    for _ in range(60):
        raw = step(raw)
    assert abs(float(p.std(raw)) / 0.17 - 1) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["log_variance", "softplus_std", "natural_exp", "dreamer_std", "sigmoid_std", "sac_log_std"]
)
def test_the_optimal_std_is_the_root_of_the_mean_squared_error(name):
    """-log p summed is D/2 (log(2π MSE) + 1), and its slope that of D/2 log MSE; both are finite where MSE is 0."""
    p = jv.PARAMETERIZATIONS[name]
    kind, rng = OptimalGaussian(p), np.random.default_rng(0)
    x = rng.uniform(size=(5, 3, 2)).astype(np.float32)
    mean = x + (0.3 * rng.normal(size=x.shape)).astype(np.float32)

    @jax.jit
    def scores(mean):
        loss, slope = jax.value_and_grad(lambda mean: -kind.log_prob(mean, x).sum())(mean)
        raw = kind.fit(jnp.mean(jnp.square(x - mean)))
        return loss, slope, -kind.log_prob(mean, x, raw).sum(), p.std(raw)

    loss, slope, given, std = scores(mean)
    error = np.mean(np.square(x.astype(np.float64) - mean))
    np.testing.assert_allclose(std, math.sqrt(error), rtol=1e-5)
    np.testing.assert_allclose(loss, x.size / 2 * (math.log(2 * math.pi * error) + 1), rtol=1e-4)
    np.testing.assert_allclose(slope, (mean - x) / error, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(given, loss, rtol=1e-5)

    # sigma-vae-pytorch#10: NaN where the error is 0.
    loss, slope, _, std = scores(x)
    np.testing.assert_allclose(std, max(math.exp(-6), 1.001 * p.std_range.low), rtol=1e-4)
    np.testing.assert_allclose(loss, x.size * (math.log(std) + 0.5 * math.log(2 * math.pi)), rtol=1e-4)
    # The natural parameterization's mean is loc σ², off by its rounding; over σ², that is the slope.
    assert np.all(np.abs(slope) <= 4 * EPS / std**2)


def test_the_optimal_std_is_that_of_the_whole_batch():
    # sigma-vae-tensorflow#2: tiling the batch keeps σ, hence every element.
    kind = OptimalGaussian()
    mean, x = jnp.linspace(0, 1, 12).reshape(6, 2), jnp.linspace(1, 0.3, 12).reshape(6, 2)
    score = jax.jit(kind.log_prob)
    once, tiled = score(mean, x), score(jnp.tile(mean, (3, 1)), jnp.tile(x, (3, 1)))
    np.testing.assert_allclose(tiled, jnp.tile(once, (3, 1)), rtol=8 * EPS, atol=8 * EPS)
    np.testing.assert_array_equal(kind.mean(mean), mean)


@pytest.mark.parametrize(
    "use",
    [
        lambda: LearnedGaussian().log_prob(jnp.zeros((2, 1)), jnp.zeros((2, 1))),
        lambda: LearnedGaussian().mean(jnp.zeros((2, 1))),
        lambda: OptimalGaussian().sample(jax.random.key(0), jnp.zeros((2, 1))),
    ],
)
def test_a_missing_raw_is_named(use):
    with pytest.raises(ValueError, match="raw must be the number that σ arises from, got None"):
        use()
