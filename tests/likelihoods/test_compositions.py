import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from mpmath import mpf

from jaxvae.likelihoods import DirichletMultinomial, Multinomial

LOGITS = jnp.float32(np.random.default_rng(0).normal(size=(5, 4)))
COUNTS = jnp.float32([[0, 0, 0, 0], [1, 0, 0, 0], [3, 0, 7, 2], [500, 20, 3, 0], [1e6, 3e6, 2e6, 1e5]])


def shares(logits):
    weights = [oracles.exp(mpf(float(r))) for r in logits]
    return [w / sum(weights) for w in weights]


def log_multinomial(logits, counts):
    x = [mpf(float(c)) for c in counts]
    terms = [n * mpmath.log(p) - mpmath.loggamma(n + 1) for n, p in zip(x, shares(logits), strict=True)]
    return mpmath.loggamma(sum(x) + 1) + sum(terms)


def log_dirichlet_multinomial(logits, counts, raw):
    x = [mpf(float(c)) for c in counts]
    total, a = sum(x), oracles.exp(mpf(float(raw))) * len(x)
    found = mpmath.loggamma(total + 1) + mpmath.loggamma(a) - mpmath.loggamma(total + a)
    for n, p in zip(x, shares(logits), strict=True):
        found += mpmath.loggamma(n + a * p) - mpmath.loggamma(a * p) - mpmath.loggamma(n + 1)
    return found


@pytest.mark.parametrize("raw", [None, -8.0, 0.7, 12.0, 27.0])
def test_the_terms_sum_to_the_joint_log_mass(raw):
    """To 1e-6, and what an ulp of each channel's log-mean changes."""
    kind = Multinomial() if raw is None else DirichletMultinomial()
    learned = None if raw is None else {"concentration": jnp.float32(raw)}
    got = np.float64(jax.jit(kind.log_prob)(LOGITS, COUNTS, learned)).sum(-1)
    for g, logits, counts in zip(got, LOGITS, COUNTS, strict=True):
        arguments = (logits, counts) if raw is None else (logits, counts, raw)
        want = float((log_multinomial if raw is None else log_dirichlet_multinomial)(*arguments))
        total = float(counts.sum())
        expected = total * np.exp(np.float64(logits)) / np.exp(np.float64(logits)).sum()
        ulps = 4 * np.abs(np.float64(counts) - expected).sum() * np.spacing(np.float32(np.log(max(total, 2))))
        assert abs(g - want) <= 1e-6 * (abs(want) + 4) + ulps, (raw, counts, g, want)
    assert got[0] == 0


@pytest.mark.slow
def test_the_sum_over_all_compositions_is_one():
    kinds = [(Multinomial(), None), (DirichletMultinomial(), {"concentration": 0.4})]
    total, grid = 6, np.indices((7, 7, 7)).reshape(3, -1).T
    x = grid[grid.sum(-1) == total].astype(np.float64)
    with jax.enable_x64(True):
        for kind, raw in kinds:
            terms = kind.log_prob(jnp.asarray([[0.3, -1.0, 0.8]]), x, raw)
            assert abs(np.exp(terms.sum(-1)).sum() - 1) < 1e-12


@pytest.mark.slow
def test_draws_have_the_total_and_the_mean():
    """20,000 draws of 50: means to 4.5 standard errors, and the Dirichlet's larger variance."""
    draws, size = 20_000, 50.0
    many = jnp.broadcast_to(LOGITS[0], (draws, 4))
    p = np.exp(np.float64(LOGITS[0])) / np.exp(np.float64(LOGITS[0])).sum()
    for kind, raw, spread in ((Multinomial(), None, 1), (DirichletMultinomial(), {"concentration": 1.0}, 0)):
        x = np.float64(jax.jit(kind.sample)(jax.random.key(0), many, raw, jnp.log(size)))
        assert np.all(x.sum(-1) == size)
        assert np.all(np.abs(x.mean(0) - size * p) <= 4.5 * x.std(0) / np.sqrt(draws))
        a = 4 * np.e
        variance = size * p * (1 - p) * (1 if spread else (size + a) / (1 + a))
        np.testing.assert_allclose(x.var(0), variance, rtol=0.05)


@pytest.mark.slow
def test_slopes_are_finite_where_nothing_was_counted():
    for kind, raw in ((Multinomial(), None), (DirichletMultinomial(), {"concentration": jnp.float32(0)})):
        slopes = jax.jit(jax.grad(lambda o, r, kind=kind: kind.log_prob(o, COUNTS, r).sum(), (0, 1)))(LOGITS, raw)
        assert all(np.all(np.isfinite(a)) for a in jax.tree.leaves(slopes))
        np.testing.assert_array_equal(slopes[0][0], 0)
