"""Digits: KL, log-density, entropy, cdf and their derivatives against 60-digit truth, for the library and its peers.

    python -m benchmarks.accuracy [--quick] [--out FILE.json]

Each peer (``benchmarks.libraries``; where there is no package, its formula) meets raws near collapse (q, or q and p,
within 1e-4 to 1e-1 of each other), ordinary ones, and extreme ones up to ±200, in several dtypes, under jit. Beside it
stands the library, in the same parameterization with the same stored inputs. The truth is mpmath's for the inputs as
stored, so that no one is blamed for rounding them.

The error is relative to the sum of the magnitudes of the truth's terms: to the truth itself where they have one sign,
as in KL; a difference that crosses zero (-½z² - log σ - ½ log 2π) needn't be more exact than its terms. Where all terms
are 0, only a finite result is asked for. Numbers below 2^-126, which XLA may flush to 0, or below the smallest of their
dtype, are as good as 0. Each is judged in the dtype that it returns: from 16-bit inputs ours returns values in float32,
and peers stay in these, or refuse them. NaN or inf counts where the truth is below 99% of the largest number of that
dtype.

The bar: in every cell our error is at most the peer's worst or ``allowance``, whichever is more, and in addition what
an ulp of the inputs changes (half for the input itself, half for what is made of it first, such as log σ; an ulp of the
dtype in which it is computed). And ours is never NaN or inf. Exits with 1 where it is missed.
"""

import functools
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxvae as jv
from benchmarks import harness
from benchmarks.harness import Report, Table
from benchmarks.libraries import Library, jax_libraries, torch_libraries
from benchmarks.oracle import QUANTITIES, REGIONS, Points, points, response
from benchmarks.peers import PEERS
from jaxvae.texts import short_exponent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DTYPES = ("float32", "bfloat16", "float16", "float64")

PANELS = ("softplus_std", "log_std", "log_variance")
TICKS = {"1e-8": 1e-8, "1e-6": 1e-6, "1e-4": 1e-4, "0.01": 0.01, "≥ 1": 1.0, "NaN/inf": 30.0}
"""Of errors in the picture."""


def ours(p: jv.Parameterization) -> Library:
    """The library."""
    q = functools.partial(jv.Gaussian, parameterization=p)
    return Library(
        "jaxvae",
        p,
        lambda loc, raw: jv.kl_divergence(q(loc, raw)),
        lambda loc_q, raw_q, loc_p, raw_p: jv.kl_divergence(q(loc_q, raw_q), q(loc_p, raw_p)),
        lambda loc, raw, x: jv.log_prob(q(loc, raw), x),
        lambda loc, raw: jv.entropy(q(loc, raw)),
        lambda loc, raw, x: jv.cdf(q(loc, raw), x),
        lambda loc, raw, x: jv.log_cdf(q(loc, raw), x),
    )


def diffusers_kl_between(loc_q: jax.Array, raw_q: jax.Array, loc_p: jax.Array, raw_p: jax.Array) -> jax.Array:
    """Its KL of two."""
    log_q, log_p = jnp.clip(raw_q, -30, 20), jnp.clip(raw_p, -30, 20)
    variance_q, variance_p = jnp.exp(log_q), jnp.exp(log_p)
    return 0.5 * (jnp.square(loc_q - loc_p) / variance_p + variance_q / variance_p - 1 - log_q + log_p)


def diffusers_log_prob(loc: jax.Array, raw: jax.Array, x: jax.Array) -> jax.Array:
    """Its negative log-likelihood, with the sign turned."""
    log_variance = jnp.clip(raw, -30, 20)
    return -0.5 * (math.log(2 * math.pi) + log_variance + jnp.square(x - loc) / jnp.exp(log_variance))


def forms() -> dict[str, Library]:
    """Those of ``benchmarks.peers`` that aren't here as packages."""
    found = {}
    for name, form in PEERS.items():
        if name != "form of distrax":
            kl = functools.partial(lambda form, loc, raw: form.apply(loc, raw, jnp.zeros_like(raw))[1], form)
            found[name] = Library(name, form.parameterization, kl)
    both = {"kl_between": diffusers_kl_between, "log_prob": diffusers_log_prob}
    return {**found, "form of diffusers": found["form of diffusers"]._replace(**both)}


