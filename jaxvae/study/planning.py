"""What a study will train, and what that costs, before it does."""

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
"""What of a configuration says which data are loaded."""

Loaded = Mapping[Source, Dataset]
"""The data of a study's configurations, each of them once."""


def source_of(config: TrainConfig) -> Source:
    """Which data a configuration asks for."""
    return config.dataset, config.data_dir, config.validation, config.reading


def cells_of(grid: Grid, known: Sequence[Record]) -> tuple[list[TrainConfig], Loaded]:
    """All cells, with a value for what they leave to the data; and the data, each of which is loaded once.

    Where data have no validation images, to choose learning rates by, some training images are held out; but not of
    data that the table knows without.

    Raises:
        ValueError: for a grid that isn't allowed, or data that are missing or don't fit.
    """
    split: dict[Source, tuple[Dataset, int | None]] = {}  # with what is held out, of what is asked for
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
        loaded[source_of(config)] = dataset  # a likelihood that follows from the data may say how they are read
    return list(dict.fromkeys(found)), loaded


def experiment_of(config: TrainConfig, loaded: Loaded) -> Experiment:
    """What a configuration names, on one device and of data that are loaded already."""
    whole = dataclasses.replace(config, validation=None)  # the validation images are held out already
    return make_experiment(whole, one_device(), dataset=loaded[source_of(config)])


def lacking(some: Sequence[Sequence[TrainConfig]], records: Sequence[Record]) -> list[list[TrainConfig]]:
    """What a table lacks of groups of cells."""
    known = {cell(record["config"]) for record in records}
    lacking = ([config for config in group if cell(plain(config)) not in known] for group in some)
    return [group for group in lacking if group]


def dealt(cells: Sequence[TrainConfig], loaded: Loaded, shard: Shard) -> list[list[TrainConfig]]:
    """A shard's groups, whatever a table holds, so that all shards deal alike."""
    every = groups(cells)
    return every if shard == ALONE else shard.share(every, costs(every, loaded))


def costs(some: Sequence[Sequence[TrainConfig]], loaded: Loaded) -> list[float]:
    """What it costs to train and score groups of cells, in proportion; in FLOPs where groups differ in these."""
    kinds = [_kind(group[0]) for group in some]
    each = dict.fromkeys(kinds, 1.0)
    if len(each) > 1:
        for kind in each:
            experiment = experiment_of(kind, loaded)
            each[kind] = step_flops(experiment) * _steps(experiment)
    return [each[kind] * len(group) for kind, group in zip(kinds, some, strict=True)]


def _steps(experiment: Experiment) -> float:
    """What a cell costs, in steps of training.

    A step goes forwards once, and backwards for twice as much; an importance sample goes through the decoder alone, for
    a half; and an ELBO through both.
    """
    config = experiment.config
    images = {name: len(split) for name, split in experiment.scored.items()}
    elbos = config.epochs // segment_epochs(config) * images["test"]
    forwards = elbos + sum(images.values()) * config.samples / 2
    return experiment.steps + forwards / (3 * experiment.batch_size * config.train_samples)


def experiments_of(waiting: Sequence[Sequence[TrainConfig]], loaded: Loaded) -> list[Experiment]:
    """One of each kind of data and model, so that what doesn't fit is refused."""
    return [experiment_of(config, loaded) for config in dict.fromkeys(_kind(group[0]) for group in waiting)]


def _kind(config: TrainConfig) -> TrainConfig:
    """The same for all groups that differ in nothing that a step's cost depends on."""
    same: dict[str, Any] = {
        "parameterization": "log_variance",
        "constraint": "none",
        "init_std": 1.0,
        "learning_rate": 1.0,
        "seed": 0,
    }
    return dataclasses.replace(config, **same)


class Estimate(NamedTuple):
    """What all groups of one kind of data and model cost.

    Attributes:
        name: what sets it apart: data, network, latents, dtype.
        groups: how many programs.
        cells: how many runs.
        parameters: of a model, with what is trained beside it.
        seconds: to train and score them, from a few measured steps.
        compilation: seconds to compile the programs one after the other; they are compiled beside the training.
        memory: bytes on each device.
    """

    name: str
    groups: int
    cells: int
    parameters: int
    seconds: float
    compilation: float
    memory: int


def estimates(waiting: Sequence[Sequence[TrainConfig]], loaded: Loaded, mesh: Mesh) -> list[Estimate]:
    """What groups of cells cost, by kind: programs of the first group of each are compiled, and some steps measured."""
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
