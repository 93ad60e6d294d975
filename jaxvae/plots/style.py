"""What all pictures share: colours, sizes, a quiet frame, and the marks that mean the same everywhere."""

from contextlib import AbstractContextManager
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Okabe & Ito 2008, made to be told apart by the colour-blind; without its yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#666666"
GRID = "#E5E5E5"
BLACK = "#000000"
SHADE = "#F4F4F4"
"""Of what isn't there, or doesn't count."""
ON_COLOUR = "#1B1B1B"
"""Of letters on a coloured ground, which stays as it is where the page is dark."""
HALFWAY = "#F3B184"
"""Between white and ``COLOURS[1]``, in maps of shares."""
REFERENCE: dict[str, Any] = {"linewidth": 0.8, "linestyle": (0, (4, 3))}
"""A line to compare with, such as the prior's σ or the baseline's median."""

DPI = 100
TEXT, SMALL = 11.0, 10.5
"""Of letters, in points; the smaller one in figures of many panels."""
TITLE, HEADING = 14.0, 19.0
"""Of a figure's title, and of one above several panels that have titles."""
NARROW, NARROW_TEXT, NARROW_DPI = 7.2, 9.5, 200
"""The width in inches, letters and resolution of a report's figures: to be read at 720 pixels, sharp at twice that."""


def quiet(size: float) -> AbstractContextManager[None]:
    """A context in which axes have no top or right edge, and texts are of this size in points."""
    return matplotlib.rc_context({"font.size": size, "axes.spines.top": False, "axes.spines.right": False})


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches that finds the places of its parts by itself."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    roomy(figure)
    return figure


def roomy(figure: Figure) -> None:
    """Keeps what a constrained layout places off the figure's edge."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(w_pad=0.15, h_pad=0.1)


def lighter(colour: str, amount: float) -> tuple[float, float, float]:
    """A colour's way to white: itself at 0, white at 1."""
    red, green, blue = (channel + (1 - channel) * amount for channel in to_rgb(colour))
    return red, green, blue


def draw_grid(panel: Axes, axis: Literal["both", "x"] = "both") -> None:
    """Faint lines below all else."""
    panel.grid(axis=axis, color=GRID, linewidth=0.6)
    panel.set_axisbelow(True)


def hide_frame(panel: Axes) -> None:
    """No edges and no ticks; their labels stay."""
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)


def say(panel: Axes, text: str) -> None:
    """A word in the middle of a panel in which nothing is drawn."""
    panel.text(0.5, 0.5, text, color=GREY, transform=panel.transAxes, ha="center", va="center")


def literal(text: str) -> str:
    r"""A text with names in it, of which Matplotlib is to read none as a formula.

    >>> literal("of $a_{$")
    'of \\$a_{\\$'
    """
    return text.replace("$", r"\$")


def with_kl(latents: str, nats: float) -> str:
    """The label of latents with their KL.

    >>> with_kl("z3", 1.234)
    'z3  KL 1.2 nats'
    """
    return f"{latents}  KL {nats:.2g} nats"
