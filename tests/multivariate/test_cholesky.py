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


def log_probs(q, x):
    """log q(x_i | x_<i), elementwise: a sum over the event could hide what is off in one element."""
    return q._conditional_log_prob(x)


def kls(q, p=None):
    """KL_i(q ‖ p), elementwise."""
    return q._conditional_kl(p)


def conditional(t, mean, at):
    """Mean, on the samples ``at``, and standard deviation of each element given those before it, by blocks of Σ."""
    sigma = t @ t.T
    means, stds = [], []
    for i in range(L):
        weights = np.linalg.solve(sigma[:i, :i], sigma[:i, i])
        means.append(mean[i] + (at[:, :i] - mean[:i]) @ weights)
        stds.append(np.sqrt(sigma[i, i] - sigma[i, :i] @ weights))
    return np.stack(means, axis=-1), np.array(stds)


@pytest.mark.parametrize("name", each(NAMES, kept=("softplus_std",)))
def test_every_parameterization_keeps_the_contract(name):
    p = jv.PARAMETERIZATIONS[name]
    q = jv.CholeskyGaussian(*(np.stack([x, x]) for x in (LOC, RAW)), np.stack([LOWER, 0 * LOWER]), p)
    prior = jv.CholeskyGaussian(LOC_P, RAW_P, LOWER_P, p)
    t, t_p = triangle(name, RAW, LOWER), triangle(name, RAW_P, LOWER_P)
    log_prob, kl = log_probs(q, X[:, None]), kls(q)

    means, stds = conditional(t, LOC, X)
    terms = ((X - means) / stds) ** 2 / 2, np.log(stds), np.log(2 * np.pi) / 2
    size = sum(np.abs(term) for term in terms) + np.abs((X - LOC) / np.diag(t)) * np.linalg.norm(np.linalg.inv(t))
    assert np.all(np.abs(log_prob[:, 0] + sum(terms)) <= ULPS * size)
    for got, t_o, mean in ((kl[0], np.eye(L), np.zeros(L)), (kls(q, prior)[0], t_p, LOC_P)):
        m, d = np.linalg.solve(t_o, t), np.linalg.solve(t_o, np.float64(LOC) - mean)
        squares, log_ratio = (np.sum(m**2, axis=-1) + d**2) / 2, np.log(np.diag(m))
        assert np.all(got >= 0)
        assert np.all(np.abs(got - (squares - 0.5 - log_ratio)) <= ULPS * (squares + 0.5 + np.abs(log_ratio)))
    assert np.all(kls(q, q) == 0)

    independent = jv.Gaussian(LOC, RAW, p)
    np.testing.assert_array_equal(kl[1], jv.kl_divergence(independent))
    np.testing.assert_array_equal(log_prob[:, 1], jv.log_prob(independent, X))


def test_the_joint_density_is_scipys():
    q = jv.CholeskyGaussian(LOC, RAW, LOWER, jv.softplus_std)
    t = triangle("softplus_std", RAW, LOWER)
    np.testing.assert_allclose(jv.log_prob(q, X), multivariate_normal(LOC, t @ t.T).logpdf(X), rtol=2e-6)
    np.testing.assert_allclose(q.covariance, t @ t.T, rtol=1e-6)
    np.testing.assert_allclose(jv.entropy(q), multivariate_normal(LOC, t @ t.T).entropy(), rtol=1e-6)
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
    np.testing.assert_allclose(kls(q), kl_standard(loc, raw, lower), rtol=1e-6)


def test_near_ones_differ_by_what_their_inputs_differ():
    # KL(q ‖ p) of q = (loc + a, raw + b, lower + c): to leading order ½ |M - I|² + ½ |d|².
    step = np.float32(2**-12)
    p = jv.CholeskyGaussian(LOC, RAW, LOWER, jv.log_std)
    q = jv.CholeskyGaussian(LOC + step, RAW - step, LOWER + 2 * step, jv.log_std)
    with jax.enable_x64(True):
        exact = jax.jit(lambda q, p: kls(q, p))(*jax.tree.map(np.float64, (q, p)))
    # The steps were rounded into the inputs alike; a sum of near opposites leaves a digit less.
    np.testing.assert_allclose(kls(q, p), exact, rtol=1e-5)


