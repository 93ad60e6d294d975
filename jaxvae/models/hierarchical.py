"""Hierarchies of Gaussian latents z_1 … z_n, z_1 next to the image, with bottom-up or top-down inference.

Latents are the layers side by side, (..., L_1 + … + L_n). Conditions, if any, are given to encoder and decoder.
"""

import itertools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxvae.gaussian import Gaussian, kl_divergence, log_prob, reparameterize, standard_log_prob
from jaxvae.models.heads import GaussianHead
from jaxvae.models.latent import Draws, LatentModel


class _Hierarchy(LatentModel):
    """What both have.

    Attributes:
        encoder: images (B, H, W, C), and what is laid out beside them or None, to features (B, F).
        heads: of q for each layer, from below.
        up: features for the head of each layer but the first, from below.
        down: features for ``priors``.
        priors: of p(z_l|z_(l+1) …) for each layer but the last, from below.
    """

    encoder: nn.Module
    heads: tuple[GaussianHead, ...]
    up: tuple[nn.Module, ...]
    down: tuple[nn.Module, ...]
    priors: tuple[GaussianHead, ...]

    @property
    def latents(self) -> int:
        return sum(head.latents for head in self.heads)

    def _layers(self, x: Array) -> list[Array]:
        ends = itertools.accumulate(head.latents for head in self.heads)
        return jnp.split(x, list(ends)[:-1], axis=-1)


def _side_by_side(layers: list[Gaussian]) -> Gaussian:
    """The layers' Gaussians, (K, B, L_l) or (B, L_l), as one (B, L): of the first sample."""
    first = [(q.loc, q.raw) if q.loc.ndim == 2 else (q.loc[0], q.raw[0]) for q in layers]
    loc, raw = (jnp.concatenate(parts, axis=-1) for parts in zip(*first, strict=True))
    return Gaussian(loc, raw, layers[0].parameterization)


class BottomUpVAE(_Hierarchy):
    """q(z_1|x) q(z_2|z_1) …, p(z_n) = N(0, 1), p(z_l|z_(l+1)), p(x|z_1) (Burda et al. 2016, section 5.1).

    Each conditional has its own network: a Markov chain up, and one down.
    """

    def draw(self, x: Array, noise: Array, given: Array | None = None) -> Draws:
        latents: list[Array] = []

        def pick(layer: int, q: Gaussian) -> Array:
            latents.append(reparameterize(q, self._layers(noise)[layer]))
            return latents[-1]

        posteriors = self._posteriors(x, given, pick)
        z = jnp.concatenate(latents, axis=-1)
        log_q = _log_probs(posteriors, latents)
        # The top layer's is in closed form; p of the others depends on what is drawn after them.
        kl = log_q - self.log_prior(z)
        kl = kl.at[..., -self.heads[-1].latents :].set(kl_divergence(posteriors[-1]))
        return Draws(z, log_q, jnp.mean(kl, axis=0), _side_by_side(posteriors), latents[0])

    def _posteriors(self, x: Array, given: Array | None, pick: Callable[[int, Gaussian], Array]) -> list[Gaussian]:
        """The q of each layer, given the latents that are picked from those below it."""
        found = [self.heads[0](self.features(x, given))]
        for layer, (network, head) in enumerate(zip(self.up, self.heads[1:], strict=True)):
            found.append(head(network(pick(layer, found[-1]))))
        pick(len(self.up), found[-1])
        return found

    def log_posterior(self, x: Array, latents: Array, given: Array | None = None) -> Array:
        layers = self._layers(latents)
        return _log_probs(self._posteriors(x, given, lambda layer, q: layers[layer]), layers)

    def log_prior(self, latents: Array) -> Array:
        layers = self._layers(latents)
        below = [
            log_prob(head(network(above)), z)
            for head, network, z, above in zip(self.priors, self.down, layers, layers[1:], strict=False)
        ]
        return jnp.concatenate([*below, standard_log_prob(layers[-1])], axis=-1)

    def generate(self, noise: Array) -> Array:
        *below, z = self._layers(noise)
        latents = [z]
        for head, network, part in zip(self.priors[::-1], self.down[::-1], below[::-1], strict=True):
            latents.insert(0, reparameterize(head(network(latents[0])), part))
        return jnp.concatenate(latents, axis=-1)

    def decoder_input(self, latents: Array) -> Array:
        return self._layers(latents)[0]


