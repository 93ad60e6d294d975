"""What every model with latents promises, whatever its latents are: what training, scoring and drawing build on.

Latents are one array (..., L), the layers of a hierarchy side by side; noise has its shape. K samples, B batch.
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
    """Samples of q(z|x), and what is known of it from them; nats.

    Attributes:
        latents: (K, B, L).
        log_posterior: log q(z|x), as its summands (K, B, L).
        kl: of each latent's q from its p, (B, L): in closed form where there is one, given the samples of the latents
            that it depends on; log q - log p where there is none.
        posterior: the Gaussian that each latent was drawn from, (B, L), at the first sample of those it depends on.
        decoder_input: what the decoder sees of the latents, (K, B, F).
    """

    latents: Array
    log_posterior: Array
    kl: Array
    posterior: Gaussian
    decoder_input: Array


class Terms(NamedTuple):
    """What the ELBO is made of: log p(x|z), its mean over samples (B,); KL per latent (B, L); and q(z|x)."""

    log_likelihood: Array
    kl: Array
    posterior: Gaussian


class LatentModel(nn.Module):
    """p(z) p(x|z) and q(z|x); conditions, where there are any, go to both of the latter.

    Attributes:
        likelihood: p(x|z) of the outputs that latents decode to.
        conditions: what both ends are given of each image beside it, M in number.
        decoder: what it sees of latents (..., F), and what is laid out beside or None, to the likelihood's outputs.
        channels: C of the images.
        log_size: where the mean of counts grows with their total, the log of what that mostly is; else None.
        missing: whether entries of images may be missing, which are NaN: the likelihood sums over the others, and the
            encoder sees 0 in their place, and in C more channels a 1 where an entry was observed.
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
        """What the encoder makes of images (B, H, W, C), as the likelihood has it see them."""
        seen = self.likelihood.encoder_input(x)
        if self.missing:
            observed = (~jnp.isnan(x)).astype(seen.dtype)
            seen = jnp.concatenate([jnp.where(jnp.isnan(seen), 0, seen), observed], axis=-1)
        return self.encoder(seen, laid_out(given, self.conditions))

    @property
    @abc.abstractmethod
    def latents(self) -> int:
        """L, of all layers."""

    @abc.abstractmethod
    def draw(self, x: Array, noise: Array, given: Array | None = None) -> Draws:
        """Reparameterized samples of q(z|x).

        Args:
            x: images (B, H, W, C) in [0, 1].
            noise: standard normal, (K, B, L); of zeros, each latent is the mean of its q.
            given: as of ``log_likelihood``.
        """

    def none_given(self, count: int) -> Array | None:
        """What may be given of so many images where nothing but its shape matters: zeros (count, M), or None."""
        return jnp.zeros((count, len(self.conditions))) if self.conditions else None

    def at_means(self, x: Array, given: Array | None = None) -> Draws:
        """``draw`` where each latent is the mean of its q, with K = 1."""
        return self.draw(x, jnp.zeros((1, x.shape[0], self.latents)), given)

    @abc.abstractmethod
    def log_posterior(self, x: Array, latents: Array, given: Array | None = None) -> Array:
        """The summands of log q(z|x) at latents (K, B, L), of their shape."""

    @abc.abstractmethod
    def log_prior(self, latents: Array) -> Array:
        """The summands of log p(z) at latents (..., L), of their shape."""

    @abc.abstractmethod
    def generate(self, noise: Array) -> Array:
        """Samples of p(z) made of standard normal noise (..., L)."""

    @abc.abstractmethod
    def decoder_input(self, latents: Array) -> Array:
        """What the decoder sees of latents (..., L), (..., F)."""

    def decode(self, latents: Array, given: Array | None = None) -> Array:
        """The likelihood's outputs for latents (..., L); what is given is (..., M), or has fewer of the first axes."""
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
        """log p(x|z) in nats of images (B, H, W, C) under latents (..., B, L): (..., B).

        Where entries may be missing, that of those observed.

        Args:
            x: the images.
            latents: the latents.
            given: what is given of each beside it, (B, M): the number of its level, or a number.
            raw: the likelihood's scalar, in place of the one learned or fitted to the batch.
            decoder_input: of these latents, where it is known.
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
        """E[x|z] for latents (..., L): (..., H, W, C)."""
        return self.likelihood.mean(self.decode(latents, given), self._raw(), self.log_size)

    def _raw(self) -> Any:
        return None if self.likelihood.raw_start(self.channels) is None else self.likelihood_raw

    def terms(self, x: Array, noise: Array, given: Array | None = None, raw: Array | None = None) -> Terms:
        """The terms of the ELBO, by the samples of q(z|x) that standard normal noise (K, B, L) makes.

        The other arguments are those of ``log_likelihood``.
        """
        draws = self.draw(x, noise, given)
        log_likelihood = jnp.mean(self.log_likelihood(x, draws.latents, given, raw, draws.decoder_input), axis=0)
        return Terms(log_likelihood, draws.kl, draws.posterior)

    def __call__(
        self, x: Array, key: Array, given: Array | None = None, raw: Array | None = None, samples: int = 1
    ) -> Terms:
        """``terms`` by so many samples per image, drawn by a key."""
        return self.terms(x, jax.random.normal(key, (samples, x.shape[0], self.latents)), given, raw)


def log_prob_of_observed(likelihood: Likelihood, outputs: Array, x: Array, raw: Any = None) -> Array:
    """The likelihood's ``log_prob``, and 0 for numbers of x that are missing (NaN), elementwise.

    Their gradient is 0, too: the likelihood is given 0 in their place, where its slopes are finite.
    """
    missing = jnp.isnan(x)
    log_prob = likelihood.log_prob(outputs, jnp.where(missing, 0, x), raw)
    return jnp.where(jnp.broadcast_to(missing, log_prob.shape), 0, log_prob)


def log_total(x: Array) -> Array:
    """The log of the sum of counts (..., H, W, C), (..., 1, 1, 1); 0 for none."""
    return jnp.log(jnp.maximum(jnp.sum(x, axis=(-3, -2, -1), keepdims=True), 1))
