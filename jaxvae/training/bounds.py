"""The bound of log p(x) that a configuration names, for a model and a batch: where models meet objectives."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import chex
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxvae.models import LatentModel, Terms
from jaxvae.objectives import dreg, iwae, sampled_elbo, stop_parameters, tapped


class Weights(NamedTuple):
    """The importance weights of K samples of q(z|x), and the terms that they consist of.

    Attributes:
        log_weights: log p(x|z) + β (log p(z) - log q(z|x)), (K, B).
        tap: for ``dreg``, (K, B).
        terms: those of the ELBO, from the same samples.
        latents: what is weighed, (K, B, L).
    """

    log_weights: Array
    tap: Array
    terms: Terms
    latents: Array


class Bound(NamedTuple):
    """A function from log-weights and a tap, (K, B), to a bound (B,); whether q's parameters act through z only."""

    function: Callable[[Array, Array], Array]
    path: bool = False


BOUNDS: Mapping[str, Bound] = MappingProxyType(
    {
        "sampled_elbo": Bound(lambda log_weights, tap: sampled_elbo(log_weights)),
        "stl": Bound(lambda log_weights, tap: sampled_elbo(log_weights), path=True),
        "iwae": Bound(lambda log_weights, tap: iwae(log_weights)),
        "dreg": Bound(dreg, path=True),
    }
)
"""The bounds of log-weights by name: see ``jaxvae.objectives``."""


def log_weights(
    model: LatentModel,
    params: chex.ArrayTree,
    x: Array,
    noise: Array,
    given: Array | None = None,
    raw: Array | None = None,
    *,
    beta: ArrayLike = 1.0,
    path: bool = False,
) -> Weights:
    """The importance weights of samples of q(z|x), with the terms of the ELBO.

    Args:
        model: any with latents.
        params: its parameters.
        x: images (B, H, W, C) in [0, 1].
        noise: standard normal, (K, B, L).
        given: as of ``LatentModel.log_likelihood``.
        raw: the likelihood's scalar, in place of the one learned or fitted to the batch.
        beta: of log q - log p; a scalar.
        path: leave the gradient of q's parameters its path through z only (Roeder et al. 2017).
    """
    draws = model.apply(params, x, noise, given, method="draw")
    latents, tap = tapped(draws.latents) if path else (draws.latents, jnp.zeros(draws.latents.shape[:2]))
    log_posterior = draws.log_posterior
    if path:
        log_posterior = model.apply(stop_parameters(params), x, latents, given, method="log_posterior")
    known = None if path else draws.decoder_input
    log_likelihood = model.apply(params, x, latents, given, raw, known, method="log_likelihood")
    log_ratio = jnp.sum(log_posterior - model.apply(params, latents, method="log_prior"), axis=-1)
    terms = Terms(jnp.mean(log_likelihood, axis=0), draws.kl, draws.posterior)
    return Weights(log_likelihood - beta * log_ratio, tap, terms, latents)
