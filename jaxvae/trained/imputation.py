"""Imputation of missing entries: their mean, or draws of them, given the observed ones, by importance sampling.

Let x_o be the observed and x_m the missing entries, and let samples z_k ~ q(z|x_o) have the weights w_k = p(x_o|z_k)
p(z_k) / q(z_k|x_o). Then Σ w_k E[x_m|z_k] / Σ w_k estimates E[x_m|x_o]. A draw of x_m is one from p(x_m|z_k), where k
is drawn in proportion to w_k. This is sampling importance resampling (Mattei & Frellsen 2019, arXiv:1812.02633, section
4).

The functions are pure. A batch has B images (H, W, C); there are M draws, L latents and K samples, drawn in chunks.
"""

import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxvae.models import LatentModel
from jaxvae.training.bounds import log_weights
from jaxvae.training.scoring import Batch, noise_of


class Mean(NamedTuple):
    """The mean over the samples so far: log Σ w, (B,), and Σ w E[x|z] / Σ w, (B, H, W, C)."""

    log_weight: Array
    value: Array


class Picked(NamedTuple):
    """The draws from the samples so far: the largest log w + Gumbel noise, (B, M), and the z that has it, (B, M, L)."""

    score: Array
    latents: Array


def no_mean(images: int, image_shape: tuple[int, ...]) -> Mean:
    """Before the first sample."""
    return Mean(jnp.full(images, -jnp.inf), jnp.zeros((images, *image_shape)))


def none_picked(images: int, draws: int, latents: int) -> Picked:
    """Before the first sample."""
    return Picked(jnp.full((images, draws), -jnp.inf), jnp.zeros((images, draws, latents)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def mean_with(
    model: LatentModel,
    chunk: int,
    params: chex.ArrayTree,
    batch: Batch,
    key: Array,
    samples: ArrayLike,
    drawn: ArrayLike,
    before: Mean,
) -> Mean:
    """Returns the mean after up to ``chunk`` more samples, as the model sees x.

    Args:
        model: the model.
        chunk: the largest number of samples.
        params: the model's parameters.
        batch: images as the model sees them, each with the number that its noise depends on.
        key: a PRNG key.
        samples: the number of samples, K.
        drawn: the number of samples so far.
        before: the mean of these samples.
    """
    log_w, latents = _weighed(model, chunk, params, batch, key, samples, drawn)
    total = jnp.logaddexp(before.log_weight, jax.nn.logsumexp(log_w, axis=0))
    share, kept = jnp.exp(log_w - total[None]), jnp.exp(before.log_weight - total)
    means = model.apply(params, latents, batch.given, method="mean")  # (K, B, H, W, C)
    more = jnp.where(_over(share, means) > 0, _over(share, means) * means, 0)  # where w is 0, a mean may be infinite
    return Mean(total, _over(kept, before.value) * before.value + jnp.sum(more, axis=0))


@functools.partial(jax.jit, static_argnums=(0, 1))
def picked_with(
    model: LatentModel,
    chunk: int,
    params: chex.ArrayTree,
    batch: Batch,
    key: Array,
    samples: ArrayLike,
    drawn: ArrayLike,
    before: Picked,
) -> Picked:
    """Returns the picked samples after up to ``chunk`` more samples; the arguments are those of ``mean_with``.

    The largest log w + Gumbel noise is a draw in proportion to w, for any number of samples.
    """
    log_w, latents = _weighed(model, chunk, params, batch, key, samples, drawn)
    noise = noise_of(_keys(key)[1], batch.rows, chunk, before.score.shape[-1], drawn, jax.random.gumbel)
    scores = log_w[..., None] + noise  # (K, B, M)
    best = jnp.argmax(scores, axis=0)
    found = Picked(jnp.max(scores, axis=0), latents[best, jnp.arange(len(best))[:, None]])
    better = found.score > before.score
    return Picked(
        jnp.where(better, found.score, before.score), jnp.where(better[..., None], found.latents, before.latents)
    )


@functools.partial(jax.jit, static_argnums=0)
def drawn_from(
    model: LatentModel, params: chex.ArrayTree, batch: Batch, key: Array, picked: Picked, raw: Any = None
) -> Array:
    """Draws from p(x|z) for each picked z, (B, M, H, W, C), as the model sees x."""

    def one(number: Array, latents: Array) -> Array:
        outputs = model.apply(params, latents, batch.given, method="decode")
        keys = jax.vmap(lambda row: jax.random.fold_in(jax.random.fold_in(_keys(key)[2], row), number))(batch.rows)
        return jax.vmap(lambda key, outputs: model.likelihood.sample(key, outputs, raw))(keys, outputs)

    latents = jnp.moveaxis(picked.latents, 1, 0)  # (M, B, L)
    return jnp.moveaxis(jax.lax.map(lambda x: one(*x), (jnp.arange(len(latents)), latents)), 0, 1)


def _weighed(
    model: LatentModel,
    chunk: int,
    params: chex.ArrayTree,
    batch: Batch,
    key: Array,
    samples: ArrayLike,
    drawn: ArrayLike,
) -> tuple[Array, Array]:
    """Returns log w of the next samples, (K, B), -inf beyond ``samples``; and their latents, (K, B, L)."""
    noise = noise_of(_keys(key)[0], batch.rows, chunk, model.latents, drawn)
    found = log_weights(model, params, batch.images, noise, batch.given)
    counts = drawn + jnp.arange(chunk)[:, None] < samples
    return jnp.where(counts, found.log_weights, -jnp.inf), found.latents


def _keys(key: Array) -> Array:
    """Returns the keys of the latents, of the picks, and of x given the latents."""
    return jax.random.split(key, 3)


def _over(x: Array, images: Array) -> Array:
    """Returns numbers (..., B) with three more axes of size 1, for images (..., B, H, W, C)."""
    return x.reshape(*x.shape, *(1,) * (images.ndim - x.ndim))
