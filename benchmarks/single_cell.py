"""Counts beside scvi-tools: held-out likelihood, seconds per epoch and memory of the same model on the same rows.

    python -m benchmarks.single_cell [--quick] [--peer PYTHON] [--data cells reuters] [--epochs N] [--out FILE.json]

Both train a VAE of 10 latents and one hidden layer of 128 with a negative binomial likelihood, a dispersion per column,
the row's total as its size, and Adam in batches of 128. What differs is what each does by default: scvi-tools has batch
normalization, dropout, a softmax over the mean's columns and a learning rate of 1e-3; jaxvae a cosine from 3e-3, and
scores the epoch of the best validation. scvi-tools' warm-up of the KL over 400 epochs is cut to one, since this is
shorter. On the 316 rows of news, jaxvae takes the settings of ``SETTINGS``, from a search by its validation ELBO:
weight decay stands where scvi-tools has dropout and normalization. ``PYTHON`` is an interpreter that has scvi-tools.

The cells are simulated: 5,000 of 2,000 genes, of 8 types in 4 batches, each batch with factors of its own; both models
are given the batch. The likelihood is that of the test rows by importance sampling, in nats per row and per count.
Seconds and CPU seconds per epoch are those of a whole run less those of a run of one epoch, over the epochs between.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import harness
from benchmarks.harness import Report, Table
from jaxvae.data.arrays import split_rows
from jaxvae.data.tables import load_known

EPOCHS = {"cells": 20, "reuters": 100}
SAMPLES = 500
MODEL = {"likelihood": "negative_binomial", "hidden": 128, "latents": 10, "batch-size": 128}
SETTINGS = {
    "cells": {"conditional": "true"},
    "reuters": {"activation": "relu", "learning-rate": 1e-2, "weight-decay": 3},
}


class Cost(NamedTuple):
    """Of a process: seconds by the clock, of CPU, and the most memory in bytes."""

    seconds: float
    cpu: float
    memory: int


def cells(rows: int = 5000, genes: int = 2000, types: int = 8, batches: int = 4) -> dict[str, np.ndarray]:
    """Negative binomial counts, and the batch of each row."""
    rng = np.random.default_rng(0)
    kind, batch = rng.integers(types, size=rows), rng.integers(batches, size=rows)
    differs = rng.random((types, genes)) < 0.1
    log_mean = rng.normal(-1.5, 1.5, genes) + differs[kind] * rng.normal(0, 1.5, (types, genes))[kind]
    log_mean += rng.normal(0, 0.3, (batches, genes))[batch] + rng.normal(0, 0.3, (rows, 1))
    shape = rng.lognormal(0.5, 0.5, genes)
    counts = rng.poisson(np.exp(log_mean) * rng.gamma(shape, 1 / shape, (rows, genes)))
    return {"images": counts.astype(np.int32), "labels": batch}


def reuters() -> dict[str, np.ndarray]:
    """Words of news, as ``lda`` brings them along."""
    table = load_known("reuters")
    values = table.values.toarray() if table.sparse else table.values
    return {"images": values.astype(np.int32)}


def by_split(fields: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Fields of all rows as those of each split."""
    rows = split_rows(len(fields["images"]), name)
    return {f"{split}_{field}": x[some] for split, some in rows.items() for field, x in fields.items()}


def run(command: Sequence[str]) -> tuple[str, Cost]:
    """What a process prints, and what it costs; its failure ends this."""
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complaint:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=complaint)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        complaint.seek(0)
        if process.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{complaint.read()[-2000:]}")
        return said.read(), Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def ours(path: Path, epochs: int, settings: dict[str, Any]) -> tuple[float, Cost]:
    """log p(x) of the test rows in nats, and the cost."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        fields = {**MODEL, **settings, "dataset": path, "epochs": epochs, "samples": SAMPLES, "out": out}
        flags = [f"--{name}={value}" for name, value in fields.items()]
        _, cost = run([sys.executable, "-m", "jaxvae", "train", "--counts", "--offset", *flags])
        score = json.loads((out / "evaluation-test.json").read_text())
    return -score["nll"], cost


def theirs(python: str, path: Path, epochs: int) -> tuple[float, Cost]:
    """The same of scvi-tools."""
    script = Path(__file__).parent / "contestants" / "scvi_cells.py"
    text, cost = run([python, str(script), str(path), str(epochs), str(SAMPLES)])
    return json.loads(text.splitlines()[-1])["log_evidence"], cost


def measured(name: str, python: str | None, epochs: int) -> list[Report]:
    """A row for each side: what a run of all epochs reaches, and what it costs more than a run of one."""
    fields = cells() if name == "cells" else reuters()
    parts = by_split(fields, name)
    test = parts["test_images"]
    sides: dict[str, Any] = {"jaxvae": lambda path, n: ours(path, n, SETTINGS[name])}
    if python is not None:
        sides["scvi-tools"] = lambda path, n: theirs(python, path, n)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{name}.npz"
        np.savez(path, **parts)
        for side, train in sides.items():
            train(path, 1)  # compiles, or fills what is kept on disk
            _, first = train(path, 1)
            reached, whole = train(path, epochs)
            row = {"data": name, "side": side, "epochs": epochs, "log_evidence": reached}
            row["per_count"] = reached * len(test) / int(test.sum(dtype=np.int64))
            row["seconds_per_epoch"] = (whole.seconds - first.seconds) / (epochs - 1)
            row["cpu_per_epoch"] = (whole.cpu - first.cpu) / (epochs - 1)
            rows.append(row | {"seconds": whole.seconds, "cpu": whole.cpu, "memory": whole.memory})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def tables(report: Report) -> list[Table]:
    """One: a row per data set and side."""
    heads = ("data, side", "log p(x) per row", "per count", "s per epoch", "CPU s per epoch", "whole run, s", "MiB")
    rows = [
        (
            f"{row['data']}, {row['side']}",
            f"{row['log_evidence']:.1f}",
            f"{row['per_count']:.4f}",
            f"{row['seconds_per_epoch']:.2f}",
            f"{row['cpu_per_epoch']:.2f}",
            f"{row['seconds']:.0f}",
            f"{row['memory'] / 2**20:.0f}",
        )
        for row in report["rows"]
    ]
    return [Table("Counts beside scvi-tools", heads, rows)]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints and writes the report."""
    parser = harness.parser("single_cell", __doc__, "2 epochs of the words of news, ours alone")
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has scvi-tools")
    parser.add_argument("--data", nargs="+", choices=sorted(EPOCHS), default=sorted(EPOCHS))
    parser.add_argument("--epochs", type=int, help="of each run (default: 20 for cells, 100 for reuters)")
    args = parser.parse_args(argv)
    names, peer = (["reuters"], None) if args.quick else (args.data, args.peer)
    rows = [row for name in names for row in measured(name, peer, 2 if args.quick else args.epochs or EPOCHS[name])]
    report = {**harness.facts("single_cell"), "rows": rows}
    out = args.out or harness.RESULTS / "single_cell.json"
    out.write_text(harness.as_json(report))
    harness.show(tables(report))
    print(out)


if __name__ == "__main__":
    main()
