"""The number of cells to train in lockstep on each device; it depends on caches and cores, so it is measured."""

import itertools
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxvae.study.cells import make_data
from jaxvae.study.sweep import CELLS_AXIS
from jaxvae.training import Experiment, TrainState, train_step
from jaxvae.training.batches import resident_batch

_FACTOR = 4  # from each width that is tried to the next
_STEPS = 16  # steps in one call
_SECONDS = 0.6  # seconds of calls that are timed
_GAIN = 0.95  # a wider program must take at most this share of the narrower one's time per cell
_FEW = 2000  # steps of all cells on a device that are too few to repay the compilation of two programs
_SLOW = 3e10  # FLOP/s, about the speed of a core in such small matmuls
_SHORT = 60.0  # seconds of training on a core; below, finding the best width takes longer than it saves


def measured_width(experiment: Experiment, mesh: Mesh, most: int) -> int:
    """Returns the first of 2, 8, 32, … up to ``most`` that a width of four times isn't 5 % faster than, per cell.

    If there is little to train, it is 2, without a measurement. On a CPU this is up to a minute, by the FLOPs of a
    step, because there the best width gains less than a tenth and each width takes seconds to compile.

    Args:
        experiment: the experiment that each cell trains.
        mesh: from ``cell_mesh``.
        most: the largest width, which is the number of cells on a device.
    """
    steps = experiment.config.epochs * experiment.steps_per_epoch
    if most <= 2 or most * steps < _FEW:
        return min(2, most)
    if mesh.devices.flat[0].platform == "cpu" and most * steps * step_flops(experiment) < _SHORT * _SLOW:
        return 2
    state = jax.jit(experiment.begin)(jnp.uint32(0))
    best, fastest = most, math.inf
    for width in (min(2 * _FACTOR**n, most) for n in itertools.count()):
        seconds = step_cost(experiment, mesh, state, width) / width
        if seconds > _GAIN * fastest:
            break
        best, fastest = width, seconds
        if width == most:
            break
    return best


def step_flops(experiment: Experiment) -> float:
    """Returns the FLOPs of one cell's step, as XLA counts them before it compiles."""
    data, size = make_data(experiment).train, experiment.batch_size
    batch = {name: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype) for name, x in data.items()}
    batch["beta"] = jax.ShapeDtypeStruct((), np.float32)
    step = jax.jit(train_step(experiment.loss, experiment.tx))
    cost = step.lower(jax.eval_shape(lambda: experiment.begin(0)), batch).cost_analysis()
    assert cost is not None
    return float(cost["flops"])


def step_cost(experiment: Experiment, mesh: Mesh, state: TrainState, width: int) -> float:
    """Returns the seconds of a step of ``width`` cells on each device, the least of a few calls, as noise only adds."""
    images = make_data(experiment).train
    data = jax.tree.map(jnp.asarray, {**images, "order": np.arange(len(images["image"]))})
    step = train_step(experiment.loss, experiment.tx)

    def steps(state: TrainState) -> TrainState:
        def one(state: TrainState, _: None) -> tuple[TrainState, None]:
            return step(state, resident_batch(experiment, None, data, state.step))[0], None

        return jax.lax.scan(one, state, None, _STEPS)[0]

    each = PartitionSpec(CELLS_AXIS)
    states = jax.tree.map(lambda x: jnp.broadcast_to(x, (mesh.size * width, *x.shape)), state)
    states = jax.device_put(states, NamedSharding(mesh, each))
    program = jax.jit(jax.shard_map(jax.vmap(steps), mesh=mesh, in_specs=each, out_specs=each, check_vma=False))
    jax.block_until_ready(program(states))
    shortest, began = math.inf, time.perf_counter()
    while time.perf_counter() - began < _SECONDS:
        before = time.perf_counter()
        jax.block_until_ready(program(states))
        shortest = min(shortest, time.perf_counter() - before)
    return shortest / _STEPS
