"""What the scripts share: facts about the machine, timing in turn, JSON, tables and pictures.

A script has ``main()``, which measures and calls ``publish``; ``tables(report)`` and ``draw(report)``, which make of
its report what people look at. A report is what was measured, as JSON: ``facts`` and ``rows``. Nothing here wants more
than JAX and NumPy until it shows something.
"""

import argparse
import datetime
import gc
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "distrax", "tfp-nightly", "numpyro")

Report = dict[str, Any]


class Table(NamedTuple):
    """A title, and texts: one for each column, then as many in each row. The first column is a name."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


class Seconds(NamedTuple):
    """Of one call: the median over rounds, the shortest, the longest."""

    median: float
    low: float
    high: float


def portable(argument: str) -> str:
    """An argument of a command; of an absolute path only the last name, since the rest is one machine's."""
    flag, equals, value = argument.rpartition("=")
    return f"{flag}{equals}{Path(value).name}" if Path(value).is_absolute() else argument


def facts(module: str) -> Report:
    """How a script was called, when, on what, with which versions; those of packages that aren't there are None."""
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
        "command": " ".join([f"python -m benchmarks.{module}", *map(portable, sys.argv[1:])]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": jax.devices()[0].device_kind,
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **versions,
        "load_before": os.getloadavg()[0],
    }


def parser(module: str, about: str, quick: str) -> argparse.ArgumentParser:
    """One with the flags that all scripts have.

    Args:
        module: the script's.
        about: its docstring, of which the first line is shown.
        quick: what ``--quick`` measures.
    """
    made = argparse.ArgumentParser(description=about.splitlines()[0])
    made.add_argument("--quick", action="store_true", help=f"{quick}: only to see that it runs")
    made.add_argument("--out", type=Path, help=f"default: benchmarks/results/{module}-DEVICE.json")
    return made


def in_turn(
    sides: Mapping[str, Callable[[], Any]],
    rounds: int,
    at_least: float = 0.02,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Seconds]:
    """Times functions that return arrays, a round of each after the other, so that noise meets all alike.

    Args:
        sides: the functions; each is called before, to compile it and to see how long it takes.
        rounds: how often each is timed.
        at_least: seconds that a round of a side lasts, by calling it again and again.
        clock: tells seconds; ``time.process_time`` tells those of the CPU, of all threads.
    """
    calls = {}
    for name, side in sides.items():
        jax.block_until_ready(side())
        calls[name] = max(1, round(at_least / max(_once(side, 1, clock), 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in sides}
    gc.disable()
    try:
        for _ in range(rounds):
            for name, side in sides.items():
                times[name].append(_once(side, calls[name], clock))
    finally:
        gc.enable()
    return {name: Seconds(median(t), min(t), max(t)) for name, t in times.items()}


def _once(side: Callable[[], Any], calls: int, clock: Callable[[], float]) -> float:
    """Seconds of a call. A CPU works at calls that overlap at once; other devices take them one by one."""
    each = jax.default_backend() == "cpu"
    began = clock()
    for _ in range(calls):
        out = side()
        if each:
            jax.block_until_ready(out)
    jax.block_until_ready(out)
    return (clock() - began) / calls


def slug(device: str) -> str:
    """A device's name, as a part of a file's.

    >>> slug("NVIDIA H200")
    'nvidia-h200'
    """
    return device.lower().replace(" ", "-")


def publish(
    module: str,
    report: Report,
    tables: Callable[[Report], Sequence[Table]],
    draw: Callable[[Report], "Figure"],
    out: Path | None = None,
) -> None:
    """Prints a report's tables, writes it as JSON, and its picture beside it.

    Args:
        module: the script's.
        report: ``facts`` and ``rows``.
        tables: makes them of a report.
        draw: makes the picture of a report.
        out: the JSON file; ``results/MODULE-DEVICE.json`` if not given.
    """
    out = out or RESULTS / f"{module}-{slug(report['device'])}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(as_json(report))
    show(tables(report))
    draw(report).savefig(out.with_suffix(".png"), dpi=120)
    print(out)


def as_json(report: Report) -> str:
    """A report with a line for each fact and each row."""
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in report["rows"])
    head = json.dumps({k: v for k, v in report.items() if k != "rows"}, ensure_ascii=False, indent=1)
    return f'{head[:-2]},\n "rows": [\n{lines}\n ]\n}}\n'


def reports(module: str, folder: Path = RESULTS) -> list[Report]:
    """All that a script has left, the CPU's first."""
    found = [json.loads(path.read_text()) for path in folder.glob(f"{module}-*.json")]
    return sorted(found, key=lambda report: (report["device"] != "cpu", report["device"]))


def show(tables: Sequence[Table]) -> None:
    """Prints tables."""
    from rich.console import Console
    from rich.table import Table as Rich

    console = Console(width=max(150, Console().width))
    for table in tables:
        rich = Rich(title=table.title, title_justify="left")
        for i, head in enumerate(table.heads):
            rich.add_column(head, justify="right" if i else "left")
        for row in table.rows:
            rich.add_row(*row)
        console.print(rich, markup=False)


def markdown(table: Table) -> str:
    """A table under its title.

    >>> print(markdown(Table("Speed", ("", "us"), [("ours", "1.5")])))
    Speed
    <BLANKLINE>
    | | us |
    |---|---:|
    | ours | 1.5 |
    """
    cells = [table.heads, *table.rows]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    rule = "|---" + "|---:" * (len(table.heads) - 1) + "|"
    return "\n".join([table.title, "", lines[0].replace("|  |", "| |"), rule, *lines[1:]])
