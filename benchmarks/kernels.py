"""How long sampling and scoring take by themselves: z = mean + σ ε, KL(q ‖ N(0, 1)) and their gradients.

    python -m benchmarks.kernels [--rounds N] [--all] [--quick] [--out FILE.json]

Every parameterization, in float32 and bfloat16, at three sizes (rows × latents); beside it the two formulas that one
writes by hand, log-variance and softplus, and the packages distrax, TFP and numpyro. All are jitted and in turn.

*Forward* gives z and each row's KL, of (loc, raw, noise); *gradient* gives besides, of the cotangent of z, those of loc
and raw. Speed is the bytes of all that goes in and comes out, by the time; it is set against a copy, which reads as
many bytes as it writes and no fewer in all. The packages draw their noise themselves, so they are timed against our own
functions that do: by the generator that is JAX's default, ``threefry``, and by ``rbg``.

On a CPU a call is waited for before the next one; at the smallest size that is most of its time.
"""

import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import Array

import jaxvae as jv
from benchmarks import harness, libraries
from benchmarks.by_hand import BY_HAND as EVERY_FORM
from benchmarks.harness import Report, Seconds, Table
from benchmarks.peers import Form, ours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPES = ((128, 20), (4096, 256), (65536, 1024))
DTYPES = ("float32", "bfloat16")
PASSES = ("forward", "gradient")
COPY = "copy"
BY_HAND = {
    "log-variance by hand": EVERY_FORM["log_variance"],
    "softplus by hand": EVERY_FORM["softplus_std"],
}
OURS = {name: ours(p) for name, p in jv.PARAMETERIZATIONS.items()}
MAIN = ("log_variance", "softplus_std")
"""At the largest size these stand for all on a CPU, in float32 and with noise given: all of it takes many minutes."""
GENERATORS = {"threefry": "threefry2x32", "rbg": "rbg"}

Kernel = Callable[..., tuple[Array, ...]]


def forward(form: Form, loc: Array, raw: Array, noise: Array) -> tuple[Array, ...]:
    """z (B, L), and the KL of each row (B,)."""
    z, kl = form.apply(loc, raw, noise)
    return z, kl.sum(-1)


def gradient(form: Form, loc: Array, raw: Array, noise: Array, dz: Array) -> tuple[Array, ...]:
    """z, KL, and the cotangents of loc and raw, of that of z; the KL's is 1."""
    return with_cotangents(lambda loc, raw: forward(form, loc, raw, noise), loc, raw, dz)


def with_cotangents(both: Kernel, loc: Array, raw: Array, dz: Array) -> tuple[Array, ...]:
    """What ``both`` makes of loc and raw, and what dz and a 1 for each KL become on their way back."""
    (z, kl), back = jax.vjp(both, loc, raw)
    return z, kl, *back((dz.astype(z.dtype), jnp.ones_like(kl)))


def drawing(form: Form, loc: Array, raw: Array, dz: Array, key: Array) -> tuple[Array, ...]:
    """``gradient`` with noise of its own."""
    return gradient(form, loc, raw, jax.random.normal(key, loc.shape), dz)


def of_library(library: libraries.Library, loc: Array, raw: Array, dz: Array, key: Array) -> tuple[Array, ...]:
    """The same by a package."""

    def both(loc: Array, raw: Array) -> tuple[Array, Array]:
        return library.sample(key, loc, raw), library.kl(loc, raw).sum(-1)

    return with_cotangents(both, loc, raw, dz)


def inputs(shape: tuple[int, int], dtype: str) -> tuple[Array, Array, Array, Array]:
    """loc, raw and dz in the dtype, and float32 noise between them, (B, L) each."""

    def draw(key: Array) -> tuple[Array, ...]:
        loc, raw, noise, dz = (jax.random.normal(k, shape) for k in jax.random.split(key, 4))
        return loc.astype(dtype), (raw - 1).astype(dtype), noise, dz.astype(dtype)

    return jax.jit(draw)(jax.random.key(0))


def copy_of(bytes_: int) -> Callable[[], Array]:
    """Reads half of so many bytes, and writes the other half."""
    x = jnp.ones(bytes_ // 8, jnp.float32)
    negative = jax.jit(jnp.negative)
    return lambda: negative(x)


def compiled(kernel: Kernel, *arguments: Any) -> tuple[Callable[[], Any], int]:
    """A call without arguments, and the bytes that go in and come out."""
    program = jax.jit(kernel).lower(*arguments).compile()
    out = jax.eval_shape(kernel, *arguments)
    moved = sum(x.nbytes for x in arguments if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key))
    return functools.partial(program, *arguments), moved + sum(x.size * x.dtype.itemsize for x in out)


