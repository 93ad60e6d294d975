import functools
import math

import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from jax.sharding import PartitionSpec

import jaxvae as jv
from jaxvae import special
from jaxvae.gaussian import standard_log_prob

NAMES = sorted(jv.PARAMETERIZATIONS)
POSITIVE_RAW_ONLY = ("direct_std", "direct_variance", "square_std", "abs_std")
CLIPPED_AT = {"diffusers_log_variance": (-30.0, 20.0), "sac_log_std": (-20.0, 2.0), "projected_std": (1e-4,)}
LOCS = (0.0, 1e-4, -1e-4, 1.0, -1.0, 1e3, -1e3)
LARGEST = float(np.finfo(np.float32).max)


def raws_for_kl(name):
    """float32 raws with log σ in [-100, 40], through the extremes and about σ = 1, and off the kinks."""
    p = jv.PARAMETERIZATIONS[name]
    powers = 10.0 ** np.arange(-7, 18, 2)
    raw = np.concatenate([np.linspace(-200, 200, 33), np.linspace(-3, 3, 13), powers, -powers])
    if p.std_range.low < 1 < p.std_range.high:
        unit = np.float32(p.raw_from_std(1.0))
        raw = np.concatenate([raw, unit + np.float32([0, 1e-3, -1e-2, 0.1]), [np.nextafter(unit, np.float32(9))]])
    raw = np.unique(raw.astype(np.float32))
    raw = raw[~np.isin(raw, np.float32(CLIPPED_AT.get(name, ())))]
    raw = raw[raw > 0] if name in POSITIVE_RAW_ONLY else raw
    return np.array([r for r in raw if -100 <= oracles.log_std(name, float(r)) <= 40])


@pytest.mark.parametrize("name", NAMES)
def test_kl_to_the_standard_normal_is_exact(name):
    """To 1e-6, or to what 4 ulp of the stored raw change: value and both gradients."""
    raw = raws_for_kl(name)
    kl = jax.jit(lambda loc, r: jv.kl_divergence(jv.Gaussian(loc, r, jv.PARAMETERIZATIONS[name])))
    gradient = jax.jit(jax.vmap(jax.grad(kl, (0, 1))))
    for loc in np.float32(LOCS):

        def true(r, loc=loc):
            return oracles.kl_standard(name, float(loc), r), *oracles.kl_standard_gradient(name, float(loc), r)

        locs = np.full_like(raw, loc)
        got = np.stack([kl(locs, raw), *gradient(locs, raw)], axis=-1).astype(np.float64)
        assert np.all(got[:, 0] >= 0)
        for r, values in zip(raw, got, strict=True):
            exact, moved = true(float(r)), None
            for i, value in enumerate(values):
                if abs(exact[i]) > LARGEST:
                    assert abs(value) >= 0.999 * LARGEST
                    assert math.copysign(1, value) == mpmath.sign(exact[i])
                    continue
                error = abs(value - exact[i])
                # 4e-38: a factor of the product may have been subnormal, and flushed.
                if error > max(1e-6 * abs(exact[i]), 4e-38):
                    step = 4 * float(np.spacing(np.abs(r)))
                    moved = moved or [true(float(r) - step), true(float(r) + step)]
                    assert error <= max(abs(m[i] - exact[i]) for m in moved), (loc, r, i, value, float(exact[i]))


def test_kl_near_collapse():
    # ½ (e^L - 1 - L) at L = 1e-4 is 2.500083e-9 (L²/4 + L³/12); many forms give 0, 8e-9 or a negative number.
    kl = jv.kl_divergence(jv.Gaussian(0.0, 1e-4))
    np.testing.assert_allclose(kl, float(oracles.kl_standard("log_variance", 0.0, float(np.float32(1e-4)))), rtol=2e-7)
    np.testing.assert_allclose(kl, 2.500083e-9, rtol=1e-6)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("direct")])
