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
LOC, RAW, LOWER = (np.float32(x) for x in ([0.5, -1.0, 0.2], [0.4, 1.1, 2.3], [0.7, -0.4, 0.3]))
LOC_P, RAW_P, LOWER_P = (np.float32(x) for x in ([0.1, 0.3, -0.8], [0.9, 0.7, 1.6], [-0.2, 0.5, 0.6]))
X = np.float32([[0.0, 0.0, 0.0], [1.5, -2.0, 0.7]])
ULPS = 32 * float(np.finfo(np.float32).eps)
"""Of the sum of the terms' sizes: some ten operations of half an ulp to 1.5 ulp each, on a T of condition below 10."""


def triangle(name, raw, lower):
    """T in float64, from the oracle's σ."""
    t = np.diag([float(mpmath.exp(oracles.log_std(name, float(r)))) for r in raw])
    t[np.tril_indices(L, -1)] = lower
    return t


def conditional(t, mean, at):
    """Mean, on the samples ``at``, and standard deviation of each element given those before it, by blocks of Σ."""
    sigma = t @ t.T
    means, stds = [], []
    for i in range(L):
        weights = np.linalg.solve(sigma[:i, :i], sigma[:i, i])
        means.append(mean[i] + (at[:, :i] - mean[:i]) @ weights)
        stds.append(np.sqrt(sigma[i, i] - sigma[i, :i] @ weights))
    return np.stack(means, axis=-1), np.array(stds)


@pytest.mark.parametrize("name", each(NAMES))
def test_every_parameterization_keeps_the_contract(name):
    p = jv.PARAMETERIZATIONS[name]
    q = jv.CholeskyGaussian(*(np.stack([x, x]) for x in (LOC, RAW)), np.stack([LOWER, 0 * LOWER]), p)
    prior = jv.CholeskyGaussian(LOC_P, RAW_P, LOWER_P, p)
    t, t_p = triangle(name, RAW, LOWER), triangle(name, RAW_P, LOWER_P)
    log_prob, kl = q.log_prob(X[:, None]), q.kl_divergence()

    means, stds = conditional(t, LOC, X)
    terms = ((X - means) / stds) ** 2 / 2, np.log(stds), np.log(2 * np.pi) / 2
    size = sum(np.abs(term) for term in terms) + np.abs((X - LOC) / np.diag(t)) * np.linalg.norm(np.linalg.inv(t))
    assert np.all(np.abs(log_prob[:, 0] + sum(terms)) <= ULPS * size)
    for got, t_o, mean in ((kl[0], np.eye(L), np.zeros(L)), (q.kl_divergence(prior)[0], t_p, LOC_P)):
        m, d = np.linalg.solve(t_o, t), np.linalg.solve(t_o, np.float64(LOC) - mean)
        squares, log_ratio = (np.sum(m**2, axis=-1) + d**2) / 2, np.log(np.diag(m))
        assert np.all(got >= 0)
        assert np.all(np.abs(got - (squares - 0.5 - log_ratio)) <= ULPS * (squares + 0.5 + np.abs(log_ratio)))
    assert np.all(q.kl_divergence(q) == 0)

    independent = jv.Gaussian(LOC, RAW, p)
    np.testing.assert_array_equal(kl[1], jv.kl_divergence(independent))
    np.testing.assert_array_equal(log_prob[:, 1], jv.log_prob(independent, X))


def test_the_joint_density_is_scipys():
    q = jv.CholeskyGaussian(LOC, RAW, LOWER, jv.softplus_std)
    t = triangle("softplus_std", RAW, LOWER)
    np.testing.assert_allclose(q.log_prob(X).sum(-1), multivariate_normal(LOC, t @ t.T).logpdf(X), rtol=2e-6)
    np.testing.assert_allclose(q.covariance, t @ t.T, rtol=1e-6)
    np.testing.assert_allclose(q.entropy().sum(), multivariate_normal(LOC, t @ t.T).entropy(), rtol=1e-6)
    np.testing.assert_allclose(q.scale_tril, t, rtol=1e-6)