class Judged(NamedTuple):
    """A library's results at points, and their errors; one array for each output."""

    got: list[np.ndarray]
    errors: list[np.ndarray]


def judge(library: Library, quantity: str, points: Points) -> Judged:
    """A library at these points."""
    got = library.outputs(getattr(library, quantity), points.inputs, len(QUANTITIES[quantity][1]))
    return Judged(got, [errors(x, i, points) for i, x in enumerate(got)])


def errors(got: np.ndarray, output: int, points: Points) -> np.ndarray:
    """At each point; inf where it isn't finite and should be, NaN where nothing is asked of it."""
    limits = jnp.finfo(got.dtype)
    tiny = max(float(limits.smallest_subnormal), min(2.0**-126, float(limits.tiny)))
    got, high, scale = got.astype(float), points.high[:, output], points.scale[:, output]
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.maximum(np.abs((got - high) - points.low[:, output]) - tiny, 0)
        error = np.where(scale > 0, distance / np.maximum(scale, tiny), 0)
    error = np.where(np.isfinite(got), error, np.inf)
    return np.where(np.abs(high) < 0.99 * float(limits.max), error, np.nan)


def worst(judged: Judged, quantity: str, points: Points) -> dict[str, list[float | None]]:
    """Of each output, in each region; None where something wasn't finite."""
    worsts = [[np.nanmax(e[points.region == r], initial=0) for r in REGIONS] for e in judged.errors]
    names = ("value", *QUANTITIES[quantity][1])
    return {name: [digits(x) for x in row] for name, row in zip(names, worsts, strict=True)}


def digits(x: float) -> float | None:
    """Two of them."""
    return float(f"{x:.1e}") if np.isfinite(x) else None


def first_bad(judged: Judged, points: Points) -> list[float | None]:
    """The raws nearest to 0, below and above it, at which something isn't finite and should be."""
    at = points.at[np.isinf(judged.errors).any(0)].tolist()
    return [max((r for r in at if r < 0), default=None), min((r for r in at if r >= 0), default=None)]


def allowance(returned: np.dtype) -> float:
    """What counts as equal: the result's rounding (½ ulp), and 8 ulp of the dtype that it was computed in.

    Of these, 4 are the bar of ``benchmarks.certify`` for an elementary function, such as log σ or σ; σ² doubles its
    relative error. For float32 that is 1e-6.
    """
    return float(jnp.finfo(returned).eps) / 2 + 8 * ulp(returned)


def ulp(returned: np.dtype) -> float:
    """Of the dtype in which results of this one are computed."""
    return float(jnp.finfo(np.promote_types(returned, np.float32)).eps)


def missed(theirs: Judged, ours: Judged, quantity: str, p: jv.Parameterization, points: Points) -> list[str]:
    """The cells in which ours isn't best or equal, each with the worst point."""
    found = []
    sides = zip(("value", *QUANTITIES[quantity][1]), ours.got, ours.errors, theirs.errors, strict=True)
    for (output, (name, got, mine, other)), region in itertools.product(enumerate(sides), REGIONS):
        here = points.region == region
        bar = max(allowance(got.dtype), np.nanmax(other[here], initial=0))
        beyond = {}
        for i in np.flatnonzero(here & ((mine > bar) | np.isinf(mine))):
            inputs = tuple(float(x[i]) for x in points.inputs)
            if mine[i] > bar + ulp(got.dtype) * response(quantity, p.name, inputs)[output] or np.isinf(mine[i]):
                beyond[inputs] = float(mine[i])
        if beyond:
            at = max(beyond, key=lambda inputs: beyond[inputs])
            place = ", ".join(f"{x:g}" for x in at)
            found.append(f"{name}, {region}: {beyond[at]:.1e} at ({place}), where {bar:.1e} would do")
    return found


def curve(theirs: Judged, ours: Judged, points: Points) -> dict[str, list[float | None]]:
    """The values' errors for a location of 0; of the extreme raws, each fifth."""
    chosen = (points.inputs[0] == 0) & ((points.region != REGIONS[2]) | (points.at % 5 == 0))
    chosen &= ~np.isnan(ours.errors[0])
    order = np.flatnonzero(chosen)[np.argsort(points.at[chosen])]
    sides = {"theirs": theirs.errors[0][order], "ours": ours.errors[0][order]}
    raws = [float(f"{r:.6g}") for r in points.at[order]]
    return {"raw": raws} | {name: [digits(x) for x in e] for name, e in sides.items()}


