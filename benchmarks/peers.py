"""The Gaussian part of a VAE, as others write it, in a few lines each: what ``benchmarks.stress`` trains with.

A form is a function ``(loc, raw, noise) -> (z, kl)`` of elementwise Gaussians: a reparameterized sample, and
KL(q ‖ N(0, 1)) in nats. It computes in the dtype in which its source's code would, which is that of ``raw``. The noise
is float32; where the source draws in the network's dtype, it is rounded to it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

import jaxvae as jv
from jaxvae.parameterizations import diffusers_log_variance, log_std, log_variance, scvi_variance, softplus_std

Pair = tuple[Array, Array]


class Form(NamedTuple):
    """A way to compute (z, kl), the parameterization that it means, where it is from, and its KL of two Gaussians.

    The last is of (loc_q, raw_q, loc_p, raw_p).
    """

    apply: Callable[[Array, Array, Array], Pair]
    parameterization: jv.Parameterization
    source: str
    between: Callable[[Array, Array, Array, Array], Array] | None = None


def ours(p: jv.Parameterization) -> Form:
    """The library's own."""

    def apply(loc: Array, raw: Array, noise: Array) -> Pair:
        q = jv.Gaussian(loc, raw, p)
        return jv.reparameterize(q, noise), jv.kl_divergence(q)

    def between(loc_q: Array, raw_q: Array, loc_p: Array, raw_p: Array) -> Array:
        return jv.kl_divergence(jv.Gaussian(loc_q, raw_q, p), jv.Gaussian(loc_p, raw_p, p))

    return Form(apply, p, "jaxvae", between)


def flax_vae(mean: Array, logvar: Array, noise: Array) -> Pair:
    """Log-variance; its noise is float32."""
    z = mean + jnp.exp(0.5 * logvar) * noise
    return z, -0.5 * (1 + logvar - jnp.square(mean) - jnp.exp(logvar))


def flax_nnx_toy_vae(mean: Array, raw: Array, noise: Array) -> Pair:
    """σ = exp(r), and log σ² from σ; its noise is float32."""
    std = jnp.exp(raw)
    return mean + std * noise, 0.5 * (std**2 + mean**2 - 1 - jnp.log(std**2))


def vdvae(mean: Array, logsigma: Array, noise: Array) -> Pair:
    """Log-std, against a second Gaussian that is N(0, 1) here."""
    prior_mean = prior_logsigma = jnp.zeros_like(logsigma)
    ratio = (jnp.exp(logsigma) ** 2 + (mean - prior_mean) ** 2) / jnp.exp(prior_logsigma) ** 2
    return mean + jnp.exp(logsigma) * noise.astype(mean.dtype), prior_logsigma - logsigma - 0.5 + 0.5 * ratio


def diffusers(mean: Array, logvar: Array, noise: Array) -> Pair:
    """Log-variance, clipped."""
    logvar = jnp.clip(logvar, -30, 20)
    z = mean + jnp.exp(0.5 * logvar) * noise.astype(mean.dtype)
    return z, 0.5 * (jnp.square(mean) + jnp.exp(logvar) - 1 - logvar)


def scvi_tools(mean: Array, raw: Array, noise: Array) -> Pair:
    """A variance with a floor, and PyTorch's KL of two normals by the ratio of their variances."""
    std = jnp.sqrt(jnp.exp(raw) + 1e-4)
    ratio = jnp.square(std / 1)
    return mean + std * noise.astype(mean.dtype), 0.5 * (ratio + jnp.square(mean / 1) - 1 - jnp.log(ratio))


def distrax_softplus(mean: Array, raw: Array, noise: Array) -> Pair:
    """σ = softplus(r) in a Normal of distrax or TFP, whose KL goes by log σ."""
    std = jax.nn.softplus(raw)
    log_ratio = jnp.log(std)
    return mean + std * noise.astype(mean.dtype), 0.5 * jnp.square(mean) + 0.5 * jnp.expm1(2 * log_ratio) - log_ratio


PEERS = {
    "form of flax": Form(flax_vae, log_variance, "google/flax, examples/vae"),
    "form of flax NNX": Form(flax_nnx_toy_vae, log_std, "google/flax, examples/nnx_toy_examples/05_vae.py"),
    "form of VDVAE": Form(vdvae, log_std, "openai/vdvae, vae_helpers.py"),
    "form of diffusers": Form(diffusers, diffusers_log_variance, "huggingface/diffusers, DiagonalGaussianDistribution"),
    "form of scvi-tools": Form(scvi_tools, scvi_variance, "scverse/scvi-tools, Encoder; torch.distributions.kl"),
    "form of distrax": Form(distrax_softplus, softplus_std, "google-deepmind/distrax, Normal; σ as in Haiku's VAE"),
}
