"""Pictures of parameterizations: within a panel a colour is a parameterization, a line style its quantity."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import SymmetricalLogLocator
from matplotlib.typing import LineStyleType

from jaxvae import ranges
from jaxvae.chains import Chain
from jaxvae.parameterizations import QUANTITIES, Parameterization
from jaxvae.plots.style import COLOURS, DPI, GREY, HEADING, SMALL, TEXT, TITLE, draw_grid, lighter, quiet
from jaxvae.texts import short_exponent
from jaxvae.transforms import Abs, Exp, ExpLinear, HalfBounded, Identity, Sigmoid, Softplus, Square, Squareplus

_STYLES: Mapping[str, LineStyleType] = {"std": "-", "variance": (0, (5, 1.5)), "precision": (0, (1.2, 1.2))}
_FAMILIES = {
    Exp: "exponential",
    Softplus: "softplus",
    Squareplus: "linear\nabove",
    ExpLinear: "linear\nabove",
    Sigmoid: "bounded\nabove",
    HalfBounded: "bounded\nabove",
    Identity: "baselines",
    Square: "baselines",
    Abs: "baselines",
}
_TITLES = (
    "(a)  standard deviation σ",
    "(b)  gain d log σ / dr",
    "(c)  dKL / dr in nats, linear in ±1",
    "(d)  where floating point holds",
)
_HEADING = "From a raw number r to a standard deviation σ"
_REACH = 200  # the range of panel (d), on each side of 0


def explain(parameterizations: Mapping[str, Parameterization] | Sequence[Parameterization]) -> Figure:
    """Draws what each parameterization makes of its raw number r, in four panels.

    (a) σ; (b) the gain d log σ / d r; (c) the derivative of KL(N(0, σ²) ‖ N(0, 1)) in nats; (d) the r for which that KL
    and its derivative are correct in float32 (within a relative ``ranges.TOLERANCE`` of float64), and those for which σ
    is a normal number in bfloat16 and in float16. If there are more parameterizations than colours, each family gets
    its own row of panels.

    Args:
        parameterizations: by name; or a sequence, whose members are shown with their own name or formula.

    Returns:
        A figure of 1600 x 1000 pixels, taller when there are more than six rows; its axes are the panels, row by row.

    Raises:
        ValueError: without parameterizations.
    """
    if not isinstance(parameterizations, Mapping):
        parameterizations = {p.name or p.formula: p for p in parameterizations}
    if not parameterizations:
        raise ValueError("parameterizations must hold at least one, got none")
    groups = _groups(parameterizations)
    size = TEXT + 1 if len(groups) == 1 else SMALL
    with quiet(size):
        figure = Figure(figsize=(16, 10 * max(1, len(groups) / 6)), dpi=DPI, layout="constrained")
        if len(groups) == 1:
            _draw_few(figure, parameterizations)
        else:
            _draw_many(figure, groups)
        figure.legend(handles=_keys(), loc="outside lower center", ncols=4, frameon=False, handlelength=2.5)
    return figure


def _groups(parameterizations: Mapping[str, Parameterization]) -> list[tuple[str, dict[str, Parameterization]]]:
    """Returns one group if there are enough colours; else families, in parts of similar size with enough colours."""
    if len(parameterizations) <= len(COLOURS):
        return [("", dict(parameterizations))]
    families: dict[str, list[tuple[str, Parameterization]]] = {}
    for name, p in parameterizations.items():
        families.setdefault(_family(p), []).append((name, p))
    groups = []
    for family, members in families.items():
        parts = math.ceil(len(members) / len(COLOURS))
        size = math.ceil(len(members) / parts)
        groups += [(family, dict(members[start : start + size])) for start in range(0, len(members), size)]
    return groups


def _family(p: Parameterization) -> str:
    core = p.transform.transform if isinstance(p.transform, Chain) else p.transform
    family = _FAMILIES.get(type(core), "others")
    # Most published clips and floors are around an exponential; they are their own family.
    return f"{family},\nin bounds" if isinstance(core, Exp) and p.transform.range != core.range else family


def _draw_few(figure: Figure, parameterizations: Mapping[str, Parameterization]) -> None:
    panels = list(figure.subplots(2, 2, width_ratios=(1, 1.15)).flat)
    _draw_row(panels, parameterizations)
    for panel, title in zip(panels, _TITLES, strict=True):
        panel.set_title(title, loc="left", fontsize=TITLE)
        panel.set_xlabel("raw number r")
    labels = [f"{name}:  {p.formula}" for name, p in parameterizations.items()]
    figure.legend(
        handles=panels[0].get_lines(),
        labels=labels,
        title=_HEADING,
        title_fontproperties={"size": HEADING, "weight": "bold"},
        loc="outside upper center",
        ncols=3 if len(labels) > 4 and max(map(len, labels)) <= 50 else 2,
        frameon=False,
        handlelength=3,
    )


def _draw_many(figure: Figure, groups: Sequence[tuple[str, Mapping[str, Parameterization]]]) -> None:
    figure.suptitle(_HEADING, fontsize=HEADING, fontweight="bold")
    rows = figure.subplots(len(groups), 4, sharex="col", width_ratios=(1, 1, 1, 1.9))
    for (family, members), row in zip(groups, rows, strict=True):
        _draw_row(list(row), members)
        row[0].set_ylabel(family, fontsize=TEXT, fontweight="bold")
    for title, column in zip(_TITLES, rows.T, strict=True):
        column[0].set_title(title, loc="left", fontsize=TITLE - 1)
        column[-1].set_xlabel("raw number r")
    for column in rows.T[:3]:
        low, high = zip(*(panel.get_ylim() for panel in column), strict=True)
        for panel in column:
            panel.set_ylim(min(low), max(high))
    for panel in rows[:, 2]:
        low, high = panel.get_ylim()
        panel.set_yticks([tick for tick in (-1e8, -1e4, 0, 1e4, 1e8) if low <= tick <= high])


def _draw_row(panels: Sequence[Axes], parameterizations: Mapping[str, Parameterization]) -> None:
    """Draws the four panels of some parameterizations, at most as many as there are colours."""
    std, gain, slope, bars = panels
    std.set_yscale("log")
    gain.axhline(0, color=GREY, linewidth=0.6)
    slope.axhline(0, color=GREY, linewidth=0.6)
    slope.set_yscale("symlog", linthresh=1)
    locator = SymmetricalLogLocator(base=10, linthresh=1)
    locator.set_params(numticks=7)
    slope.yaxis.set_major_locator(locator)
    raw = np.linspace(-_REACH, _REACH, 40 * _REACH + 1, dtype=np.float32)
    near = np.abs(raw) <= 10
    count = len(parameterizations)
    extremes = [0.0]
    for row, (colour, (name, p)) in enumerate(zip(COLOURS, parameterizations.items(), strict=False)):
        # If curves coincide, the earlier ones stay visible because they are wider.
        width = 1.8 + (count - 1 - row) * 0.45
        found = ranges.shape(p, raw)
        for panel, values in ((std, found.std), (gain, found.gain), (slope, found.slope)):
            drawn = np.where(np.isfinite(found.log_std) & np.isfinite(values), values, np.nan)[near]
            panel.plot(raw[near], drawn, label=name, color=colour, linestyle=_STYLES[p.quantity], linewidth=width)
            # A gain may have a pole, which shouldn't set the scale.
            if panel is gain and not np.all(np.isnan(drawn)):
                extremes += [float(q) for q in np.nanpercentile(drawn, (10, 90))]
        _draw_ranges(bars, row, colour, p, raw)
    margin = 0.1 * (max(extremes) - min(extremes)) + 1e-3
    gain.set_ylim(min(extremes) - margin, max(extremes) + margin)
    for panel in (std, gain, slope):
        panel.set_xlim(-10, 10)
        panel.set_xticks((-10, -5, 0, 5, 10))
        draw_grid(panel)
    bars.set_yticks(range(count), list(parameterizations))
    bars.set_ylim(max(count, 4) - 0.4, -0.6)
    bars.tick_params(axis="y", length=0)
    bars.set_xlim(-_REACH, _REACH)
    draw_grid(bars, axis="x")


def _draw_ranges(panel: Axes, row: int, colour: str, p: Parameterization, raw: np.ndarray) -> None:
    """Draws a bar where KL is exact, pale where it doesn't depend on r, and thin ones where σ is a normal number."""
    exact, responds, std = ranges.exactness(p, raw)
    bars = [(exact & responds, -0.34, 0.4, 0.0), (exact & ~responds, -0.34, 0.4, 0.7)]
    for dtype, pale in (("bfloat16", 0.6), ("float16", 0.0)):
        smallest, largest = ranges.NORMAL[dtype]
        bars.append(((std >= smallest) & (std <= largest), 0.14, 0.16, pale))
    for mask, top, height, pale in bars:
        stretches = [(first, last - first) for first, last in ranges.runs(raw, mask)]
        panel.broken_barh(stretches, (row + top, height), color=lighter(colour, pale), linewidth=0)


def _keys() -> list[Line2D]:
    """Makes the legend of bars and line styles."""
    bars = (
        (9, 0.0, f"KL and dKL/dr right to {short_exponent(f'{ranges.TOLERANCE:g}')} in float32"),
        (9, 0.7, "right, but clipped: σ ignores r"),
        (4, 0.0, "σ is a normal number in float16"),
        (4, 0.6, "σ is a normal number in bfloat16"),
    )
    lines = ((symbol, _STYLES[quantity]) for quantity, (_, symbol) in QUANTITIES.items())
    return [
        *(Line2D([], [], lw=width, color=lighter(GREY, pale), label=text) for width, pale, text in bars),
        *(Line2D([], [], lw=2, color=GREY, linestyle=style, label=f"r models {symbol}") for symbol, style in lines),
    ]