def measure(
    shape: tuple[int, int],
    dtype: str,
    rounds: int,
    names: Sequence[str],
    packages: Mapping[str, libraries.Library] | None = None,
) -> list[dict[str, Any]]:
    """A row for each kernel: of the forms named, by hand, and of the copy; with packages, those that draw, too."""
    loc, raw, noise, dz = inputs(shape, dtype)
    forms = {**BY_HAND, **{name: OURS[name] for name in names}}
    kernels: dict[tuple[str, str, str], tuple[Any, ...]] = {}
    for name, form in forms.items():
        kernels[name, "forward", "given"] = functools.partial(forward, form), loc, raw, noise
        kernels[name, "gradient", "given"] = functools.partial(gradient, form), loc, raw, noise, dz
    if packages is not None:
        keys = {name: jax.random.key(1, impl=generator) for name, generator in GENERATORS.items()}
        for name, generator in itertools.product([*BY_HAND, *MAIN], GENERATORS):
            kernel = functools.partial(drawing, forms[name])
            kernels[name, "gradient", generator] = kernel, loc, raw, dz, keys[generator]
        for name, library in packages.items():
            kernel = functools.partial(of_library, library)
            kernels[name, "gradient", "threefry"] = kernel, loc, raw, dz, keys["threefry"]
    with ThreadPoolExecutor() as pool:
        sides = dict(zip(kernels, pool.map(lambda kernel: compiled(*kernel), kernels.values()), strict=True))
    rows = []
    for a_pass, source in dict.fromkeys((key[1], key[2]) for key in sides):
        mine = {name: side for (name, p, s), side in sides.items() if (p, s) == (a_pass, source)}
        most = max(moved for _, moved in mine.values())
        times = harness.in_turn({COPY: copy_of(most), **{name: run for name, (run, _) in mine.items()}}, rounds)
        for name, seconds in times.items():
            about = {"shape": list(shape), "dtype": dtype, "pass": a_pass, "noise": source, "name": name}
            rows.append({**about, **speed(seconds, mine[name][1] if name in mine else most // 8 * 8)})
    return rows


def speed(seconds: Seconds, moved: int) -> dict[str, Any]:
    """Microseconds, their spread, and GB/s."""
    us = [round(1e6 * x, 2) for x in seconds]
    return {"us": us[0], "spread": us[1:], "bytes": moved, "gb_per_s": round(moved / seconds.median / 1e9, 2)}


def rows_of(report: Report, **fields: Any) -> dict[str, dict[str, Any]]:
    """The rows with these values, by name."""
    return {row["name"]: row for row in report["rows"] if all(row[name] == value for name, value in fields.items())}


def tables(report: Report) -> list[Table]:
    """For each dtype one with the noise given, and one with the noise drawn."""
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in report["rows"]))
    kinds = {
        "noise given": [(a_pass, "given") for a_pass in PASSES],
        "gradient, noise drawn": [("gradient", generator) for generator in GENERATORS],
    }
    made = []
    for dtype, (kind, variants) in itertools.product(
        dict.fromkeys(row["dtype"] for row in report["rows"]), kinds.items()
    ):
        columns = {
            f"{b}×{n} {a_pass if source == 'given' else source}": rows_of(
                report, shape=[b, n], dtype=dtype, noise=source, **{"pass": a_pass}
            )
            for (b, n), (a_pass, source) in itertools.product(shapes, variants)
        }
        columns = {head: column for head, column in columns.items() if column}
        names = dict.fromkeys(name for column in columns.values() for name in column)
        rows = [[name, *(text(column.get(name), column[COPY]) for column in columns.values())] for name in names]
        title = f"{report['device']}, {dtype}, {kind}: microseconds, and the speed as a share of a copy's."
        made.append(Table(title, ["", *columns], rows))
    return made


def text(row: dict[str, Any] | None, copy: dict[str, Any]) -> str:
    """Time and share of the copy's speed; of the copy, its speed."""
    if row is None:
        return "–"
    speed = f"{row['gb_per_s']:.3g} GB/s" if row is copy else f"{row['gb_per_s'] / copy['gb_per_s']:.0%}"
    return f"{row['us']:,.0f} ({speed})"


def draw(report: Report) -> "Figure":
    """How many times as long as log-variance by hand each takes, forward and back with noise given, float32."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    from jaxvae.plots.style import COLOURS, GREY, quiet

    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in report["rows"]))
    found = [rows_of(report, shape=list(s), dtype="float32", noise="given", **{"pass": "gradient"}) for s in shapes]
    base = next(iter(BY_HAND))
    names = [name for name in dict.fromkeys(name for rows in found for name in rows) if name != base]
    with quiet(9):
        figure = Figure(figsize=(10, 1.2 + 0.2 * len(names)), layout="constrained")
        panels = figure.subplots(1, len(shapes), sharey=True, squeeze=False)[0]
        for panel, shape, rows in zip(panels, shapes, found, strict=True):
            for y, name in enumerate(names):
                if name not in rows:
                    continue
                colour = GREY if name == COPY else COLOURS[1] if name in BY_HAND else COLOURS[0]
                low, high = (us / rows[base]["us"] for us in rows[name]["spread"])
                panel.plot([low, high], [y, y], color=colour, linewidth=1, alpha=0.5)
                panel.plot(rows[name]["us"] / rows[base]["us"], y, "o", color=colour, markersize=4)
            panel.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
            panel.set_xscale("log", base=2)
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.set_title("{} × {}".format(*shape), loc="left", fontsize=9)
            panel.grid(axis="x", linewidth=0.4)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        figure.supxlabel(f"time, {base} = 1; lines from the shortest to the longest round", fontsize=9)
    return figure


def main() -> None:
    """Runs the command."""
    parser = harness.parser("kernels", __doc__, quick="one small size, one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="all at the largest size, too, as on a GPU")
    options = parser.parse_args()
    on_cpu = jax.default_backend() == "cpu"
    packages, missing = libraries.jax_libraries()
    packages = {name: library for name, library in packages.items() if library.parameterization.name in MAIN}
    about, rows = harness.facts("kernels"), []
    for shape, dtype in itertools.product(SHAPES[:1] if options.quick else SHAPES, DTYPES):
        few = shape == SHAPES[-1] and on_cpu and not options.all
        if few and dtype != DTYPES[0]:
            continue
        names = MAIN if few or options.quick else tuple(OURS)
        rounds = 1 if options.quick else min(options.rounds, 3) if few else options.rounds
        began = time.perf_counter()
        rows += measure(shape, dtype, rounds, names, None if few else packages)
        print(f"{shape[0]} × {shape[1]}, {dtype}: {time.perf_counter() - began:.0f} s", flush=True)
        jax.clear_caches()
    harness.publish("kernels", {**about, "missing": missing, "rows": rows}, tables, draw, options.out)


if __name__ == "__main__":
    main()
