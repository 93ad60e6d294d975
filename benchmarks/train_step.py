"""How fast a VAE trains: this library, the JAX step that one would write by hand, and PyTorch, side by side.

    python -m benchmarks.train_step [--data FILE.npy] [--rounds N] [--epochs-per-round N] [--batch-size N] [--quick]

Two models. ``mlp`` is that of Flax's VAE example: 784-500-20 and back, relu, grey pixels under a Bernoulli, Adam with
1e-3, batches of 128. ``conv`` is residual, with 32 and 64 channels, 32 latents and batches of 100; of it only our own
loops are compared.

Every contestant is a process of its own, which rests while the others run. Each makes its first step (which is timed
from the process's start, once with an empty and once with a filled compilation cache), finishes its first epoch,
and is then timed a round at a time, all in turn. A large matmul is a contestant, too: the best rate that it
reaches in either framework is the machine's peak, of which the others' share is given. FLOPs are those of the matmuls.
"""

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.contestants import CONTESTANTS

ROOT = Path(__file__).parents[1]
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")
MATMULS = ("matmul in XLA", "matmul in PyTorch")


@dataclasses.dataclass(frozen=True)
class Row:
    """A contestant, and the steps that it is given in a round: on a CPU, and on a GPU if that makes a difference."""

    name: str
    model: str
    batch_size: int
    steps: int
    steps_on_gpu: int = 0


class Contestant:
    """The process of a row, at rest unless asked."""

    def __init__(self, row: Row, images: Path, scratch: Path) -> None:
        self.row, self.rounds, self.note = row, [], ""
        self._scratch, self._images = scratch, images
        self._errors = (scratch / "stderr").open("w+")
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contestants", row.name, row.model, str(row.batch_size), str(images)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, **_caches(scratch)},
        )
        self.first = self._answer()
        self.seconds_to_first_step = time.perf_counter() - started
        if row.steps_on_gpu and self.first.get("device", "cpu") != "cpu":
            self.row = dataclasses.replace(row, steps=row.steps_on_gpu)

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            self.note = (self._errors.read().strip().splitlines() or ["ended without a word"])[-1]
        return json.loads(line) if line else {}

    def run(self, steps: int) -> dict[str, Any]:
        """What the process says of so many further steps; nothing, once it has ended."""
        if self.note:
            return {}
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            pipe.close()
        self._process.wait()

    def seconds_with_cache(self) -> float | None:
        """Seconds to the first step of another process, which finds this one's compiled programs."""
        if self.note or not any((self._scratch / "cache").iterdir()):
            return None
        other = Contestant(self.row, self._images, self._scratch)
        other.close()
        return other.seconds_to_first_step


