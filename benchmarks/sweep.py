"""Cells of a study per second: all in one sweep, one after the other, and in a process each.

    python -m benchmarks.sweep [--cells N ...] [--epochs N] [--rounds N] [--quick] [--out FILE.json]

A cell trains the digits' VAE (64-128-8 and back, batches of 128, 10 steps in an epoch). Three ways to train N of them:

- sweep: all in one program, as ``jaxvae compare`` does it; a device per core, on each some in lockstep, whose number is
  measured first: for each N, until more don't help any longer.
- in turn: one program, too, that trains a cell at a time, on one device with all its threads; round by round beside
  the sweep of the same cells. Of more than 64 the first 64 are trained, and the others taken to need as long each.
- a process each: Python starts, imports, compiles, trains one cell and ends; as many at once as there are cores. Once
  with an empty and once with a filled cache of compiled programs. Measured over one cell for each core, as it is the
  same for any number.

All train the same cells by the same functions to the same test ELBO, or else the script fails. Sweep and turns are
compiled beforehand, medians over rounds. What this takes, the measuring of the width, and the start of a process
(Python, imports, data) are timed apart, and added for the rates with everything in them, from the shell's prompt on.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from benchmarks import harness
from jaxvae import process
from jaxvae.study.cells import Cell, advance, make_data, orders
from jaxvae.study.sweep import Sweep, cell_mesh
from jaxvae.study.width import measured_width
from jaxvae.training import Experiment, TrainConfig, make_experiment
from jaxvae.training.devices import one_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUNTS = tuple(2**n for n in range(10))
RATES = (1e-3, 1e-1)
IN_TURN = 64
"""So many cells at most are trained in turn; of sweeps with more, there are fewer rounds."""


def agree() -> float:
    """What test ELBOs of the same cell may differ by, relatively: sums are in another order, for a few hundred steps.

    Accelerators round a matmul's factors to 11 bits or 8, so that there a last bit may become a thousandth.
    """
    return 1e-4 if jax.default_backend() == "cpu" else 1e-2


def make(epochs: int) -> Experiment:
    """What each cell trains, on one device; ``samples`` are for the scores, which aren't timed."""
    config = TrainConfig(
        hidden=(128,), latents=8, batch_size=128, init_std=0.5, epochs=epochs, evaluate_every=epochs, samples=1
    )
    return make_experiment(config, one_device())


def trainer(experiment: Experiment) -> Callable[[float, int], np.ndarray]:
    """A function that trains the cell of a learning rate and a seed and answers with its test ELBO; compiled."""
    data = jax.device_put(make_data(experiment), jax.devices()[0])
    epochs = np.arange(experiment.config.epochs)
    start = jax.jit(experiment.begin).lower(np.uint32(0)).compile()

    def of_cell(rate: float, seed: int) -> tuple[Any, ...]:
        order = orders(np.array([seed], np.uint32), epochs, len(experiment.dataset.train))
        return data, order, Cell(np.float32(rate), np.int32(0)), start(np.uint32(seed))

    program = jax.jit(functools.partial(advance, experiment), donate_argnums=3).lower(*of_cell(0, 0)).compile()
    return lambda rate, seed: jax.device_get(program(*of_cell(rate, seed))[1].elbo)


