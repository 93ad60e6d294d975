"""The interface of all models with latents, on which training, scoring and sampling build.

Latents are one array (..., L), with the layers of a hierarchy side by side; noise has the same shape. There are K
samples, and B images in a batch.
"""

import abc
import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.gaussian import Gaussian
from jaxvae.likelihoods import Likelihood
from jaxvae.models.conditions import Condition, laid_out


class Draws(NamedTuple):
    """Samples of q(z|x), with their log-densities and the KL, in nats.

    Attributes:
        latents: the samples, (K, B, L).
        log_posterior: log q(z|x), as its summands (K, B, L).
        kl: the KL of each latent's q from its p, (B, L). It is in closed form if there is one, given the samples of the
            latents that it depends on; otherwise it is log q - log p. It is averaged over the samples.
        posterior: the Gaussian that each latent was drawn from, (B, L), for the first sample of the latents that it
            depends on.
        decoder_input: what the decoder sees of the latents, (K, B, F).
    """

    latents: Array
    log_posterior: Array
    kl: Array
    posterior: Gaussian
    decoder_input: Array


class Terms(NamedTuple):
    """The terms of the ELBO: the mean of log p(x|z) over samples, (B,); the KL per latent, (B, L); and q(z|x)."""

    log_likelihood: Array
    kl: Array
    posterior: Gaussian


