"""Feeds of batches, from the device's memory, the disk, or an iterable."""

import functools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding
from jax.typing import ArrayLike

from jaxvae.arguments import require
from jaxvae.data import Split, covariates_told, stream
from jaxvae.data.iterables import Given, as_stored, full_batches
from jaxvae.data.observation import unit_scaled
from jaxvae.training.devices import put, replicated, shared_out
from jaxvae.training.experiment import Experiment
from jaxvae.training.step import Step, Sums, TrainState, make_train_loop, summing_step


class Feed(Protocol):
    """A source of batches, whose order depends on the seed and the step only."""

    def batch(self, step: int) -> Any:
        """Returns the batch of this step."""

    def advance(self, state: TrainState, sums: Sums, stop: int) -> tuple[TrainState, Sums]:
        """Trains until ``state.step`` is ``stop``, within an epoch, or until too many updates in a row were skipped.

        State and sums passed in are donated.
        """


class ResidentFeed:
    """A feed that keeps all images on every device, and shuffles them there.

    Args:
        experiment: what is trained.
        step: from ``train_step``.
        fused: as in ``make_train_loop``; by default, whichever is faster.
    """

    def __init__(self, experiment: Experiment, step: Step, *, fused: bool | None = None) -> None:
        self._experiment = experiment
        everywhere = replicated(experiment.mesh)
        self._data = put(everywhere, train_arrays(experiment))
        seed, count = experiment.config.seed, len(experiment.dataset.train)
        self._shuffle = jax.jit(lambda epoch: shuffle(seed, epoch, count), out_shardings=everywhere)
        get_batch = functools.partial(resident_batch, experiment, shared_out(experiment.mesh))
        if fused is None:
            fused = experiment.config.architecture != "conv" or jax.default_backend() != "cpu"
        self._loop = make_train_loop(step, get_batch, max_skipped=experiment.config.max_skipped, fused=fused)
        self._epoch, self._order = -1, None

    def _arranged(self, step: int) -> dict[str, Array]:
        """Returns the data, with the order of this step's epoch."""
        epoch = step // self._experiment.steps_per_epoch
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffle(epoch)
        return {**self._data, "order": self._order}

    def batch(self, step: int) -> Any:
        return resident_batch(self._experiment, shared_out(self._experiment.mesh), self._arranged(step), step)

    def advance(self, state: TrainState, sums: Sums, stop: int) -> tuple[TrainState, Sums]:
        return self._loop(state, sums, self._arranged(stop - 1), stop)


_ORDER = 2  # the order is drawn from this stream of the run's key


def train_arrays(experiment: Experiment) -> dict[str, np.ndarray]:
    """Returns all training images and, if the model has conditions, their values for each image."""
    return _arrays(experiment, experiment.dataset.train)


def _arrays(experiment: Experiment, split: Split) -> dict[str, np.ndarray]:
    return _without_none({"image": split.images, "given": split.given(len(experiment.model.conditions))})


def _without_none(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in arrays.items() if x is not None}


def shuffle(seed: ArrayLike, epoch: ArrayLike, images: int) -> Array:
    """Returns the order of an epoch's images, the same for all experiments of a seed; both arguments may be traced."""
    key = jax.random.fold_in(jax.random.key(seed), _ORDER)
    return jax.random.permutation(jax.random.fold_in(key, epoch), images)


def resident_batch(
    experiment: Experiment, sharding: NamedSharding | None, data: Mapping[str, Array], step: Array | int
) -> dict[str, Array]:
    """Returns the batch of a step.

    Args:
        experiment: what is trained.
        sharding: how the devices share the batch, or None.
        data: the arrays of ``train_arrays``, and their ``order`` in this epoch from ``shuffle``.
        step: the number of steps since training began; it may be traced.
    """
    size = experiment.batch_size
    start = step % experiment.steps_per_epoch * size
    rows = jax.lax.dynamic_slice(data["order"], (start,), (size,))
    if sharding is not None:
        rows = jax.lax.with_sharding_constraint(rows, sharding)  # so that each device gathers its own share
    batch = {name: _take(x, rows) for name, x in data.items() if name != "order"}
    return {**batch, "beta": jnp.asarray(experiment.beta(step), jnp.float32)}


