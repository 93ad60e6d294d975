"""What any picture must keep, and what it looks like in pixels."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

to_the_pixel = pytest.mark.skipif(
    mpl.__version_info__ < (3, 11), reason="older versions of matplotlib are off by a pixel, or a label"
)


def render(figure: Figure) -> np.ndarray:
    """The pixels as bytes, (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def texts(figure: Figure) -> list[Text]:
    """All that can be read, in a figure that has been drawn."""
    found = list(figure.texts)
    for legend in figure.legends:
        found += [*legend.get_texts(), legend.get_title()]
    for panel in figure.axes:
        found += [panel._left_title, panel.xaxis.label, panel.yaxis.label, *panel.texts]
        for axis in (panel.xaxis, panel.yaxis):
            found += [label for tick in axis._update_ticks() for label in (tick.label1, tick.label2)]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def assert_legible(figure: Figure) -> None:
    """All texts lie within the figure, none on another."""
    figure.draw_without_rendering()
    boxes: list = []
    for text in texts(figure):
        # A line of text is taller than its letters: neighbours may share a pixel or two.
        box = text.get_window_extent().padded(-1.5)
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text
        assert not [other for other, there in boxes if box.overlaps(there)], text
        boxes.append((text, box))
