"""Where training ends in numbers that aren't finite: a map over forms, starts and learning rates."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from jaxvae.arguments import require
from jaxvae.plots.style import COLOURS, GREY, HALFWAY, hide_frame, new_figure, quiet

_WIDTH, _SIZE = 8.6, 8.0
_NOTHING = "#E4E4E4"
_GAP = 0.4
"""Between groups, in columns."""
_HATCHES = {"avoidable": "//////", "gaussian": "......"}


class Failures(NamedTuple):
    """Shares of runs, rows × groups × columns, NaN where nothing was run.

    Attributes:
        failed: that ended in numbers that aren't finite.
        gaussian: in which the first of them arose in the Gaussian part.
        avoidable: in which it did though the true value is within range.
    """

    failed: np.ndarray
    gaussian: np.ndarray
    avoidable: np.ndarray


def failure_map(
    rows: Sequence[str],
    groups: Sequence[str],
    columns: Sequence[str],
    panels: Mapping[str, Failures],
    first_block: int,
) -> Figure:
    """A row per form, a panel per dtype, in it a column per start and learning rate.

    Args:
        rows: forms.
        groups: starts.
        columns: learning rates, within each group.
        panels: by dtype.
        first_block: how many rows stand apart from the others.
    """
    shape = (len(rows), len(groups), len(columns))
    require(all(shape) and len(panels) > 0, "rows, groups, columns, panels", (*shape, len(panels)), "at least one each")
    for name, failures in panels.items():
        require(failures.failed.shape == shape, f"panels[{name!r}].failed.shape", failures.failed.shape, str(shape))
    colours = _colours()
    x = np.arange(shape[1])[:, None] * (shape[2] + _GAP) + np.arange(shape[2])  # (groups, columns)
    y = np.arange(shape[0]) + _GAP * (np.arange(shape[0]) >= first_block)
    with quiet(_SIZE):
        figure = new_figure(_WIDTH, 1.7 + 0.165 * len(rows))
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for panel, (name, failures) in zip(axes, panels.items(), strict=True):
            panel.set_title(name, loc="left", fontsize=_SIZE + 1, fontweight="bold")
            for r, g, c in itertools.product(*map(range, shape)):
                _draw_cell(panel, x[g, c], y[r], [float(share[r, g, c]) for share in failures], colours)
            panel.set_xlim(-0.6, x[-1, -1] + 0.6)
            panel.set_ylim(y[-1] + 0.6, -0.6)
            panel.set_xticks(x.ravel(), list(columns) * len(groups), rotation=90)
            panel.set_yticks(y, list(rows))
            panel.tick_params(pad=2)
            hide_frame(panel)
            top = panel.secondary_xaxis("top")
            top.set_xticks(x.mean(axis=1), list(groups))
            top.tick_params(pad=0, colors=GREY)
            hide_frame(top)
        axes[len(panels) // 2].set_xlabel("learning rate")
        figure.legend(handles=_keys(colours), loc="outside lower center", ncols=2, frameon=False, handlelength=2.4)
    return figure


def _draw_cell(panel: Axes, x: float, y: float, shares: Sequence[float], colours: Colormap) -> None:
    failed, gaussian, avoidable = shares
    colour = _NOTHING if np.isnan(failed) else colours(failed)
    hatch = _HATCHES["avoidable"] if avoidable > 0 else _HATCHES["gaussian"] if gaussian > 0 else None
    panel.add_patch(
        Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, facecolor=colour, edgecolor="black", linewidth=0, hatch=hatch)
    )


def _keys(colours: Colormap) -> list[Patch]:
    shares: dict[str, str | tuple[float, float, float, float]] = {
        "σ₀ not expressible": _NOTHING,
        "no run ended in NaN or inf": colours(0.0),
        "half of them did": colours(0.5),
        "all of them did": colours(1.0),
    }
    causes = {
        "avoidable": "first in the Gaussian part, avoidably",
        "gaussian": "first there, the true value out of range",
    }
    plain = [Patch(facecolor=colour, label=text) for text, colour in shares.items()]
    return plain + [
        Patch(facecolor=colours(0.5), edgecolor="black", linewidth=0, hatch=_HATCHES[cause], label=text)
        for cause, text in causes.items()
    ]


def _colours() -> Colormap:
    return LinearSegmentedColormap.from_list("failed", ("#F3F6F8", HALFWAY, COLOURS[1]))
