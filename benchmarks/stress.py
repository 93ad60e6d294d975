"""The stress map: where does training meet numbers that aren't finite, and are they the Gaussian part's fault?

    python -m benchmarks.stress [--seeds 20] [--steps 300] [--forms NAME ...] [--out benchmarks/results/stress.json]

The tiny VAE of ``benchmarks.trial`` is trained at learning rates up to 1, from σ of 1e-4, 1 and 1e4, in float32,
bfloat16 and float16, in every parameterization that is one-to-one and in the forms of ``benchmarks.peers``. Of each run
it is noted whether it ended with a loss or parameters that aren't finite, where the first such number arose, and, if in
the Gaussian part, whether that was avoidable. The bar: with the library, it never was; exits with 1 where it is missed.
"""

import argparse
import datetime
import importlib.metadata
import itertools
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxvae as jv
from benchmarks import harness
from benchmarks.peers import PEERS, Form, ours
from benchmarks.trial import CAUSES, STAGES, Outcome, avoidable, draws, finite, images, train

RESULT = Path(__file__).parent / "results" / "stress.json"
RATES = (1e-3, 1e-2, 1e-1, 1.0)
STDS = (1e-4, 1.0, 1e4)
DTYPES = ("float32", "bfloat16", "float16")
LEFT_OUT = ("direct_std", "direct_variance", "projected_std", "square_std", "abs_std")
"""Not one-to-one."""
OURS = {name: ours(p) for name, p in jv.PARAMETERIZATIONS.items() if name not in LEFT_OUT}
FORMS = {**OURS, **PEERS}


def start(form: Form, std: float, dtype: str) -> float | None:
    """The raw of σ; None where σ, or a parameter at the start, can't be expressed."""
    try:
        raw = form.parameterization.raw_from_std(std)
    except ValueError:
        return None
    numbers = raw, form.parameterization.loc_from_mean(1.0, raw)  # the means' weights are about 1/4
    return float(raw) if finite([x.astype(dtype) for x in numbers]) else None


def cells(form: Form, dtype: str, seeds: int, steps: int) -> dict[str, Any]:
    """Counts of runs over seeds, [σ₀][learning rate], with None where σ₀ can't be expressed."""
    raws = [start(form, std, dtype) for std in STDS]
    counts: dict[str, Any] = {name: [None] * len(STDS) for name in ("failed", *CAUSES, "avoidable")}
    known = [i for i, raw in enumerate(raws) if raw is not None]
    if not known:
        return {**counts, "witnesses": []}
    raw, rate, seed = map(np.array, zip(*itertools.product([raws[i] for i in known], RATES, range(seeds)), strict=True))
    drawn = jax.tree.map(lambda x: x[seed], draws(jnp.arange(seeds), steps))
    points = (jnp.asarray(x, jnp.float32) for x in (rate, raw))
    outcome = jax.device_get(train(form, dtype, images(), *points, drawn))
    cause = np.append(STAGES, -1)[outcome.stage]
    masks = {name: cause == i for i, name in enumerate(CAUSES)}
    masks |= {"failed": outcome.failed, "avoidable": avoidable(form, dtype, outcome)}
    for name, mask in masks.items():
        for i, row in zip(known, mask.reshape(len(known), len(RATES), seeds).sum(-1).tolist(), strict=True):
            counts[name][i] = row
    return {**counts, "witnesses": [witness(outcome, i) for i in np.flatnonzero(masks["avoidable"])[:3]]}


def witness(outcome: Outcome, run: int) -> dict[str, Any]:
    """The step of a failure, and the numbers of the first latents of which one wasn't finite."""
    bad = ~np.isfinite([x[run] for x in outcome.head]).all(0)
    head = {name: x[run][bad][:2].astype(str).tolist() for name, x in outcome.head._asdict().items()}
    return {"step": int(outcome.step[run]), **head}