def test_equal_gaussians_have_kl_exactly_zero(name):
    # DALLE2-pytorch#138: NaN from exp(logvar1 - logvar2).
    raw = jnp.concatenate([jnp.linspace(-200, 200, 41), jnp.asarray([-1e30, 1e30, 1e-30])])
    for loc in (0.0, 1e-3, -1e3):
        q = jv.Gaussian(jnp.full_like(raw, loc), raw, jv.PARAMETERIZATIONS[name])
        assert jnp.all(jv.kl_divergence(q, q) == 0)
        assert jnp.all(jv.wasserstein2(q, q) == 0)


def test_kl_is_exactly_zero_at_the_standard_normal():
    for name in ("log_variance", "log_std", "log_precision", "exp_linear_std", "squareplus_std", "efficient_vdvae_std"):
        assert jv.kl_divergence(jv.Gaussian(0.0, 0.0, jv.PARAMETERIZATIONS[name])) == 0


def test_kl_between_extremes():
    assert jv.kl_divergence(jv.Gaussian(0.0, -100.0), jv.Gaussian(0.0, 100.0)) == 99.5
    for a, b in ((-60.0, 60.0), (-200.0, -199.0), (3.0, 3.0001)):
        q, p = jv.Gaussian(0.3, a), jv.Gaussian(0.3, b)
        want = oracles.kl(0, mpmath.mpf(float(np.float32(a))) / 2, 0, mpmath.mpf(float(np.float32(b))) / 2)
        np.testing.assert_allclose(jv.kl_divergence(q, p), float(want), rtol=1e-6)


def test_overflow_comes_only_with_the_true_value():
    assert jv.kl_divergence(jv.Gaussian(0.0, 89.3)) < jnp.inf  # σ² is beyond float32, ½σ² is not
    assert jv.kl_divergence(jv.Gaussian(2.5e19, 0.0)) < jnp.inf
    assert jv.kl_divergence(jv.Gaussian(0.0, 89.5)) == jnp.inf
    assert jax.grad(lambda r: jv.kl_divergence(jv.Gaussian(0.0, r, jv.log_std)))(44.3) < jnp.inf


@pytest.mark.parametrize("name", NAMES)
def test_kl_between_two_parameterizations(name):
    p = jv.PARAMETERIZATIONS[name]
    raw = jnp.asarray([0.2, 1.0, 3.0])
    q, other = jv.Gaussian(0.5, raw, p), jv.Gaussian(-1.0, 0.4, jv.softplus_variance)
    for a, b, x, y in ((q, other, name, "softplus_variance"), (other, q, "softplus_variance", name)):
        got = jv.kl_divergence(a, b)
        for i in range(3):
            at = [(float(g.loc), float(jnp.broadcast_to(g.raw, (3,))[i])) for g in (a, b)]
            moments = [
                f(n, *at[k][j:]) for k, n in enumerate((x, y)) for f, j in ((oracles.mean, 0), (oracles.log_std, 1))
            ]
            np.testing.assert_allclose(got[i], float(oracles.kl(*moments)), rtol=2e-6)


@pytest.mark.parametrize("name", ["softplus_std", "softplus_variance"])
def test_softplus_has_all_its_digits_near_the_prior(name):
    # softplus is 1 at log(e - 1): rounded to a float32, it would cost 1.4e-5.
    p = jv.PARAMETERIZATIONS[name]
    raw = float(p.raw_from_std(1.0)) + np.array([-1e-2, -1e-3, -1e-4, 1e-4, 1e-3, 1e-2], np.float32)
    got = jax.jit(lambda r: jv.kl_divergence(jv.Gaussian(0.0, r, p)))(raw)
    np.testing.assert_allclose(got, [float(oracles.kl_standard(name, 0.0, float(r))) for r in raw], rtol=1e-6)


def test_a_variance_that_overflows_has_a_std_that_does_not():
    q = jv.Gaussian(0.0, 89.0, jv.scvi_variance)
    np.testing.assert_allclose(q.std, math.exp(44.5), rtol=1e-6)
    np.testing.assert_allclose(jv.kl_divergence(q), math.exp(89) / 2, rtol=1e-6)