def _take(x: Array, rows: Array) -> Array:
    """Returns x[rows], gathered from a view of two axes: XLA's loops over a short last axis are slow on CPUs."""
    flat = x.reshape(len(x), -1)
    return flat.at[rows].get(mode="promise_in_bounds").reshape(len(rows), *x.shape[1:])


class _HostFeed:
    """Batches from the host, one step at a time."""

    def __init__(self, experiment: Experiment, step: Step) -> None:
        self._experiment = experiment
        self._step = jax.jit(summing_step(step), donate_argnums=(0, 1))
        self._next = -1
        self._batches: Iterator[dict[str, np.ndarray]] = iter(())

    def _read(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        """Yields the batches from this step on; each process gets its share."""
        raise NotImplementedError

    def _put(self, arrays: Mapping[str, np.ndarray], step: int) -> dict[str, Array]:
        mesh = self._experiment.mesh
        batch = put(shared_out(mesh), arrays)
        return {**batch, "beta": put(replicated(mesh), np.float32(self._experiment.beta(step)))}

    def advance(self, state: TrainState, sums: Sums, stop: int) -> tuple[TrainState, Sums]:
        step = int(state.step)
        if step != self._next:
            self._batches = self._read(step)
        for current in range(step, stop):
            state, sums = self._step(state, sums, self._put(next(self._batches), current))
            # Waiting keeps simulated devices in step, and lets the host see skipped updates.
            if int(state.skipped_in_row) >= self._experiment.config.max_skipped:
                break
        self._next = int(state.step)
        return state, sums


class StreamingFeed(_HostFeed):
    """A feed of batches that grain reads one step at a time; each process reads its share."""

    def _read(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        experiment = self._experiment
        share = jax.process_index(), jax.process_count()
        for batch in stream(experiment.dataset.train, experiment.batch_size, experiment.config.seed, start, *share):
            split = Split(batch["image"], batch.get("label"), covariates=batch.get("covariates"))
            yield _arrays(experiment, split)

    def batch(self, step: int) -> Any:
        return self._put(next(self._read(step)), step)


class IterableFeed(_HostFeed):
    """A feed of batches from any iterable, in its order; each of several processes has its own share.

    Args:
        experiment: what is trained.
        step: from ``train_step``.
        batches: as for ``jaxvae.data.from_batches``, of images as the experiment's dataset has them, or in [0, 1].

    Raises:
        ValueError: if pixels are to be drawn once, which needs stored images; or for a model with covariates, which
            such batches lack.
    """

    def __init__(self, experiment: Experiment, step: Step, batches: Iterable[Any]) -> None:
        super().__init__(experiment, step)
        method = experiment.config.binarization
        require(method != "fixed", "binarization", method, "another one for batches, whose pixels aren't drawn once")
        covariates = experiment.contract.covariates
        require(not covariates, "covariates", covariates_told(covariates), "left out for batches, which have none")
        self._given = batches
        self._latest: deque[tuple[int, dict[str, np.ndarray]]] = deque(maxlen=experiment.config.max_skipped + 1)

    def _read(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        experiment = self._experiment
        size = experiment.batch_size // jax.process_count()
        for step, found in enumerate(full_batches(self._given, size, experiment.steps)):
            if step >= start:
                batch = self._seen(found, f"batch of step {step}")
                self._latest.append((step, batch))
                yield batch

    def _seen(self, found: Given, field: str) -> dict[str, np.ndarray]:
        contract = self._experiment.contract
        images = unit_scaled(as_stored(found.images, contract, field), contract.reading.value_range)
        if contract.binarization == "threshold":
            images = (images >= 0.5 * ((contract.levels or 2) - 1)).astype(np.uint8)
        return _without_none({"image": images, "given": contract.given(found.labels, None, (len(images),))})

    def batch(self, step: int) -> Any:
        """Returns one of the latest batches only, because an iterable can't go back."""
        return self._put(dict(self._latest)[step], step)
