import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
import quick
from representatives import each
from scipy.stats import multivariate_normal

import jaxvae as jv

NAMES = [name for name in jv.PARAMETERIZATIONS if name not in oracles.NATURAL]
L = 3
LOC, RAW = np.float32([0.5, -1.0, 0.2]), np.float32([0.4, 1.1, 2.3])
FACTORS = np.float32([[0.7, -0.4, 0.3, 0.2], [-0.5, 0.6, 0.1, -0.9], [0.2, 0.8, -0.3, 0.4]])
PRIOR = jv.Gaussian(np.float32([0.1, 0.3, -0.8]), np.float32([0.9, 0.7, 1.6]), jv.softplus_std)
X = np.float32([[0.0, 0.0, 0.0], [1.5, -2.0, 0.7]])
ULPS = 32 * float(np.finfo(np.float32).eps)
"""Of the sum of the terms' sizes: some ten operations of half an ulp to 1.5 ulp each, and a Cholesky factor."""
RANKS = (1, 2, 4)


def covariance(name, raw, factor):
    std = [float(mpmath.exp(oracles.log_std(name, float(r)))) for r in raw]
    return np.diag(np.square(std)) + np.float64(factor) @ np.float64(factor).T


def kl_terms(mean, cov, mean_p, cov_p):
    """Of 2 KL: trace and distance, both log-determinants, and -L."""
    inverse, delta = np.linalg.inv(cov_p), np.float64(mean) - mean_p
    logs = np.linalg.slogdet(cov_p)[1], -np.linalg.slogdet(cov)[1]
    return np.array([np.trace(inverse @ cov), delta @ inverse @ delta, *logs, -len(mean)])


def check(scores, p, rank, name):
    """log_prob and KL(q ‖ p) against float64; the exact Gaussian, and what rounding its entropy may cost."""
    cov = covariance(name, RAW, FACTORS[:, :rank])
    exact = multivariate_normal(LOC, cov)
    log_dets = np.abs(np.log(np.diag(cov))).sum() + np.abs(np.linalg.slogdet(cov)[1])
    stretch = np.linalg.cond(cov) ** 0.5
    log_prob, kl = scores
    want = exact.logpdf(X)
    assert np.all(np.abs(log_prob - want) <= ULPS * (np.abs(want) * stretch + log_dets + L))
    moments = (np.zeros(L), np.eye(L)) if p is None else (np.float64(p.mean), np.diag(np.float64(p.variance)))
    terms = kl_terms(LOC, cov, *moments) / 2
    assert abs(kl - terms.sum()) <= ULPS * (np.abs(terms).sum() + log_dets)
    return exact, ULPS * (log_dets + L)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_parameterizations_keep_the_contract(name):
    p, factor = jv.PARAMETERIZATIONS[name], FACTORS[:, :2]
    q = jv.LowRankGaussian(*(np.stack([x, x]) for x in (LOC, RAW)), np.stack([factor, 0 * factor]), p)
    log_prob, kl = jv.log_prob(q, X[:, None]), jv.kl_divergence(q)
    check((log_prob[:, 0], kl[0]), None, 2, name)
    independent = jv.Gaussian(LOC, RAW, p)
    for got, want in ((kl[1], jv.kl_divergence(independent)), (log_prob[:, 1], jv.log_prob(independent, X))):
        assert np.all(np.abs(got - want.sum(-1)) <= ULPS * np.abs(want).sum(-1))


@pytest.mark.slow
@pytest.mark.parametrize("rank", each(RANKS, kept=RANKS[:-1]))
def test_every_rank(rank):
    q = jv.LowRankGaussian(LOC, RAW, FACTORS[:, :rank])
    run = jax.jit(lambda q: (jv.log_prob(q, X), jv.kl_divergence(q, PRIOR), jv.entropy(q)))
    *scores, entropy = run(q)
    exact, rounding = check(scores, PRIOR, rank, "log_variance")
    assert abs(entropy - exact.entropy()) <= rounding
    diagonal = jv.LowRankGaussian(LOC, RAW, 0 * FACTORS[:, :rank])
    assert jv.kl_divergence(diagonal, jv.Gaussian(LOC, RAW)) == 0