def measure(
    counts: Sequence[int], epochs: int, rounds: int, start: float, width: int | None = None
) -> list[dict[str, Any]]:
    """A row for each count: the sweep, and the same cells in turn, or the first of them.

    Args:
        counts: of cells.
        epochs: of each cell.
        rounds: of each count.
        start: seconds in which a process starts, for the rates from the prompt on.
        width: cells in lockstep on a device; measured if not given.
    """
    mesh, experiment = cell_mesh(), make(epochs)
    began = time.perf_counter()
    one = trainer(experiment)
    before = {"in turn": time.perf_counter() - began}
    wide, share = 1, 0
    rows: list[dict[str, Any]] = []
    for count in counts:
        rates, seeds = np.geomspace(*RATES, count).tolist(), list(range(count))
        if 4 * wide > share:  # else four times as many were tried, and weren't faster
            share = -(-count // mesh.size)
            began = time.perf_counter()
            wide = width or measured_width(experiment, mesh, share)
            measuring = time.perf_counter() - began
        began = time.perf_counter()
        sweep = Sweep(experiment, mesh, wide, rates, seeds)
        sweep.compile()
        before["sweep"] = measuring + time.perf_counter() - began

        times: dict[str, list[float]] = {"sweep": [], "in turn": []}
        some = min(count, IN_TURN)
        timed = max(1, rounds * IN_TURN // max(count, IN_TURN))
        for number in range(timed + (count <= IN_TURN)):
            training = sweep.train()
            began = time.perf_counter()
            next(training)  # the only segment; not the scores, which the other sides don't have
            swept = time.perf_counter()
            elbos = [one(rate, seed) for rate, seed in zip(rates[:some], seeds[:some], strict=True)]
            ended = time.perf_counter()
            np.testing.assert_allclose(elbos[0], next(training).segments.elbo[0, 0], rtol=agree())
            if number or count > IN_TURN:  # the first round of a short one is to burn in
                times["sweep"].append(swept - began)
                times["in turn"].append((ended - swept) * count / some)
        ratios = [b / a for a, b in zip(times["sweep"], times["in turn"], strict=True)]
        seconds = {side: median(taken) for side, taken in times.items()}
        rows.append(
            {
                "cells": count,
                "steps": experiment.steps,
                "in_lockstep": wide,
                "cells_per_second": {side: count / taken for side, taken in seconds.items()},
                "from_prompt": {side: count / (start + before[side] + taken) for side, taken in seconds.items()},
                "ratio": median(ratios),
                "ratios": ratios,
                "rounds": times,
                "seconds_before": dict(before),
            }
        )
        print(rows[-1], flush=True)
    return rows


def processes(epochs: int, at_once: int, count: int) -> list[dict[str, Any]]:
    """Rows of one process alone, and of a process per cell without a cache of compiled programs, and with one.

    Args:
        epochs: of each cell.
        at_once: processes that run beside each other.
        count: cells in a row.
    """
    rates = np.geomspace(*RATES, count).tolist()
    want = float(trainer(make(epochs))(rates[0], 0))
    rows = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(at_once) as pool:
        # The first one, alone, fills the cache.
        for name, cache, cells in (("empty", folder, 1), ("empty", None, count), ("filled", folder, count)):
            began = time.perf_counter()
            found = list(pool.map(functools.partial(_process, epochs, cache), rates[:cells], range(cells)))
            seconds = time.perf_counter() - began
            np.testing.assert_allclose(found[0]["elbo"], want, rtol=agree())
            each = {part: median(answer[part] for answer in found) for part in ("start", "compile", "train")}
            rows.append({"processes": min(at_once, cells), "cache": name, "cells": cells, "seconds_each": each})
            rows[-1]["cells_per_second"] = cells / seconds
            print(rows[-1], flush=True)
    return rows


def _process(epochs: int, cache: str | None, rate: float, seed: int) -> dict[str, float]:
    """Trains a cell in a process of its own: its test ELBO, and the seconds of its parts."""
    env = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sweep", "--epochs", str(epochs), "--cell", str(rate), str(seed)],
        cwd=Path(__file__).parents[1],
        env=env | ({"JAX_COMPILATION_CACHE_DIR": cache} if cache else {}),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the process of a cell ended with {done.returncode}: {done.stderr}")
    elbo, started, compiled, trained = json.loads(done.stdout.splitlines()[-1])
    return {"elbo": elbo, "start": started - began, "compile": compiled - started, "train": trained - compiled}


def cell(epochs: int, rate: float, seed: int) -> None:
    """What such a process does. It prints the test ELBO, and when it had started, compiled and trained."""
    experiment = make(epochs)
    started = time.time()
    one = trainer(experiment)
    compiled = time.time()
    print(json.dumps([float(one(rate, seed)), started, compiled, time.time()]))


def _parts(report: harness.Report) -> tuple[list[dict[str, Any]], ...]:
    """The rows of sweeps; those of processes: alone, with an empty cache, with a filled one."""
    rows = report["rows"]
    return [row for row in rows if "processes" not in row], *([row] for row in rows if "processes" in row)


def tables(report: harness.Report) -> list[harness.Table]:
    """One table."""
    rows, _, (empty,), (filled,) = _parts(report)
    each = {row["cache"]: row["seconds_each"] for row in (empty, filled)}
    title = (
        f"Cells per second, by the number of cells, of {rows[0]['steps']} steps each: compiled beforehand, all in one "
        "sweep beside the same cells one after the other, with the median ratio of rounds and their range; then with "
        "everything from the shell's prompt on, i.e. start, imports, compilation and, for the sweep, the measuring of "
        "its width. "
        f"A process per cell, {filled['processes']} at once, makes {filled['cells_per_second']:.2f} cells/s with a "
        f"filled compilation cache and {empty['cells_per_second']:.2f} with an empty one (over {filled['cells']} "
        f"cells; of the {sum(each['filled'].values()):.1f} s and {sum(each['empty'].values()):.1f} s of each, "
        f"{each['filled']['train']:.2f} s are training)."
    )
    heads = ("cells", "in lockstep", "sweep", "in turn", "ratio", "range", "sweep, from prompt", "in turn, from prompt")
    lines = []
    for row in rows:
        sides, ratios = ("sweep", "in turn"), row["ratios"]
        rates = (f"{row['cells_per_second'][side]:.1f}" for side in sides)
        spread = (f"{row['ratio']:.2f}", f"{min(ratios):.2f}–{max(ratios):.2f}" if len(ratios) > 1 else "one round")
        everything = (f"{row['from_prompt'][side]:.2f}" for side in sides)
        lines.append((str(row["cells"]), str(row["in_lockstep"]), *rates, *spread, *everything))
    return [harness.Table(title, heads, lines)]


def draw(report: harness.Report) -> "Figure":
    """Cells per second against the number of cells: a colour for each way; dashed, everything from the prompt on."""
    from matplotlib.figure import Figure

    from jaxvae.plots.style import COLOURS, GREY, quiet, roomy

    rows, (alone,), (empty,), (filled,) = _parts(report)
    counts = [row["cells"] for row in rows]
    several = [filled["cells"], max(counts[-1], filled["cells"])]
    lines = [
        (
            name,
            counts,
            [row["cells_per_second"][side] for row in rows],
            counts,
            [row["from_prompt"][side] for row in rows],
        )
        for name, side in (("all in one sweep", "sweep"), ("one after the other", "in turn"))
    ]
    rates = [filled["cells_per_second"]] * 2, [alone["cells_per_second"], *[empty["cells_per_second"]] * 2]
    lines.append((f"a process each, {filled['processes']} at once", several, rates[0], [1, *several], rates[1]))
    with quiet(11):
        figure = Figure(figsize=(9, 5.5), dpi=100, layout="constrained")
        roomy(figure)
        axes = figure.subplots()
        for colour, (name, x, beforehand, also, everything) in zip(COLOURS, lines, strict=False):
            axes.loglog(x, beforehand, color=colour, marker="o", markersize=4, label=name)
            axes.loglog(also, everything, color=colour, linestyle="--", linewidth=1.2)
        axes.plot([], [], color=GREY, label="compiled beforehand, or a filled cache")
        axes.plot([], [], color=GREY, linestyle="--", label="everything from the shell's prompt on")
        axes.set_xticks(counts, [str(n) for n in counts])
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("cells in the study")
        axes.set_ylabel("cells per second")
        axes.set_title(f"Cells of {rows[0]['steps']} steps, {report['device']}, {report['cores']} cores", loc="left")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def main() -> None:
    """Runs the command."""
    parser = harness.parser("sweep", __doc__, quick="one small sweep, one round")
    parser.add_argument("--cells", type=int, nargs="+", default=COUNTS, metavar="N")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        cell(options.epochs, float(options.cell[0]), int(options.cell[1]))
        return
    process.use_every_core()
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # processes beside this one need memory, too
    about = harness.facts("sweep")
    counts, epochs, rounds, width = (2,), 1, 1, 1
    if not options.quick:
        counts, epochs, rounds, width = sorted(options.cells), options.epochs, options.rounds, None
    apiece = processes(epochs, about["cores"], 2 if options.quick else about["cores"])
    rows = measure(counts, epochs, rounds, apiece[0]["seconds_each"]["start"], width)
    harness.publish("sweep", {**about, "rows": rows + apiece}, tables, draw, options.out)


if __name__ == "__main__":
    main()
