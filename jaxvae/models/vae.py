"""The variational autoencoder: an encoder, a Gaussian, a decoder, a likelihood (Kingma & Welling 2014)."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from jaxvae.gaussian import Gaussian, kl_divergence, sample
from jaxvae.likelihoods import Likelihood
from jaxvae.models.heads import GaussianHead
from jaxvae.models.networks import ACTIVATIONS, ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from jaxvae.parameterizations import Parameterization, log_variance
from jaxvae.transforms import require

ARCHITECTURES = ("mlp", "conv")
"""The encoder and decoder pairs that a configuration may name."""


class Terms(NamedTuple):
    """What an objective is made of: log p(x|z) of one sample per example (B,), KL per latent (B, L), and q(z|x)."""

    log_likelihood: Array
    kl: Array
    posterior: Gaussian


class VAE(nn.Module):
    """p(z) = N(0, 1), p(x|z) by the decoder, q(z|x) by the encoder; labels, where there are any, condition both.

    Attributes:
        encoder: images (B, H, W, C), and labels or None, to features (B, F).
        head: features to q(z|x).
        decoder: latents (..., L), and labels or None, to the likelihood's outputs.
        likelihood: p(x|z) of those outputs.
        classes: of the labels; 0 where they aren't used.
    """

    encoder: nn.Module
    head: GaussianHead
    decoder: nn.Module
    likelihood: Likelihood
    classes: int = 0

    def setup(self) -> None:
        start = self.likelihood.raw_init
        if start is not None:
            self.likelihood_raw = self.param("likelihood_raw", nn.initializers.constant(start), (), jnp.float32)

    def encode(self, x: Array, label: Array | None = None) -> Gaussian:
        """q(z|x) of images (B, H, W, C) in [0, 1]: a Gaussian of shape (B, L)."""
        return self.head(self.encoder(x, label))

    def decode(self, z: Array, label: Array | None = None) -> Array:
        """The likelihood's outputs for latents (..., L)."""
        return self.decoder(z, label)

    def log_likelihood(self, x: Array, z: Array, label: Array | None = None, raw: Array | None = None) -> Array:
        """log p(x|z) in nats of images (B, H, W, C) under latents (..., B, L): (..., B).

        Args:
            x: the images.
            z: the latents.
            label: of shape (B,).
            raw: the likelihood's scalar, in place of the one learned or fitted to the batch.
        """
        if label is not None:
            label = jnp.broadcast_to(label, z.shape[:-1])
        log_prob = self.likelihood.log_prob(self.decode(z, label), x, self._raw() if raw is None else raw)
        return jnp.sum(log_prob.reshape(*log_prob.shape[:-3], -1), axis=-1)

    def mean(self, z: Array, label: Array | None = None) -> Array:
        """E[x|z] in [0, 1] for latents (..., L): (..., H, W, C)."""
        return self.likelihood.mean(self.decode(z, label), self._raw())

    def _raw(self) -> Array | None:
        return None if self.likelihood.raw_init is None else self.likelihood_raw

    def __call__(self, x: Array, key: Array, label: Array | None = None, raw: Array | None = None) -> Terms:
        """The terms of the ELBO, by one reparameterized sample per image; arguments as for ``log_likelihood``."""
        q = self.encode(x, label)
        return Terms(self.log_likelihood(x, sample(key, q), label, raw), kl_divergence(q), q)


def make_vae(
    image_shape: tuple[int, int, int],
    likelihood: Likelihood,
    latents: int,
    parameterization: Parameterization = log_variance,
    *,
    architecture: str = "mlp",
    hidden: tuple[int, ...] = (200, 200),
    activation: str = "tanh",
    blocks: int = 1,
    init_std: float = 1.0,
    raw_min: float | None = None,
    preconditioned: bool = False,
    classes: int = 0,
    dtype: DTypeLike = jnp.float32,
    mean: np.ndarray | None = None,
) -> VAE:
    """A VAE of an encoder and its mirror image.

    Args:
        image_shape: (H, W, C).
        likelihood: p(x|z).
        latents: L.
        parameterization: how the encoder's σ arises.
        architecture: ``mlp`` or ``conv``.
        hidden: widths of the dense layers (mlp), or channels of the stages (conv), from the image inwards.
        activation: a name in ``ACTIVATIONS``.
        blocks: residual blocks in a stage; conv only.
        init_std: σ of q(z|x) at the start.
        raw_min: as of ``GaussianHead``.
        preconditioned: as of ``GaussianHead``.
        classes: of the labels that condition encoder and decoder; 0 for none.
        dtype: what encoder and decoder compute in; the head, KL and densities are float32.
        mean: the data's mean (H, W, C), which the decoder starts at where the likelihood can (Burda et al. 2016, code;
            on MNIST, 2 nats after 10 epochs); a convolutional one starts at its mean over the image.

    Raises:
        ValueError: for an unknown architecture or activation, no hidden layer, sizes below 1, or an ``init_std`` out of
            the parameterization's range.
    """
    require(architecture in ARCHITECTURES, "architecture", architecture, " or ".join(ARCHITECTURES))
    require(activation in ACTIVATIONS, "activation", activation, "one of " + ", ".join(ACTIVATIONS))
    require(len(hidden) > 0 and min(hidden) >= 1, "hidden", hidden, "one or more widths, each at least 1")
    require(latents >= 1, "latents", latents, "at least 1")
    require(blocks >= 0, "blocks", blocks, "at least 0")
    require(classes >= 0, "classes", classes, "at least 0")
    parameterization.raw_from_std(init_std)  # refuses one out of range
    shape = (*image_shape[:2], likelihood.output_channels(image_shape[2]))
    if mean is None:
        start = likelihood.output_bias(image_shape[2])
    else:
        start = likelihood.outputs_at(mean if architecture == "mlp" else np.mean(mean, axis=(0, 1)))
    bias = tuple(np.ravel(start).tolist())
    shared = {"activation": activation, "classes": classes, "dtype": dtype}
    if architecture == "mlp":
        encoder: nn.Module = MLPEncoder(hidden, **shared)
        decoder: nn.Module = MLPDecoder(shape, bias, hidden[::-1], **shared)
    else:
        encoder = ConvEncoder(hidden, blocks=blocks, **shared)
        decoder = ConvDecoder(shape, bias, hidden, blocks=blocks, **shared)
    head = GaussianHead(latents, parameterization, init_std, raw_min, preconditioned)
    return VAE(encoder, head, decoder, likelihood, classes)