def show(rows: Sequence[dict[str, Any]], seeds: int) -> None:
    """Prints the table: a line per form, a column per dtype and σ₀, over all learning rates."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Runs that ended in NaN or inf, and in brackets those where it arose in the Gaussian part; %")
    table.add_column("form", no_wrap=True)
    for dtype, std in itertools.product(DTYPES, STDS):
        table.add_column(f"{dtype}\nσ₀ {std:g}", justify="right")

    def text(row: dict[str, Any], i: int) -> str:
        if row["failed"][i] is None:
            return "–"
        failed, gaussian = (100 * sum(row[name][i]) / (len(RATES) * seeds) for name in ("failed", "gaussian"))
        return f"{failed:.0f} ({gaussian:.0f})" if failed or gaussian else "0"

    for name in dict.fromkeys(row["form"] for row in rows):
        mine = {row["dtype"]: row for row in rows if row["form"] == name}
        table.add_row(name, *(text(mine[dtype], i) for dtype, i in itertools.product(DTYPES, range(len(STDS)))))
    Console(width=max(150, Console().width)).print(table)


def compare(rows: Sequence[dict[str, Any]], seeds: int) -> str:
    """Each peer's form beside the library in the same parameterization, and all of the library, as a Markdown table."""

    def share(names: Sequence[str], dtype: str) -> str:
        mine = [row for row in rows if row["form"] in names and row["dtype"] == dtype]
        runs = seeds * len(RATES) * sum(x is not None for row in mine for x in row["failed"])
        counts = [sum(sum(x) for row in mine for x in row[field] if x) for field in ("failed", "avoidable")]
        return "{:.1f} ({:.1f})".format(*(100 * count / runs for count in counts)) if runs else "–"

    lines = ["| | | " + " | ".join(DTYPES) + " |", "|---" * (2 + len(DTYPES)) + "|"]
    for name, form in PEERS.items():
        twin = form.parameterization.name
        cells = " | ".join(f"{share([name], dtype)} → {share([twin], dtype)}" for dtype in DTYPES)
        lines.append(f"| {name} | `{twin}` | {cells} |")
    lines.append(f"| | all {len(OURS)} | " + " | ".join("→ " + share(list(OURS), dtype) for dtype in DTYPES) + " |")
    return "\n".join(lines)


def draw(rows: Sequence[dict[str, Any]], seeds: int, out: Path) -> None:
    """Saves the map as a picture."""
    from benchmarks.failures import Failures, failure_map

    names = list(dict.fromkeys(row["form"] for row in rows))

    def shares(dtype: str, field: str) -> np.ndarray:
        found = {row["form"]: row[field] for row in rows if row["dtype"] == dtype}
        cells = [[values or [np.nan] * len(RATES) for values in found[name]] for name in names]
        return np.array(cells, float) / seeds

    panels = {
        dtype: Failures(*(shares(dtype, field) for field in ("failed", "gaussian", "avoidable"))) for dtype in DTYPES
    }
    groups = [f"σ₀ {std:g}" for std in STDS]
    figure = failure_map(names, groups, [f"{rate:g}" for rate in RATES], panels, sum(name in OURS for name in names))
    figure.savefig(out, dpi=200)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS, metavar="NAME")
    parser.add_argument("--out", type=Path, default=RESULT, help="a JSON file; the picture goes beside it")
    args = parser.parse_args()
    started, rows = time.perf_counter(), []
    for name, dtype in itertools.product(args.forms, DTYPES):
        rows.append({"form": name, "dtype": dtype, **cells(FORMS[name], dtype, args.seeds, args.steps)})
        print(f"{time.perf_counter() - started:.0f} s: {name}, {dtype}", flush=True)
    head = {
        "command": "python -m benchmarks.stress",
        "date": datetime.date.today().isoformat(),
        **{package: importlib.metadata.version(package) for package in ("jax", "jaxlib", "optax")},
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "seconds": round(time.perf_counter() - started),
        "seeds": args.seeds,
        "steps": args.steps,
        "stds": STDS,
        "learning_rates": RATES,
    }
    args.out.write_text(harness.as_json({**head, "rows": rows}))
    show(rows, args.seeds)
    print(compare(rows, args.seeds))
    draw(rows, args.seeds, args.out.with_suffix(".png"))
    missed = [f"{row['form']}, {row['dtype']}: {row['witnesses'][0]}" for row in rows if missed_bar(row)]
    if missed:
        raise SystemExit("the bar was missed: " + "; ".join(missed))


def missed_bar(row: dict[str, Any]) -> bool:
    """Whether one of the library's forms failed where it needn't have."""
    return row["form"] in OURS and bool(row["witnesses"])


if __name__ == "__main__":
    main()