def measure(
    libraries: dict[str, Library], dtypes: Sequence[str] = DTYPES, quantities: Sequence[str] = tuple(QUANTITIES)
) -> list[dict[str, Any]]:
    """A row for each dtype, quantity and peer."""

    def cells(dtype: str, quantity: str) -> list[dict[str, Any]]:
        with jax.enable_x64(dtype == "float64"):  # of this thread
            return list(compare(libraries, dtype, quantity))

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # for XLA compiles most of the time
        tasks = zip(*itertools.product(dtypes, quantities), strict=True)
        return list(itertools.chain.from_iterable(pool.map(cells, *tasks)))


def compare(libraries: dict[str, Library], dtype: str, quantity: str) -> Iterator[dict[str, Any]]:
    """The rows of a dtype and a quantity."""

    @functools.cache
    def beside(p: jv.Parameterization) -> tuple[Points, Judged]:
        where = points(quantity, p, dtype)
        return where, judge(ours(p), quantity, where)

    for library in libraries.values():
        p = library.parameterization
        if getattr(library, quantity) is not None:
            where, mine = beside(p)
            who = {"quantity": quantity, "peer": library.name, "parameterization": p.name, "dtype": dtype}
            try:
                theirs = judge(library, quantity, where)
            except TypeError as error:  # as distrax's distribution function raises in 16 bits
                yield {**who, "refused": str(error).splitlines()[0], "missed": []}
                continue
            yield {
                **who,
                "theirs": worst(theirs, quantity, where),
                "ours": worst(mine, quantity, where),
                "first_bad": {"theirs": first_bad(theirs, where), "ours": first_bad(mine, where)},
                "missed": missed(theirs, mine, quantity, p, where),
                **({"curve": curve(theirs, mine, where)} if (quantity, dtype) == ("kl", "float32") else {}),
            }


def error_text(x: float | None) -> str:
    """An error in one digit."""
    if x is None:
        return "NaN/inf"
    return "≥ 1" if x >= 0.95 else short_exponent(f"{x:.0e}") if x else "0"


def pair(row: dict[str, Any], outputs: Sequence[str], regions: Sequence[int]) -> str:
    """Theirs → ours, the worst of some outputs and regions."""
    if "refused" in row:
        return "refused"
    sides = [[row[side][name][i] for name in outputs for i in regions] for side in ("theirs", "ours")]
    return " → ".join(error_text(None if None in side else max(side)) for side in sides)


def raws_text(rows: Sequence[dict[str, Any]]) -> str:
    """The raws nearest to 0 at which something isn't finite, in any of the rows; ours after an arrow, if any."""
    sides = []
    for side in ("theirs", "ours"):
        found = [r for row in rows if "refused" not in row for r in row["first_bad"][side] if r is not None]
        ends = sorted([r for r in found if r < 0])[-1:] + sorted([r for r in found if r >= 0])[:1]
        sides.append(", ".join(f"{r:g}" for r in ends))
    return (sides[0] or "–") + (f" → {sides[1]}" if sides[1] else "")


def tables(report: Report) -> list[Table]:
    """A table for each quantity in float32, and one for each other dtype."""
    grouped: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for row in report["rows"]:
        peer = f"{row['peer']}, {row['parameterization']}"
        grouped.setdefault(row["dtype"], {}).setdefault(peer, {})[row["quantity"]] = row
    found, last = [], "NaN/inf at raw"
    for quantity, (title, inputs) in QUANTITIES.items():
        rows = {peer: row[quantity] for peer, row in grouped.get("float32", {}).items() if quantity in row}
        cells = [(outputs, [i]) for outputs in (["value"], inputs) for i in range(len(REGIONS))]
        lines = [[peer, *(pair(row, *cell) for cell in cells), raws_text([row])] for peer, row in rows.items()]
        heads = ["", *REGIONS, *(f"∂ {region}" for region in REGIONS), last]
        if lines:
            text = f"{title} in float32: worst relative error of value and derivatives (∂), theirs → ours."
            found.append(Table(text, heads, lines))
    measured = {row["quantity"] for row in report["rows"]}
    columns = [(q, outputs) for q in QUANTITIES if q in measured for outputs in (["value"], QUANTITIES[q][1])]
    columns = [column for column in columns if column != ("entropy", QUANTITIES["entropy"][1])]  # which all have right
    heads = ["", *(("" if outputs == ["value"] else "∂ ") + QUANTITIES[q][0] for q, outputs in columns), last]
    for dtype in (dtype for dtype in grouped if dtype != "float32"):
        lines = []
        for peer, row in grouped[dtype].items():
            texts = [pair(row[q], outputs, [0, 1]) if q in row else "" for q, outputs in columns]
            lines.append([peer, *texts, raws_text([*row.values()])])
        text = f"In {dtype}, near collapse and ordinary: worst relative error, theirs → ours."
        found.append(Table(text, heads, lines))
    return found


