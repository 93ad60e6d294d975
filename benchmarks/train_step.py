"""How fast a VAE trains: this library, the JAX step that one would write by hand, and PyTorch, side by side.

    python -m benchmarks.train_step [--data FILE.npy] [--models NAME ...] [--contestants NAME ...] [--rounds N]
                                    [--quick] [--out FILE.json]

Three models, ``benchmarks.contestants.MODELS``: that of Flax's VAE example, the one-layer one of the IWAE paper, whose
batches of 20 are so small that calls count, and a residual convolutional one.

Every contestant is a process of its own, which rests while the others run. Each makes its first step (which is timed
from the process's start; the first model's, once more with a filled compilation cache), finishes its first round, and
is then timed a round at a time, all in turn. Large matmuls are contestants, too: the best rate that they reach in
either framework is the machine's peak, of which others have their share. FLOPs are those of matmuls and convolutions.
"""

import dataclasses
import functools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from benchmarks import harness
from benchmarks.contestants import CONTESTANTS, MATMULS, MODELS
from benchmarks.harness import Report, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
BY_HAND, EXACT = "JAX by hand", "JAX by hand, our Gaussian"
PYTORCH = ("PyTorch", "PyTorch, compiled", "PyTorch, CUDA graphs")
FIRST = next(iter(MODELS))
OF_FIRST_MODEL = (*MATMULS, EXACT, "jaxvae, fused, bfloat16")
"""Contestants that run with the first model only."""
CONV_STEPS = 5
"""In a round on a CPU, where a convolutional step takes a tenth of a second by itself, and seconds in a fused loop."""


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


@functools.cache
def flops(model: str, batch_size: int) -> float:
    """Of all matmuls and convolutions in a step, forward and back."""
    from benchmarks.contestants.ours import make_experiment

    share = jax.device_count()  # the smallest batch that there is
    images = np.zeros((share, 28, 28), np.uint8)
    experiment = make_experiment(images, MODELS[model], share)
    batch = {"image": images[..., None], "beta": np.float32(1)}
    params = jax.eval_shape(experiment.init, jax.random.key(0))
    gradient = jax.grad(lambda params: experiment.loss(params, batch, jax.random.key(0))[0])
    return _flops(jax.make_jaxpr(gradient)(params).jaxpr) * batch_size / share


def _flops(jaxpr: Any) -> float:
    total = 0.0
    for eqn in jaxpr.eqns:
        shapes = [getattr(x.aval, "shape", ()) for x in eqn.invars]
        size = math.prod(eqn.outvars[0].aval.shape) if eqn.outvars else 0
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            total += 2 * size * math.prod(shapes[0][axis] for axis in contracted)
        elif eqn.primitive.name == "conv_general_dilated":
            _, features, *window = eqn.params["dimension_numbers"].rhs_spec
            total += 2 * size * math.prod(shapes[1][axis] for axis in (features, *window))
        inner = (getattr(x, "jaxpr", x) for x in eqn.params.values())
        total += sum(_flops(x) for x in inner if hasattr(x, "eqns"))
    return total


def measure(rows: Sequence[Row], images: Path, rounds: int, scratch: Path) -> list[Contestant]:
    """Starts all, lets them finish their first round, and times them in turn."""
    contestants = []
    for i, row in enumerate(rows):
        folder = scratch / str(i)
        folder.mkdir()
        contestants.append(Contestant(row, images, folder))
        print(f"{row.model}, {row.name}: {contestants[-1].seconds_to_first_step:.1f} s to the first step", flush=True)
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
    entries = []
    for c in contestants:
        entry: dict[str, Any] = {**dataclasses.asdict(c.row), "note": c.note}
        if c.rounds and c.row.name in MATMULS:
            shapes = c.rounds[0]["gflops"]
            entry["gflops"] = {shape: round(max(r["gflops"][shape] for r in c.rounds), 1) for shape in shapes}
        elif c.rounds:
            speeds = [c.row.steps * c.row.batch_size / r["seconds"] for r in c.rounds]
            entry |= {
                "examples_per_second": round(median(speeds), 1),
                "spread": [round(min(speeds), 1), round(max(speeds), 1)],
                "ms_per_step": round(1e3 * c.row.batch_size / median(speeds), 4),
                "loss": c.rounds[-1]["loss"],
                "seconds_to_first_step": round(c.seconds_to_first_step, 2),
                "seconds_with_cache": c.seconds_with_cache() if c.row.model == FIRST else None,
                "peak_mib": round(c.rounds[-1]["peak_mib"]),
                "device": c.first["device"],
            }
            entry["gflops"] = round(flops(c.row.model, c.row.batch_size) * median(speeds) / c.row.batch_size / 1e9, 2)
        entries.append(entry)
    return entries


def compare(entries: Sequence[dict[str, Any]]) -> None:
    """Adds the ratios to the fastest PyTorch and to JAX by hand on the same device, and the share of the peak."""
    peak = max(
        (rate for e in entries if e["name"] in MATMULS and not e["note"] for rate in e["gflops"].values()), default=None
    )
    timed = [e for e in entries if "examples_per_second" in e]
    for key, names in (("to_pytorch", PYTORCH), ("to_plain_jax", (BY_HAND,))):
        for e in timed:
            same = [r for r in timed if r["model"] == e["model"] and r["device"] == e["device"]]
            rivals = [r["examples_per_second"] for r in same if r["name"] in names]
            if rivals:
                e[key] = round(e["examples_per_second"] / max(rivals), 3)
    for e in timed:
        if peak and "16" not in e["name"]:  # the peak is float32's
            e["share_of_peak"] = round(e["gflops"] / peak, 4)