def test_a_prior_of_independent_elements_is_one_with_lower_0():
    q, raw = jv.CholeskyGaussian(LOC, RAW, LOWER), np.float32([0.4, 0.1, -0.5])
    p = jv.Gaussian(LOC_P, raw, jv.softplus_std)
    same = jv.CholeskyGaussian(p.loc, p.raw, np.zeros(3, np.float32), p.parameterization)
    np.testing.assert_allclose(kls(q, p), kls(q, same), rtol=1e-6)
    natural = jv.Gaussian(LOC_P, raw, jv.natural_exp)
    np.testing.assert_allclose(kls(q, natural), kls(q, jv.convert(natural, jv.log_std)), rtol=2e-6)


def test_what_is_computed_of_an_event_is_the_sum_over_it():
    q = jv.CholeskyGaussian(LOC, RAW, LOWER, jv.softplus_std)
    p = jv.CholeskyGaussian(LOC_P, RAW_P, LOWER_P, jv.log_std)
    for got, elements in (
        (jv.log_prob(q, X), log_probs(q, X)),
        (jv.kl_divergence(q), kls(q)),
        (jv.kl_divergence(q, p), kls(q, p)),
        (jv.entropy(q), jv.entropy(jv.Gaussian(LOC, RAW, jv.softplus_std))),
        (jv.cross_entropy(q, p), kls(q, p) + jv.entropy(jv.Gaussian(LOC, RAW, jv.softplus_std))),
        (jv.jeffreys(q, p), kls(q, p) + kls(p, q)),
    ):
        assert got.shape == elements.shape[:-1]
        np.testing.assert_allclose(got, np.float64(elements).sum(-1), rtol=1e-6)


def test_the_cross_entropy_is_that_of_float64():
    q, p = jv.CholeskyGaussian(LOC, RAW, LOWER), jv.CholeskyGaussian(LOC_P, RAW_P, LOWER_P)
    for ours, theirs in ((q, p), (q, jv.Gaussian(LOC_P, RAW_P)), (jv.Gaussian(LOC, RAW), p)):
        t, t_p = (
            triangle("log_variance", g.raw, g.lower if isinstance(g, jv.CholeskyGaussian) else 0)
            for g in (ours, theirs)
        )
        precision, delta = np.linalg.inv(t_p @ t_p.T), np.float64(LOC) - LOC_P
        terms = np.trace(precision @ t @ t.T), delta @ precision @ delta, 2 * np.log(np.diag(t_p)).sum()
        want = (sum(terms) + L * np.log(2 * np.pi)) / 2
        np.testing.assert_allclose(jv.cross_entropy(ours, theirs), want, rtol=2e-6)


@pytest.mark.parametrize("name", ["log_std", "natural_exp", "softplus_std"])
def test_a_q_of_independent_elements_is_one_with_lower_0(name):
    p = jv.CholeskyGaussian(LOC_P, RAW_P, LOWER_P, jv.softplus_std)
    q = jv.Gaussian(np.stack([LOC, -LOC]), RAW, jv.PARAMETERIZATIONS[name])
    plain = jv.convert(q, jv.log_std)
    same = jv.CholeskyGaussian(plain.loc, plain.raw, np.zeros(3, np.float32), jv.log_std)
    kl = jv.kl_divergence(q, p)
    assert kl.shape == (2,)
    np.testing.assert_allclose(kl, jv.kl_divergence(same, p), rtol=2e-6)
    uncorrelated = jv.CholeskyGaussian(LOC_P, RAW_P, 0 * LOWER_P, jv.softplus_std)
    each = jv.kl_divergence(q, jv.Gaussian(LOC_P, RAW_P, jv.softplus_std))
    np.testing.assert_allclose(jv.kl_divergence(q, uncorrelated), each.sum(-1), rtol=2e-6)


