"""A small model of every kind, with parameters away from the start, for the tests that all of them pass."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import quick

import jaxvae as jv
from jaxvae.likelihoods import Bernoulli
from jaxvae.models import LatentModel, make_model

SHAPE = (2, 2, 1)
OPTIONS = {
    "gaussian": {},
    "flow": {"flow_steps": 2},
    "bottom_up": {"upper_latents": (1, 2), "inference": "bottom_up"},
    "top_down of three": {"upper_latents": (1, 2)},
}


def images(count: int = 3) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, 2, (count, *SHAPE)), jnp.float32)


def model(kind: str, **options: object) -> LatentModel:
    fields = {"parameterization": jv.log_variance, "init_std": 0.7, "hidden": (4,), "upper_hidden": (3,)}
    return make_model(SHAPE, Bernoulli(), 2, **{**fields, **OPTIONS[kind], **options})


def params(made: LatentModel, given: jax.Array | None = None) -> dict:
    """Away from the start, where some kernels are 0; and q wider than p, so that no weight is rare and large."""
    rng = np.random.default_rng(1)
    start = jax.eval_shape(made.init, quick.key(0), images(), quick.key(1), given)
    found = jax.tree.map(lambda leaf: np.float32(0.3 * rng.normal(size=leaf.shape)), start)
    for name, layer in found["params"].items():
        if name.startswith("head"):
            layer["raw"]["bias"] += np.float32(1.5)
    return found


def applied(made: LatentModel, method: str) -> functools.partial:
    return jax.jit(functools.partial(made.apply, method=method))