def exact_kl_standard(loc, raw, factor):
    """At 60 digits; log-std."""
    size = len(factor)
    loc, raw = ([mpmath.mpf(float(x)) for x in values] for values in (loc, raw))
    u = mpmath.matrix([[mpmath.mpf(float(x)) for x in row] for row in factor])
    cov = u * u.T + mpmath.diag([mpmath.exp(2 * r) for r in raw])
    trace = sum(cov[i, i] for i in range(size))
    return float((trace - size + sum(m * m for m in loc) - mpmath.log(mpmath.det(cov))) / 2)


def divergence(loc, raw, factor):
    return jv.kl_divergence(jv.LowRankGaussian(loc, raw, factor, jv.log_std))


@pytest.mark.parametrize("rank", RANKS)
def test_near_collapse(rank):
    kl = jax.jit(divergence)
    for scale in (1e-1, 1e-2, 1e-4, 1e-7):
        for loc, spread in ((0, 1), (1, 1), (0, -1)):
            inputs = (
                np.float32(scale**2 * loc) * LOC,
                np.float32(scale**2 * spread) * RAW,
                np.float32(scale) * FACTORS[:, :rank],
            )
            np.testing.assert_allclose(kl(*inputs), exact_kl_standard(*inputs), rtol=1e-6)


def test_never_negative_where_both_parts_cancel():
    # σ² + u² = 1: q is the standard normal but for rounding.
    u = np.linspace(1e-3, 0.99, 200, dtype=np.float32)
    raw = np.log1p(-np.square(np.float64(u))) / 2
    kl = jax.jit(divergence)(0.0, np.float32(raw)[:, None], u[:, None, None])
    assert np.all(kl >= 0)
    assert np.any(kl == 0)
    assert np.all(kl <= 1e-6)


@pytest.mark.slow
def test_samples_have_the_moments_and_the_divergence():
    """Within 5 standard errors, of 50 000 samples."""
    n = 50_000
    q = jv.LowRankGaussian(LOC, RAW, FACTORS[:, :2], jv.softplus_std)

    @jax.jit
    def draw(q, key):
        z = jv.sample(key, q, (n,))
        return z, jv.log_prob(q, z) - jv.log_prob(PRIOR, z).sum(-1)

    z, log_ratio = (np.float64(x) for x in draw(q, quick.key(0)))
    centred = z - LOC
    products = centred[:, :, None] * centred[:, None]
    np.testing.assert_allclose(q.covariance, covariance("softplus_std", RAW, FACTORS[:, :2]), rtol=1e-6)
    for samples, want in ((z, q.mean), (products, q.covariance), (log_ratio, jv.kl_divergence(q, PRIOR))):
        error = samples.std(axis=0) / np.sqrt(n)
        assert np.all(np.abs(samples.mean(axis=0) - np.float64(want)) <= 5 * error)


def test_noise_is_the_elements_own_and_then_the_common():
    q = jv.LowRankGaussian(LOC, RAW, FACTORS[:, :2], jv.log_std)
    noise = np.float32([1.0, -2.0, 0.5, 3.0, -1.0])
    want = LOC + np.exp(RAW) * noise[:3] + FACTORS[:, :2] @ noise[3:]
    np.testing.assert_allclose(jv.reparameterize(q, noise), want, rtol=1e-5)


def scores(q, x):
    return jnp.stack([jv.log_prob(q, x), jv.kl_divergence(q), jv.entropy(q)])


@pytest.mark.parametrize("rank", [1, 4])
def test_a_small_std(rank):
    """σ = e^-50, whose square is no float32: the sum of the logs, up to 300, is rounded, and little else."""
    q = jv.LowRankGaussian(LOC, np.full(L, -50, np.float32), FACTORS[:, :rank], jv.log_std)
    run = jax.jit(scores)
    got = run(q, LOC)
    with jax.enable_x64(True):
        want = run(*jax.tree.map(np.float64, (q, LOC)))
    np.testing.assert_allclose(got, want, rtol=0, atol=ULPS * 300)


def test_the_distance_is_a_sum_of_squares():
    """With σ = e^-6 and x of q: zᵀz - zᵀWa would be a difference of numbers of 10⁶."""
    q = jv.LowRankGaussian(LOC, np.full(L, -6, np.float32), FACTORS[:, :2], jv.log_std)
    with jax.enable_x64(True):
        wide = jax.tree.map(np.float64, q)
        x = np.float32(jv.reparameterize(wide, np.array([1.0, -1.0, 0.5, 1.0, -1.0])))
        run = jax.jit(lambda q, x: jv.log_prob(q, x))
        want = run(wide, np.float64(x))
    # z = (x - mean)/σ is up to 600, rounded to 2⁻¹⁵ (half an ulp and of the product), with |z - Wa| about 1.
    np.testing.assert_allclose(run(q, x), want, rtol=0, atol=16 * 2**-15)