def draw(report: Report) -> "Figure":
    """Errors of KL to the standard normal in float32 against raw, about the raw of σ = 1."""
    from matplotlib.figure import Figure

    from jaxvae.plots.style import quiet, roomy

    rows = [row for row in report["rows"] if "curve" in row]
    names = [name for name in PANELS if any(row["parameterization"] == name for row in rows)]
    with quiet(9):
        figure = Figure(figsize=(4.2 * len(names), 4.2), layout="constrained")
        roomy(figure)
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for panel, name in zip(panels, names, strict=True):
            curves(panel, name, [row for row in rows if row["parameterization"] == name])
        panels[0].set_ylabel("relative error of KL(q ‖ N(0, 1)), float32")
        panels[0].set_yticks([*TICKS.values()], [*TICKS])
        panels[0].set_yticks([], minor=True)
        return figure


def curves(panel: "Axes", name: str, rows: Sequence[dict[str, Any]]) -> None:
    """One parameterization; peers that err alike share a curve, and each line is the worst of three neighbours."""
    from jaxvae.plots.style import COLOURS

    alike: dict[tuple, list[str]] = {}
    for row in rows:
        alike.setdefault(tuple(row["curve"]["theirs"]), []).append(row["peer"].replace(" Normal", ""))
    drawn = [(", ".join(peers), e, c, 1) for (e, peers), c in zip(alike.items(), itertools.cycle(COLOURS[:-1]))]
    x = np.array(rows[0]["curve"]["raw"]) - float(jv.parameterization(name).raw_from_std(1.0))
    for label, error, colour, width in [*drawn, ("jaxvae", rows[0]["curve"]["ours"], "black", 1.6)]:
        y = np.array([TICKS["NaN/inf"] if e is None else min(max(e, 1e-9), 1) for e in error])
        y = np.maximum(y, np.maximum(np.append(y[1:], 0), np.append(0, y[:-1])))
        panel.plot(x, y, color=colour, linewidth=width, label=label)
    panel.set_xscale("symlog", linthresh=1e-4, linscale=0.3)
    panel.set_yscale("log")
    panel.set_xticks([-100, -1, -1e-2, 1e-2, 1, 100], ["-100", "-1", "-0.01", "0.01", "1", "100"])
    panel.set_xticks([], minor=True)
    panel.set_title(name, loc="left")
    panel.set_xlabel("raw - raw of σ = 1")
    panel.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)


def main() -> None:
    """Measures, and writes tables, picture and JSON."""
    parser = harness.parser("accuracy", __doc__, quick="KL to N(0, 1) in float32")
    options = parser.parse_args()
    packages, missing = jax_libraries()
    torch, no_torch = torch_libraries()
    few = {"dtypes": DTYPES[:1], "quantities": ("kl",)} if options.quick else {}
    rows = measure({**forms(), **packages, **torch}, **few)
    report = {**harness.facts("accuracy"), "missing": {**missing, **no_torch}, "rows": rows}
    harness.publish("accuracy", report, tables, draw, options.out)
    who = ("quantity", "dtype", "parameterization", "peer")
    cells = [", ".join(row[name] for name in who) + f": {cell}" for row in rows for cell in row["missed"]]
    if cells:
        raise SystemExit(f"the bar was missed in {len(cells)} cells: " + "; ".join(cells))


if __name__ == "__main__":
    main()
