"""One cell of a study, from its start to its scores, as pure functions that can be mapped over many cells.

A cell does what ``training.train`` and ``training.evaluate`` would do with its configuration, with the same functions
and the same random numbers. Cells of one seed have the same initial weights, order of images and noise, whatever the
parameterization. There is one difference: after ``max_skipped`` non-finite updates a run stops, but a cell continues,
so that the table has their number. Arrays are JAX's in a program and NumPy's on the host.
"""

import functools
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxvae.ranges import saturation
from jaxvae.study.results import STD_EDGES
from jaxvae.training import Experiment, TrainConfig, TrainState, nonfinite, train_step
from jaxvae.training.batches import resident_batch, shuffle, train_arrays
from jaxvae.training.scoring import (
    BATCH,
    Batch,
    batch_evidence,
    batch_posterior,
    in_batches,
    is_active,
    mean_over,
    samples_at_a_time,
    scanned,
    score_keys,
    seen,
)
from jaxvae.training.step import Metrics


class Cell(NamedTuple):
    """The differences between the cells of one program: the learning rate, and the index of the cell's ``orders``."""

    learning_rate: Any
    row: Any


class Data(NamedTuple):
    """The data of all cells: the training arrays, and the scored batches, (M, B, ...), with the test images first.

    ``counts`` says for each split which images belong to it, (M, B). There may be no validation images.
    """

    train: Mapping[str, Any]
    scored: Batch
    counts: Mapping[str, Any]


class Steps(NamedTuple):
    """Numbers of each step, (T,): gradient norms of head and network; 1 + the index of a skipped one's cause, or 0."""

    head: Any
    network: Any
    cause: Any


class Segment(NamedTuple):
    """The results of a segment.

    Attributes:
        steps: the numbers of its steps.
        elbo: the ELBO on the test images at its end, in nats per image.
        gradient_mean: the mean gradient of the loss with respect to raw's bias, over the steps that weren't skipped,
            (L,).
        gradient_std: its standard deviation, (L,).
    """

    steps: Steps
    elbo: Any
    gradient_mean: Any
    gradient_std: Any


class Scores(NamedTuple):
    """The scores of a trained cell, as means over the test images, in nats.

    ``log_evidence`` and its Monte Carlo ``error`` are those of all scored images, (M, B), with padding.
    ``validation_elbo`` is NaN if there are no validation images. ``std_histogram`` has shape (len(STD_EDGES) - 1,).
    ``saturation``, (3,), has the shares of σ at the floor, at the ceiling, and with gradient 0.
    """

    log_likelihood: Any
    kl: Any
    log_evidence: Any
    error: Any
    validation_elbo: Any
    active_units: Any
    std_histogram: Any
    saturation: Any


def make_data(experiment: Experiment) -> Data:
    """Makes the arrays of an experiment's training images and of its scored images."""
    size = min(BATCH, len(experiment.scored["test"]))
    names = [name for name in ("test", "validation") if name in experiment.scored]
    batches = {
        name: list(in_batches(experiment.scored[name], len(experiment.model.conditions), size)) for name in names
    }
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *itertools.chain.from_iterable(batches.values()))
    owners = np.repeat(names, [len(some) for some in batches.values()])
    return Data(train_arrays(experiment), stacked, {name: stacked.counts & (owners == name)[:, None] for name in names})


def segment_epochs(config: TrainConfig) -> int:
    """Returns the epochs between two points of a cell's curve, a divisor of ``epochs`` near the configuration's."""
    return max(n for n in range(1, config.epochs_between_evaluations + 1) if config.epochs % n == 0)


@functools.partial(jax.jit, static_argnums=2)
def orders(seeds: Array, epochs: Array, images: int) -> Array:
    """Returns the order of the training images for some seeds (S,) and epochs (E,): (S, E, images).

    All cells of a seed share it, in all groups. It is computed outside the groups' programs, as a sort would slow them
    down.
    """
    return jax.vmap(lambda seed: jax.vmap(lambda epoch: shuffle(seed, epoch, images))(epochs))(seeds)


