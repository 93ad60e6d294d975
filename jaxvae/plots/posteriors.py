"""Pictures of posteriors q(z|x) over a data set: their means and their widths."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import ArrayLike

from jaxvae.arguments import require
from jaxvae.plots.style import (
    BLACK,
    COLOURS,
    GREY,
    REFERENCE,
    SMALL,
    TEXT,
    TITLE,
    draw_grid,
    lighter,
    new_figure,
    quiet,
    with_kl,
)
from jaxvae.texts import counted

_CLASSES = (*COLOURS, "#882255", "#999933", "#8C8C8C")
_ELLIPSES = 200
_RIDGES = 25
_BINS = 120
_RADII = (1, 2)


def latent_map(
    means: ArrayLike,
    labels: ArrayLike | None = None,
    std: ArrayLike | None = None,
    latents: tuple[int, int] = (0, 1),
) -> Figure:
    """Draws posterior means in two latents, and rings that contain the shares of the prior N(0, 1) on the axis.

    A standard normal of two dimensions has the mass 1 - exp(-ρ²/2) within radius ρ.

    Args:
        means: (N, 2); points that are not finite are counted in a note.
        labels: (N,), numbers; a few distinct ones have a colour each, more of them use a colour map.
        std: (N, 2), the posteriors' σ, which are drawn as ellipses around some points at regular steps.
        latents: the two latents' indices, for the names of the axes.

    Raises:
        ValueError: for another shape.
    """
    points = np.asarray(means, dtype=float)
    require(points.ndim == 2 and points.shape[1] == 2, "means.shape", points.shape, "(N, 2)")
    finite = np.isfinite(points).all(1)
    classes = None if labels is None else np.asarray(labels)
    if classes is not None:
        require(classes.shape == points.shape[:1], "labels.shape", classes.shape, f"{points.shape[:1]}, as of means")
        require(classes.dtype.kind in "biuf", "labels.dtype", str(classes.dtype), "numbers")
        classes = classes[finite]
    with quiet(TEXT):
        figure = new_figure(9, 8)
        panel = figure.subplots()
        for radius in _RADII:
            panel.add_patch(Circle((0, 0), radius, fill=False, color=GREY, linewidth=1.2, zorder=3))
        if std is not None:
            widths = np.asarray(std, dtype=float)
            require(widths.shape == points.shape, "std.shape", widths.shape, f"{points.shape}, as of means")
            _draw_ellipses(panel, points[finite], widths[finite])
        _draw_points(figure, panel, points[finite], classes)
        panel.set_aspect("equal")
        reach = 1.06 * max(2.2, float(np.abs(points[finite]).max(initial=0)))
        panel.set(xlim=(-reach, reach), ylim=(-reach, reach))
        draw_grid(panel)
        shares = " and ".join(f"{-math.expm1(-(radius**2) / 2):.0%}" for radius in _RADII)
        lost = "" if finite.all() else f"; not shown: {np.sum(~finite):,} not finite"
        panel.set_xlabel(f"mean of z{latents[0]}\nrings hold {shares} of the prior N(0, 1){lost}")
        panel.set_ylabel(f"mean of z{latents[1]}")
        ellipses = "" if std is None else ", ellipses of 1 σ"
        panel.set_title(f"Posterior means of {counted(len(points), 'example')}{ellipses}", loc="left", fontsize=TITLE)
    return figure


def _draw_points(figure: Figure, panel: Axes, points: np.ndarray, classes: np.ndarray | None) -> None:
    x, y = points.T
    size = float(np.clip(30000 / max(len(points), 1), 4, 36))
    # In the data's order, so that no class covers the others.
    if classes is None:
        panel.scatter(x, y, s=size, color=COLOURS[0], alpha=0.7, linewidth=0)
        return
    found, which = np.unique(classes, return_inverse=True)
    if len(found) > len(_CLASSES):
        drawn = panel.scatter(x, y, s=size, c=classes, cmap="viridis", alpha=0.8, linewidth=0)
        figure.colorbar(drawn, ax=panel, label="label", shrink=0.6).outline.set_visible(False)
        return
    panel.scatter(x, y, s=size, c=np.asarray(_CLASSES)[which].tolist(), alpha=0.7, linewidth=0)
    keys = [
        Line2D([], [], linestyle="", marker="o", color=colour, label=f"{label:g}")
        for label, colour in zip(found.tolist(), _CLASSES, strict=False)
    ]
    figure.legend(handles=keys, title="label", loc="outside right center", frameon=False)


def _draw_ellipses(panel: Axes, points: np.ndarray, std: np.ndarray) -> None:
    drawable = np.flatnonzero((np.isfinite(std) & (std > 0)).all(1))
    chosen = drawable[:: max(1, math.ceil(len(drawable) / _ELLIPSES))]
    width, height = 2 * std[chosen].T
    panel.add_collection(
        EllipseCollection(
            width,
            height,
            np.zeros(len(chosen)),
            units="xy",
            offsets=points[chosen],
            offset_transform=panel.transData,
            facecolor="none",
            edgecolor=lighter(GREY, 0.4),
            linewidth=0.6,
        ),
        autolim=False,
    )


def std_histograms(std: ArrayLike, kl: ArrayLike, order: Sequence[int] | None = None) -> Figure:
    """Draws the distribution of each latent's posterior σ over a data set, as a ridge, and marks the prior's σ = 1.

    The first latents have a ridge each; if there are many, the others share one. Ridges are scaled to the same height.
    A note gives the number of values that aren't positive.

    Args:
        std: (N, L), the posteriors' σ.
        kl: (L,), each latent's KL(q ‖ p) in nats, averaged over data.
        order: the latents from top to bottom; by default, in order of decreasing KL.

    Raises:
        ValueError: for another shape, or an order that isn't one of all latents.
    """
    widths, nats = np.asarray(std, dtype=float), np.asarray(kl, dtype=float)
    require(widths.ndim == 2 and widths.size > 0, "std.shape", widths.shape, "(N, L) without a zero")
    count = widths.shape[1]
    require(nats.shape == (count,), "kl.shape", nats.shape, f"{(count,)}, to go with std")
    ranking = np.argsort(-nats, kind="stable") if order is None else np.asarray(order)
    if sorted(ranking.tolist()) != list(range(count)):
        raise ValueError(f"order must hold each latent from 0 to {count - 1} once, got {ranking.tolist()!r:.60}")
    # A shared ridge of a single latent would take as much room as its own.
    shown = count if count <= _RIDGES + 1 else _RIDGES
    rows = [(with_kl(f"z{i}", nats[i]), widths[:, i], COLOURS[0]) for i in ranking[:shown].tolist()]
    if shown < count:
        rest = ranking[shown:]
        rows.append((with_kl(f"{len(rest)} others", nats[rest].sum()), widths[:, rest], GREY))
    with quiet(SMALL):
        figure = new_figure(10, 1.8 + 0.34 * len(rows))
        panel = figure.subplots()
        panel.set_xscale("log")
        _draw_ridges(panel, rows)
        panel.set_title("Posterior σ over the data, latent by latent", loc="left", fontsize=TITLE)
        panel.set_xlabel("posterior σ; the prior's is 1" + _note(widths))
    return figure


def _draw_ridges(panel: Axes, rows: Sequence[tuple[str, np.ndarray, str]]) -> None:
    drawn = [x[np.isfinite(x) & (x > 0)] for _, x, _ in rows]
    low = min(0.1, *(0.9 * x.min(initial=1) for x in drawn))
    high = max(2.0, *(1.1 * x.max(initial=1) for x in drawn))
    if high < 1e4 * low:
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlim(low, high)
    edges = np.linspace(math.log(low), math.log(high), _BINS + 1)
    for row, (x, (_, _, colour)) in enumerate(zip(drawn, rows, strict=True)):
        heights = np.histogram(np.log(x), edges)[0]
        panel.stairs(
            row - 0.9 * heights / max(heights.max(), 1),
            np.exp(edges),
            baseline=row,
            fill=True,
            facecolor=lighter(colour, 0.4),
            edgecolor=colour,
            linewidth=0.8,
            label=str(row),
        )
    panel.axvline(1, color=BLACK, **REFERENCE)
    panel.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    panel.set_ylim(len(rows) - 0.7, -1.2)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
    draw_grid(panel)


def _note(widths: np.ndarray) -> str:
    """Describes the values of σ that can't be on a logarithmic axis."""
    kinds = {
        "zero": widths == 0,
        "negative": widths < 0,
        "infinite": widths == math.inf,
        "NaN": np.isnan(widths),
    }
    counts = [f"{mask.sum():,} {kind}" for kind, mask in kinds.items() if mask.any()]
    return f"\nnot shown, of {widths.size:,}: " + ", ".join(counts) if counts else ""