def _log_probs(posteriors: list[Gaussian], layers: list[Array]) -> Array:
    return jnp.concatenate([log_prob(q, z) for q, z in zip(posteriors, layers, strict=True)], axis=-1)


class TopDownVAE(_Hierarchy):
    """q and p share a top-down network, and q is given relative to p (Sønderby et al. 2016, arXiv:1602.02282).

    Features are computed upwards from the image without sampling; then the layers are sampled from the top. The latents
    here are u_l = (z_l - mean_p) / σ_p, in which every prior is N(0, 1) and q(u_l) = N(Δmean / σ_p, σ_q / σ_p), which
    is what the head makes of the features from below and from above: a residual posterior (Vahdat & Kautz 2020,
    arXiv:2007.03898), whose KL is that of a Gaussian from N(0, 1), without a difference of two logs. Log-densities of u
    differ from those of z by log σ_p, in q as in p.
    """

    def draw(self, x: Array, noise: Array, given: Array | None = None) -> Draws:
        parts = self._layers(noise)
        latents: list[Array] = []

        def pick(layer: int, q: Gaussian) -> Array:
            latents.insert(0, reparameterize(q, parts[layer]))
            return latents[0]

        posteriors, context = self._posteriors(x, given, noise.shape[0], pick)
        kl = jnp.concatenate([kl_divergence(q) for q in posteriors], axis=-1)
        log_q = _log_probs(posteriors, latents)
        z, q = jnp.concatenate(latents, axis=-1), _side_by_side(posteriors)
        return Draws(z, log_q, jnp.mean(kl, axis=0), q, self._with_context(0, latents[0], context))

    def _posteriors(
        self, x: Array, given: Array | None, samples: int, pick: Callable[[int, Gaussian], Array]
    ) -> tuple[list[Gaussian], Array | None]:
        """The q(u) of each layer, from below, given the latents picked from those above it; what the lowest sees."""
        features = [self.features(x, given)]
        for network in self.up:
            features.append(network(features[-1]))
        features = [jnp.broadcast_to(h, (samples, *h.shape)) for h in features]
        found: list[Gaussian] = []
        context = None
        for layer in reversed(range(len(self.heads))):
            h = features[layer] if context is None else jnp.concatenate([features[layer], context], axis=-1)
            found.insert(0, self.heads[layer](h))
            u = pick(layer, found[0])
            if layer:
                context = self._below(layer, u, context)
        return found, context

    def _with_context(self, layer: int, u: Array, context: Array | None) -> Array:
        """z of u, mean_p + σ_p u, and beside it what this layer sees of those above, if there are any."""
        if context is None:
            return u
        return jnp.concatenate([reparameterize(self.priors[layer](context), u), context], axis=-1)

    def _below(self, layer: int, u: Array, context: Array | None) -> Array:
        """What the layer below sees of this one, and of those above."""
        return self.down[layer - 1](self._with_context(layer, u, context))

    def log_posterior(self, x: Array, latents: Array, given: Array | None = None) -> Array:
        layers = self._layers(latents)
        return _log_probs(self._posteriors(x, given, latents.shape[0], lambda layer, q: layers[layer])[0], layers)

    def log_prior(self, latents: Array) -> Array:
        return standard_log_prob(latents)

    def generate(self, noise: Array) -> Array:
        return noise

    def decoder_input(self, latents: Array) -> Array:
        layers, context = self._layers(latents), None
        for layer in reversed(range(1, len(layers))):
            context = self._below(layer, layers[layer], context)
        return self._with_context(0, layers[0], context)
