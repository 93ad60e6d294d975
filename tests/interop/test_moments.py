import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scores import same

import jaxvae as jv

MOMENTS = np.random.default_rng(0).normal(scale=20, size=(2, 4, 3, 2)).astype(np.float32)
"""Log-variances beyond [-30, 20] among them."""


def test_it_is_the_published_formula():
    q = jv.from_moments(MOMENTS, axis=1)
    std, kl = jax.jit(lambda q: (q.std, jv.kl_divergence(q)))(q)
    mean, log_variance = np.split(MOMENTS.astype(float), 2, axis=1)
    clamped = np.clip(log_variance, -30, 20)
    assert np.any(clamped != log_variance)
    same(q.mean, mean)
    np.testing.assert_allclose(std, np.exp(clamped / 2), rtol=4e-6)  # exp of what 2 ulp of 10 change
    np.testing.assert_allclose(kl, (mean**2 + np.exp(clamped) - 1 - clamped) / 2, rtol=4e-6)


@pytest.mark.parametrize("axis", [0, 1, 3, -1, -3])
def test_axes_and_parameterizations(axis):
    q = jv.from_moments(jnp.asarray(MOMENTS, jnp.bfloat16), axis, jv.softplus_std)
    loc, raw = np.split(jnp.asarray(MOMENTS, jnp.bfloat16), 2, axis)
    same((q.loc, q.raw), (loc, raw))
    assert (q.dtype, q.parameterization) == (jnp.bfloat16, jv.softplus_std)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"moments\.shape must be of an even length along axis 2, got \(2, 4, 3, 2\)"):
        jv.from_moments(MOMENTS, axis=2)
    with pytest.raises(ValueError, match="axis must be one of the 4 axes of moments, got 4"):
        jv.from_moments(MOMENTS, axis=4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_diffusers_own(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch isn't here")
    vae = pytest.importorskip("diffusers.models.autoencoders.vae", reason="diffusers isn't here")
    d = vae.DiagonalGaussianDistribution(torch.tensor(MOMENTS).to(getattr(torch, dtype)))
    q = jv.from_moments(d.parameters, axis=1)
    assert q.dtype == jnp.dtype(dtype)
    same(q.mean, d.mean.float().numpy())
    same(np.clip(np.asarray(q.raw, np.float32), -30, 20), d.logvar.float().numpy())
    if dtype == "float32":
        np.testing.assert_allclose(q.std, d.std, rtol=4e-6)
        np.testing.assert_allclose(jv.kl_divergence(q).sum((1, 2, 3)), d.kl(), rtol=1e-5)
        np.testing.assert_allclose(-jv.log_prob(q, d.mean.numpy()).sum((1, 2, 3)), d.nll(d.mean), rtol=1e-5)
        clamped = jv.Gaussian(d.mean.numpy(), d.logvar.numpy(), jv.diffusers_log_variance)
        same(clamped.std, q.std)