def kl_standard(loc, raw, lower):
    """Per element and at 60 digits; log-std."""
    size = len(raw)
    t = mpmath.zeros(size)
    for (i, j), x in zip(np.argwhere(np.tri(size, k=-1)), lower, strict=True):
        t[int(i), int(j)] = mpmath.mpf(float(x))
    own = (oracles.kl_standard("log_std", float(m), float(r)) for m, r in zip(loc, raw, strict=True))
    return [float(k + sum(t[i, j] ** 2 for j in range(size)) / 2) for i, k in enumerate(own)]


@pytest.mark.parametrize("scale", [1e-2, 1e-4, 1e-7])
def test_near_collapse(scale):
    loc, raw, lower = (np.float32(scale) * x for x in (LOC, RAW, LOWER))
    q = jv.CholeskyGaussian(loc, raw, lower, jv.log_std)
    np.testing.assert_allclose(q.kl_divergence(), kl_standard(loc, raw, lower), rtol=1e-6)


def test_near_ones_differ_by_what_their_inputs_differ():
    # KL(q ‖ p) of q = (loc + a, raw + b, lower + c): to leading order ½ |M - I|² + ½ |d|².
    step = np.float32(2**-12)
    p = jv.CholeskyGaussian(LOC, RAW, LOWER, jv.log_std)
    q = jv.CholeskyGaussian(LOC + step, RAW - step, LOWER + 2 * step, jv.log_std)
    with jax.enable_x64(True):
        exact = jax.jit(lambda q, p: q.kl_divergence(p))(*jax.tree.map(np.float64, (q, p)))
    # The steps were rounded into the inputs alike; a sum of near opposites leaves a digit less.
    np.testing.assert_allclose(q.kl_divergence(p), exact, rtol=1e-5)


def test_a_prior_of_independent_elements_is_one_with_lower_0():
    q, raw = jv.CholeskyGaussian(LOC, RAW, LOWER), np.float32([0.4, 0.1, -0.5])
    p = jv.Gaussian(LOC_P, raw, jv.softplus_std)
    same = jv.CholeskyGaussian(p.loc, p.raw, np.zeros(3, np.float32), p.parameterization)
    np.testing.assert_allclose(q.kl_divergence(p), q.kl_divergence(same), rtol=1e-6)
    natural = jv.Gaussian(LOC_P, raw, jv.natural_exp)
    np.testing.assert_allclose(q.kl_divergence(natural), q.kl_divergence(jv.convert(natural, jv.log_std)), rtol=2e-6)


def test_samples_have_the_moments_and_the_divergence():
    """Within 5 standard errors, of 50 000 samples."""
    n = 50_000
    q = jv.CholeskyGaussian(LOC, RAW, LOWER, jv.softplus_std)
    p = jv.CholeskyGaussian(LOC_P, RAW_P, LOWER_P, jv.log_std)

    @jax.jit
    def draw(q, p, key):
        z = q.sample(key, (n,))
        return z, q.log_prob(z) - p.log_prob(z)

    z, log_ratio = (np.float64(x) for x in draw(q, p, quick.key(0)))
    centred = z - LOC
    products = centred[:, :, None] * centred[:, None]
    for samples, want in ((z, q.mean), (products, q.covariance), (log_ratio, q.kl_divergence(p))):
        error = samples.std(axis=0) / np.sqrt(n)
        assert np.all(np.abs(samples.mean(axis=0) - np.float64(want)) <= 5 * error)


