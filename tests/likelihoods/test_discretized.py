import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from mpmath import mpf
from representatives import each

import jaxvae as jv
from jaxvae.likelihoods import DiscretizedGaussian

EPS = float(np.finfo(np.float32).eps)
LEVELS = 256
STDS = (1e-30, 1e-5, 1e-3, 0.03, 0.3, 5.0, 1e30)
MEANS = (-3.0, 0.0, 0.3, 100 / 255, 1.0, 2.5)


def log_mass(level, mean, log_std):
    """log(Φ(b) - Φ(a)), from the side of the mean on which it doesn't cancel."""
    steps, std = LEVELS - 1, mpmath.exp(log_std)
    a, b = ((mpf(level) + half - mean * steps) / (std * steps) for half in (-mpf("0.5"), mpf("0.5")))
    if level == 0:
        return oracles.log_ndtr(b)
    if level == steps:
        return oracles.log_ndtr(-a)
    return mpmath.log(oracles.ndtr(-a) - oracles.ndtr(-b) if a > 0 else oracles.ndtr(b) - oracles.ndtr(a))


@pytest.mark.slow
def test_masses_are_exact_at_any_scale():
    """To 8 eps, or to what 4 eps of the mean, of the level and of log σ move; nothing is NaN, no slope either."""
    cases = np.array([(v, m, np.log(s)) for v in (0, 1, 100, 255) for m in MEANS for s in STDS], np.float32)
    kind = DiscretizedGaussian(LEVELS, jv.log_std)
    f = jax.value_and_grad(lambda o, x: kind.log_prob(o, x)[0])
    value, slope = jax.jit(jax.vmap(f))(cases[:, 1:], cases[:, :1] / np.float32(LEVELS - 1))
    assert not np.any(np.isnan(slope))
    for (level, mean, log_std), got in zip(cases, np.asarray(value), strict=True):
        v, m, r = int(level), mpf(float(mean)), mpf(float(log_std))
        want, dm, dr = log_mass(v, m, r), 4 * EPS * (abs(m) + 1), 4 * EPS * abs(r)
        if want < -3e38:
            assert got == -np.inf
            continue
        nearby = max(abs(log_mass(v, m + i * dm, r + j * dr) - want) for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1)))
        assert abs(mpf(float(got)) - want) <= 8 * EPS * abs(want) + nearby + 4e-38, (level, mean, log_std, got)


@pytest.mark.parametrize("levels", each((2, 256), kept=(256,)))
def test_masses_sum_to_one_and_their_mean_is_the_mean(levels):
    """In float32, to 8 eps of log p's size where the mass lies, which is log(levels) at most."""
    kind = DiscretizedGaussian(levels, jv.log_std)
    mean, raw = (jnp.asarray(a.ravel(), jnp.float32) for a in np.meshgrid(MEANS, np.log(STDS)))
    x = np.arange(levels, dtype=np.float32) / np.float32(levels - 1)

    @jax.jit
    def scored(outputs):
        return jnp.exp(kind.log_prob(outputs, x[:, None, None])), kind.mean(outputs)

    p, expected = (np.asarray(a, np.float64) for a in scored(jnp.stack([mean, raw], -1)))
    tolerance = 8 * EPS * (1 + np.log(levels))
    np.testing.assert_allclose(p.sum(0), 1, rtol=tolerance)
    np.testing.assert_allclose(expected, (p * x[:, None, None]).sum(0), rtol=2 * tolerance, atol=2 * tolerance)