def test_float64_keeps_its_digits_far_from_1():
    with jax.enable_x64(True):
        for log_std in (-300.0, -100.0, 100.0, 300.0):
            x = 1.3 * math.exp(log_std)
            got = jv.log_prob(jv.Gaussian(0.0, jnp.float64(log_std), jv.log_std), x)
            exact = float(oracles.log_prob(mpmath.mpf(x), mpmath.mpf(0), mpmath.mpf(log_std)))
            slope = jax.grad(lambda x, log_std=log_std: jv.log_prob(jv.Gaussian(0.0, log_std, jv.log_std), x))(x)
            np.testing.assert_allclose(got, exact, rtol=4e-16)
            np.testing.assert_allclose(slope, -x * math.exp(-2 * log_std), rtol=4e-15)


def test_log_prob_and_entropy_at_log_variance_minus_210():
    q = jv.Gaussian(1.0, -210.0)
    np.testing.assert_allclose(jv.entropy(q), -105 + 0.5 * math.log(2 * math.pi * math.e), rtol=1e-6)
    np.testing.assert_allclose(jv.log_prob(q, 1.0), 105 - 0.5 * math.log(2 * math.pi), rtol=1e-6)
    narrow = jv.Gaussian(0.0, -210.0)
    want = oracles.log_prob(mpmath.mpf(float(np.float32(1e-30))), 0, -105)
    np.testing.assert_allclose(jv.log_prob(narrow, 1e-30), float(want), rtol=2e-5)  # 4 ulp of e^105
    assert jv.log_prob(q, 2.0) == -jnp.inf
    for x in (1.0, 2.0):
        assert not any(jnp.isnan(g) for g in jax.tree.leaves(jax.grad(lambda q, x=x: jv.log_prob(q, x))(q)))


@pytest.mark.parametrize("name", NAMES)
def test_log_prob_matches_the_oracle(name):
    p = jv.PARAMETERIZATIONS[name]
    for raw in (0.1, 0.9, 4.0):
        for x in (-2.0, 0.4, 30.0):
            at = float(np.float32(raw))
            want = oracles.log_prob(
                mpmath.mpf(float(np.float32(x))), oracles.mean(name, 0.5, at), oracles.log_std(name, at)
            )
            np.testing.assert_allclose(jv.log_prob(jv.Gaussian(0.5, raw, p), x), float(want), rtol=3e-6)


def test_standard_log_prob_is_the_log_prob_of_a_standard_normal():
    z = np.linspace(-40, 40, 81, dtype=np.float32)
    want = jv.log_prob(jv.Gaussian(0.0, np.float32(0)), z)
    np.testing.assert_allclose(standard_log_prob(z), want, rtol=2.5e-7)  # 2 ulp


@pytest.mark.parametrize("name", NAMES)
def test_fisher_is_the_hessian_of_kl(name):
    p = jv.PARAMETERIZATIONS[name]

    def kl(theta, q):
        return jv.kl_divergence(q, jv.Gaussian(theta[0], theta[1], p))

    with jax.enable_x64(True):
        hessian = jax.jit(jax.hessian(kl))
        for loc, raw in ((0.3, 0.7), (-1.2, 1.9)):
            q = jv.Gaussian(loc, raw, p)
            metric = jv.fisher(q)
            np.testing.assert_allclose(
                [[metric.loc, metric.cross], [metric.cross, metric.raw]],
                hessian(jnp.asarray([loc, raw]), q),
                rtol=1e-9,
                atol=1e-12,
            )


