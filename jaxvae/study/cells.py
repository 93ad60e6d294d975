"""One cell of a study, from its beginning to its scores: pure functions, to be mapped over many.

A cell does what ``training.train`` and ``training.evaluate`` would do with its configuration, by the same functions
and the same random numbers: cells of one seed have the same initial weights, order of images and noise, whatever the
parameterization. Only that a cell goes on where a run would stop, after ``max_skipped`` updates that weren't finite, so
that it is told how many there were. Arrays are JAX's in a program, and NumPy's on the host.
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
    """What differs between the cells of one program: the learning rate, and which of the ``orders`` are its own."""

    learning_rate: Any
    row: Any


class Data(NamedTuple):
    """What all cells see: the training arrays, and the batches that are scored, (M, B, ...), the test images' first.

    ``counts`` says of each split which of the images are its own, (M, B); there may be no validation images.
    """

    train: Mapping[str, Any]
    scored: Batch
    counts: Mapping[str, Any]


class Steps(NamedTuple):
    """Of each step (T,): the gradient norms of head and network; 0, or 1 + the index of a skipped update's cause."""

    head: Any
    network: Any
    cause: Any


class Segment(NamedTuple):
    """What a segment leaves.

    Attributes:
        steps: its steps.
        elbo: on the test images, at its end; nats per image.
        gradient_mean: of the loss's gradient by raw's bias, over the steps whose update was made, (L,).
        gradient_std: its standard deviation, (L,).
    """

    steps: Steps
    elbo: Any
    gradient_mean: Any
    gradient_std: Any


class Scores(NamedTuple):
    """What is measured of a trained cell; means over the test images, in nats.

    ``log_evidence`` and its Monte Carlo ``error`` are of all that is scored, (M, B), padding included;
    ``validation_elbo`` is NaN without validation images; ``std_histogram`` (len(STD_EDGES) - 1,), ``saturation`` (3,):
    floor, ceiling, dead.
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
    """The arrays of an experiment's training images, and of those that are scored."""
    size = min(BATCH, len(experiment.scored["test"]))
    names = [name for name in ("test", "validation") if name in experiment.scored]
    batches = {
        name: list(in_batches(experiment.scored[name], len(experiment.model.conditions), size)) for name in names
    }
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *itertools.chain.from_iterable(batches.values()))
    owners = np.repeat(names, [len(some) for some in batches.values()])
    return Data(train_arrays(experiment), stacked, {name: stacked.counts & (owners == name)[:, None] for name in names})


def segment_epochs(config: TrainConfig) -> int:
    """The epochs between two points of a cell's curve: the most that divide all, up to the configuration's."""
    return max(n for n in range(1, config.epochs_between_evaluations + 1) if config.epochs % n == 0)


@functools.partial(jax.jit, static_argnums=2)
def orders(seeds: Array, epochs: Array, images: int) -> Array:
    """The order of the training images for some seeds (S,) and epochs (E,): (S, E, images).

    Cells of one seed share it, and it is the same for all groups, whose programs would be slower with a sort in them.
    """
    return jax.vmap(lambda seed: jax.vmap(lambda epoch: shuffle(seed, epoch, images))(epochs))(seeds)


def advance(
    experiment: Experiment, data: Data, some_orders: Array, cell: Cell, state: TrainState
) -> tuple[TrainState, Segment]:
    """Trains for the epochs of ``some_orders`` (S, E, N), one segment."""
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
    """What is measured of a trained cell."""
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
    """Beyond the edges, into the first and last bin; a σ that isn't a number, nowhere."""
    bins = jnp.searchsorted(jnp.asarray(STD_EDGES, jnp.float32), log_std, side="right") - 1
    empty = jnp.zeros(len(STD_EDGES) - 1, jnp.int32)
    counted = jnp.where(counts & ~jnp.isnan(log_std), 1, 0)
    return empty.at[jnp.clip(bins, 0, len(empty) - 1)].add(counted)


def _loss(experiment: Experiment, params: chex.ArrayTree, batch: Any, key: Array) -> tuple[Array, Metrics]:
    loss, terms = experiment.objective(params, batch, key)
    return loss, {"cause": nonfinite.cause(terms)}


def _measure(grads: Any) -> Metrics:
    """The norms of the head's gradient and of the rest of the model's, and that of raw's bias itself."""
    head = grads["params"]["head"]
    network = {name: grad for name, grad in grads["params"].items() if name != "head"}
    return {"head": optax.tree.norm(head), "network": optax.tree.norm(network), "raw": head["raw"]["bias"]}
