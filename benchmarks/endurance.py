"""Does a long run end as it began: no memory lost, nothing compiled again, no step slower?

    python -m benchmarks.endurance [--steps 1000000] [--samples 200] [--out benchmarks/results/endurance.json]

A tiny VAE is trained through ``jaxvae.training.train``, with short epochs, validations and checkpoints, so that what
any of them leaves behind adds up, and watched. The bars, from a tenth of the steps on: memory within 5 %; no trace and
no compilation; in the last tenth no more arrays than in the second, and at most two more file descriptors and threads;
and steps at most 10 % slower. These are judged by the CPU's time, which, unlike the clock's, isn't longer where others
share the machine; both are noted. Exits with 1 where a bar is missed.
"""

import argparse
import dataclasses
import itertools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

import jax

from benchmarks import harness
from jaxvae import training
from jaxvae.training.devices import one_device

RESULT = harness.RESULTS / "endurance.json"
CONFIG = training.TrainConfig(
    dataset="linear-gaussian",
    validation=100,
    binarization="none",
    likelihood="gaussian_learned",
    latents=4,
    hidden=(),
    batch_size=20,
    learning_rate=1e-3,
)
GROWTH, SLOWER = 0.05, 0.1
HELD = {"descriptors": 2, "threads": 2, "arrays": 0}  # pools start threads one by one, and a save may be under way
COMPILED = ("/jax/core/compile/jaxpr_trace_duration", "/jax/core/compile/backend_compile_duration")


class Sample(NamedTuple):
    """What there was at a moment.

    Attributes:
        step: steps done.
        seconds: by the clock.
        cpu_seconds: of all threads.
        resident: bytes of memory.
        compiled: traces and compilations so far.
        descriptors: files open.
        threads: of the process.
        arrays: JAX's that are alive.
    """

    step: int
    seconds: float
    cpu_seconds: float
    resident: int
    compiled: int
    descriptors: int
    threads: int
    arrays: int


class Watcher:
    """Takes a sample at the beginning, and after every so many epochs."""

    def __init__(self, every: int) -> None:
        self.samples: list[Sample] = []
        self._every, self._counts = every, Counter[str]()

    @contextmanager
    def watch(self, step: int) -> Iterator["Watcher"]:
        """As ``training.train`` asks."""
        jax.monitoring.register_event_duration_secs_listener(self._count)
        self._take(step)
        try:
            yield self
        finally:
            jax.monitoring.unregister_event_duration_listener(self._count)

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Does nothing."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Called at an epoch's end."""
        if record["epoch"] % self._every == 0:
            self._take(record["step"])

    def _take(self, step: int) -> None:
        self.samples.append(
            Sample(
                step=step,
                seconds=time.perf_counter(),
                cpu_seconds=time.process_time(),
                resident=int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
                compiled=sum(self._counts[event] for event in COMPILED),
                descriptors=len(os.listdir("/proc/self/fd")),
                threads=len(os.listdir("/proc/self/task")),
                arrays=len(jax.live_arrays()),
            )
        )

    def _count(self, event: str, seconds: float, **kwargs: str | int) -> None:
        self._counts[event] += 1


def endure(steps: int, samples: int, out: Path) -> list[Sample]:
    """Trains for about so many steps, with a validation and a checkpoint after each sample."""
    mesh = one_device()
    every = max(1, round(steps / training.make_experiment(CONFIG, mesh).steps_per_epoch / samples))
    config = dataclasses.replace(CONFIG, epochs=every * samples, evaluate_every=every)
    watcher = Watcher(every)
    training.train(training.make_experiment(config, mesh), out, watch=watcher.watch)
    return watcher.samples


def rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """A row for each tenth of the samples: memory, compilations, what was held at least, and the speed."""
    size = len(samples) // 10
    return [_row(samples[i : i + size + 1]) for i in range(0, 10 * size, size)]


def _row(samples: Sequence[Sample]) -> dict[str, Any]:
    """The first sample is that before the tenth. What a save in the background holds for a while isn't counted."""
    pairs = list(itertools.pairwise(samples))
    spans = [b.seconds - a.seconds for a, b in pairs]
    rates = [(b.step - a.step) / span for (a, b), span in zip(pairs, spans, strict=True)]
    cpu = [1e6 * (b.cpu_seconds - a.cpu_seconds) / (b.step - a.step) for a, b in pairs]
    own = samples[1:]
    return {
        "step": own[-1].step,
        "megabytes": [round(pick(s.resident for s in own) / 1e6, 1) for pick in (min, max)],
        "compiled": samples[-1].compiled - samples[0].compiled,
        **{name: min(getattr(s, name) for s in own) for name in HELD},
        "steps_per_second": _quartiles(rates),
        "cpu_microseconds_per_step": _quartiles(cpu),
    }


def _quartiles(values: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in (quantiles(values, n=4) if len(values) > 1 else 3 * list(values))]


def summary(tenths: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is judged: all but the first tenth."""
    second, last = tenths[1], tenths[-1]
    low, high = (pick(row["megabytes"][i] for row in tenths[1:]) for i, pick in enumerate((min, max)))
    return {
        "growth": round(high / low - 1, 4),
        "compiled": sum(row["compiled"] for row in tenths[1:]),
        **{name: last[name] - second[name] for name in HELD},
        "slower": round(last["cpu_microseconds_per_step"][1] / second["cpu_microseconds_per_step"][1] - 1, 4),
        "slower_by_the_clock": round(second["steps_per_second"][1] / last["steps_per_second"][1] - 1, 4),
    }


def missed(found: Mapping[str, Any]) -> list[str]:
    """The bars that were missed, as ``name: value``."""
    limits = {"growth": GROWTH, "compiled": 0, **HELD, "slower": SLOWER}
    return [f"{name}: {found[name]}" for name, limit in limits.items() if found[name] > limit]


def table(tenths: Sequence[Mapping[str, Any]]) -> harness.Table:
    """A line for each tenth."""
    heads = (
        "to step",
        "MB",
        "compiled",
        "files",
        "threads",
        "arrays",
        "steps/s (quartiles)",
        "CPU µs/step (quartiles)",
    )
    lines = [
        [
            f"{row['step']:,}",
            "{:.1f} to {:.1f}".format(*row["megabytes"]),
            str(row["compiled"]),
            *(str(row[name]) for name in HELD),
            "{1:,.0f} ({0:,.0f} to {2:,.0f})".format(*row["steps_per_second"]),
            "{1:.1f} ({0:.1f} to {2:.1f})".format(*row["cpu_microseconds_per_step"]),
        ]
        for row in tenths
    ]
    return harness.Table("A long run, by tenths; medians and quartiles", heads, lines)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    facts, began = harness.facts("endurance"), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        tenths = rows(endure(args.steps, args.samples, out))
        left = {
            "seconds": round(time.perf_counter() - began),
            "load_after": os.getloadavg()[0],
            "epochs": len(training.read_metrics(out / training.METRICS)),
            "metrics_bytes": (out / training.METRICS).stat().st_size,
            "checkpoints": len(list((out / "checkpoints").glob("[0-9]*"))),
        }
    found = summary(tenths)
    args.out.write_text(harness.as_json({**facts, **left, **found, "rows": tenths}))
    harness.show([table(tenths)])
    print(found)
    if missed(found):
        raise SystemExit("bars were missed: " + ", ".join(missed(found)))


if __name__ == "__main__":
    main()
