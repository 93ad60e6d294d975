"""The style that all pictures share: colours, sizes, a plain frame, and marks with the same meaning everywhere."""

from contextlib import AbstractContextManager
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Okabe & Ito 2008, for the colour-blind; without its yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#666666"
GRID = "#E5E5E5"
BLACK = "#000000"
SHADE = "#F4F4F4"
"""The colour of what is missing or doesn't count."""
ON_COLOUR = "#1B1B1B"
"""The colour of letters on a coloured background, which doesn't change on a dark page."""
HALFWAY = "#F3B184"
"""The colours of maps of shares, from white to ``COLOURS[1]``."""
REFERENCE: dict[str, Any] = {"linewidth": 0.8, "linestyle": (0, (4, 3))}
"""The style of a reference line, such as the prior's σ or the baseline's median."""

DPI = 100
TEXT, SMALL = 11.0, 10.5
"""Sizes of letters in points; the smaller one is for figures with many panels."""
TITLE, HEADING = 14.0, 19.0
"""Sizes of a figure's title, and of one above several panels with titles."""
NARROW, NARROW_TEXT, NARROW_DPI = 7.2, 9.5, 200
"""Width in inches, letters and resolution of a report's figures: legible at 720 pixels, sharp at twice that."""


def quiet(size: float) -> AbstractContextManager[None]:
    """Makes a context in which axes have no top or right edge, and texts have this size in points."""
    return matplotlib.rc_context({"font.size": size, "axes.spines.top": False, "axes.spines.right": False})


def new_figure(width: float, height: float) -> Figure:
    """Makes a figure of this size in inches, which places its parts automatically."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    roomy(figure)
    return figure


def roomy(figure: Figure) -> None:
    """Keeps the parts of a constrained layout away from the figure's edge."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(w_pad=0.15, h_pad=0.1)


def lighter(colour: str, amount: float) -> tuple[float, float, float]:
    """Mixes a colour with white: an amount of 0 gives the colour, 1 gives white."""
    red, green, blue = (channel + (1 - channel) * amount for channel in to_rgb(colour))
    return red, green, blue


def draw_grid(panel: Axes, axis: Literal["both", "x"] = "both") -> None:
    """Draws faint grid lines below everything else."""
    panel.grid(axis=axis, color=GRID, linewidth=0.6)
    panel.set_axisbelow(True)


def hide_frame(panel: Axes) -> None:
    """Hides the edges and ticks, but not the ticks' labels."""
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)


def say(panel: Axes, text: str) -> None:
    """Writes a text in the middle of an empty panel."""
    panel.text(0.5, 0.5, text, color=GREY, transform=panel.transAxes, ha="center", va="center")


def literal(text: str) -> str:
    r"""Escapes a text with names, so that Matplotlib reads none of it as a formula.

    >>> literal("of $a_{$")
    'of \\$a_{\\$'
    """
    return text.replace("$", r"\$")


def with_kl(latents: str, nats: float) -> str:
    """Returns the label of latents with their KL.

    >>> with_kl("z3", 1.234)
    'z3  KL 1.2 nats'
    """
    return f"{latents}  KL {nats:.2g} nats"
