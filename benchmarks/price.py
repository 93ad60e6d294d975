"""What exactness costs: every parameterization beside the same formula written by hand (``benchmarks.by_hand``).

    python -m benchmarks.price [NAMES ...] [--rounds N] [--large] [--dtypes ...] [--quick] [--out FILE.json]

Two programs, each with all its gradients: a reparameterized sample and KL(q ‖ N(0, 1)) of (loc, raw, noise), and
KL(q ‖ p) of two Gaussians; the KL is summed over each row. Both sides are compiled in one process and timed in turn, in
CPU time of all threads. Beside the time stand what the compiler says of the program: the memory of its temporary
arrays, how long it took to compile, and its operations, that is the instructions of the optimized program but for
parameters, constants, broadcasts, tuples and the fusions themselves; those of them that are expensive are counted,
too (exp, log, division, roots and their like).

The bars: 1.1 times the time by hand for sample and KL of the logarithmic ones, 1.3 for the others, 1.5 for KL(q ‖ p);
twice the temporaries and the compilation; four times the operations. Cells that miss one are named at the end.
"""

import collections
import functools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import Array

import jaxvae as jv
from benchmarks import harness
from benchmarks.by_hand import BY_HAND
from benchmarks.harness import Report, Table
from benchmarks.peers import Form, ours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPE, LARGE = (4096, 256), (65536, 1024)
DTYPES = ("float32", "bfloat16")
SAMPLE, BETWEEN = "sample + KL", "KL(q ‖ p)"
SIDES = ("by hand", "jaxvae")
EXPENSIVE = frozenset(
    [
        *("divide", "erf", "exponential", "exponential-minus-one", "log", "log-plus-one", "logistic"),
        *("power", "rsqrt", "sqrt", "tanh"),
    ]
)
FREE = frozenset(["parameter", "constant", "broadcast", "tuple", "get-tuple-element", "fusion"])
BARS = {"temporaries": 2.0, "compilation": 2.0, "operations": 4.0}
MEGABYTE = 2**20

Program = tuple[Callable[..., Any], tuple[Array, ...]]


def programs(form: Form, shape: tuple[int, int], dtype: str) -> dict[str, Program]:
    """The two programs of a form, and their arguments."""
    draws = [jax.random.normal(key, shape) for key in jax.random.split(jax.random.key(0), 6)]
    loc, raw, loc_p, raw_p, dz = (x.astype(dtype) for x in (draws[0], draws[1] - 1, draws[2], draws[3] - 0.5, draws[4]))

    def sampled(loc: Array, raw: Array, noise: Array, dz: Array) -> tuple[Array, ...]:
        def both(loc: Array, raw: Array) -> tuple[Array, Array]:
            z, kl = form.apply(loc, raw, noise)
            return z, kl.sum(-1)

        (z, kl), back = jax.vjp(both, loc, raw)
        return z, kl, *back((dz.astype(z.dtype), jnp.ones_like(kl)))

    def compared(*leaves: Array) -> tuple[Array, ...]:
        assert form.between
        kl, back = jax.vjp(lambda *leaves: form.between(*leaves).sum(-1), *leaves)
        return kl, *back(jnp.ones_like(kl))

    # The unconstrained ones are defined for positive raws.
    if form.parameterization.name.startswith("direct"):
        raw, raw_p = jnp.abs(raw) + 0.1, jnp.abs(raw_p) + 0.1
    return {SAMPLE: (sampled, (loc, raw, draws[5], dz)), BETWEEN: (compared, (loc, raw, loc_p, raw_p))}


def compiled(program: Program) -> tuple[Callable[[], Any], dict[str, float]]:
    """A call without arguments, and what is known of it without a call."""
    function, arguments = program
    lowered = jax.jit(function).lower(*arguments)
    began = time.process_time()
    found = lowered.compile()
    seconds = time.process_time() - began
    counts = operations(found.as_text())
    return functools.partial(found, *arguments), {
        "temporaries": round(found.memory_analysis().temp_size_in_bytes / MEGABYTE, 2),
        "compilation": round(seconds, 3),
        "operations": sum(n for name, n in counts.items() if name not in FREE),
        "expensive": sum(n for name, n in counts.items() if name in EXPENSIVE),
    }


def operations(text: str) -> collections.Counter[str]:
    """How often each instruction is in an optimized program."""
    return collections.Counter(re.findall(r"^\s+(?:ROOT )?%?\S+ = \S+ ([a-z-]+)\(", text, re.MULTILINE))


