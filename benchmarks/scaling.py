"""Data parallelism: the same losses on any number of devices, what they exchange, and what a pod would make of it.

    python -m benchmarks.scaling [--share X ...] [--rounds N] [--quick] [--out FILE.json]

Measured: the train step of Flax's VAE example (784-500-20 and back, Adam, a batch of 128 over all devices) for 20 steps
on 1, 2, 4 and 8 simulated CPU devices, and on 1 and 2 devices of each of two processes that talk over the network.
Losses must agree with those on one device to a relative 1e-6 (8 units in the last place of a float32: sums over the
batch are added up in another order), and gradient norms, in whose sums more cancels, to 1e-5; or else the script fails.
The compiled program tells what a device exchanges and computes in a step: bytes of collectives, and XLA's count of
FLOPs. Simulated devices share the same cores, so their time says nothing about scaling, and none is given.

Projected, not measured: the efficiency on up to 256 chips, see ``benchmarks.projection``. The share of their peak that
chips reach is taken to be that of this machine, measured against a large matmul with the batch on one device; and 5 %,
as small steps have on accelerators. Where there is a GPU, it is what this share is measured on.
"""

import argparse
import json
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from benchmarks import harness, projection
from benchmarks.projection import Cost
from jaxvae.training import TrainConfig, TrainState, make_experiment, train_step
from jaxvae.training.batches import resident_batch, shuffle
from jaxvae.training.devices import one_device, put, replicated, shared_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CASES = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 1), (2, 2))
"""Processes, and devices of each; the first is what all are compared with."""
STEPS, BATCH = 20, 128
AGREE = {"losses": 1e-6, "norms": 1e-5}
SHARE = 0.05

Row = dict[str, Any]


class Step(NamedTuple):
    """A step of data-parallel training on all devices: where it starts, what it reads, what it does."""

    state: TrainState
    data: Any
    update: Callable[[TrainState, Any], tuple[TrainState, Any]]
    everywhere: Any


def prepare(images: Path, mesh: Mesh | None = None) -> Step:
    """The library's step and feed, on data that every device of a mesh holds; of all devices if not given."""
    config = TrainConfig(
        dataset=str(images), hidden=(500,), latents=20, activation="relu", binarization="none",
        batch_size=BATCH, learning_rate=1e-3, learning_rate_decay="constant",
    )  # fmt: skip
    experiment = make_experiment(config, mesh)
    everywhere, shares = replicated(experiment.mesh), shared_out(experiment.mesh)
    train = experiment.dataset.train
    order = jax.jit(lambda: shuffle(config.seed, 0, len(train)), out_shardings=everywhere)()
    state = jax.jit(lambda: experiment.begin(config.seed), out_shardings=everywhere)()
    step = train_step(experiment.loss, experiment.tx)

    def update(state: TrainState, data: Any) -> tuple[TrainState, Any]:
        return step(state, resident_batch(experiment, shares, data, state.step))

    return Step(state, {**put(everywhere, {"image": train.images}), "order": order}, update, everywhere)


def work(images: Path) -> Row:
    """Trains on all devices, and says how it went, and what the program does on each."""
    state, data, update, everywhere = prepare(images)
    program = jax.jit(update, donate_argnums=0, out_shardings=everywhere).lower(state, data).compile()
    losses, norms = [], []
    for _ in range(STEPS):
        state, metrics = jax.block_until_ready(program(state, data))  # simulated devices have to keep in step
        losses.append(float(metrics["loss"]))
        norms.append(float(metrics["gradient_norm"]))
    found = collectives(program.as_text())
    return {
        "devices": jax.device_count(),
        "flops": program.cost_analysis()["flops"],
        "collectives": found,
        "losses": losses,
        "norms": norms,
    }


_COLLECTIVES = (
    "all-reduce|all-gather|reduce-scatter|all-to-all|ragged-all-to-all|collective-permute|collective-broadcast"
)
_LINE = re.compile(rf"^\s*(?:ROOT )?%?[\w.-]+ = (\(.*?\)|\S+) ({_COLLECTIVES})(?:-done)?\(", re.MULTILINE)
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\]")


