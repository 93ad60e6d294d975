"""Pictures of a study: comparisons of variants by learning rates, steps, gradients and σ.

Figures are narrow, and their letters can be read at a width of 720 pixels. If lines share a panel, the baseline is
grey, and a variant has the colour of its place in the panel. Figures with the same panels therefore have the same
colours.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from jaxvae.arguments import require
from jaxvae.plots.style import (
    BLACK,
    COLOURS,
    GREY,
    NARROW,
    NARROW_TEXT,
    REFERENCE,
    SHADE,
    draw_grid,
    lighter,
    literal,
    new_figure,
    quiet,
    say,
)

_ACROSS = 2  # panels of lines in a row
_HISTOGRAMS_ACROSS = 3
_LABELS = 5  # evenly spaced learning rates that fit below a panel


class Line(NamedTuple):
    """A variant's y (N,) over ascending x (N,), not finite if it failed; the error is a half width, NaN for none."""

    name: str
    x: np.ndarray
    y: np.ndarray
    error: np.ndarray


class Norms(NamedTuple):
    """A variant's gradient norms: median, 99 % quantile, maximum (3,); inf where not finite, NaN if there are none."""

    name: str
    head: np.ndarray
    network: np.ndarray


class Histogram(NamedTuple):
    """A variant's counts (B,) of log10 σ; zeros if there are none."""

    name: str
    counts: np.ndarray


def nll_by_learning_rate(panels: Mapping[str, Sequence[Line]], baseline: Line) -> Figure:
    """Draws NLL in nats over the learning rate, with bands of the error, as small multiples.

    Points that failed or lie above the useful range are marked in a strip above it, side by side in the legend's order.

    Args:
        panels: the variants by panel; a panel has at most as many as there are colours.
        baseline: the baseline, which is drawn in grey in each panel.
    """
    lines = _checked(panels, baseline)
    low, high = _useful_range([line.y for line in lines], reach=3)
    with quiet(NARROW_TEXT):
        figure, axes = _line_panels(panels)
        for panel, (title, members) in zip(axes, panels.items(), strict=True):
            panel.set_xscale("log")
            _draw_lines(panel, title, members, baseline, (low, high), marker="o")
            _draw_strip(panel, _coloured(members, baseline), (low, high))
            _learning_rate_axis(panel, np.unique(np.concatenate([line.x for line in lines])))
        _admit(axes, lines)
        figure.supxlabel(
            "learning rate\n▲ above the range shown     × not finite, in one seed or more", fontsize=NARROW_TEXT
        )
        figure.supylabel("NLL in nats per image", fontsize=NARROW_TEXT)
    return figure


def elbo_by_step(panels: Mapping[str, Sequence[Line]], baseline: Line) -> Figure:
    """Draws the test ELBO in nats during training, as small multiples without bands.

    The range shown is that of the curves' ends; a curve that never reaches it is called off the scale. The arguments
    are those of ``nll_by_learning_rate``.
    """
    lines = _checked(panels, baseline)
    worst, top = _useful_range([-line.y for line in lines], reach=0)
    with quiet(NARROW_TEXT):
        figure, axes = _line_panels(panels)
        for panel, (title, members) in zip(axes, panels.items(), strict=True):
            _draw_lines(panel, title, members, baseline, (-top, -worst), marker="")
            panel.set_ylim(-top, -worst)
            panel.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        _admit(axes, lines)
        figure.supxlabel("step", fontsize=NARROW_TEXT)
        figure.supylabel("test ELBO in nats per image", fontsize=NARROW_TEXT)
    return figure


def gradient_ranges(variants: Sequence[Norms], baseline: str) -> Figure:
    """Draws the norms of the gradients of head and network.

    The median is a dot, with a bar to the 99 % quantile and a line to the maximum; non-finite values end in an arrow at
    the right edge. The baseline's median is a line through all rows.
    """
    require(len(variants) > 0, "variants", len(variants), "at least one")
    every = np.concatenate([[*norms.head, *norms.network] for norms in variants])
    drawable = every[np.isfinite(every) & (every > 0)]
    low, high = (drawable.min() / 2, drawable.max() * 3) if len(drawable) else (0.1, 10.0)
    with quiet(NARROW_TEXT):
        figure = new_figure(NARROW, 1.3 + 0.24 * len(variants))
        panels = figure.subplots(1, 2, sharey=True)
        for panel, title, colour in zip(panels, ("head", "network"), COLOURS, strict=False):
            panel.set_title(title, loc="left", fontsize=NARROW_TEXT + 1.5, fontweight="bold")
            panel.set_xscale("log")
            panel.set_xlim(low, high)
            for row, norms in enumerate(variants):
                if norms.name == baseline and np.isfinite(getattr(norms, title)[0]):
                    panel.axvline(getattr(norms, title)[0], color=GREY, **REFERENCE)
                _draw_range(panel, row, getattr(norms, title), low, high, colour)
            panel.xaxis.set_major_locator(LogLocator(numticks=6))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.set_xlabel("norm of its gradient")
            draw_grid(panel, axis="x")
            panel.tick_params(axis="y", length=0)
        panels[0].set_yticks(range(len(variants)), [norms.name for norms in variants])
        panels[0].set_ylim(len(variants) - 0.4, -0.6)
        embolden(panels[0], baseline)
    return figure


