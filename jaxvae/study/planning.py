"""The plan of a study: the cells that it will train, and their cost."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxvae.data import Dataset, hold_out
from jaxvae.study.cells import segment_epochs
from jaxvae.study.grid import Grid, configurations, groups
from jaxvae.study.results import Record, cell, plain
from jaxvae.study.shards import ALONE, Shard
from jaxvae.study.sweep import Sweep
from jaxvae.study.width import measured_width, step_cost, step_flops
from jaxvae.training import Experiment, TrainConfig, make_experiment
from jaxvae.training.defaults import resolved
from jaxvae.training.devices import one_device
from jaxvae.training.experiment import load_data

Source = tuple[Any, ...]
"""The part of a configuration that determines which data are loaded."""

Loaded = Mapping[Source, Dataset]
"""The data sets of a study's configurations, each of them once."""


def source_of(config: TrainConfig) -> Source:
    """Returns the part of a configuration that determines its data."""
    return config.dataset, config.data_dir, config.validation, config.reading


def cells_of(grid: Grid, known: Sequence[Record]) -> tuple[list[TrainConfig], Loaded]:
    """Returns all cells, with values for fields that they leave to the data; and the data sets, each loaded once.

    If a data set has no validation images by which to choose learning rates, some training images are held out, unless
    the table already has cells without them.

    Raises:
        ValueError: for a grid that isn't allowed, or data that are missing or don't fit.
    """
    split: dict[Source, tuple[Dataset, int | None]] = {}  # the data as asked for, and the number of images held out
    loaded: dict[Source, Dataset] = {}
    whole = {record["config"]["dataset"] for record in known if record["config"]["validation"] is None}
    found = []
    for config in configurations(grid):
        asked = source_of(config)
        if asked not in split:
            dataset, count = load_data(config), config.validation
            if dataset.validation is None and count is None and config.dataset not in whole:
                count = min(len(dataset.test), len(dataset.train) // 10)
                dataset = hold_out(dataset, count)
            split[asked] = dataset, count
        dataset, count = split[asked]
        config = resolved(dataclasses.replace(config, validation=count), dataset)
        found.append(config)
        loaded[source_of(config)] = dataset  # a likelihood that follows from the data may change how they are read
    return list(dict.fromkeys(found)), loaded


def experiment_of(config: TrainConfig, loaded: Loaded) -> Experiment:
    """Makes the experiment of a configuration on one device, from data that are already loaded."""
    whole = dataclasses.replace(config, validation=None)  # validation images are held out already
    return make_experiment(whole, one_device(), dataset=loaded[source_of(config)])


def lacking(some: Sequence[Sequence[TrainConfig]], records: Sequence[Record]) -> list[list[TrainConfig]]:
    """Returns the cells of each group that a table lacks, without complete groups."""
    known = {cell(record["config"]) for record in records}
    lacking = ([config for config in group if cell(plain(config)) not in known] for group in some)
    return [group for group in lacking if group]


def dealt(cells: Sequence[TrainConfig], loaded: Loaded, shard: Shard) -> list[list[TrainConfig]]:
    """Returns a shard's groups; they don't depend on any table, so that all shards agree."""
    every = groups(cells)
    return every if shard == ALONE else shard.share(every, costs(every, loaded))


def costs(some: Sequence[Sequence[TrainConfig]], loaded: Loaded) -> list[float]:
    """Returns the relative costs of training and scoring groups of cells, from FLOPs if groups differ in these."""
    kinds = [_kind(group[0]) for group in some]
    each = dict.fromkeys(kinds, 1.0)
    if len(each) > 1:
        for kind in each:
            experiment = experiment_of(kind, loaded)
            each[kind] = step_flops(experiment) * _steps(experiment)
    return [each[kind] * len(group) for kind, group in zip(kinds, some, strict=True)]


def _steps(experiment: Experiment) -> float:
    """Returns the cost of a cell, in training steps.

    A step is one forward pass and a backward pass that costs twice as much. An importance sample is half a forward
    pass, as it needs the decoder only; an ELBO is a whole one.
    """
    config = experiment.config
    images = {name: len(split) for name, split in experiment.scored.items()}
    elbos = config.epochs // segment_epochs(config) * images["test"]
    forwards = elbos + sum(images.values()) * config.samples / 2
    return experiment.steps + forwards / (3 * experiment.batch_size * config.train_samples)


def experiments_of(waiting: Sequence[Sequence[TrainConfig]], loaded: Loaded) -> list[Experiment]:
    """Makes one experiment of each kind of data and model, which raises ValueError if they don't fit."""
    return [experiment_of(config, loaded) for config in dict.fromkeys(_kind(group[0]) for group in waiting)]


def _kind(config: TrainConfig) -> TrainConfig:
    """Returns a configuration that is the same for all groups whose steps cost the same."""
    same: dict[str, Any] = {
        "parameterization": "log_variance",
        "constraint": "none",
        "init_std": 1.0,
        "learning_rate": 1.0,
        "seed": 0,
    }
    return dataclasses.replace(config, **same)


class Estimate(NamedTuple):
    """The cost of all groups with the same kind of data and model.

    Attributes:
        name: the properties of this kind: data, network, latents, dtype.
        groups: the number of groups, each of which is a program.
        cells: the number of cells.
        parameters: the number of a model's parameters, with all others that are trained.
        seconds: the time to train and score the cells, from a few measured steps.
        compilation: the seconds to compile the programs one by one; a study compiles them during the training.
        memory: the bytes on each device.
    """

    name: str
    groups: int
    cells: int
    parameters: int
    seconds: float
    compilation: float
    memory: int


def estimates(waiting: Sequence[Sequence[TrainConfig]], loaded: Loaded, mesh: Mesh) -> list[Estimate]:
    """Estimates the cost of groups by kind: it compiles each kind's first programs and measures some steps."""
    kinds: dict[TrainConfig, list[Sequence[TrainConfig]]] = {}
    for group in waiting:
        kinds.setdefault(_kind(group[0]), []).append(group)
    return [_estimate(some, loaded, mesh) for some in kinds.values()]


def _estimate(some: Sequence[Sequence[TrainConfig]], loaded: Loaded, mesh: Mesh) -> Estimate:
    first, experiment = some[0], experiment_of(some[0][0], loaded)
    width = measured_width(experiment, mesh, -(-len(first) // mesh.size))
    rates, seeds = zip(*((config.learning_rate, config.seed) for config in first), strict=True)
    sweep = Sweep(experiment, mesh, width, rates, seeds)
    began = time.perf_counter()
    sweep.compile()
    compilation = time.perf_counter() - began
    state = jax.jit(experiment.begin)(jnp.uint32(0))
    step = step_cost(experiment, mesh, state, width)
    rounds = sum(-(-len(group) // (mesh.size * width)) for group in some)
    config = experiment.config
    network = " ".join(map(str, (config.architecture, *config.hidden)))
    return Estimate(
        f"{config.dataset}, {network}, {config.latents} latents, {config.dtype}",
        len(some),
        sum(map(len, some)),
        sum(x.size for x in jax.tree.leaves(state.params)),
        rounds * _steps(experiment) * step,
        compilation * len(some),
        sweep.memory,
    )
