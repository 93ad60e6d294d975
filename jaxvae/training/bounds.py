"""The bound of log p(x) that a configuration names, for a model and a batch."""

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
    """The importance weights of K samples of q(z|x), and the terms of the ELBO.

    Attributes:
        log_weights: log p(x|z) + β (log p(z) - log q(z|x)), (K, B).
        tap: the zeros from ``jaxvae.objectives.tapped``, which ``dreg`` needs, (K, B).
        terms: the terms of the ELBO, from the same samples.
        latents: the samples that are weighted, (K, B, L).
    """

    log_weights: Array
    tap: Array
    terms: Terms
    latents: Array


class Bound(NamedTuple):
    """A bound of log p(x).

    Attributes:
        function: maps log-weights and a tap, (K, B), to the bound, (B,).
        path: whether q's parameters act through z only.
    """

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
"""The bounds that are functions of log-weights, by name; ``jaxvae.objectives`` defines them."""


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
    """Returns the importance weights of samples of q(z|x), with the terms of the ELBO.

    Args:
        model: any model with latents.
        params: its parameters.
        x: images (B, H, W, C) in [0, 1].
        noise: standard normal numbers, (K, B, L).
        given: as in ``LatentModel.log_likelihood``.
        raw: a scalar of the likelihood that replaces the one learned or fitted to the batch.
        beta: the weight of log q - log p, a scalar.
        path: whether the gradient reaches q's parameters through z only (Roeder et al. 2017).
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
