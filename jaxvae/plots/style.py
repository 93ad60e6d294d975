"""What all pictures share: the colours, and a quiet frame."""

from contextlib import AbstractContextManager

import matplotlib
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Okabe & Ito 2008, made to be told apart by the colour-blind; without its yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#666666"
GRID = "#E5E5E5"


def quiet(size: float) -> AbstractContextManager[None]:
    """A context in which axes have no top or right edge, and texts are of this size in points."""
    return matplotlib.rc_context({"font.size": size, "axes.spines.top": False, "axes.spines.right": False})


def roomy(figure: Figure) -> None:
    """Keeps what a constrained layout places off the figure's edge."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(w_pad=0.15, h_pad=0.1)


def lighter(colour: str, amount: float) -> tuple[float, float, float]:
    """A colour's way to white: itself at 0, white at 1."""
    red, green, blue = (channel + (1 - channel) * amount for channel in to_rgb(colour))
    return red, green, blue