def collectives(hlo: str) -> dict[str, list[int]]:
    """How many collectives of a kind there are in a program's text, and the bytes of their results.

    Of an asynchronous one, its end counts, which has the result alone.

    >>> collectives("  %sum.1 = (f32[2,3]{1,0}, bf16[4]{0}) all-reduce(%a, %b), to_apply=%add")
    {'all-reduce': [1, 32]}
    """
    found: dict[str, list[int]] = {}
    for shape, kind in _LINE.findall(hlo):
        count, size = found.get(kind, (0, 0))
        arrays = ((int(bits or 8), [int(n) for n in sides.split(",") if n]) for _, bits, sides in _ARRAY.findall(shape))
        found[kind] = [count + 1, size + sum(bits * math.prod(sides) for bits, sides in arrays) // 8]
    return found


def run(processes: int, devices: int, images: Path) -> Row:
    """A row: ``work`` by so many processes, started for this, each with so many simulated CPU devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    # NPROC: on few cores, collectives wait for one another for ever, unless each device has a thread.
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "NPROC": "64", "XLA_FLAGS": flags}
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "benchmarks.scaling", "--work", str(images), address, str(processes)]
    started = [
        subprocess.Popen(
            [*command, str(i)], cwd=Path(__file__).parents[1], env=env,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for i in range(processes)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()  # to a milder signal, jax.distributed doesn't listen
    if any(process.returncode for process in started):
        raise RuntimeError(f"{processes} processes with {devices} devices failed:\n" + "\n".join(e for _, e in said))
    return {"processes": processes, **json.loads(said[0][0].splitlines()[-1])}


def check(rows: Sequence[Row]) -> None:
    """Adds to each row by how much its losses and norms differ from the first one's, relatively, at most.

    Raises:
        SystemExit: where that is more than what ``AGREE`` says, or not a number.
    """
    for row in rows:
        for name, most in AGREE.items():
            want, got = np.asarray(rows[0][name]), np.asarray(row[name])
            row[f"{name}_differ"] = float(np.max(np.abs(got / want - 1)))
            if not row[f"{name}_differ"] <= most:
                where = f"{row['devices']} devices of {row['processes']} processes"
                raise SystemExit(f"{name} on {where} differ by {row[f'{name}_differ']:.1e}: {got} instead of {want}")


def cost(rows: Sequence[Row]) -> Cost:
    """From rows of one and of more devices, which had the same batch."""
    one, more = rows[0], max(rows, key=lambda row: row["devices"])
    per_example = (one["flops"] - more["flops"]) / (BATCH - BATCH / more["devices"])
    exchanged = sum(size for _, size in more["collectives"].values())
    return Cost(one["flops"] - BATCH * per_example, per_example, exchanged)


def share_of_peak(found: Cost, images: Path, rounds: int) -> Row:
    """How fast steps on one device are, many in one program, against a large matmul."""
    mesh = one_device()
    state, data, update, _ = prepare(images, mesh)
    steps = jax.jit(lambda state, data: jax.lax.scan(lambda s, _: (update(s, data)[0], None), state, None, STEPS)[0])
    side = 1024 if jax.default_backend() == "cpu" else 8192
    square = jax.random.normal(jax.random.key(0), (side, side))
    matmul = jax.jit(jnp.matmul)
    sides = {"steps": lambda: steps(state, data), "matmul": lambda: matmul(square, square)}
    seconds = harness.in_turn(sides, rounds)
    step, peak = seconds["steps"].median / STEPS, 2 * side**3 / seconds["matmul"].median
    return {"share": found.flops(BATCH) / step / peak, "step_seconds": step, "matmul_flops_per_second": peak}


def tables(report: harness.Report) -> list[harness.Table]:
    """Agreement and exchange; then the projection."""
    rows = [row for row in report["rows"] if "devices" in row]
    title = (
        f"The step of Flax's VAE example (784-500-20, a batch of {BATCH} over all devices) on simulated CPU devices: "
        f"by how much losses and gradient norms of {STEPS} steps differ from those on one device at most, relatively "
        f"({AGREE['losses']:.0e} and {AGREE['norms']:.0e} are allowed); collectives in the compiled step, the MB of "
        "their results, XLA's FLOPs on each device."
    )
    heads = (
        "processes × devices",
        "losses differ",
        "norms differ",
        "collectives",
        "MB exchanged",
        "MFLOP per device",
        "bytes per kFLOP",
    )
    lines = []
    for row in rows:
        name = f"{row['processes']} × {row['devices'] // row['processes']}"
        size = sum(size for _, size in row["collectives"].values())
        kinds = ", ".join(f"{count} {kind}" for kind, (count, _) in row["collectives"].items()) or "none"
        differ = (f"{row['losses_differ']:.1e}", f"{row['norms_differ']:.1e}")
        numbers = (f"{size / 1e6:.3f}", f"{row['flops'] / 1e6:.1f}", f"{1e3 * size / row['flops']:.1f}")
        lines.append((name, *differ, kinds, *numbers))
    return [harness.Table(title, heads, lines), *projection.tables(_projected(report))]


def draw(report: harness.Report) -> "Figure":
    """The projection."""
    return projection.draw(_projected(report))


def _projected(report: harness.Report) -> list[Row]:
    return [row for row in report["rows"] if "machine" in row]


def main() -> None:
    """Runs the command."""
    parser = harness.parser("scaling", __doc__, quick="two devices at most")
    parser.add_argument("--share", type=float, nargs="+", help="of peak (default: what is measured here, and 0.05)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        images, address, processes, index = options.work
        if processes != "1":
            jax.distributed.initialize(address, int(processes), int(index))
        print(json.dumps(work(Path(images))))
        return
    about = harness.facts("scaling")
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npy"
        np.save(images, np.random.default_rng(0).integers(0, 256, (4 * BATCH, 28, 28), np.uint8))
        rows = []
        for processes, devices in CASES[:2] if options.quick else CASES:
            rows.append(run(processes, devices, images))
            print(f"{processes} processes with {devices} devices each: done", flush=True)
        check(rows)
        found = cost(rows)
        measured = None if options.share else share_of_peak(found, images, 3 if options.quick else options.rounds)
    shares = options.share or [measured["share"], SHARE]
    rows += projection.rows(found, shares)
    harness.publish("scaling", {**about, "measured": measured, "rows": rows}, tables, draw, options.out)


if __name__ == "__main__":
    main()
