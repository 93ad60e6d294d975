"""Trained models of every kind, with parameters that weren't trained."""

import functools

import jax

from jaxvae.data import DataContract
from jaxvae.trained import TrainedModel
from jaxvae.training import config_from_mapping
from jaxvae.training.experiment import model_for

SHAPE = (4, 3, 1)
UNLESS = {"likelihood": "bernoulli", "binarization": "dynamic"}
KINDS = {
    "flat": {},
    "flow": {"flow_steps": 2},
    "bottom_up": {"upper_latents": (2,), "inference": "bottom_up"},
    "top_down": {"upper_latents": (2,), "inference": "top_down"},
    "conditional": {"conditional": True},
    "optimal": {"likelihood": "gaussian_optimal", "binarization": "none"},
    "learned": {"likelihood": "gaussian_learned", "binarization": "none"},
    "levels": {"likelihood": "discretized_logistic", "binarization": "none"},
    "counts": {"likelihood": "zero_inflated_negative_binomial", "binarization": "none", "offset": True},
}
KEPT = ("conditional",)
"""Which stand for the others where each kind compiles programs of its own."""


def make(contract: DataContract | None = None, fitted: float | None = None, **fields) -> TrainedModel:
    config = config_from_mapping({"latents": 3, "hidden": (8,), "upper_hidden": (8,), **UNLESS, **fields})
    contract = contract or DataContract(
        SHAPE,
        None if config.reading.counts else 17,
        binarization=config.binarization,
        likelihood=config.likelihood,
        classes=3,
        class_names=("ape", "bee", "cow"),
        conditional=config.conditional,
        reading=config.reading,
    )
    module = model_for(config, contract)
    x = jax.numpy.zeros((1, *contract.image_shape))
    params = jax.jit(module.init)(jax.random.key(0), x, jax.random.key(0), module.none_given(1))
    # Away from the start, where most of a decoder's outputs are the same for all latents.
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)]
    return TrainedModel(config, contract, module, jax.tree.unflatten(tree, moved), fitted, 7)


@functools.cache
def model(kind: str) -> TrainedModel:
    return make(fitted=jax.numpy.float32(-2.0) if kind == "optimal" else None, **KINDS[kind])
