"""Many cells in one program: the devices share them, and each trains a few at a time in lockstep."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxvae.study.cells import Cell, Scores, Segment, Steps, advance, make_data, orders, score, segment_epochs
from jaxvae.training import Experiment

CELLS_AXIS = "cells"

_COMPILER_OPTIONS = {"cpu": {"xla_backend_optimization_level": 1}}
"""Compiler options by platform; programs are as fast as by default, but compile in three quarters of the time."""


def cell_mesh() -> Mesh:
    """Makes a mesh of all devices, along one axis."""
    return jax.make_mesh((jax.device_count(),), (CELLS_AXIS,), axis_types=(AxisType.Auto,))


def _stacked(*x: Any) -> Any:
    """Stacks on the host, except for keys; on a device, each shape would need its own program."""
    return jnp.stack(x) if jnp.issubdtype(x[0].dtype, jax.dtypes.prng_key) else np.stack(x)


class Trained(NamedTuple):
    """The results of a group of cells, on the host; leading axes are the cells (C,) and the curve's points (P,).

    Attributes:
        segments: the segments, with leading axes (C, P); the steps have (C, T), for all segments.
        scores: the scores of each cell, (C,).
        seconds: the group's time, without compilation.
    """

    segments: Segment
    scores: Scores
    seconds: float


class Sweep:
    """A group of cells, whose configurations differ in learning rate and seed only, and its programs.

    Args:
        experiment: the experiment of their configuration, on a mesh of one device.
        mesh: from ``cell_mesh``.
        width: the largest number of cells in lockstep on each device.
        learning_rates: the learning rate of each cell, (C,).
        seeds: the seed of each cell, (C,).

    Attributes:
        counts: for each split, which scored images belong to it, (M, B).
    """

    def __init__(
        self, experiment: Experiment, mesh: Mesh, width: int, learning_rates: Sequence[float], seeds: Sequence[int]
    ) -> None:
        self.experiment = experiment
        self._mesh = mesh
        self._seeds = list(dict.fromkeys(seeds))
        pairs = zip(learning_rates, seeds, strict=True)
        self._cells = [Cell(np.float32(rate), np.int32(self._seeds.index(seed))) for rate, seed in pairs]
        # The most even load that is possible.
        share = -(-len(self._cells) // mesh.size)
        self._width = -(-share // -(-share // width))
        self._places = mesh.size * self._width * -(-share // self._width)
        self._programs: tuple[Any, ...] | None = None
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._each = NamedSharding(mesh, PartitionSpec(CELLS_AXIS))
        data = make_data(experiment)
        self.counts = data.counts
        self._data = jax.device_put(data, self._everywhere)

    @property
    def segments(self) -> int:
        """How often ``train`` yields None before it is done."""
        return self.experiment.config.epochs // segment_epochs(self.experiment.config)

    @property
    def memory(self) -> int:
        """The bytes that training takes on each device: state, data and temporaries."""
        self.compile()
        assert self._programs is not None
        found = self._programs[2].memory_analysis()
        return int(found.argument_size_in_bytes + found.temp_size_in_bytes) if found else 0

    def _over_cells(self, one: Callable[..., Any], donate: tuple[int, ...] = ()) -> Any:
        """Makes a program from a function of the experiment, the data that all cells share, and each cell's own."""

        def share(data: tuple[Any, ...], *cells: Any) -> Any:
            return jax.lax.map(lambda cell: one(self.experiment, *data, *cell), cells, batch_size=self._width)

        def run(data: tuple[Any, ...], *cells: Any) -> Any:
            each = PartitionSpec(CELLS_AXIS)
            specs = (PartitionSpec(), *(each for _ in cells))
            return jax.shard_map(share, mesh=self._mesh, in_specs=specs, out_specs=each, check_vma=False)(data, *cells)

        return jax.jit(run, donate_argnums=donate)

    def compile(self) -> None:
        """Compiles the programs of ``train`` from shapes, at the same time; another thread may call it in advance."""
        if self._programs is None:
            ordered = orders.trace(*self._of_segment(0), len(self.experiment.dataset.train))
            start = jax.jit(self.experiment.begin).trace(jnp.uint32(0))
            data = self._data, jax.ShapeDtypeStruct(ordered.out_info.shape, np.int32, sharding=self._everywhere)
            cells, state = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct((self._places, *x.shape), x.dtype, sharding=self._each),
                (self._cells[0], start.out_info),
            )
            lowered = (
                ordered.lower(),
                start.lower(),
                self._over_cells(advance, donate=(2,)).lower(data, cells, state),
                self._over_cells(score).lower(data[:1], state),
            )
            options = _COMPILER_OPTIONS.get(self._mesh.devices.flat[0].platform)
            with ThreadPoolExecutor(len(lowered)) as pool:
                self._programs = tuple(pool.map(lambda program: program.compile(compiler_options=options), lowered))

    def _placed(self, *columns: Sequence[Any]) -> tuple[Any, ...]:
        """Stacks each column of one value per cell on the devices; free places repeat the last value."""
        rows = np.minimum(np.arange(self._places), len(self._cells) - 1)
        return jax.device_put(
            tuple(jax.tree.map(_stacked, *map(column.__getitem__, rows)) for column in columns), self._each
        )

    def _of_segment(self, segment: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the seeds and epochs for which ``orders`` are drawn."""
        length = segment_epochs(self.experiment.config)
        return np.array(self._seeds, np.uint32), np.arange(segment * length, (segment + 1) * length)

    def train(self) -> Iterator[Trained | None]:
        """Trains and scores the cells; yields None after each segment of the training, and the results at the end."""
        self.compile()
        assert self._programs is not None
        ordered, start, advance_all, score_all = self._programs
        began = time.perf_counter()
        starts = [start(jnp.uint32(seed)) for seed in self._seeds]
        cells, state = self._placed(self._cells, [starts[cell.row] for cell in self._cells])
        segments = []
        for number in range(self.segments):
            some_orders = jax.device_put(ordered(*self._of_segment(number)), self._everywhere)
            state, segment = advance_all((self._data, some_orders), cells, state)
            segments.append(jax.device_get(segment))
            yield None
        scores = jax.device_get(score_all((self._data,), state))
        seconds = time.perf_counter() - began
        found = Segment(
            Steps(*(np.concatenate(x, axis=1) for x in zip(*(s.steps for s in segments), strict=True))),
            *(np.stack(x, axis=1) for x in zip(*(s[1:] for s in segments), strict=True)),
        )
        found, scores = jax.tree.map(lambda x: x[: len(self._cells)], (found, scores))
        yield Trained(found, scores, seconds)
