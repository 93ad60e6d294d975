"""A whole run: from a configuration to a directory with checkpoints, metrics and a score; or on from where it was."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import chex
import jax
import numpy as np

from jaxvae.training import guard, records
from jaxvae.training.checkpoint import Checkpoints
from jaxvae.training.config import TrainConfig, read_config
from jaxvae.training.devices import replicated
from jaxvae.training.evaluate import log_evidence, posterior
from jaxvae.training.experiment import Experiment, make_experiment
from jaxvae.training.feeds import Feed, ResidentFeed, StreamingFeed
from jaxvae.training.step import Sums, TrainState, init_state, train_step, zero_sums
from jaxvae.transforms import require

_SEGMENT = 64  # steps between looks at the clock and at a wish to stop


class Observer(Protocol):
    """What watches a run."""

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Called within epochs, with the means of the epoch so far."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Called at an epoch's end, with its record in ``metrics.jsonl``."""


class Progress(NamedTuple):
    """What a checkpoint holds: the state, and the sums of the epoch under way."""

    state: TrainState
    sums: Sums


class Run(NamedTuple):
    """A run as it is found in its directory."""

    experiment: Experiment
    step: int
    params: chex.ArrayTree


class NonFiniteError(ArithmeticError):
    """Too many updates in a row weren't finite."""