def test_natural_parameters_round_trip():
    eta1, eta2 = jnp.asarray([0.3, -2.0, 0.0]), jnp.asarray([-0.5, -20.0, -1e-3])
    for p in (jv.log_variance, jv.softplus_std, jv.natural_exp, jv.natural_softplus):
        q = jv.from_natural_parameters(eta1, eta2, p)
        back = jv.natural_parameters(q)
        np.testing.assert_allclose(back[0], eta1, rtol=3e-6)
        np.testing.assert_allclose(back[1], eta2, rtol=3e-6)
        first, second = jv.expectation_parameters(q)
        np.testing.assert_allclose(second - first**2, q.variance, rtol=1e-5)
    natural = jv.Gaussian(0.7, 0.0, jv.natural_exp)
    np.testing.assert_allclose(jv.natural_parameters(natural), (0.7, -0.5), rtol=1e-6)
    with pytest.raises(ValueError, match=r"eta2 must be negative, got 1\.0"):
        jv.from_natural_parameters(0.0, 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_convert_keeps_the_distribution(name):
    p = jv.PARAMETERIZATIONS[name]
    std = jnp.asarray([0.6, 0.9]) if p.std_range.high < 2 else jnp.asarray([0.6, 1.7])
    q = jv.Gaussian(jnp.asarray([0.3, -1.0]), 2 * jnp.log(std))
    there = jv.convert(q, p)
    np.testing.assert_allclose(there.mean, q.mean, rtol=1e-6)
    np.testing.assert_allclose(there.std, std, rtol=1e-6)
    back = jv.convert(there, jv.log_variance)
    np.testing.assert_allclose(back.raw, q.raw, rtol=2e-6, atol=2e-6)
    assert jv.convert(q, jv.log_variance) is q


def test_convert_refuses_what_the_range_lacks():
    q = jv.Gaussian(0.0, 2 * math.log(5.0))
    with pytest.raises(ValueError, match=r"log_std must be in \(-∞, 0\) for sigmoid_std, got 1\.609"):
        jv.convert(q, jv.sigmoid_std)
    assert jnp.isnan(jax.jit(lambda q: jv.convert(q, jv.sigmoid_std))(q).raw)


def test_product_adds_precisions():
    q, p = jv.Gaussian(jnp.asarray([1.0, 0.0]), 0.3), jv.Gaussian(-2.0, jnp.asarray([0.1, 4.0]), jv.softplus_std)
    joint = jv.product(q, p)
    np.testing.assert_allclose(joint.precision, q.precision + p.precision, rtol=2e-6)
    np.testing.assert_allclose(joint.mean, (q.mean * q.precision + p.mean * p.precision) / joint.precision, rtol=2e-6)
    assert joint.parameterization == jv.log_variance
    x = jnp.linspace(-1, 1, 5)[:, None]
    offset = jv.log_prob(q, x) + jv.log_prob(p, x) - jv.log_prob(joint, x)
    np.testing.assert_allclose(offset - offset[:1], 0, atol=2e-5)
    assert jv.product(q, parameterization=jv.natural_exp).parameterization == jv.natural_exp
    extreme = jv.product(jv.Gaussian(1.0, -200.0), jv.Gaussian(3.0, -200.0))
    np.testing.assert_allclose([extreme.mean, extreme.log_std], [2.0, -100 - math.log(2) / 2], rtol=1e-6)
    with pytest.raises(ValueError, match="at least one"):
        jv.product()


def test_distances():
    q, p = jv.Gaussian(0.0, 1.0, jv.log_std), jv.Gaussian(2.0, -0.5)
    np.testing.assert_allclose(jv.jeffreys(q, p), jv.kl_divergence(q, p) + jv.kl_divergence(p, q))
    np.testing.assert_allclose(jv.wasserstein2(q, p), math.hypot(2.0, float(q.std - p.std)), rtol=1e-6)
    near = jv.wasserstein2(jv.Gaussian(0.0, 1.0, jv.log_std), jv.Gaussian(0.0, 1.00001, jv.log_std))
    np.testing.assert_allclose(near, math.e * math.expm1(float(np.float32(1.00001)) - 1), rtol=1e-5)
    assert not any(jnp.isnan(g) for g in jax.tree.leaves(jax.grad(lambda q: jv.wasserstein2(q, q))(q)))
    np.testing.assert_allclose(jv.cross_entropy(q, p), jv.kl_divergence(q, p) + jv.entropy(q), rtol=1e-6)


def test_second_derivatives_of_the_wasserstein_distance():
    # With Δmean = 1: sqrt(1 + (σ_q - σ_p)²), whose second derivative by log σ² at σ_q = σ_p = 1 is 1/4.
    def distance(raw_q, raw_p):
        return jv.wasserstein2(jv.Gaussian(1.0, raw_q), jv.Gaussian(0.0, raw_p))

    hessian = jax.hessian(distance, (0, 1))(0.0, 0.0)
    np.testing.assert_allclose(hessian, [[0.25, -0.25], [-0.25, 0.25]], rtol=1e-6)


def test_natural_parameters_at_extremes():
    eta1, eta2 = jv.natural_parameters(jv.Gaussian(0.0, -89.0))
    assert eta1 == 0
    np.testing.assert_allclose(eta2, -math.exp(89) / 2, rtol=1e-5)
    for raw in (-100.0, 100.0):
        assert jv.natural_parameters(jv.Gaussian(0.7, raw, jv.natural_exp))[0] == jnp.float32(0.7)


def test_product_keeps_its_slope_beside_a_sharp_factor():
    def loc(raw):
        return jv.product(jv.Gaussian(0.7, raw), jv.Gaussian(0.3, 0.5)).loc

    # mean = 0.3 + 0.4 w with w = sigmoid(0.5 - raw); dw/draw = -w (1 - w).
    w = 1 / (1 + math.exp(-15.5))
    np.testing.assert_allclose(jax.grad(loc)(-15.0), -0.4 * w * math.exp(-15.5) * w, rtol=1e-5)


def test_low_precision_under_strict_promotion():
    x = jnp.zeros(3, jnp.bfloat16)
    with jax.numpy_dtype_promotion("strict"):
        q = jv.Gaussian(x, x)
        assert jv.kl_divergence(q).dtype == jv.log_prob(q, x).dtype == jnp.float32
        assert jv.sample(jax.random.key(0), q).dtype == jv.convert(q, jv.nvae_log_std).dtype == jnp.bfloat16


@pytest.mark.parametrize("shape", [(), (4,), (3, 2)])
def test_sample_shapes_and_dtypes(shape):
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        q = jv.Gaussian(jnp.zeros((2, 5), dtype), jnp.zeros(5, dtype))
        z = jv.sample(jax.random.key(0), q, shape)
        assert z.shape == (*shape, 2, 5)
        assert z.dtype == dtype
        assert jv.kl_divergence(q).dtype == jv.log_prob(q, z).dtype == jv.entropy(q).dtype == jnp.float32
    with jax.enable_x64(True):
        assert jv.sample(jax.random.key(0), jv.Gaussian(jnp.zeros(2), 0.0)).dtype == jnp.float64


def test_samples_are_reparameterized():
    key = jax.random.key(0)
    gradient = jax.grad(lambda q: jv.sample(key, q))(jv.Gaussian(0.0, 0.6, jv.log_std))
    noise = jv.sample(key, jv.Gaussian(0.0, 0.0, jv.log_std))
    assert gradient.loc == 1
    np.testing.assert_allclose(gradient.raw, noise * math.exp(0.6), rtol=1e-6)


def test_noise_of_ones_own_may_be_shared_or_antithetic():
    q = jv.Gaussian(jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3), jnp.zeros(3, jnp.bfloat16), jv.softplus_std)
    noise = jax.random.normal(jax.random.key(0), (4, 1, 3))
    z, mirrored = jv.reparameterize(q, noise), jv.reparameterize(q, -noise)
    assert z.shape == (4, 2, 3)
    assert z.dtype == jnp.bfloat16
    # σ = log 2; z is rounded to bfloat16 once, to half an ulp of at most 8.
    np.testing.assert_allclose(np.float32(z) - np.float32(q.mean), math.log(2) * np.tile(noise, (1, 2, 1)), atol=2**-6)
    np.testing.assert_allclose((np.float32(z) + np.float32(mirrored)) / 2, np.tile(q.mean, (4, 1, 1)), atol=2**-6)