def std_comparison(variants: Sequence[Histogram], edges: np.ndarray, baseline: str) -> Figure:
    """Draws histograms of log10 σ, a panel per variant with its own height, and the baseline's outline in black.

    Args:
        variants: one or more variants, each with one count per bin.
        edges: the edges of the bins, (B + 1,).
        baseline: the name of the baseline.
    """
    require(len(variants) > 0, "variants", len(variants), "at least one")
    for histogram in variants:
        require(len(histogram.counts) == len(edges) - 1, histogram.name, len(histogram.counts), "a count per bin")
    shares = {h.name: h.counts / max(h.counts.sum(), 1) for h in variants}
    # Bins with less than a thousandth of every variant don't set the range, which always includes 0.1 to 3.
    filled = np.flatnonzero(np.max(list(shares.values()), axis=0) > 1e-3)
    low, high = np.min(edges[filled], initial=-1), np.max(edges[filled + 1], initial=0.5)
    with quiet(NARROW_TEXT):
        figure, axes = _grid(len(variants), _HISTOGRAMS_ACROSS, 1.2 * math.ceil(len(variants) / _HISTOGRAMS_ACROSS))
        for panel, (name, share) in zip(axes, shares.items(), strict=True):
            # Beside a peak, such as that of inactive latents at σ = 1, the rest stays visible.
            heights, reference = np.sqrt(share), np.sqrt(shares.get(baseline, np.zeros_like(share)))
            own = name == baseline
            colour = GREY if own else COLOURS[0]
            panel.stairs(heights, edges, fill=True, color=lighter(colour, 0.35))
            if not own:
                panel.stairs(reference, edges, color=BLACK, linewidth=0.8)
            panel.set_title(name, loc="left", fontsize=NARROW_TEXT, fontweight="bold" if own else "normal")
            panel.set_xlim(low - 0.1, high + 0.1)
            panel.set_ylim(0, 1.08 * max(heights.max(), reference.max(), 1e-9))
            panel.axvline(0, color=GREY, **REFERENCE)
            panel.set_yticks([])
            panel.spines["left"].set_visible(False)
            panel.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
            if not share.any():
                say(panel, "none")
        figure.supxlabel("log₁₀ σ", fontsize=NARROW_TEXT)
    return figure


def _checked(panels: Mapping[str, Sequence[Line]], baseline: Line) -> list[Line]:
    """Checks the panels and returns all lines, the baseline first."""
    require(len(panels) > 0, "panels", len(panels), "at least one")
    for title, members in panels.items():
        require(len(members) <= len(COLOURS), f"panels[{title!r}]", len(members), f"at most {len(COLOURS)} lines")
    return [baseline, *(line for members in panels.values() for line in members)]


def _useful_range(series: Sequence[np.ndarray], reach: float) -> tuple[float, float]:
    """Returns limits for lines for which low is good: all near the best, or all if none is much above the median.

    "Much above" means more than ``reach`` times as far from the best as the median is. Points up to there set the
    limits.
    """
    finite = [y[np.isfinite(y)] for y in series]
    tops = [y.min() for y in finite if len(y)]
    if not tops:
        return 0.0, 1.0
    low, points = min(tops), np.concatenate(finite)
    # Near are the best points of half of the lines, and a quarter of all points.
    near = max(float(np.quantile(tops, 0.5, method="lower")), float(np.quantile(points, 0.25))) - low
    high, much = float(points.max()), reach * (float(np.median(points)) - low)
    if high > low + much:
        high = min(max(float(np.quantile(points, 0.75)), low + 2 * near), low + max(12 * near, much), high)
    span = max(high - low, 1e-3 * abs(low), 1e-6)
    return low - 0.06 * span, low + 1.15 * span


def _line_panels(panels: Mapping[str, Sequence[Line]]) -> tuple[Figure, list[Axes]]:
    """Makes a figure with room for the panels and their legends."""
    keys = [2 + len(members) for members in panels.values()]
    rows = [max(keys[i : i + _ACROSS]) for i in range(0, len(keys), _ACROSS)]
    return _grid(len(panels), _ACROSS, sum(1.9 + 0.17 * row for row in rows))