def train(
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    tensorboard: bool = False,
    observer: Observer | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Trains, and writes everything into a directory.

    The result follows from the configuration alone: a run that was stopped or killed and resumed ends with the same
    parameters as one that wasn't, bit for bit on a CPU.

    Args:
        config: what to train.
        out: a directory that is new or empty; or, to resume, that of a run with the same configuration.
        resume: whether to go on from the last checkpoint, if there is one.
        tensorboard: whether to write TensorBoard's event files, too.
        observer: called as training goes on.
        stop: asked now and then; once it answers True, the run is saved and ended.

    Returns:
        Whether training is complete; False when it was stopped.

    Raises:
        ValueError: where something is wrong with configuration, data or directory.
        NonFiniteError: where ``config.max_skipped`` updates in a row weren't finite.
    """
    experiment = make_experiment(config)
    prepare_directory(config, out, resume)
    with Checkpoints(out / records.CHECKPOINTS) as checkpoints:
        progress, start = _begin(experiment, checkpoints)
        feed = (StreamingFeed if config.streaming else ResidentFeed)(experiment, _step(experiment))
        log = records.MetricsLog(
            out / records.METRICS, start // experiment.steps_per_epoch, out / "tensorboard" if tensorboard else None
        )
        try:
            while start < experiment.steps:
                began = time.perf_counter()
                end = (start // experiment.steps_per_epoch + 1) * experiment.steps_per_epoch
                progress, step = _advance(experiment, feed, progress, start, end, observer, stop)
                if step < end:
                    checkpoints.save(step, progress)
                    return False
                record = _record(experiment, progress, time.perf_counter() - began, end - start)
                progress = Progress(progress.state, jax.tree.map(lambda x: 0 * x, progress.sums))
                if _evaluation_due(config, record["epoch"]):
                    record |= _validation(experiment, progress.state)
                log.append(record)  # before the checkpoint, so that no epoch that was saved lacks its record
                if observer is not None:
                    observer.epoch(record)
                if _evaluation_due(config, record["epoch"]):
                    checkpoints.save(end, progress, record.get("validation_elbo"))
                start = end
                if stop() and start < experiment.steps:
                    checkpoints.save(end, progress)
                    return False
        finally:
            log.close()
    return True


def _begin(experiment: Experiment, checkpoints: Checkpoints) -> tuple[Progress, int]:
    """From the last checkpoint, or from the beginning."""
    if checkpoints.last is not None:
        return checkpoints.restore(checkpoints.last, _abstract(experiment)), checkpoints.last
    everywhere = replicated(experiment.mesh)
    return jax.jit(lambda: _initial(experiment), out_shardings=everywhere)(), 0


def _advance(
    experiment: Experiment,
    feed: Feed,
    progress: Progress,
    step: int,
    end: int,
    observer: Observer | None,
    stop: Callable[[], bool],
) -> tuple[Progress, int]:
    """Trains until ``end``, or until told to stop; answers with the step reached."""
    while step < end:
        target = min(step + _SEGMENT, end)
        progress = Progress(*feed.advance(*progress, target))
        step, in_row = int(progress.state.step), int(progress.state.skipped_in_row)
        if in_row >= experiment.config.max_skipped:
            first = step - in_row
            key = jax.random.fold_in(progress.state.key, first)
            reason = guard.explain(experiment, progress.state.params, feed.batch(first), key)
            raise NonFiniteError(f"stopped at step {step}, as {in_row} updates in a row weren't finite: {reason}")
        if observer is not None:
            observer.update(step, progress.sums.means())
        if step < end and stop():
            break
    return progress, step


def _record(experiment: Experiment, progress: Progress, seconds: float, steps: int) -> dict[str, Any]:
    """An epoch's line in ``metrics.jsonl``."""
    means, step = progress.sums.means(), int(progress.state.step)
    return {
        "epoch": step // experiment.steps_per_epoch,
        "step": step,
        **{name: means[name] for name in ("elbo", "log_likelihood", "kl", "beta", "loss", "gradient_norm")},
        "learning_rate": float(experiment.learning_rate(step)),
        "skipped": int(progress.state.skipped),
        "seconds": round(seconds, 4),
        "examples_per_second": round(steps * experiment.config.batch_size / seconds, 1),
    }


def _evaluation_due(config: TrainConfig, epoch: int) -> bool:
    return epoch % config.epochs_between_evaluations == 0 or epoch == config.epochs


def _validation(experiment: Experiment, state: TrainState) -> dict[str, float]:
    """The terms on the validation split, where there is one."""
    if "validation" not in experiment.scored:
        return {}
    keys = jax.random.split(jax.random.key(0))
    task = experiment.task(_evaluated(state), experiment.scored["validation"], keys[0])
    return {f"validation_{name}": value for name, value in posterior(task, keys[1]).summary().items()}


def prepare_directory(config: TrainConfig, out: Path, resume: bool) -> None:
    """Makes a run's directory with its configuration, or checks that it is there to be resumed.

    Raises:
        ValueError: for a directory in use, or one with another configuration.
    """
    path = out / records.CONFIG
    if path.exists() and resume:
        found = dataclasses.asdict(read_config(path))
        for name, value in dataclasses.asdict(config).items():
            require(found[name] == value, name, value, f"{found[name]!r}, as in {path}")
        return
    require(
        not path.exists() and (resume or not out.exists() or (out.is_dir() and not any(out.iterdir()))),
        "out",
        str(out),
        "a new or empty directory (or that of a run, with --resume)",
    )
    out.mkdir(parents=True, exist_ok=True)
    records.write_atomically(out / records.VERSIONS, json.dumps(records.versions(), indent=1) + "\n")
    records.write_atomically(path, config.to_json())


def load_run(out: Path) -> Run:
    """The run in a directory, with the parameters that scored best on the validation split, or else the last ones.

    Raises:
        ValueError: where there is no run, or no checkpoint yet.
    """
    require((out / records.CONFIG).exists(), "run", str(out), f"a directory with a {records.CONFIG}")
    experiment = make_experiment(read_config(out / records.CONFIG))
    with Checkpoints(out / records.CHECKPOINTS, writable=False) as checkpoints:
        require(checkpoints.best is not None, "run", str(out), "a run with a checkpoint")
        assert checkpoints.best is not None
        state = checkpoints.restore(checkpoints.best, _abstract(experiment)).state
        return Run(experiment, checkpoints.best, _evaluated(state))


def evaluate(run: Run, samples: int, split: str = "test") -> dict[str, Any]:
    """Scores a run: ELBO and its terms, active units, KL per latent, importance-sampled NLL; nats per image.

    Args:
        run: from ``load_run``.
        samples: K of the importance sampling, at least 1.
        split: ``test`` or ``validation``.

    Raises:
        ValueError: for a split that the data don't have, or no samples.
    """
    experiment = run.experiment
    require(split in experiment.scored, "split", split, " or ".join(experiment.scored))
    require(samples >= 1, "samples", samples, "at least 1")
    keys = jax.random.split(jax.random.key(0), 3)
    task = experiment.task(run.params, experiment.scored[split], keys[0])
    terms = posterior(task, keys[1])
    result = {"split": split, "images": len(task.split), "step": run.step, **terms.summary(), "samples": samples}
    result |= log_evidence(task, keys[2], samples).summary()
    if experiment.model.likelihood.discrete:
        result["bits_per_dimension"] = result["nll"] / (np.prod(experiment.dataset.image_shape) * np.log(2))
    result["kl_per_latent"] = [round(float(x), 6) for x in terms.kl.mean(axis=0, dtype=np.float64)]
    return result


def _evaluated(state: TrainState) -> chex.ArrayTree:
    return state.params if state.ema is None else state.ema


def _step(experiment: Experiment) -> Any:
    return train_step(experiment.loss, experiment.tx, ema_decay=experiment.config.ema_decay)


def _initial(experiment: Experiment) -> Progress:
    """To be jitted."""
    config = experiment.config
    init_key, train_key = jax.random.split(jax.random.key(config.seed))
    state = init_state(experiment.init(init_key), experiment.tx, train_key, ema=config.ema_decay is not None)
    image = jax.ShapeDtypeStruct(
        (config.batch_size, *experiment.dataset.image_shape), experiment.dataset.train.images.dtype
    )
    batch = {"image": image, "beta": jax.ShapeDtypeStruct((), np.float32)}
    if experiment.model.classes:
        batch["label"] = jax.ShapeDtypeStruct((config.batch_size,), np.int32)
    return Progress(state, zero_sums(_step(experiment), state, batch))


def _abstract(experiment: Experiment) -> Progress:
    """The shapes of what a checkpoint holds, and where they go."""
    sharding = replicated(experiment.mesh)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(lambda: _initial(experiment)),
    )
