"""What parts of a train step cost on a CPU, by its time: the guard, forms of the step's convolutions, a sweep's start.

    python -m benchmarks.parts [--rounds N]

Sides are called in turn in one process, and medians are of the process's CPU time, which other work on the machine
changes less than the clock.

- The guard, in the one-layer model of the IWAE paper in batches of 20: ``train_step`` beside the same step without a
  norm, and without a branch, too.
- Each convolution of the residual model, forward and back: XLA's, as matmuls of patches, as a sum of nine shifted
  matmuls, and XLA's with the kernel's gradient by matmuls of the patches of 20 images at a time.
- A sweep's start: the choice of its width, and the compilation of its programs, beside a cell's.
"""

import argparse
import functools
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from benchmarks import sweep
from benchmarks.contestants import MODELS
from benchmarks.contestants.ours import make_experiment
from benchmarks.harness import Table, show
from jaxvae.study.sweep import Sweep, cell_mesh
from jaxvae.study.width import measured_width
from jaxvae.training import TrainState, train_step
from jaxvae.training.experiment import Experiment

BATCH, AT_ONCE = 100, 20
SHAPES = ((14, 4, 32), (14, 32, 32), (7, 128, 64), (7, 64, 64), (7, 64, 128), (14, 32, 4))
"""Height and width, channels in and out of the convolutions in ``MODELS["conv"]``."""


def milliseconds(sides: Mapping[str, Callable[[], Any]], rounds: int, calls: int = 1) -> dict[str, float]:
    """Of a call, on all cores together: medians over rounds, in turn, after one that isn't counted."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, side in sides.items():
            began = time.process_time()
            for _ in range(calls):
                jax.block_until_ready(side())
            times[name].append(1e3 * (time.process_time() - began) / calls)
    return {name: median(found[1:]) for name, found in times.items()}


def unguarded(experiment: Experiment, branch: bool) -> Callable[[TrainState, Any], TrainState]:
    """A step whose update is made whatever the gradient is, or, behind a branch, wherever the loss is finite."""

    def step(state: TrainState, batch: Any) -> TrainState:
        key = jax.random.fold_in(state.key, state.step)
        (loss, _), grads = jax.value_and_grad(experiment.loss, has_aux=True)(state.params, batch, key)

        def update(params: Any, opt_state: Any) -> tuple[Any, Any]:
            updates, opt_state = experiment.tx.update(grads, opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        old = state.params, state.opt_state
        new = jax.lax.cond(jnp.isfinite(loss), update, lambda *kept: kept, *old) if branch else update(*old)
        return state._replace(step=state.step + 1, params=new[0], opt_state=new[1])

    return step


def guard(rounds: int) -> Table:
    """Of ``train_step``."""
    images = np.random.default_rng(0).integers(0, 256, (2000, 28, 28), np.uint8)
    model = MODELS["iwae-1l"]
    experiment = make_experiment(images, model, model.batch_size)
    batch = {"image": jnp.asarray(images[: model.batch_size, ..., None]), "beta": jnp.float32(1)}
    pure = train_step(experiment.loss, experiment.tx)

    def side(step: Callable[[TrainState, Any], TrainState]) -> Callable[[], TrainState]:
        jitted, state = jax.jit(step, donate_argnums=0), jax.jit(experiment.begin)(0)

        def run() -> TrainState:
            nonlocal state
            state = jitted(state, batch)
            return state

        return run

    found = milliseconds(
        {
            "train_step": side(lambda state, batch: pure(state, batch)[0]),
            "without the norm": side(unguarded(experiment, True)),
            "without norm and branch": side(unguarded(experiment, False)),
        },
        rounds,
        calls=20,
    )
    return Table("The guard, batches of 20: ms of CPU a step", [*found], [[f"{x:.2f}" for x in found.values()]])


def by_xla(x: Array, kernel: Array) -> Array:
    """(B, H, W, C) and (3, 3, C, D) to (B, H, W, D), with zeros at the edge; so are the others."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def shifted(x: Array) -> list[Array]:
    """The nine neighbours of each pixel, (B, H, W, C) each."""
    _, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]


