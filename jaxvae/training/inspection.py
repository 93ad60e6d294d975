"""What a trained model sees and makes up, as arrays for pictures: images (..., H, W, C) in [0, 1]."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae.data import Split, observe
from jaxvae.models import LatentModel
from jaxvae.training.run import Run


class Traversals(NamedTuple):
    """Images (L, S, H, W, C) as each of L latents takes S values (S,), the others those of one image's mean."""

    images: np.ndarray
    values: np.ndarray


def samples(run: Run, count: int, key: Array) -> np.ndarray:
    """E[x|z] for z ~ p(z), (count, H, W, C); a conditional model goes through its classes in turn."""
    model = run.experiment.model
    z = model.apply(run.params, jax.random.normal(key, (count, model.latents)), method="generate")
    label = jnp.arange(count) % model.classes if model.classes else None
    return np.asarray(_decode(model, run.params, z, label))


def reconstructed(run: Run, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """A split's images as the model sees them, and E[x|z] at the means of q(z|x), both (N, H, W, C)."""
    x, label = _seen(run, split)
    return np.asarray(x), np.asarray(_decode(run.experiment.model, run.params, _means(run, x, label), label))


def traversed(run: Run, split: Split, latents: np.ndarray, steps: int = 9, reach: float = 3.0) -> Traversals:
    """What each of these latents does to a split's first image, between -reach and reach.

    Args:
        run: from ``load_run``.
        split: whose first image is taken.
        latents: their indices, (L,).
        steps: how many values S.
        reach: in units of the prior's σ.
    """
    x, label = _seen(run, split.head(1))
    values = np.linspace(-reach, reach, steps, dtype=np.float32)
    z = np.tile(np.asarray(_means(run, x, label)), (len(latents), steps, 1))
    z[np.arange(len(latents))[:, None], np.arange(steps), latents[:, None]] = values
    if label is not None:
        label = jnp.broadcast_to(label, z.shape[:2])
    return Traversals(np.asarray(_decode(run.experiment.model, run.params, jnp.asarray(z), label)), values)


def _seen(run: Run, split: Split) -> tuple[Array, Array | None]:
    x = observe(jax.random.key(0), split.images, run.experiment.levels, dynamic=False)
    return x, jnp.asarray(split.labels) if run.experiment.model.classes else None


def _means(run: Run, x: Array, label: Array | None) -> Array:
    at_means = jax.jit(functools.partial(run.experiment.model.apply, method="at_means"))
    return at_means(run.params, x, label).latents[0]


@functools.partial(jax.jit, static_argnums=0)
def _decode(model: LatentModel, params: chex.ArrayTree, z: Array, label: Array | None) -> Array:
    return model.apply(params, z, label, method="mean")
