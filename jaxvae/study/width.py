"""How many cells to train in lockstep on each device: a matter of caches and cores, so it is measured."""

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

_FACTOR = 4  # from one width to the next that is tried
_STEPS = 16  # in one call
_SECONDS = 0.6  # of calls that are timed
_GAIN = 0.95  # of the narrower program's time per cell, what a wider one's may be
_FEW = 2000  # steps of all cells on a device, too few to make up for the compilation of two programs
_SLOW = 3e10  # FLOP/s, about what a core does of such small matmuls
_SHORT = 60.0  # seconds of training on a core, of which the best width saves less than it takes to find


def measured_width(experiment: Experiment, mesh: Mesh, most: int) -> int:
    """The first of 2, 8, 32, … up to ``most`` that four times as many in lockstep don't beat by 5 % per cell.

    Where there is little to train, it is 2, unmeasured; on a CPU, where the best width gains less than a tenth and each
    takes seconds to compile, that is a minute by the FLOPs of a step.

    Args:
        experiment: what each cell trains.
        mesh: from ``cell_mesh``.
        most: the number of cells on a device.
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
    """Of one cell's step, as XLA counts them before it compiles."""
    data, size = make_data(experiment).train, experiment.batch_size
    batch = {name: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype) for name, x in data.items()}
    batch["beta"] = jax.ShapeDtypeStruct((), np.float32)
    step = jax.jit(train_step(experiment.loss, experiment.tx))
    cost = step.lower(jax.eval_shape(lambda: experiment.begin(0)), batch).cost_analysis()
    assert cost is not None
    return float(cost["flops"])


def step_cost(experiment: Experiment, mesh: Mesh, state: TrainState, width: int) -> float:
    """Seconds for a step of ``width`` cells on each device: the shortest of a few calls, as all else only adds."""
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