def measure(name: str, shape: tuple[int, int], dtype: str, rounds: int) -> Iterator[dict[str, Any]]:
    """A row for each program."""
    p = jv.PARAMETERIZATIONS[name]
    forms = dict(zip(SIDES, (BY_HAND[name], ours(p)), strict=True))
    for kind in (SAMPLE, BETWEEN):
        sides = {side: compiled(programs(form, shape, dtype)[kind]) for side, form in forms.items()}
        times = harness.in_turn({side: run for side, (run, _) in sides.items()}, rounds, clock=time.process_time)
        yield {
            "name": name,
            "program": kind,
            "shape": list(shape),
            "dtype": dtype,
            **{side: {"ms": [round(1e3 * x, 2) for x in times[side]], **about} for side, (_, about) in sides.items()},
        }


def ratio(row: dict[str, Any], field: str) -> float:
    """Ours to by hand; of times the medians. By hand without temporaries counts as with one array."""
    hand, mine = (row[side][field][0] if field == "ms" else row[side][field] for side in SIDES)
    if field == "temporaries":
        array = row["shape"][0] * row["shape"][1] * 4 / MEGABYTE
        hand = max(hand, array)
    return mine / hand


def bar(row: dict[str, Any]) -> float:
    """Of the time."""
    if row["program"] == BETWEEN:
        return 1.5
    return 1.1 if jv.PARAMETERIZATIONS[row["name"]].transform.logarithmic else 1.3


def missed(row: dict[str, Any]) -> list[str]:
    """The bars that a row misses, with the ratios."""
    found = {"time": (ratio(row, "ms"), bar(row)), **{field: (ratio(row, field), x) for field, x in BARS.items()}}
    return [f"{field} {x:.2f} for {most}" for field, (x, most) in found.items() if x > most]


def tables(report: Report) -> list[Table]:
    """One for each shape, dtype and program."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in report["rows"]:
        groups.setdefault((*row["shape"], row["dtype"], row["program"]), []).append(row)
    made = []
    for (b, n, dtype, program), rows in groups.items():
        title = f"{report['device']}, {program} with gradients, {b} × {n}, {dtype}: by hand → here."
        heads = ["", "CPU ms", "ratio", "temporaries MiB", "compilation s", "operations", "expensive"]
        lines = []
        for row in rows:
            pairs = [pair(row, field) for field in ("ms", "temporaries", "compilation", "operations", "expensive")]
            lines.append([row["name"], pairs[0], f"{ratio(row, 'ms'):.2f}", *pairs[1:]])
        made.append(Table(title, heads, lines))
    return made


def pair(row: dict[str, Any], field: str) -> str:
    """By hand → here."""
    values = [row[side][field][0] if field == "ms" else row[side][field] for side in SIDES]
    return " → ".join(f"{x:.3g}" for x in values)


def draw(report: Report) -> "Figure":
    """The ratios of the times, a point for each parameterization and program."""
    from matplotlib.figure import Figure

    from jaxvae.plots.style import COLOURS, GREY, quiet

    rows = [row for row in report["rows"] if row["dtype"] == "float32" and tuple(row["shape"]) == SHAPE]
    names = list(dict.fromkeys(row["name"] for row in rows))
    with quiet(9):
        figure = Figure(figsize=(7, 1 + 0.2 * len(names)), layout="constrained")
        axes = figure.subplots()
        for colour, program in zip(COLOURS, (SAMPLE, BETWEEN), strict=False):
            mine = [row for row in rows if row["program"] == program]
            places = [names.index(row["name"]) for row in mine]
            axes.plot([ratio(row, "ms") for row in mine], places, "o", color=colour, markersize=4, label=program)
        axes.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel("CPU time with gradients, by hand = 1")
        axes.legend(frameon=False)
        axes.grid(axis="x", linewidth=0.4)
    return figure


def main() -> None:
    """Runs the command."""
    parser = harness.parser("price", __doc__, quick="two parameterizations, a small shape, one round")
    parser.add_argument("names", nargs="*", metavar="NAME", help="parameterizations; all if not given")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--large", action="store_true", help="at {} × {}, too: 30 times as long".format(*LARGE))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    options = parser.parse_args()
    names: Sequence[str] = options.names or tuple(jv.PARAMETERIZATIONS)
    shapes, rounds = ([SHAPE, LARGE] if options.large else [SHAPE]), options.rounds
    if options.quick:
        names, shapes, rounds = options.names or ("log_variance", "softplus_std"), [(64, 32)], 1
    rows = []
    for shape in shapes:
        for dtype in options.dtypes:
            for name in names:
                rows += measure(jv.parameterization(name).name, shape, dtype, rounds)
                for row in rows[-2:]:
                    print(
                        f"{name}, {dtype}, {row['program']}: {pair(row, 'ms')} ms, {ratio(row, 'ms'):.2f}", flush=True
                    )
    harness.publish("price", {**harness.facts("price"), "rows": rows}, tables, draw, options.out)
    for row in rows:
        if cells := missed(row):
            print(f"missed: {row['name']}, {row['dtype']}, {row['shape']}, {row['program']}: {'; '.join(cells)}")


if __name__ == "__main__":
    main()