def _grid(count: int, across: int, height: float) -> tuple[Figure, list[Axes]]:
    """Makes a figure with this many panels, row by row; the height in inches excludes what is below them."""
    columns = min(count, across)
    rows = math.ceil(count / columns)
    figure = new_figure(NARROW, 0.5 + height)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels[count:]:
        panel.remove()
    return figure, panels[:count]


def _coloured(members: Sequence[Line], baseline: Line) -> list[tuple[str, Line]]:
    return [(GREY, baseline), *zip(COLOURS, members, strict=False)]


def _draw_lines(
    panel: Axes, title: str, members: Sequence[Line], baseline: Line, limits: tuple[float, float], marker: str
) -> None:
    """Draws the lines with a legend above them; some lines may be outside the limits."""
    low, high = limits
    keys = []
    for colour, line in _coloured(members, baseline):
        finite = np.isfinite(line.y)
        y = np.where(finite, line.y, np.nan)
        width = 3.0 if line is baseline else 1.6
        shade = lighter(colour, 0.45 if line is baseline else 0)
        panel.plot(line.x, y, color=shade, linewidth=width, marker=marker, markersize=width + 2.2, label=line.name)
        if np.isfinite(line.error).any():
            panel.fill_between(line.x, y - line.error, y + line.error, color=colour, alpha=0.18, linewidth=0)
        seen = finite & (line.y >= low) & (line.y <= high)
        lost = "" if seen.any() else " (off the scale)" if finite.any() else " (failed)"
        keys.append(
            Line2D([], [], color=shade, linewidth=width, marker=marker, markersize=4, label=literal(line.name) + lost)
        )
    panel.legend(
        handles=keys,
        title=literal(title),
        title_fontproperties={"weight": "bold", "size": NARROW_TEXT + 1.5},
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderpad=0,
        borderaxespad=0.4,
        labelspacing=0.2,
        frameon=False,
    )
    draw_grid(panel)


def _draw_strip(panel: Axes, coloured: Sequence[tuple[str, Line]], limits: tuple[float, float]) -> None:
    """Draws a strip above the limits, with marks of the points beyond them."""
    low, high = limits
    panel.set_yticks([tick for tick in MaxNLocator(nbins=5).tick_values(low, high) if low <= tick <= high])
    top = high + 0.11 * (high - low)
    panel.set_ylim(low, top)
    panel.axhspan(high, top, facecolor=SHADE, zorder=3)
    marks: dict[float, list[tuple[str, str]]] = {}
    for colour, line in coloured:
        for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True):
            if not y <= high:
                marks.setdefault(x, []).append((colour, "^" if math.isfinite(y) else "x"))
    for x, found in marks.items():
        for place, (colour, marker) in enumerate(found):
            aside = (place - (len(found) - 1) / 2) * 0.09
            where = panel.transData + ScaledTranslation(aside, 0, panel.figure.dpi_scale_trans)
            panel.plot([x], [(high + top) / 2], marker, color=colour, markersize=5, transform=where, zorder=4)


def _learning_rate_axis(panel: Axes, rates: np.ndarray) -> None:
    if len(rates):
        panel.set_xlim(rates[0] / 1.5, rates[-1] * 1.5)
    gaps = np.diff(np.log10(rates))
    if len(rates) and gaps.sum() < (_LABELS - 0.5) * np.min(gaps, initial=math.inf):
        panel.set_xticks(rates, [f"{rate:g}" for rate in rates])
    else:
        panel.xaxis.set_major_locator(LogLocator(numticks=6))
    panel.xaxis.set_minor_locator(NullLocator())


def _draw_range(panel: Axes, row: int, norms: np.ndarray, low: float, high: float, colour: str) -> None:
    median, most, maximum = (min(max(x, low), high) if x >= 0 else math.nan for x in norms)
    if math.isnan(median):
        panel.text(0.5, row, "failed", transform=panel.get_yaxis_transform(), color=GREY, ha="center", va="center")
        return
    panel.plot([median, maximum], [row, row], color=colour, linewidth=1.0)
    panel.plot([median, most], [row, row], color=colour, linewidth=4.0, solid_capstyle="butt", alpha=0.55)
    panel.plot([median], [row], "o", color=colour, markersize=5)
    if math.isinf(norms[-1]):
        panel.plot([high], [row], ">", color=colour, markersize=6, clip_on=False)


def embolden(panel: Axes, name: str) -> None:
    """Sets one of the names along the y axis in bold."""
    for label in panel.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == name else "normal")


def _admit(axes: Sequence[Axes], lines: Sequence[Line]) -> None:
    """Writes in empty panels that nothing could be drawn."""
    for panel in axes if not any(np.isfinite(line.y).any() for line in lines) else ():
        panel.set_yticks([])
        say(panel, "no finite values")
