"""Runs: they train an experiment in a directory with checkpoints and metrics, and can be resumed."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils

from jaxvae.arguments import require
from jaxvae.data import Dataset
from jaxvae.training import nonfinite
from jaxvae.training.agreement import require_agreement
from jaxvae.training.batches import Feed, IterableFeed, ResidentFeed, StreamingFeed
from jaxvae.training.checkpoint import Checkpoints
from jaxvae.training.devices import replicated
from jaxvae.training.directory import MetricsLog, RunDirectory, required_versions
from jaxvae.training.experiment import Experiment, make_experiment
from jaxvae.training.scoring import posterior, score_keys
from jaxvae.training.step import Sums, TrainState, train_step, zero_sums

_Read = TypeVar("_Read")

_PATIENCE = 60.0  # seconds for which a reader tries again while the run deletes its old checkpoints
_PAUSE = 0.3  # seconds between two attempts

_SEGMENT = 64  # steps between checks of the clock and of a request to stop


class Observer(Protocol):
    """An object that receives a run's progress."""

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Receives the means of the current epoch so far; called several times per epoch."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Receives an epoch's record in ``metrics.jsonl``; called at its end."""


class EpochState(NamedTuple):
    """The content of a checkpoint: the train state, and the metrics' sums over the current epoch."""

    state: TrainState
    sums: Sums


class NonFiniteError(ArithmeticError):
    """An error that says that too many updates in a row were not finite."""


class _Silence:
    """An observer that does nothing."""

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Does nothing."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Does nothing."""

    def append(self, record: Mapping[str, Any]) -> None:
        """Does nothing; it replaces a log's method."""


