"""The library's train step and loops, all images on the device as uint8."""

from typing import Any

import jax
import numpy as np

from benchmarks.contestants import Model
from jaxvae.data import DataContract, Dataset, Split
from jaxvae.likelihoods import likelihood
from jaxvae.models import make_model
from jaxvae.objectives import beta_schedule
from jaxvae.training import TrainConfig, init_state, learning_rate_schedule, make_optimizer, make_train_step
from jaxvae.training import train_step as pure_step
from jaxvae.training.batches import ResidentFeed
from jaxvae.training.devices import data_mesh, replicated
from jaxvae.training.experiment import Experiment
from jaxvae.training.step import zero_sums


def make_experiment(images: np.ndarray, model: Model, batch_size: int, dtype: str = "float32") -> Experiment:
    """The model on these images."""
    split = Split(images[..., None], None)
    kind = {name: getattr(model, name) for name in ("hidden", "latents", "activation", "architecture")}
    return Experiment(
        TrainConfig(batch_size=batch_size, binarization="none", dtype=dtype),
        data_mesh(batch_size),
        Dataset("images", split, None, split, levels=256, classes=0),
        {},
        DataContract((28, 28, 1), 256),
        make_model((28, 28, 1), likelihood("bernoulli", 256), dtype=dtype, **kind),
        make_optimizer(1e-3),
        learning_rate_schedule(1e-3, 1, decay="constant"),
        beta_schedule("constant", 1.0, 1),
    )


def by_feed(images: np.ndarray, model: Model, batch_size: int, *, fused: bool, dtype: str = "float32") -> tuple:
    """A loop of the library's: all steps of an epoch in one program, or a call for each."""
    if dtype == "bfloat16" and jax.default_backend() == "cpu":
        raise SystemExit("for GPUs")
    experiment = make_experiment(images, model, batch_size, dtype)
    epoch, key = experiment.steps_per_epoch, jax.random.key(0)
    step = pure_step(experiment.loss, experiment.tx)
    feed = ResidentFeed(experiment, step, fused=fused)
    state = init_state(jax.jit(experiment.init)(key), experiment.tx, key)
    state = jax.device_put(state, replicated(experiment.mesh))
    zeros = jax.jit(lambda: zero_sums(experiment.metrics), out_shardings=replicated(experiment.mesh))

    def advance(steps: int) -> dict[str, Any]:
        nonlocal state
        here = int(state.step)
        end = here + steps
        while here < end:
            here = min(end, (here // epoch + 1) * epoch)
            state, sums = feed.advance(state, zeros(), here)
        return {"loss": float(jax.block_until_ready((state, sums))[1].metrics["loss"] / sums.updates)}

    return jax.devices()[0].device_kind, advance


def by_hand(images: np.ndarray, model: Model, batch_size: int) -> tuple:
    """``make_train_step`` in a loop of the user's."""
    experiment = make_experiment(images, model, batch_size)
    epoch, key = experiment.steps_per_epoch, jax.random.key(0)
    state = init_state(jax.jit(experiment.init)(key), experiment.tx, key)
    step = make_train_step(experiment.loss, experiment.tx)
    data = jax.device_put(images[..., None])
    shuffle = jax.jit(lambda i: jax.random.permutation(jax.random.fold_in(key, i), len(images)))
    order = shuffle(0)

    @jax.jit
    def gather(order: jax.Array, i: int) -> dict[str, jax.Array]:
        rows = jax.lax.dynamic_slice(order, (i * batch_size,), (batch_size,))
        return {"image": data[rows], "beta": jax.numpy.float32(1)}

    def advance(steps: int) -> dict[str, Any]:
        nonlocal state, order
        here = int(state.step)
        for i in range(here, here + steps):
            if i % epoch == 0:
                order = shuffle(i // epoch)
            state, metrics = step(state, gather(order, i % epoch))
        return {"loss": float(jax.block_until_ready((state, metrics))[1]["loss"])}

    return jax.devices()[0].device_kind, advance
