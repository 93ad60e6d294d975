"""Runs: training of an experiment in a directory with checkpoints and metrics, and its resumption."""

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

_PATIENCE = 60.0  # seconds in which checkpoints are read again that a run has moved on from
_PAUSE = 0.3  # between two readings

_SEGMENT = 64  # steps between looks at the clock and at a wish to stop


class Observer(Protocol):
    """An object that is told about a run's progress."""

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Called within epochs, with the means of the epoch so far."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Called at an epoch's end, with its record in ``metrics.jsonl``."""


class EpochState(NamedTuple):
    """The content of a checkpoint: the train state, and the running sums of the current epoch."""

    state: TrainState
    sums: Sums


class NonFiniteError(ArithmeticError):
    """Raised when too many updates in a row were not finite."""


class _Silence:
    """An observer that does nothing."""

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Does nothing."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Does nothing."""

    def append(self, record: Mapping[str, Any]) -> None:
        """Does nothing, in place of a log."""


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
    """Trains an experiment, and writes checkpoints and metrics into a directory; each of several processes calls it.

    The result follows from the configuration and the data: a run that was stopped or killed and resumed ends with the
    same parameters as one that was not, bit for bit on a CPU. With ``batches`` this holds if the iterable gives the
    same batches again: a run that is resumed skips as many as it was trained on before.

    Args:
        experiment: what to train, from ``make_experiment``.
        out: a directory that is new or empty; or, to resume, that of a run with the same configuration.
        batches: an iterable to train on in place of the experiment's training images, which then only give the kind of
            data and the steps of an epoch. It is as for ``jaxvae.data.from_batches``, with batches of the
            configuration's size, or each process's share of that. When it ends, it is started again; a smaller batch at
            its end is dropped. An iterator must last for the whole training.
        resume: whether to continue from the last checkpoint, if there is one.
        tensorboard: whether to write TensorBoard's event files as well.
        watch: given the step to begin with, the context in which training is observed.
        stop: called regularly; once it returns True in any process, the run is saved and ends.

    Returns:
        Whether training is complete; False when it was stopped.

    Raises:
        ValueError: for a directory in use, or that of a run with another configuration; for batches that aren't as the
            experiment's images, or end too early.
        NonFiniteError: where ``config.max_skipped`` updates in a row weren't finite.
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
                log.append(record)  # before the checkpoint, so that no epoch that was saved lacks its record
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
    """Raises, in each of several processes, where they are to train something else."""
    if jax.process_count() > 1:
        config = dataclasses.asdict(experiment.config)
        del config["data_dir"]  # which may be elsewhere on each host
        digests = {f"data ({name})": digest for name, digest in experiment.kept.origin.digests.items()}
        fields = {name: str(value) for name, value in config.items()}
        require_agreement({**fields, **digests, **required_versions()})


def _feed(experiment: Experiment, batches: Iterable[Any] | None) -> Feed:
    step = _step(experiment)
    if batches is not None:
        return IterableFeed(experiment, step, batches)
    return (StreamingFeed if experiment.config.streaming else ResidentFeed)(experiment, step)


def _agreed(stop: Callable[[], bool]) -> Callable[[], bool]:
    """Whether any of several processes wants to stop; a signal may reach them at different steps, or one of them."""
    if jax.process_count() == 1:
        return stop
    return lambda: bool(np.any(multihost_utils.process_allgather(np.asarray(stop()))))


def _log(directory: RunDirectory, epoch: int, tensorboard: bool) -> AbstractContextManager[MetricsLog | _Silence]:
    """The run's log; the first of several processes alone writes it."""
    if jax.process_index():
        return nullcontext(_Silence())
    return MetricsLog(directory.metrics, epoch, directory.tensorboard if tensorboard else None)


def _checkpoints(experiment: Experiment, directory: RunDirectory) -> Checkpoints:
    config, scored = json.loads(experiment.config.to_json()), "validation" in experiment.scored
    return Checkpoints(directory.checkpoints, config, scored=scored)


def read_checkpoints(directory: RunDirectory, read: Callable[[Checkpoints], _Read]) -> _Read:
    """What is read of a run's checkpoints, of which none is written; again, where the run goes on meanwhile.

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
        except RuntimeError:  # of JAX, or a bug
            raise
        except Exception as raised:
            # A checkpoint is deleted file by file: what is damaged is so again, and no other has come.
            time.sleep(_PAUSE if found else 0)
            again, error = str(raised) == error, str(raised)
            if (again and directory.steps == found) or not found or time.monotonic() > until:
                raise


def _begin(experiment: Experiment, checkpoints: Checkpoints) -> EpochState:
    """From the last checkpoint, or from the beginning."""
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
    """Trains until the end of this epoch; answers with its record, or none where it was told to stop before."""
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
    """Raises where too many updates in a row were skipped."""
    in_row = int(state.skipped_in_row)
    if in_row >= experiment.config.max_skipped:
        step = int(state.step) - in_row  # the first of them, and the parameters are still those before it
        reason = nonfinite.postmortem(experiment, state.params, feed.batch(step), jax.random.fold_in(state.key, step))
        raise NonFiniteError(f"stopped at step {step}: {in_row} updates in a row weren't finite; {reason}")


def _save(
    experiment: Experiment, checkpoints: Checkpoints, progress: EpochState, fitted: Array | None, score: Any = None
) -> None:
    """A checkpoint, from which the model can be evaluated without its data."""
    state = progress.state
    fitted = experiment.fitted(state.evaluated) if fitted is None else fitted
    checkpoints.save(int(state.step), progress, score, None if fitted is None else float(fitted))


def _validation(experiment: Experiment, state: TrainState, fitted: Array | None) -> dict[str, float]:
    """The terms on the validation split, where there is one."""
    if "validation" not in experiment.scored:
        return {}
    terms = posterior(experiment.task(state.evaluated, experiment.scored["validation"], fitted), score_keys()[1])
    return {f"validation_{name}": value for name, value in terms.summary().items()}


def load_state(out: str | Path) -> TrainState:
    """The last state of the run in a directory.

    Raises:
        ValueError: where there is no run, or no checkpoint yet.
    """
    directory = RunDirectory(out)
    kept = directory.kept()
    experiment = make_experiment(directory.config(), origin=None if kept is None else kept.origin)
    like = _abstract(experiment)
    return read_checkpoints(directory, lambda found: found.restore(existing(found.last, directory.path), like)).state


def existing(step: int | None, out: Path) -> int:
    """A checkpoint's step; raises ValueError where there is none."""
    require(step is not None, "run", str(out), "a run with a checkpoint")
    assert step is not None
    return step


def _step(experiment: Experiment) -> Any:
    return train_step(experiment.loss, experiment.tx, ema_decay=experiment.config.ema_decay)


def _initial(experiment: Experiment) -> EpochState:
    """To be jitted."""
    return EpochState(experiment.begin(experiment.config.seed), zero_sums(experiment.metrics))


def _abstract(experiment: Experiment) -> EpochState:
    """The shapes of what a checkpoint holds, and where they go."""
    sharding = replicated(experiment.mesh)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(lambda: _initial(experiment)),
    )