def score(q, x):
    """All at once, with weights that let none hide another."""
    return (
        jv.log_prob(q, x)
        + 0.7 * jv.kl_divergence(q)
        + 0.4 * jv.entropy(q)
        + 1.3 * jv.kl_divergence(q, jv.Gaussian(x, x))
    )


@pytest.mark.slow
@pytest.mark.parametrize("rank", each((2, 4), kept=(2,)))
def test_gradients_are_those_of_float64(rank):
    inputs = jv.LowRankGaussian(LOC, RAW / 2, FACTORS[:, :rank], jv.log_std), X[1]
    slope = jax.jit(jax.grad(score, (0, 1)))
    got = slope(*inputs)
    with jax.enable_x64(True):
        wide = jax.tree.map(np.float64, inputs)
        want = slope(*wide)
        # Along one direction, by central differences.
        run, step = jax.jit(score), 1e-6
        along = jax.tree.map(lambda x: np.cos(np.arange(x.size)).reshape(x.shape), wide)
        high, low = (run(*jax.tree.map(lambda x, d, s=s: x + s * step * d, wide, along)) for s in (1, -1))
        total = sum(np.sum(np.asarray(x) * d) for x, d in zip(*map(jax.tree.leaves, (want, along)), strict=True))
        difference = float(high - low) / (2 * step)
    np.testing.assert_allclose(total, difference, rtol=1e-7)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=ULPS * max(1, np.abs(b).max()))


@pytest.mark.slow
def test_derivatives_at_the_standard_normal():
    q = jv.LowRankGaussian(*(np.zeros(s, np.float32) for s in (L, L, (L, 2))), jv.log_std)
    slope = jax.grad(lambda q: jv.kl_divergence(q))
    hessian = jax.jit(jax.jacfwd(slope))(q)
    np.testing.assert_allclose(hessian.loc.loc, np.eye(L), atol=1e-6)
    np.testing.assert_allclose(hessian.raw.raw, 2 * np.eye(L), atol=1e-6)
    assert np.all(hessian.factor.factor == 0)  # KL is of fourth order in U
    # The near and the far form, with σ beyond all floats in the one that isn't taken.
    wide = jv.LowRankGaussian(np.zeros(L, np.float32), np.float32([-80, 40, 0]), FACTORS[:, :1], jv.log_std)
    chex.assert_tree_all_finite(jax.jit(slope)(wide))


def test_the_cross_entropy_is_that_of_float64():
    q = jv.LowRankGaussian(LOC, RAW, FACTORS[:, :2])
    cov, cov_p = covariance("log_variance", RAW, FACTORS[:, :2]), np.diag(np.float64(PRIOR.variance))
    trace, distance, log_det, *_ = kl_terms(LOC, cov, np.float64(PRIOR.mean), cov_p)
    want = (trace + distance + log_det + L * np.log(2 * np.pi)) / 2
    np.testing.assert_allclose(jv.cross_entropy(q, PRIOR), want, rtol=2e-6)


def test_shapes_broadcast():
    q = jv.LowRankGaussian(0.0, np.zeros((5, L), np.float32), FACTORS.T[:, None, :, None])
    assert q.shape == q.mean.shape == (4, 5, L)
    wider = jv.Gaussian(np.zeros((2, 1, 1, 1), np.float32), 0.0)
    for call, shape in (
        (lambda: q.covariance, (4, 5, L, L)),
        (lambda: jv.sample(quick.key(0), q, (2,)), (2, 4, 5, L)),
        (lambda: jv.log_prob(q, X[:, None, None]), (2, 4, 5)),
        (lambda: jv.kl_divergence(q), (4, 5)),
        (lambda: jv.entropy(q), (4, 5)),
        (lambda: jv.cross_entropy(q, wider), (2, 4, 5)),
        (lambda: jv.kl_divergence(q, PRIOR), (4, 5)),
        (lambda: jv.kl_divergence(q, wider), (2, 4, 5)),
    ):
        assert jax.eval_shape(call).shape == shape
