"""The variational autoencoder: an encoder, a Gaussian, a decoder and a likelihood (Kingma & Welling 2014)."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxvae.gaussian import Gaussian, kl_divergence, log_prob, reparameterize, standard_log_prob
from jaxvae.models.flows import CouplingFlow
from jaxvae.models.heads import GaussianHead
from jaxvae.models.latent import Draws, LatentModel


class VAE(LatentModel):
    """A variational autoencoder: p(z) = N(0, 1), the decoder gives p(x|z), and the encoder gives q(z|x).

    Conditions, if there are any, are given to encoder and decoder.

    Attributes:
        likelihood: p(x|z), given the decoder's outputs.
        conditions: the conditions that are given to encoder and decoder with each image.
        decoder: the network from latents (..., L), and the conditions' features or None, to the likelihood's outputs.
        encoder: the network from images (B, H, W, C), and the conditions' features or None, to features (B, F).
        head: the layer from features to a Gaussian, which is q(z|x), or becomes q(z|x) through a flow.
        flow: the map from latents and features to latents (Rezende & Mohamed 2015, arXiv:1505.05770), or None.
    """

    encoder: nn.Module
    head: GaussianHead
    flow: CouplingFlow | None = None

    @property
    def latents(self) -> int:
        return self.head.latents

    def encode(self, x: Array, given: Array | None = None) -> Gaussian:
        """Returns the head's Gaussian for images (B, H, W, C), of shape (B, L)."""
        return self.head(self.features(x, given))

    def draw(self, x: Array, noise: Array, given: Array | None = None) -> Draws:
        features = self.features(x, given)
        q = self.head(features)
        z = reparameterize(q, noise)
        log_q = log_prob(q, z)
        if self.flow is None:
            return Draws(z, log_q, kl_divergence(q), q, z)
        z, log_scale = self.flow(z, features)
        log_q -= log_scale
        return Draws(z, log_q, jnp.mean(log_q - standard_log_prob(z), axis=0), q, z)

    def log_posterior(self, x: Array, latents: Array, given: Array | None = None) -> Array:
        features = self.features(x, given)
        q = self.head(features)
        if self.flow is None:
            return log_prob(q, latents)
        z, log_scale = self.flow.inverse(latents, features)
        return log_prob(q, z) - log_scale

    def log_prior(self, latents: Array) -> Array:
        return standard_log_prob(latents)

    def generate(self, noise: Array) -> Array:
        return noise

    def decoder_input(self, latents: Array) -> Array:
        return latents
