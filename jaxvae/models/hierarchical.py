"""Hierarchies of Gaussian latents z_1 … z_n, with bottom-up or top-down inference; z_1 is next to the image.

The latents of all layers are one array, side by side, (..., L_1 + … + L_n). Conditions, if there are any, are given to
encoder and decoder.
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
    """The base class of hierarchies.

    Attributes:
        encoder: the network from images (B, H, W, C), and the conditions' features or None, to features (B, F).
        heads: the heads of q for each layer, the lowest first.
        up: the networks that compute features for the head of each layer but the first, the lowest first.
        down: the networks that compute features for ``priors``, the lowest first.
        priors: the heads of p(z_l|z_(l+1) …) for each layer but the last, the lowest first.
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
    """Returns the layers' Gaussians, (K, B, L_l) or (B, L_l), as one Gaussian (B, L), that of the first sample."""
    first = [(q.loc, q.raw) if q.loc.ndim == 2 else (q.loc[0], q.raw[0]) for q in layers]
    loc, raw = (jnp.concatenate(parts, axis=-1) for parts in zip(*first, strict=True))
    return Gaussian(loc, raw, layers[0].parameterization)


class BottomUpVAE(_Hierarchy):
    """A hierarchy with bottom-up inference: q and p are Markov chains, one up and one down.

    q(z|x) is q(z_1|x) q(z_2|z_1) …, and p(x, z) is p(z_n) … p(z_1|z_2) p(x|z_1) with p(z_n) = N(0, 1). Each conditional
    has its own network (Burda et al. 2016, section 5.1).
    """

    def draw(self, x: Array, noise: Array, given: Array | None = None) -> Draws:
        latents: list[Array] = []

        def pick(layer: int, q: Gaussian) -> Array:
            latents.append(reparameterize(q, self._layers(noise)[layer]))
            return latents[-1]

        posteriors = self._posteriors(x, given, pick)
        z = jnp.concatenate(latents, axis=-1)
        log_q = _log_probs(posteriors, latents)
        # Only the top layer's KL is in closed form: p of every other layer depends on latents that are drawn after it.
        kl = log_q - self.log_prior(z)
        kl = kl.at[..., -self.heads[-1].latents :].set(kl_divergence(posteriors[-1]))
        return Draws(z, log_q, jnp.mean(kl, axis=0), _side_by_side(posteriors), latents[0])

    def _posteriors(self, x: Array, given: Array | None, pick: Callable[[int, Gaussian], Array]) -> list[Gaussian]:
        """Returns q of each layer, the lowest first, given the latents that ``pick`` chooses for the layers below."""
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
    """A hierarchy with top-down inference: q and p share a top-down network, and q is given relative to p.

    Features are computed upwards from the image, without sampling (Sønderby et al. 2016, arXiv:1602.02282). Then the
    layers are sampled from the top. The latents here are u_l = (z_l - mean_p) / σ_p. Every prior of u is therefore
    N(0, 1), and q(u_l) has the mean Δmean / σ_p and the standard deviation σ_q / σ_p. The head computes both from the
    features from below and from above: this is a residual posterior (Vahdat & Kautz 2020, arXiv:2007.03898). Its KL is
    that of a Gaussian from N(0, 1), without a difference of two logs. Log-densities of u differ from those of z by
    log σ_p, in q as in p.
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
        """Returns q(u) of each layer, the lowest first, and the context of the lowest layer.

        Each q(u) is given the latents that ``pick`` chooses for the layers above it. The context of a layer is what it
        sees of the layers above; the highest layer has none.
        """
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
        """Returns z = mean_p + σ_p u, and the layer's context beside it; the highest layer, without context, gets u."""
        if context is None:
            return u
        return jnp.concatenate([reparameterize(self.priors[layer](context), u), context], axis=-1)

    def _below(self, layer: int, u: Array, context: Array | None) -> Array:
        """Returns the context of the layer below this one."""
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