def train(
    experiment: Experiment,
    out: str | Path,
    *,
    batches: Iterable[Any] | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    watch: Callable[[int], AbstractContextManager[Observer]] = lambda step: nullcontext(_Silence()),
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Trains an experiment and writes checkpoints and metrics into a directory; every process calls it.

    The result follows from the configuration and the data: a run that was stopped or killed and then resumed ends with
    the same parameters as an uninterrupted one, bit for bit on a CPU. With ``batches`` this holds if the iterable gives
    the same batches again; a resumed run skips those on which it was trained before.

    Args:
        experiment: what to train, from ``make_experiment``.
        out: a new or empty directory; or, to resume, that of a run with the same configuration.
        batches: an iterable that replaces the experiment's training images; these then only determine the kind of data
            and the steps per epoch. It is like that of ``jaxvae.data.from_batches``; its batches have the
            configuration's size, or each process's share of it. When it ends, it starts again; a smaller batch at its
            end is dropped. An iterator must last for the whole training.
        resume: whether to continue from the last checkpoint, if there is one.
        tensorboard: whether to write TensorBoard's event files as well.
        watch: a function from the first step to a context manager, whose observer follows the training.
        stop: a function that is called regularly; once it returns True in any process, the run is saved and ends.

    Returns:
        Whether training is complete; False when it was stopped.

    Raises:
        ValueError: for a directory in use, or that of a run with another configuration; for batches that differ in kind
            from the experiment's images or end too early.
        NonFiniteError: if ``config.max_skipped`` updates in a row weren't finite.
    """
    config, stop, directory = experiment.config, _agreed(stop), RunDirectory(out)
    _require_agreement(experiment)
    with (
        directory.begun(config, experiment.kept, resume, experiment.start) as require_held,
        _checkpoints(experiment, directory) as checkpoints,
    ):
        progress = _begin(experiment, checkpoints)
        begun = int(progress.state.step)
        epoch = begun // experiment.steps_per_epoch
        with _log(directory, epoch, tensorboard) as log, watch(begun) as observer:
            feed = _feed(experiment, batches)
            while epoch < config.epochs:
                epoch += 1
                progress, record = _train_epoch(experiment, feed, progress, epoch, observer, stop)
                require_held()
                if record is None:
                    _save(experiment, checkpoints, progress, None)
                    epoch -= 1
                    break
                stopped = epoch < config.epochs and stop()
                due = config.evaluated_after(epoch)
                fitted = experiment.fitted(progress.state.evaluated) if due else None
                if due:
                    record |= _validation(experiment, progress.state, fitted)
                log.append(record)  # before the checkpoint, so that each saved epoch has its record
                observer.epoch(record)
                if due or stopped:
                    _save(experiment, checkpoints, progress, fitted, record.get("validation_elbo"))
                if stopped:
                    break
        checkpoints.wait()
        require_held()
    if epoch == config.epochs and int(progress.state.skipped) == int(progress.state.step):
        raise NonFiniteError(f"none of the {int(progress.state.step):,} updates was finite: nothing was learned")
    return epoch == config.epochs


def _require_agreement(experiment: Experiment) -> None:
    """Raises ValueError in every process if several processes would train different things."""
    if jax.process_count() > 1:
        config = dataclasses.asdict(experiment.config)
        del config["data_dir"]  # which may differ between hosts
        digests = {f"data ({name})": digest for name, digest in experiment.kept.origin.digests.items()}
        fields = {name: str(value) for name, value in config.items()}
        require_agreement({**fields, **digests, **required_versions()})


def _feed(experiment: Experiment, batches: Iterable[Any] | None) -> Feed:
    step = _step(experiment)
    if batches is not None:
        return IterableFeed(experiment, step, batches)
    return (StreamingFeed if experiment.config.streaming else ResidentFeed)(experiment, step)


def _agreed(stop: Callable[[], bool]) -> Callable[[], bool]:
    """Makes a function that says whether any process wants to stop, as a signal may not reach all at the same step."""
    if jax.process_count() == 1:
        return stop
    return lambda: bool(np.any(multihost_utils.process_allgather(np.asarray(stop()))))


def _log(directory: RunDirectory, epoch: int, tensorboard: bool) -> AbstractContextManager[MetricsLog | _Silence]:
    """Returns the run's log, which only the first of several processes writes."""
    if jax.process_index():
        return nullcontext(_Silence())
    return MetricsLog(directory.metrics, epoch, directory.tensorboard if tensorboard else None)


def _checkpoints(experiment: Experiment, directory: RunDirectory) -> Checkpoints:
    config, scored = json.loads(experiment.config.to_json()), "validation" in experiment.scored
    return Checkpoints(directory.checkpoints, config, scored=scored)


def read_checkpoints(directory: RunDirectory, read: Callable[[Checkpoints], _Read]) -> _Read:
    """Reads from a run's checkpoints and writes nothing; it tries again if the run continues meanwhile.

    Raises:
        ValueError: for a damaged checkpoint.
    """
    config, error, until = json.loads(directory.config().to_json()), "", time.monotonic() + _PATIENCE
    while True:
        found = directory.steps
        scored = any(directory.checkpoints.glob("*/metrics"))
        try:
            with Checkpoints(directory.checkpoints, config, scored=scored, writable=False) as checkpoints:
                return read(checkpoints)
        except RuntimeError:  # from JAX, or a bug
            raise
        except Exception as raised:
            # A run deletes a checkpoint file by file. Real damage shows twice, without a newer checkpoint.
            time.sleep(_PAUSE if found else 0)
            again, error = str(raised) == error, str(raised)
            if (again and directory.steps == found) or not found or time.monotonic() > until:
                raise


def _begin(experiment: Experiment, checkpoints: Checkpoints) -> EpochState:
    """Returns the state of the last checkpoint, or the initial one."""
    if checkpoints.last is not None:
        progress: EpochState = checkpoints.restore(checkpoints.last, _abstract(experiment))
        return progress
    return jax.jit(lambda: _initial(experiment), out_shardings=replicated(experiment.mesh))()


def _train_epoch(
    experiment: Experiment,
    feed: Feed,
    progress: EpochState,
    epoch: int,
    observer: Observer,
    stop: Callable[[], bool],
) -> tuple[EpochState, dict[str, Any] | None]:
    """Trains until the end of this epoch; returns its record, or None if the run was stopped earlier."""
    first, end = int(progress.state.step), epoch * experiment.steps_per_epoch
    step, began = first, time.perf_counter()
    while step < end:
        progress = EpochState(*feed.advance(*progress, min(step + _SEGMENT, end)))
        step = int(progress.state.step)
        _require_finite(experiment, feed, progress.state)
        rate = (step - first) * experiment.batch_size / (time.perf_counter() - began)
        observer.update(step, {**progress.sums.means(), "examples_per_second": rate})
        if step < end and stop():
            return progress, None
    means = progress.sums.means()
    record = {
        "epoch": epoch,
        "step": step,
        **{name: means[name] for name in experiment.metrics if name != "skipped"},
        "learning_rate": float(experiment.learning_rate(step - 1)),
        "skipped": int(progress.state.skipped),
        "seconds": round(time.perf_counter() - began, 4),
        "examples_per_second": round(rate, 1),
    }
    return EpochState(progress.state, jax.tree.map(jnp.zeros_like, progress.sums)), record


def _require_finite(experiment: Experiment, feed: Feed, state: TrainState) -> None:
    """Raises NonFiniteError if too many updates in a row were skipped."""
    in_row = int(state.skipped_in_row)
    if in_row >= experiment.config.max_skipped:
        step = int(state.step) - in_row  # the first skipped one; the parameters haven't changed since
        reason = nonfinite.postmortem(experiment, state.params, feed.batch(step), jax.random.fold_in(state.key, step))
        raise NonFiniteError(f"stopped at step {step}: {in_row} updates in a row weren't finite; {reason}")


def _save(
    experiment: Experiment, checkpoints: Checkpoints, progress: EpochState, fitted: Array | None, score: Any = None
) -> None:
    """Saves a checkpoint, from which the model can be evaluated without its data."""
    state = progress.state
    fitted = experiment.fitted(state.evaluated) if fitted is None else fitted
    checkpoints.save(int(state.step), progress, score, None if fitted is None else float(fitted))


def _validation(experiment: Experiment, state: TrainState, fitted: Array | None) -> dict[str, float]:
    """Returns the terms of the ELBO on the validation split, if there is one."""
    if "validation" not in experiment.scored:
        return {}
    terms = posterior(experiment.task(state.evaluated, experiment.scored["validation"], fitted), score_keys()[1])
    return {f"validation_{name}": value for name, value in terms.summary().items()}


def load_state(out: str | Path, *, dataset: str | Path | Dataset | None = None) -> TrainState:
    """Loads the last state of the run in a directory, with its optimizer's; the data of the run are read again.

    Args:
        out: the run's directory.
        dataset: the path of the data, if they have moved; or the data themselves, if they were in memory.

    Raises:
        ValueError: if there is no run, or no checkpoint yet.
        FileNotFoundError: if the data are missing.
    """
    directory = RunDirectory(out)
    config, kept = directory.config(), directory.kept()
    origin = None if kept is None else kept.origin
    if isinstance(dataset, Dataset):
        experiment = make_experiment(config, dataset=dataset)
    else:
        if dataset is not None:
            config = dataclasses.replace(config, dataset=str(dataset))
            origin = origin and dataclasses.replace(origin, dataset=config.dataset)
        experiment = make_experiment(config, origin=origin)
    like = _abstract(experiment)
    return read_checkpoints(directory, lambda found: found.restore(existing(found.last, directory.path), like)).state


def existing(step: int | None, out: Path) -> int:
    """Returns a checkpoint's step; raises ValueError if there is none."""
    require(step is not None, "run", str(out), "a run with a checkpoint")
    assert step is not None
    return step


def _step(experiment: Experiment) -> Any:
    return train_step(experiment.loss, experiment.tx, ema_decay=experiment.config.ema_decay)


def _initial(experiment: Experiment) -> EpochState:
    """Returns the initial state; to be jitted."""
    return EpochState(experiment.begin(experiment.config.seed), zero_sums(experiment.metrics))


def _abstract(experiment: Experiment) -> EpochState:
    """Returns the shapes and shardings of a checkpoint's arrays."""
    sharding = replicated(experiment.mesh)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(lambda: _initial(experiment)),
    )