def _caches(scratch: Path) -> dict[str, str]:
    """Compiled programs go to this folder, and GPUs aren't claimed by one process alone."""
    cache = scratch / "cache"
    cache.mkdir(exist_ok=True)
    return {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TORCHINDUCTOR_CACHE_DIR": str(cache),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def flops(batch_size: int) -> float:
    """Of the matmuls in a step of the ``mlp``: each forward, and back to weights and, but for the first, to inputs."""
    layers = ((784, 500), (500, 20), (500, 20), (20, 500), (500, 784))
    return 2 * batch_size * (3 * sum(m * n for m, n in layers) - 784 * 500)


def measure(rows: Sequence[Row], images: Path, rounds: int, scratch: Path) -> list[Contestant]:
    """Starts all, lets them finish their first round, and times them in turn."""
    contestants = []
    for i, row in enumerate(rows):
        folder = scratch / str(i)
        folder.mkdir()
        contestants.append(Contestant(row, images, folder))
    for contestant in contestants:
        contestant.run(contestant.row.steps - 1)
    for _ in range(rounds):
        for contestant in contestants:
            answer = contestant.run(contestant.row.steps)
            if answer:
                contestant.rounds.append(answer)
    return contestants


def results(contestants: Sequence[Contestant]) -> list[dict[str, Any]]:
    """One entry for each contestant."""
    rates = [rate for c in contestants if c.row.name in MATMULS for r in c.rounds for rate in r["gflops"].values()]
    peak = max(rates, default=float("nan"))
    entries = []
    for c in contestants:
        entry: dict[str, Any] = {**dataclasses.asdict(c.row), "note": c.note}
        if c.rounds and c.row.name in MATMULS:
            shapes = c.rounds[0]["gflops"]
            entry["gflops"] = {shape: max(r["gflops"][shape] for r in c.rounds) for shape in shapes}
        elif c.rounds:
            speeds = [c.row.steps * c.row.batch_size / r["seconds"] for r in c.rounds]
            entry |= {
                "examples_per_second": median(speeds),
                "spread": [min(speeds), max(speeds)],
                "rounds": [round(r["seconds"], 4) for r in c.rounds],
                "loss": c.rounds[-1]["loss"],
                "seconds_to_first_step": c.seconds_to_first_step,
                "seconds_with_cache": c.seconds_with_cache(),
                "peak_mib": c.rounds[-1]["peak_mib"],
                "device": c.first["device"],
            }
            if c.row.model == "mlp":
                entry["gflops"] = flops(c.row.batch_size) * median(speeds) / c.row.batch_size / 1e9
                entry["share_of_peak"] = None if "16" in c.row.name else entry["gflops"] / peak  # a float32 peak
        entries.append(entry)
    return entries


def compare(entries: Sequence[dict[str, Any]]) -> None:
    """Adds the ratios to the faster PyTorch and to JAX by hand, where these ran on the same sort of device."""
    timed = [e for e in entries if e["model"] == "mlp" and "examples_per_second" in e]
    for key, names in (("to_pytorch", ("PyTorch", "PyTorch, compiled")), ("to_plain_jax", ("JAX by hand",))):
        for e in timed:
            on_cpu = e["device"] == "cpu"
            rivals = [r for r in timed if r["name"] in names and (r["device"] == "cpu") == on_cpu]
            if rivals:
                e[key] = e["examples_per_second"] / max(r["examples_per_second"] for r in rivals)


def show(entries: Sequence[dict[str, Any]]) -> None:
    """Prints the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Training a VAE")
    heads = ("model", "", "examples/s", "min-max", "÷ PyTorch", "÷ JAX by hand", "GFLOP/s", "of peak")
    for head in (*heads, "s to 1st step", "cached", "MiB"):
        table.add_column(head, justify="left" if head in heads[:2] else "right")

    def text(entry: dict[str, Any], key: str, form: str) -> str:
        return format(entry[key], form) if entry.get(key) is not None else "–"

    for e in entries:
        if "examples_per_second" not in e:
            continue
        columns = (
            text(e, "examples_per_second", ",.0f"),
            "{:,.0f}-{:,.0f}".format(*e["spread"]),
            *(text(e, key, ".2f") for key in ("to_pytorch", "to_plain_jax")),
            text(e, "gflops", ",.0f"),
            text(e, "share_of_peak", ".0%"),
            *(text(e, key, ".1f") for key in ("seconds_to_first_step", "seconds_with_cache")),
            text(e, "peak_mib", ",.0f"),
        )
        table.add_row(e["model"], e["name"], *columns)
    console = Console(width=max(150, Console().width))
    console.print(table)
    for e in entries:
        if e["note"]:
            console.print(f"{e['name']}: not run ({e['note']})", markup=False)
        elif e["name"] in MATMULS:
            rates = ", ".join(f"{shape} {rate:,.0f}" for shape, rate in e["gflops"].items())
            console.print(f"{e['name']}, GFLOP/s at best: {rates}")


def where() -> dict[str, Any]:
    """Versions, machine, date and command."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return {
        "command": " ".join(["python -m benchmarks.train_step", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        **versions,
    }


def read_images(path: Path | None, count: int) -> np.ndarray:
    """(N, 28, 28) uint8: of a .npy file or the first such array of a .npz file; random ones without."""
    if path is None:
        return np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
    found = np.load(path, allow_pickle=False)
    arrays = [found] if isinstance(found, np.ndarray) else list(found.values())
    images = [x for x in arrays if x.dtype == np.uint8 and x.ndim in (3, 4) and x.shape[1:3] == (28, 28)]
    if not images:
        raise SystemExit(f"{path}: no uint8 images of shape (N, 28, 28)")
    return images[0].reshape(-1, 28, 28)[:count]


def main() -> None:
    """Measures, prints the table, and writes everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a .npy or .npz file of uint8 images (N, 28, 28); else random ones")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs-per-round", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--models", nargs="+", default=["mlp", "conv"], choices=["mlp", "conv"])
    parser.add_argument("--quick", action="store_true", help="few images, one round: only to see that it runs")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/train_step-DEVICE.json")
    options = parser.parse_args()
    count, rounds = (options.batch_size * 4, 1) if options.quick else (60_000, options.rounds)
    about = where()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        images = read_images(options.data, count)
        np.save(scratch / "images.npy", images)
        steps = len(images) // options.batch_size * options.epochs_per_round
        rows = [Row(name, "mlp", options.batch_size, steps) for name in CONTESTANTS["mlp"]]
        # In a loop on a CPU, a convolutional step takes seconds.
        few = {"jaxvae, fused": 1, "jaxvae, one by one": 10, "jaxvae, step by hand": 4}
        rows += [
            Row(name, "conv", 100, 1 if options.quick else few[name], 0 if options.quick else 600)
            for name in CONTESTANTS["conv"]
        ]
        rows = [row for row in rows if row.model in options.models]
        contestants = measure(rows, scratch / "images.npy", rounds, scratch)
        entries = results(contestants)
        compare(entries)
        for contestant in contestants:
            contestant.close()
    device = next((e["device"] for e in entries if "device" in e), "none")
    data = {"data": options.data.name if options.data else "random", "images": len(images)}
    report = {**about, "load_after": os.getloadavg()[0], "device": device, **data, "rows": entries}
    out = options.out or ROOT / f"benchmarks/results/train_step-{device.lower().replace(' ', '-')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    show(entries)


if __name__ == "__main__":
    main()