def test_samples_have_the_moments_and_the_divergence():
    """Within 5 standard errors, of 50 000 samples."""
    n = 50_000
    q = jv.CholeskyGaussian(LOC, RAW, LOWER, jv.softplus_std)
    p = jv.CholeskyGaussian(LOC_P, RAW_P, LOWER_P, jv.log_std)

    @jax.jit
    def draw(q, p, key):
        z = jv.sample(key, q, (n,))
        return z, log_probs(q, z) - log_probs(p, z)

    z, log_ratio = (np.float64(x) for x in draw(q, p, quick.key(0)))
    centred = z - LOC
    products = centred[:, :, None] * centred[:, None]
    for samples, want in ((z, q.mean), (products, q.covariance), (log_ratio, kls(q, p))):
        error = samples.std(axis=0) / np.sqrt(n)
        assert np.all(np.abs(samples.mean(axis=0) - np.float64(want)) <= 5 * error)


def test_extremes():
    # With lower = 0 all is as in Gaussian, also where σ = e^-105 is no float32.
    raw, x = jnp.full(L, -210.0), jnp.asarray([1.0, 1.0, 2.0])
    q, independent = jv.CholeskyGaussian(jnp.ones(L), raw, jnp.zeros(3)), jv.Gaussian(jnp.ones(L), raw)
    np.testing.assert_array_equal(log_probs(q, x), jv.log_prob(independent, x))
    np.testing.assert_array_equal(kls(q), jv.kl_divergence(independent))
    # σ² is no float32, and x_2 - 2 x_1 = 0.
    q = jv.CholeskyGaussian(jnp.zeros(2), jnp.full(2, -120.0), 2 * jnp.exp(jnp.full(1, -60.0)))
    want = np.repeat(60 - np.log(2 * np.pi) / 2, 2) - [0.5, 0]
    x = np.exp(np.float32(-60)) * np.float32([1, 2])
    np.testing.assert_allclose(log_probs(q, x), want, rtol=1e-5)
    # The ratio of σ overflows.
    far = jv.CholeskyGaussian(jnp.zeros(2), jnp.full(2, 120.0), jnp.zeros(1))
    assert np.all(kls(far, q) == np.inf)
    assert np.all(kls(q, far) == jv.kl_divergence(jv.Gaussian(0.0, -120.0), jv.Gaussian(0.0, 120.0)))


def score(q, p, x):
    """All at once, with weights that let none hide another."""
    return jv.log_prob(q, x) + 0.7 * jv.kl_divergence(q) + 1.3 * jv.kl_divergence(q, p) + 0.4 * jv.entropy(q)


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
    hessian = jax.jit(jax.hessian(lambda q: jv.kl_divergence(q)))(q)
    for name, want in (("loc", 1), ("raw", 2), ("lower", 1)):
        np.testing.assert_allclose(getattr(getattr(hessian, name), name), want * np.eye(L), atol=1e-6)
    slope = jax.jit(jax.grad(lambda q: jv.kl_divergence(q, q) + jv.kl_divergence(q)))(q)
    assert all(np.all(x == 0) for x in jax.tree.leaves(slope))


def shape_of(f):
    return jax.eval_shape(f).shape


def test_shapes_broadcast():
    q = jv.CholeskyGaussian(0.0, np.zeros(L, np.float32), np.zeros((2, 1, 3), np.float32))
    p = jv.CholeskyGaussian(np.zeros((5, L), np.float32), 0.0, np.ones(3, np.float32))
    assert q.shape == q.mean.shape == (2, 1, L)
    assert shape_of(lambda: q.covariance) == (2, 1, L, L)
    assert shape_of(lambda: jv.sample(quick.key(0), q, (4,))) == (4, 2, 1, L)
    assert shape_of(lambda: jv.log_prob(q, X)) == (2, 2)
    assert shape_of(lambda: jv.kl_divergence(q, p)) == shape_of(lambda: jv.kl_divergence(p, q)) == (2, 5)
    assert shape_of(lambda: jv.log_prob(p, np.zeros((7, 5, L), np.float32))) == (7, 5)
    single = jv.CholeskyGaussian(np.ones((2, 1)), 0.0, np.zeros(0))
    assert shape_of(lambda: jv.log_prob(single, np.zeros(1))) == shape_of(lambda: jv.kl_divergence(single)) == (2,)