def test_bfloat16_samples_have_float32_noise():
    # bfloat16 noise has 128 distinct values, of which the largest is 2.89.
    z = jv.sample(jax.random.key(1), jv.Gaussian(jnp.bfloat16(0), jnp.bfloat16(0)), (10_000_000,))
    assert z.dtype == jnp.bfloat16
    assert jnp.max(jnp.abs(z)) > 4.5
    assert np.unique(np.asarray(z[:1_000_000]).view(np.uint16)).size > 1000


def test_std_mix_ups_show():
    # keras#9972, stable-baselines#1059: logvar, log σ and σ taken for one another.
    raw = 0.8
    stds = {
        name: float(jv.Gaussian(0.0, raw, jv.PARAMETERIZATIONS[name]).std)
        for name in ("log_variance", "log_std", "softplus_std")
    }
    z = {n: jv.sample(jax.random.key(0), jv.Gaussian(0.0, raw, jv.PARAMETERIZATIONS[n]), (200_000,)) for n in stds}
    for name, std in stds.items():
        for other, draws in z.items():
            error = abs(float(jnp.std(draws)) - std) / (std / math.sqrt(2 * 200_000))
            assert (error < 4) == (name == other), (name, other, error)


def test_shapes_of_events_are_free():
    # representations4d#14: hard-coded reduction axes.
    for rank in range(1, 5):
        shape = (3, *range(2, 2 + rank))
        kl = jv.kl_divergence(jv.Gaussian(jnp.ones(shape), jnp.zeros(shape)))
        assert kl.shape == shape
        np.testing.assert_allclose(kl.sum(tuple(range(1, rank + 1))), 0.5 * math.prod(shape[1:]) * np.ones(3))