def advance(
    experiment: Experiment, data: Data, some_orders: Array, cell: Cell, state: TrainState
) -> tuple[TrainState, Segment]:
    """Trains for one segment, the epochs of ``some_orders`` (S, E, N)."""
    experiment = experiment.with_learning_rate(cell.learning_rate)
    step = train_step(
        functools.partial(_loss, experiment), experiment.tx, ema_decay=experiment.config.ema_decay, measure=_measure
    )

    def one(order: Array, state: TrainState, _: None) -> tuple[TrainState, tuple[Steps, Array]]:
        state, metrics = step(state, resident_batch(experiment, None, {**data.train, "order": order}, state.step))
        steps = Steps(metrics["head"], metrics["network"], metrics["skipped"] * (1 + metrics["cause"]))
        return state, (steps, metrics["raw"])

    def epoch(state: TrainState, order: Array) -> tuple[TrainState, tuple[Steps, Array]]:
        return jax.lax.scan(functools.partial(one, order), state, None, experiment.steps_per_epoch)

    state, (steps, gradients) = jax.lax.scan(epoch, state, some_orders[cell.row])
    steps, gradients = jax.tree.map(jnp.ravel, steps), gradients.reshape(-1, experiment.config.latents)
    key = score_keys()[1]

    def elbo(batch: Batch) -> Array:
        found = batch_posterior(experiment.model, experiment.levels, state.evaluated, batch, key)
        return found.log_likelihood - jnp.sum(found.kl, axis=-1)

    size = data.scored.rows.shape[-1]
    test = jax.tree.map(lambda x: x[: -(-len(experiment.scored["test"]) // size)], data.scored)
    elbos = jax.lax.map(elbo, test)
    made = (steps.cause == 0)[:, None]
    mean, std = jnp.mean(gradients, axis=0, where=made), jnp.std(gradients, axis=0, ddof=1, where=made)
    return state, Segment(steps, mean_over(elbos, test.counts), mean, std)


def score(experiment: Experiment, data: Data, state: TrainState) -> Scores:
    """Scores a trained cell."""
    model, levels, params = experiment.model, experiment.levels, state.evaluated
    keys, samples = score_keys()[1:], experiment.config.samples
    chunk = samples_at_a_time(model, experiment.dataset.image_shape, samples)

    def one(batch: Batch) -> tuple:
        found = batch_posterior(model, levels, params, batch, keys[0])
        evidence = batch_evidence(model, levels, params, batch, keys[1], None, samples, chunk, scanned)
        ends = saturation(model.apply(params, seen(batch.images, levels), batch.given, method="at_means").posterior)
        return found, evidence, jnp.stack(ends)  # stacked: (3, B, L)

    found, (log_evidence, error), ends = jax.lax.map(one, data.scored)
    test, validation = data.counts["test"], data.counts.get("validation", np.zeros(data.scored.counts.shape, bool))
    counts, kl = test[..., None], jnp.sum(found.kl, axis=-1)
    variance = jnp.var(found.mean, axis=(0, 1), where=counts)
    return Scores(
        mean_over(found.log_likelihood, test),
        mean_over(kl, test),
        log_evidence,
        error,
        mean_over(found.log_likelihood - kl, validation),
        jnp.sum(is_active(variance)),
        _histogram(jnp.log10(found.std), counts),
        jnp.sum(ends & counts[:, None], axis=(0, 2, 3)) / (jnp.sum(counts) * found.mean.shape[-1]),
    )


def _histogram(log_std: Array, counts: Array) -> Array:
    """Returns the counts per bin; values beyond the edges go into the first or last bin, and NaN into none."""
    bins = jnp.searchsorted(jnp.asarray(STD_EDGES, jnp.float32), log_std, side="right") - 1
    empty = jnp.zeros(len(STD_EDGES) - 1, jnp.int32)
    counted = jnp.where(counts & ~jnp.isnan(log_std), 1, 0)
    return empty.at[jnp.clip(bins, 0, len(empty) - 1)].add(counted)


def _loss(experiment: Experiment, params: chex.ArrayTree, batch: Any, key: Array) -> tuple[Array, Metrics]:
    loss, terms = experiment.objective(params, batch, key)
    return loss, {"cause": nonfinite.cause(terms)}


def _measure(grads: Any) -> Metrics:
    """Returns the gradient norms of the head and of the rest of the model, and the gradient of raw's bias."""
    head = grads["params"]["head"]
    network = {name: grad for name, grad in grads["params"].items() if name != "head"}
    return {"head": optax.tree.norm(head), "network": optax.tree.norm(network), "raw": head["raw"]["bias"]}