def test_extremes():
    # With lower = 0 all is as in Gaussian, also where σ = e^-105 is no float32.
    raw, x = jnp.full(L, -210.0), jnp.asarray([1.0, 1.0, 2.0])
    q, independent = jv.CholeskyGaussian(jnp.ones(L), raw, jnp.zeros(3)), jv.Gaussian(jnp.ones(L), raw)
    np.testing.assert_array_equal(q.log_prob(x), jv.log_prob(independent, x))
    np.testing.assert_array_equal(q.kl_divergence(), jv.kl_divergence(independent))
    # σ² is no float32, and x_2 - 2 x_1 = 0.
    q = jv.CholeskyGaussian(jnp.zeros(2), jnp.full(2, -120.0), 2 * jnp.exp(jnp.full(1, -60.0)))
    want = np.repeat(60 - np.log(2 * np.pi) / 2, 2) - [0.5, 0]
    x = np.exp(np.float32(-60)) * np.float32([1, 2])
    np.testing.assert_allclose(q.log_prob(x), want, rtol=1e-5)
    # The ratio of σ overflows.
    far = jv.CholeskyGaussian(jnp.zeros(2), jnp.full(2, 120.0), jnp.zeros(1))
    assert np.all(far.kl_divergence(q) == np.inf)
    assert np.all(q.kl_divergence(far) == jv.kl_divergence(jv.Gaussian(0.0, -120.0), jv.Gaussian(0.0, 120.0)))


def score(q, p, x):
    """All at once, with weights that let none hide another."""
    return (
        q.log_prob(x).sum() + 0.7 * q.kl_divergence().sum() + 1.3 * q.kl_divergence(p).sum() + 0.4 * q.entropy().sum()
    )


def test_gradients_are_those_of_float64():
    q = jv.CholeskyGaussian(LOC, RAW / 2, LOWER, jv.log_std)
    inputs = q, jv.CholeskyGaussian(LOC_P, RAW_P / 2, LOWER_P, jv.log_std), X[1]
    slope = jax.jit(jax.grad(score, (0, 1, 2)))
    got = slope(*inputs)
    with jax.enable_x64(True):
        wide = jax.tree.map(np.float64, inputs)
        want = slope(*wide)
        # Along one direction, by central differences.
        along, run, step = np.cos(np.arange(3.0)), jax.jit(score), 1e-6
        high, low = (run(*jax.tree.map(lambda x, s=s: x + s * step * along, wide)) for s in (1, -1))
        total = sum(np.asarray(x) @ along for x in jax.tree.leaves(want))
        difference = float(high - low) / (2 * step)
    np.testing.assert_allclose(total, difference, rtol=1e-7)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=ULPS * max(1, np.abs(b).max()))


def test_derivatives_at_the_standard_normal():
    zeros = np.zeros(L, np.float32)
    q = jv.CholeskyGaussian(zeros, zeros, zeros, jv.log_std)
    hessian = jax.jit(jax.hessian(lambda q: q.kl_divergence().sum()))(q)
    for name, want in (("loc", 1), ("raw", 2), ("lower", 1)):
        np.testing.assert_allclose(getattr(getattr(hessian, name), name), want * np.eye(L), atol=1e-6)
    slope = jax.jit(jax.grad(lambda q: q.kl_divergence(q).sum() + q.kl_divergence().sum()))(q)
    assert all(np.all(x == 0) for x in jax.tree.leaves(slope))


def shape_of(f):
    return jax.eval_shape(f).shape


def test_shapes_broadcast():
    q = jv.CholeskyGaussian(0.0, np.zeros(L, np.float32), np.zeros((2, 1, 3), np.float32))
    p = jv.CholeskyGaussian(np.zeros((5, L), np.float32), 0.0, np.ones(3, np.float32))
    assert q.shape == q.mean.shape == (2, 1, L)
    assert shape_of(lambda: q.covariance) == (2, 1, L, L)
    assert shape_of(lambda: q.sample(quick.key(0), (4,))) == (4, 2, 1, L)
    assert shape_of(lambda: q.log_prob(X)) == (2, 2, L)
    assert shape_of(lambda: q.kl_divergence(p)) == shape_of(lambda: p.kl_divergence(q)) == (2, 5, L)
    assert shape_of(lambda: p.log_prob(np.zeros((7, 5, L), np.float32))) == (7, 5, L)
    single = jv.CholeskyGaussian(np.ones((2, 1)), 0.0, np.zeros(0))
    assert shape_of(lambda: single.log_prob(np.zeros(1))) == shape_of(single.kl_divergence) == (2, 1)