def tables(report: Report) -> list[Table]:
    """One for each model, and the matmuls'."""
    keys = {
        "examples/s": ("examples_per_second", ",.0f"),
        "÷ PyTorch": ("to_pytorch", ".2f"),
        "÷ JAX by hand": ("to_plain_jax", ".2f"),
        "ms/step": ("ms_per_step", ".3g"),
        "GFLOP/s": ("gflops", ",.0f"),
        "of the peak": ("share_of_peak", ".0%"),
        "s to the 1st step": ("seconds_to_first_step", ".1f"),
        "cached": ("seconds_with_cache", ".1f"),
        "MiB": ("peak_mib", ",.0f"),
    }
    made = []
    for model in dict.fromkeys(row["model"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["model"] == model and "examples_per_second" in row]
        if not rows:
            continue
        texts = []
        for row in rows:
            cells = [format(row[key], form) if row.get(key) is not None else "–" for key, form in keys.values()]
            cells.insert(1, "{:,.0f} to {:,.0f}".format(*row["spread"]))
            texts.append([row["name"], *cells])
        heads = ["", *keys]
        heads.insert(2, "spread")
        made.append(Table(f"{report['device']}, {model}, batches of {rows[0]['batch_size']}", heads, texts))
    matmuls = [row for row in report["rows"] if isinstance(row.get("gflops"), dict)]
    if matmuls:
        shapes = list(matmuls[0]["gflops"])
        rates = [[row["name"], *(f"{row['gflops'][shape]:,.0f}" for shape in shapes)] for row in matmuls]
        made.append(Table(f"{report['device']}, GFLOP/s of matmuls alone, at best", ["", *shapes], rates))
    return made


def draw(report: Report) -> "Figure":
    """Examples per second, a panel for each model."""
    from matplotlib.figure import Figure

    from jaxvae.plots.style import COLOURS, GREY, quiet

    models = dict.fromkeys(row["model"] for row in report["rows"] if "examples_per_second" in row)
    found = {m: [r for r in report["rows"] if r["model"] == m and "examples_per_second" in r] for m in models}
    with quiet(9):
        figure = Figure(figsize=(8, 0.8 + 0.32 * sum(len(rows) + 2 for rows in found.values())), layout="constrained")
        heights = [len(rows) for rows in found.values()]
        panels = figure.subplots(len(found), 1, squeeze=False, height_ratios=heights)[:, 0]
        for panel, (model, rows) in zip(panels, found.items(), strict=True):
            for y, row in enumerate(rows):
                colour = COLOURS[0] if row["name"].startswith("jaxvae") else GREY
                colour = COLOURS[1] if row["name"] in PYTORCH else colour
                panel.barh(y, row["examples_per_second"], color=colour, height=0.7)
                panel.plot(row["spread"], [y, y], color="black", linewidth=1)
            panel.set_yticks(range(len(rows)), [row["name"] for row in rows])
            panel.invert_yaxis()
            panel.set_title(f"{model}, batches of {rows[0]['batch_size']}", loc="left", fontsize=9)
            panel.xaxis.set_major_formatter("{x:,.0f}")
        panels[-1].set_xlabel("examples per second; lines from the slowest to the fastest round")
    return figure


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


def rows_for(model: str, names: Sequence[str], count: int, quick: bool) -> list[Row]:
    """Who of these runs with a model, and for how long: at most an epoch on a CPU, or 5,000 steps on a GPU."""
    batch_size, conv = MODELS[model].batch_size, MODELS[model].architecture == "conv"
    epoch = count // batch_size
    rows = []
    for name in names:
        if name in OF_FIRST_MODEL and model != FIRST:
            continue
        if name == "jaxvae, fused" and conv and jax.default_backend() == "cpu":
            continue
        steps = min(epoch, CONV_STEPS if conv else 1000)
        on_gpu = epoch if conv else max(epoch, 5000 // epoch * epoch)
        rows.append(Row(name, model, batch_size, 1 if quick else steps, 0 if quick else on_gpu))
    return rows


def main() -> None:
    """Runs the command."""
    parser = harness.parser("train_step", __doc__, quick="few images, one round")
    parser.add_argument("--data", type=Path, help="a .npy or .npz file of uint8 images (N, 28, 28); else random ones")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS), choices=CONTESTANTS, metavar="NAME")
    options = parser.parse_args()
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the contestants need the memory
    about = harness.facts("train_step")
    rounds = 1 if options.quick else options.rounds
    entries: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        images = read_images(options.data, 512 if options.quick else 60_000)
        np.save(Path(folder) / "images.npy", images)
        for model in options.models:  # one at a time, as all that run hold memory
            scratch = Path(folder) / model
            scratch.mkdir()
            rows = rows_for(model, options.contestants, len(images), options.quick)
            contestants = measure(rows, Path(folder) / "images.npy", rounds, scratch)
            entries += results(contestants)
            for contestant in contestants:
                contestant.close()
    compare(entries)
    for entry in entries:
        if entry["note"]:
            print(f"{entry['model']}, {entry['name']}: not run ({entry['note']})")
    data = {"data": options.data.name if options.data else "random", "images": len(images)}
    harness.publish("train_step", {**about, **data, "rows": entries}, tables, draw, options.out)


if __name__ == "__main__":
    main()
