import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from mpmath import mpf

from jaxvae.likelihoods import Ordinal

LEVELS = 4
CUTS = jnp.float32([[-1.0, 0.5, -20.0], [0.3, -3.0, 2.0]])
"""The first cut, and the logs of the gaps, of two channels."""


def x_of(level):
    return jnp.float32(level) / (LEVELS - 1)


def test_masses_are_exact_for_any_gap_and_location():
    """Of every level, to 1e-6, or what 4 ulp of the location and of the cuts change."""
    kind = Ordinal(LEVELS)
    locs = np.float32([-40, -3, -0.7, 0, 0.3, 5, 60])
    for v in range(LEVELS):
        found = kind.log_prob(jnp.stack([locs, locs], axis=-1), jnp.full((locs.size, 2), x_of(v)), {"cuts": CUTS})
        for loc, row in zip(locs, found, strict=True):
            for first, got in zip(CUTS, row, strict=True):
                c = [mpf(float(first[0]))]
                c += [c[0] + mpmath.exp(mpf(float(first[1]))), c[0] + sum(mpmath.exp(mpf(float(g))) for g in first[1:])]
                below = oracles.sigmoid(c[v] - mpf(float(loc))) if v < LEVELS - 1 else mpf(1)
                above = oracles.sigmoid(c[v - 1] - mpf(float(loc))) if v else mpf(0)
                want = float(mpmath.log(below - above))
                assert abs(got - want) <= 1e-6 * (abs(want) + abs(loc) + 8), (v, loc, first, got, want)


@pytest.mark.slow
def test_masses_sum_to_one_and_have_the_mean():
    kind, raw = Ordinal(LEVELS), {"cuts": CUTS}
    outputs = jnp.float32(np.random.default_rng(0).normal(size=(3, 2)))
    x = x_of(np.arange(LEVELS))[:, None, None] * jnp.ones((1, 3, 2))
    p = np.exp(jax.jit(kind.log_prob)(outputs, x, raw))
    np.testing.assert_allclose(p.sum(0), 1, rtol=1e-6)
    np.testing.assert_allclose(kind.mean(outputs, raw), (p * x).sum(0), rtol=1e-5)
    draws = jax.jit(kind.sample)(jax.random.key(0), jnp.broadcast_to(outputs, (20_000, 3, 2)), raw)
    shares = np.stack([np.mean(np.round(draws * (LEVELS - 1)) == v, axis=0) for v in range(LEVELS)])
    assert np.all(np.abs(shares - p) <= 5 * np.sqrt(p / 20_000) + 1e-4)


@pytest.mark.slow
def test_at_the_start_all_levels_are_as_probable():
    for levels in (2, 3, 7):
        kind = Ordinal(levels)
        x = jnp.arange(levels, dtype=jnp.float32)[:, None] / (levels - 1)
        found = kind.log_prob(jnp.zeros((levels, 1)), x, kind.raw_start(1))
        np.testing.assert_allclose(found, -np.log(levels), rtol=1e-5)


@pytest.mark.slow
def test_slopes_and_what_does_not_fit():
    kind = Ordinal(LEVELS)
    x = x_of([[0, 1], [2, 3]])
    slopes = jax.jit(jax.grad(lambda o, c: kind.log_prob(o, x, {"cuts": c}).sum(), (0, 1)))(jnp.zeros((2, 2)), CUTS)
    assert all(np.all(np.isfinite(a)) for a in slopes)
    assert np.isnan(kind.log_prob(jnp.zeros((1, 2)), jnp.float32([[-1, 2]]), {"cuts": CUTS})).all()
    with pytest.raises(ValueError, match="raw must be a dict of cuts, got None"):
        kind.mean(jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"cuts.shape must be \(C, 3\), got \(3,\)"):
        kind.mean(jnp.zeros((2, 2)), {"cuts": np.zeros(3)})
    with pytest.raises(ValueError, match="levels must be"):
        Ordinal(1)