class LatentModel(nn.Module):
    """A model with latents, made of p(z), p(x|z) and q(z|x).

    Conditions, if there are any, are given to p(x|z) and q(z|x).

    Attributes:
        likelihood: p(x|z), given the decoder's outputs.
        conditions: the M conditions that are given to encoder and decoder with each image.
        decoder: the network from what it sees of latents (..., F), and the conditions' features or None, to the
            likelihood's outputs.
        channels: C of the images.
        log_size: the log of the usual total of counts, if their mean grows with their total; otherwise None.
        missing: whether entries of images may be missing, i.e. NaN. The likelihood then sums over the other entries.
            The encoder sees 0 in place of a missing entry, and C more channels, which are 1 where an entry was
            observed.
    """

    likelihood: Likelihood
    conditions: tuple[Condition, ...]
    decoder: nn.Module
    channels: int = dataclasses.field(default=1, kw_only=True)
    log_size: float | None = dataclasses.field(default=None, kw_only=True)
    missing: bool = dataclasses.field(default=False, kw_only=True)

    def setup(self) -> None:
        start = self.likelihood.raw_start(self.channels)
        if start is not None:
            self.likelihood_raw = self.param(
                "likelihood_raw", lambda key: jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), start)
            )

    def features(self, x: Array, given: Array | None = None) -> Array:
        """Returns the encoder's features for images (B, H, W, C), after the likelihood's ``encoder_input``."""
        seen = self.likelihood.encoder_input(x)
        if self.missing:
            observed = (~jnp.isnan(x)).astype(seen.dtype)
            seen = jnp.concatenate([jnp.where(jnp.isnan(seen), 0, seen), observed], axis=-1)
        return self.encoder(seen, laid_out(given, self.conditions))

    @property
    @abc.abstractmethod
    def latents(self) -> int:
        """L, the number of latents of all layers."""

    @abc.abstractmethod
    def draw(self, x: Array, noise: Array, given: Array | None = None) -> Draws:
        """Returns reparameterized samples of q(z|x).

        Args:
            x: images (B, H, W, C) in [0, 1].
            noise: standard normal numbers, (K, B, L); if they are 0, each latent is the mean of its Gaussian, before a
                flow.
            given: as in ``log_likelihood``.
        """

    def none_given(self, count: int) -> Array | None:
        """Returns zeros (count, M) for the conditions' values, to be used if only their shape matters.

        Without conditions, the result is None.
        """
        return jnp.zeros((count, len(self.conditions))) if self.conditions else None

    def at_means(self, x: Array, given: Array | None = None) -> Draws:
        """Returns ``draw`` for K = 1 and noise of 0, so that each latent is the mean of its Gaussian, before a flow."""
        return self.draw(x, jnp.zeros((1, x.shape[0], self.latents)), given)

    @abc.abstractmethod
    def log_posterior(self, x: Array, latents: Array, given: Array | None = None) -> Array:
        """Returns the summands of log q(z|x) at latents (K, B, L), an array of the same shape."""

    @abc.abstractmethod
    def log_prior(self, latents: Array) -> Array:
        """Returns the summands of log p(z) at latents (..., L), an array of the same shape."""

    @abc.abstractmethod
    def generate(self, noise: Array) -> Array:
        """Returns samples of p(z), made from standard normal noise (..., L)."""

    @abc.abstractmethod
    def decoder_input(self, latents: Array) -> Array:
        """Returns what the decoder sees of latents (..., L), as an array (..., F)."""

    def decode(self, latents: Array, given: Array | None = None) -> Array:
        """Returns the likelihood's outputs for latents (..., L).

        ``given`` is (..., M), and may have fewer of the first axes.
        """
        return self._outputs(self.decoder_input(latents), given)

    def _outputs(self, decoder_input: Array, given: Array | None) -> Array:
        return self.decoder(decoder_input, laid_out(given, self.conditions))

    def log_likelihood(
        self,
        x: Array,
        latents: Array,
        given: Array | None = None,
        raw: Array | None = None,
        decoder_input: Array | None = None,
    ) -> Array:
        """Returns log p(x|z) in nats, (..., B), for images (B, H, W, C) and latents (..., B, L).

        If entries may be missing, it is that of the observed entries.

        Args:
            x: the images.
            latents: the latents.
            given: the values of the conditions for each image, (B, M): the number of its level, or a number.
            raw: the likelihood's scalar, in place of the one that is learned or fitted to the batch.
            decoder_input: the result of ``decoder_input`` for these latents, if it is known.
        """
        outputs = self._outputs(self.decoder_input(latents) if decoder_input is None else decoder_input, given)
        raw = self._raw() if raw is None else raw
        if self.missing:
            log_prob = log_prob_of_observed(self.likelihood, outputs, x, raw)
        else:
            size = None if self.log_size is None else log_total(x)
            log_prob = self.likelihood.log_prob(outputs, x, raw, size)
        return jnp.sum(log_prob.reshape(*log_prob.shape[:-3], -1), axis=-1)

    def mean(self, latents: Array, given: Array | None = None) -> Array:
        """Returns E[x|z], (..., H, W, C), for latents (..., L)."""
        return self.likelihood.mean(self.decode(latents, given), self._raw(), self.log_size)

    def _raw(self) -> Any:
        return None if self.likelihood.raw_start(self.channels) is None else self.likelihood_raw

    def terms(self, x: Array, noise: Array, given: Array | None = None, raw: Array | None = None) -> Terms:
        """Returns the terms of the ELBO, from the samples of q(z|x) that standard normal noise (K, B, L) gives.

        The other arguments are those of ``log_likelihood``.
        """
        draws = self.draw(x, noise, given)
        log_likelihood = jnp.mean(self.log_likelihood(x, draws.latents, given, raw, draws.decoder_input), axis=0)
        return Terms(log_likelihood, draws.kl, draws.posterior)

    def __call__(
        self, x: Array, key: Array, given: Array | None = None, raw: Array | None = None, samples: int = 1
    ) -> Terms:
        """Returns ``terms`` from ``samples`` samples per image, drawn with a key."""
        return self.terms(x, jax.random.normal(key, (samples, x.shape[0], self.latents)), given, raw)


def log_prob_of_observed(likelihood: Likelihood, outputs: Array, x: Array, raw: Any = None) -> Array:
    """Returns the likelihood's ``log_prob`` elementwise, and 0 for entries of x that are missing (NaN).

    Their gradient is 0, too: the likelihood is given 0 in their place, where its derivatives are finite.
    """
    missing = jnp.isnan(x)
    log_prob = likelihood.log_prob(outputs, jnp.where(missing, 0, x), raw)
    return jnp.where(jnp.broadcast_to(missing, log_prob.shape), 0, log_prob)


def log_total(x: Array) -> Array:
    """Returns the log of the sum of counts (..., H, W, C), as an array (..., 1, 1, 1); it is 0 if the sum is 0."""
    return jnp.log(jnp.maximum(jnp.sum(x, axis=(-3, -2, -1), keepdims=True), 1))