def test_nothing_is_averaged():
    # sigma-vae-tensorflow#2, alibi-detect#90: tiling the batch tiles the result, doubling the latents doubles the sum.
    loc, raw = jnp.linspace(-1, 1, 6).reshape(2, 3), jnp.linspace(-2, 0, 6).reshape(2, 3)
    kl = jv.kl_divergence(jv.Gaussian(loc, raw))
    np.testing.assert_array_equal(
        jv.kl_divergence(jv.Gaussian(jnp.tile(loc, (4, 1)), jnp.tile(raw, (4, 1)))), jnp.tile(kl, (4, 1))
    )
    double = jv.kl_divergence(jv.Gaussian(jnp.tile(loc, (1, 2)), jnp.tile(raw, (1, 2))))
    np.testing.assert_allclose(double.sum(), 2 * kl.sum(), rtol=1e-6)


def test_the_aggregate_posterior_is_finite():
    # PyTorch-VAE#16: NaN in pairwise log densities.
    q = jv.Gaussian(jnp.linspace(-1, 1, 5)[:, None], jnp.full((5, 2), -60.0))
    z = jv.sample(jax.random.key(0), q)
    pairwise = jv.log_prob(jax.tree.map(lambda x: x[None], q), z[:, None]).sum(-1)  # (5, 5)
    assert jnp.all(jnp.isfinite(special.log_mean_exp(pairwise, axis=1)))