def by_patches(x: Array, kernel: Array) -> Array:
    """A single matmul of (B H W, 9 C)."""
    return jnp.concatenate(shifted(x), axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def by_shifts(x: Array, kernel: Array) -> Array:
    """Nine matmuls."""
    return sum(part @ k for part, k in zip(shifted(x), kernel.reshape(9, *kernel.shape[2:]), strict=True))


@jax.custom_vjp
def by_both(x: Array, kernel: Array) -> Array:
    """XLA's, but for the kernel's gradient."""
    return by_xla(x, kernel)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return by_xla(x, kernel), (x, kernel)


def _backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    (dx,) = jax.vjp(lambda x: by_xla(x, kernel), x)[1](g)
    parts = [slice(start, start + AT_ONCE) for start in range(0, len(x), AT_ONCE)]
    patches = (jnp.concatenate(shifted(x[part]), axis=-1).reshape(-1, 9 * x.shape[-1]) for part in parts)
    transposed = sum(g[part].reshape(-1, g.shape[-1]).T @ p for part, p in zip(parts, patches, strict=True))
    return dx, transposed.T.reshape(kernel.shape)


by_both.defvjp(_forward, _backward)

FORMS: Mapping[str, Callable[[Array, Array], Array]] = {
    "XLA": by_xla,
    "patches": by_patches,
    "shifts": by_shifts,
    "XLA, patches for the kernel": by_both,
}


def both(form: Callable[[Array, Array], Array], x: Array, kernel: Array, g: Array) -> tuple[Array, ...]:
    """Values, and the gradients of a loss whose gradient by them is g."""
    y, pull = jax.vjp(form, x, kernel)
    return y, *pull(g)


def convolutions(rounds: int) -> Table:
    """Of each form, once they are seen to agree."""
    rng, rows = np.random.default_rng(0), []
    for size, channels, features in SHAPES:
        shapes = (BATCH, size, size, channels), (3, 3, channels, features), (BATCH, size, size, features)
        arrays = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]
        sides = {
            name: functools.partial(jax.jit(functools.partial(both, form)), *arrays) for name, form in FORMS.items()
        }
        wanted = sides["XLA"]()
        for side in sides.values():
            for found, want in zip(side(), wanted, strict=True):
                np.testing.assert_allclose(found, want, atol=1e-4 * float(jnp.max(jnp.abs(want))))
        ms = milliseconds(sides, rounds).values()
        rows.append([f"{size}×{size}, {channels} to {features}", *(f"{x:.1f}" for x in ms)])
    return Table(f"3×3 convolutions of {BATCH} images, forward and back: ms of CPU", ["", *FORMS], rows)


def start() -> Table:
    """Seconds of CPU and of the clock, of 512 cells and of one, of 200 steps each."""
    rows = []

    def row(name: str, function: Callable[[], Any]) -> Any:
        cpu, clock = time.process_time(), time.perf_counter()
        result = function()
        rows.append([name, f"{time.process_time() - cpu:.1f}", f"{time.perf_counter() - clock:.1f}"])
        return result

    mesh, experiment = cell_mesh(), sweep.make(20)
    row("a cell", lambda: sweep.trainer(experiment)(1e-3, 0))
    width = row("the sweep's width", lambda: measured_width(experiment, mesh, 512 // mesh.size))
    made = row("the sweep", lambda: Sweep(experiment, mesh, width, [1e-3] * 512, list(range(512))))
    row("its programs", made.compile)
    return Table("Start of a sweep of 512 cells: seconds", ["", "CPU", "clock"], rows)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    show([start()])
    show([guard(rounds)])
    show([convolutions(rounds)])


if __name__ == "__main__":
    main()
