"""Cells of a study per second: all in one sweep against one after the other, in the same process.

``python -m benchmarks.sweep`` prints a table and writes ``benchmarks/results/sweep-<device>.json``. Each side trains
the same cells for the same steps by the same functions, compiled beforehand; rounds alternate, medians count. One after
the other means one program, too, that trains a cell at a time, on one device with all its threads.
"""

import argparse
import datetime
import functools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType

from jaxvae import process
from jaxvae.study.cells import Cell, advance, make_data, orders
from jaxvae.study.sweep import Sweep, cell_mesh
from jaxvae.study.width import measured_width
from jaxvae.training import TrainConfig, make_experiment
from jaxvae.training.records import versions

RESULTS = Path(__file__).parent / "results"


def measure(count: int, epochs: int, rounds: int, width: int | None = None) -> dict[str, Any]:
    """Milliseconds per step and cell of both sides, and their ratio round by round."""
    config = TrainConfig(hidden=(128,), latents=8, batch_size=128, init_std=0.5, epochs=epochs, evaluate_every=epochs)
    mesh, alone = cell_mesh(), jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    experiment = make_experiment(config, alone)
    width = width or measured_width(experiment, mesh, -(-count // mesh.size))
    rates, seeds = np.geomspace(1e-3, 1e-1, count).tolist(), list(range(count))

    sweep = Sweep(experiment, mesh, width, rates, seeds)
    sweep.compile()
    data = jax.device_put(make_data(experiment), jax.devices()[0])
    start = jax.jit(experiment.begin)
    program = jax.jit(functools.partial(advance, experiment), donate_argnums=3)

    def one(rate: float, seed: int) -> np.ndarray:
        order = orders(np.array([seed], np.uint32), np.arange(epochs), len(experiment.dataset.train))
        return jax.device_get(program(data, order, Cell(np.float32(rate), np.int32(0)), start(np.uint32(seed)))[1].elbo)

    *_, found = sweep.train()
    np.testing.assert_allclose(one(rates[0], seeds[0]), found.segments.elbo[0, 0], rtol=1e-4)  # both do the work

    def together() -> None:
        next(sweep.train())  # the only segment; not the scores, which the other side doesn't have

    def in_turn() -> None:
        for rate, seed in zip(rates, seeds, strict=True):
            one(rate, seed)

    times: dict[str, list[float]] = {"together": [], "in_turn": []}
    sides = {"together": together, "in_turn": in_turn}
    for _ in range(rounds):
        for name, side in sides.items():
            began = time.perf_counter()
            side()
            times[name].append((time.perf_counter() - began) / count / experiment.steps * 1e3)
    ratios = [alone / both for alone, both in zip(times["in_turn"], times["together"], strict=True)]
    return {
        "cells": count,
        "steps": experiment.steps,
        "width": width,
        "ms_per_step_and_cell": {name: round(statistics.median(values), 4) for name, values in times.items()},
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
    }


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    process.use_every_core()
    rows = [measure(count, args.epochs, args.rounds) for count in args.cells]
    for row in rows:
        times = row["ms_per_step_and_cell"]
        print(
            f"{row['cells']} cells, width {row['width']}: {times['together']} ms per step and cell together, "
            f"{times['in_turn']} in turn, {row['ratio']} times ({min(row['ratios'])} to {max(row['ratios'])})"
        )
    out = args.out or RESULTS / f"sweep-{jax.devices()[0].platform}.json"
    facts = {"date": datetime.date.today().isoformat(), "command": "python -m benchmarks.sweep", "versions": versions()}
    out.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