def test_a_gaussian_is_a_pytree_and_can_be_indexed():
    q = jv.Gaussian(jnp.arange(6.0).reshape(3, 2), jnp.linspace(-9, 9, 6).reshape(3, 2), jv.nvae_log_std)
    part = jax.tree.map(lambda x: x[1], q)
    np.testing.assert_array_equal(part.std, q.std[1])
    assert len(jax.tree.leaves(q)) == 2
    assert jax.tree.structure(q) == jax.tree.structure(part)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(q)]
    assert paths == [".loc", ".raw"]
    assert jax.tree.map(lambda _: None, q).loc is None


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: jv.Gaussian(jnp.zeros(3), jnp.zeros(4)),
            ValueError,
            r"raw must broadcast with loc of shape \(3,\), got shape \(4,\)",
        ),
        (
            lambda: jv.Gaussian(0.0, 0.0, "log_std"),
            TypeError,
            "parameterization must be a Parameterization, got 'log_std'",
        ),
        (
            lambda: jv.kl_divergence(jv.Gaussian(jnp.zeros(3), 0.0), jv.Gaussian(jnp.zeros(4), 0.0)),
            ValueError,
            "shapes",
        ),
    ],
)
def test_bad_construction(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_python_numbers_take_the_others_dtype():
    assert jv.Gaussian(jnp.zeros(2, jnp.bfloat16), 0.0).dtype == jnp.bfloat16
    assert jv.Gaussian(1, 0).dtype == jnp.float32
    assert jv.Gaussian(np.zeros(2), np.zeros(2)).dtype == jnp.float32
    assert jv.Gaussian(jnp.arange(3), jnp.zeros(3, jnp.bfloat16)).dtype == jnp.float32


def loss(q, key):
    return (jv.kl_divergence(q) + jv.log_prob(q, jv.sample(key, q))).sum()


@pytest.mark.parametrize("name", ["log_variance", "softplus_std", "nvae_log_std", "natural_softplus"])
def test_under_every_transformation(name):
    p = jv.PARAMETERIZATIONS[name]
    q = jv.Gaussian(jnp.linspace(-1, 1, 24).reshape(8, 3), jnp.linspace(-2, 2, 24).reshape(8, 3), p)
    keys = jax.random.split(jax.random.key(0), 8)
    slope = jax.jit(jax.grad(loss))
    one_by_one = [slope(jax.tree.map(lambda x, i=i: x[i], q), keys[i]) for i in range(8)]
    want = jax.tree.map(lambda *x: jnp.stack(x), *one_by_one)

    batched = jax.jit(jax.vmap(jax.grad(loss)))(q, keys)
    chex.assert_trees_all_close(batched, want, rtol=1e-5, atol=1e-6)

    _, scanned = jax.lax.scan(lambda c, x: (c, jax.grad(loss)(*x)), 0, (q, keys))
    chex.assert_trees_all_close(scanned, want, rtol=1e-5, atol=1e-6)

    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.shard_map(
        jax.vmap(jax.grad(loss)), mesh=mesh, in_specs=PartitionSpec("batch"), out_specs=PartitionSpec("batch")
    )
    chex.assert_trees_all_close(jax.jit(spread)(q, keys), want, rtol=1e-5, atol=1e-6)

    second = jax.jit(jax.vmap(jax.hessian(lambda r: jv.kl_divergence(jv.Gaussian(0.3, r, p)))))(q.raw[0])
    assert jnp.all(jnp.isfinite(second))


def test_one_trace_for_repeated_calls():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(q, key):
        return jax.value_and_grad(loss)(q, key)

    for i in range(5):
        step(jv.Gaussian(jnp.ones(3) * i, jnp.zeros(3), jv.Parameterization("std", jv.Softplus())), jax.random.key(i))


def test_parameterizations_are_static_arguments():
    f = jax.jit(lambda r, p: jv.kl_divergence(jv.Gaussian(0.0, r, p)), static_argnums=1)
    np.testing.assert_allclose(f(0.5, jv.log_std), jv.kl_divergence(jv.Gaussian(0.0, 0.5, jv.log_std)), rtol=1e-6)


@functools.cache
def draws():
    return np.random.default_rng(0).normal(size=400_000).astype(np.float32)


def test_a_learned_noise_finds_the_true_one():
    # diffusers#5731: a trainable decoder log-variance; here by Newton's method on the mean log-likelihood.
    x = jnp.asarray(0.37 * draws())
    for p in (jv.log_variance, jv.softplus_std, jv.log_precision):

        @jax.jit
        def newton(raw, x, p=p):
            slope = jax.grad(lambda raw: -jv.log_prob(jv.Gaussian(0.0, raw, p), x).mean())(raw)
            return raw - slope / jv.fisher(jv.Gaussian(0.0, raw, p)).raw

        raw = jnp.asarray(0.0)
        for _ in range(60):
            raw = newton(raw, x)
        assert abs(float(p.std(raw)) / 0.37 - 1) < 0.02


@pytest.mark.parametrize("name", ["log_variance", "softplus_std", "dreamer_std"])
def test_arguments_are_checked_once(name, monkeypatch):
    """The two leaves, as the Gaussian is made; nothing of what the library computes from them."""
    checked = []
    for module in (jv.gaussian, jv.special):
        check = module.require_real
        monkeypatch.setattr(module, "require_real", lambda check=check, **x: (checked.extend(x), check(**x)))
    p, x = jv.PARAMETERIZATIONS[name], jnp.zeros(3)
    jax.make_jaxpr(jax.grad(lambda loc, raw: jv.kl_divergence(jv.Gaussian(loc, raw, p)).sum(), (0, 1)))(x, x)
    assert checked == ["Gaussian.loc", "Gaussian.raw"]
