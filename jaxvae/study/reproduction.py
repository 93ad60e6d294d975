"""Reproduction of a published table: one run per row and parameterization, and a table of the results."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from jaxvae.data import fingerprint
from jaxvae.files import write_atomically
from jaxvae.parameterizations import ALIASES, PARAMETERIZATIONS
from jaxvae.study.presets import Preset
from jaxvae.texts import known
from jaxvae.trained import Run, evaluate
from jaxvae.training import Experiment, TrainConfig, config_from_mapping, make_experiment, train
from jaxvae.training.directory import RunDirectory
from jaxvae.training.run import Observer

TABLE = "reproduction.md"
_SCORE = "reproduction"
"""The name of the report on a run's score; ``jaxvae evaluate`` has another, as it scores other parameters."""
_NUMBERS = ("nll", "nll_standard_error", "elbo", "active_units", "samples")

Watch = Callable[[str, Experiment, int], AbstractContextManager[Observer]]
"""A function from a run's name, its experiment and its first step to a context manager that observes it."""


class Job(NamedTuple):
    """A run: its row, its parameterization and its configuration."""

    row: str
    parameterization: str
    config: TrainConfig

    @property
    def name(self) -> str:
        """The name of its directory."""
        return f"{self.row}-{self.parameterization}"


def jobs(
    preset: Preset,
    rows: Sequence[str] | None = None,
    parameterizations: Sequence[str] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> list[Job]:
    """Returns the runs of a preset: by default, those of all rows with the source's parameterization.

    Raises:
        ValueError: for an unknown row or parameterization.
    """
    return [
        Job(row, name, preset.config(row, **(fields or {}), parameterization=name))
        for row in rows or preset.rows
        for name in parameterizations or (preset.parameterization,)
    ]


def reproduce(
    preset: Preset, todo: Sequence[Job], out: Path, *, watch: Watch, stop: Callable[[], bool] = lambda: False
) -> Iterator[str]:
    """Trains and scores each unfinished run in ``out/NAME``, and yields one line of text per run.

    It uses an existing score if configuration, data and number of samples are the same. It writes checkpoints at the
    end of each stage and in between. A run that was stopped or killed continues from the last one, also on another
    machine that has the directory. After ``stop`` has returned True, it yields nothing more.

    Raises:
        ValueError: for a directory in use by a run of another configuration.
        NonFiniteError: if too many updates of a run weren't finite.
    """
    for job in todo:
        path = out / job.name
        experiment = make_experiment(job.config)
        found = result(path, experiment)
        if found is None:
            observed = _observed(watch, job.name, experiment)
            if not train(experiment, path, resume=True, watch=observed, stop=stop):
                return
            score = evaluate(Run(path, best=False), job.config.samples)
            RunDirectory(path).write_report(_SCORE, score)
            found = result(path)
            assert found is not None
        write_atomically(out / TABLE, published_table(preset, out))
        yield _line(preset, job, found)


def _observed(watch: Watch, name: str, experiment: Experiment) -> Callable[[int], AbstractContextManager[Observer]]:
    return lambda step: watch(name, experiment, step)


class Result(NamedTuple):
    """The result of a run: its score, and the epochs and minutes of its training."""

    score: Mapping[str, float]
    epochs: int
    minutes: float


def result(path: Path, experiment: Experiment | None = None) -> Result | None:
    """Reads the result of the run in a directory; None if it has no score, or is of another experiment.

    Raises:
        ValueError: for a damaged score.
    """
    directory = RunDirectory(path)
    score = directory.report(_SCORE)
    if score is None:
        return None
    try:
        found, data = config_from_mapping(score["of"]["config"]), score["of"]["data"]
        numbers = {name: math.nan if score[name] is None else float(score[name]) for name in _NUMBERS}
        minutes = sum(float(r["seconds"]) for r in directory.records() if r["epoch"] <= found.epochs) / 60
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path / _SCORE}.json must be a score as written, got {error!r}") from None
    if experiment is not None:
        config, kept = experiment.config, directory.kept()
        same = dataclasses.replace(found, data_dir=config.data_dir) == config and numbers["samples"] == config.samples
        same = same and kept is not None and not kept.origin.changes_to(experiment.kept.origin)
        if not same or data != fingerprint(experiment.scored["test"]):
            return None
    return Result(numbers, found.epochs, minutes)


def _line(preset: Preset, job: Job, found: Result) -> str:
    published = preset.rows[job.row].published
    beside = "" if published is None else f", published {published:.2f}"
    return (
        f"{job.name}: NLL {found.score['nll']:.2f} ± {known(found.score['nll_standard_error'], 2)} "
        f"({found.score['samples']:,.0f} samples){beside}"
    )


def published_table(preset: Preset, out: Path) -> str:
    """Returns a Markdown table of a preset's scored runs in a directory, next to the published numbers."""
    lines = [
        f"NLL of the test images in nats, ± s.e. over them. Published: {preset.source}. Other here: {preset.differs}.",
        "",
        "| | parameterization | epochs | NLL | published | ELBO | active units | samples | minutes |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row, published in ((row, line.published) for row, line in preset.rows.items()):
        for name in (*PARAMETERIZATIONS, *ALIASES):
            found = result(out / f"{row}-{name}")
            if found is None:
                continue
            score, epochs, minutes = found
            cells = (
                row,
                f"`{name}`",
                f"{epochs:,}",
                f"{score['nll']:.2f} ± {known(score['nll_standard_error'], 2)}",
                "" if published is None else f"{published:.2f}",
                f"{score['elbo']:.2f}",
                f"{score['active_units']:.0f}",
                f"{score['samples']:,.0f}",
                f"{minutes:.1f}",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
