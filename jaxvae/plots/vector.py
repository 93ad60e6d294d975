"""A figure as SVG inside a page: it uses the page's font, and its greys follow the light or dark theme."""

import io
import re
from html import escape

import matplotlib
from matplotlib.figure import Figure

from jaxvae.plots.style import BLACK, GREY, GRID, SHADE

_COLOURS = {BLACK: "currentColor", GREY: "var(--faint)", GRID: "var(--line)", SHADE: "var(--band)"}


def svg(figure: Figure, name: str, text: str) -> str:
    """Returns a figure as an ``<svg>`` element, as wide as the element around it.

    Black becomes the colour of the page's letters. The greys of ``plots.style`` become the page's variables
    ``--faint``, ``--line`` and ``--band``.

    Args:
        figure: the figure.
        name: a name that is unique in the page, because the element's ids begin with it.
        text: a description of the figure, for readers who can't see it.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    found = buffer.getvalue()
    found = found[found.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", found, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', found)
    assert box is not None
    opening = (
        f'<svg viewBox="{box[1]}" role="img" aria-label="{escape(text)}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    found = opening + found[found.index(">") + 1 :]
    used = {*re.findall(r"#([\w-]+)[\")]", found)}
    found = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", found)
    found = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", found)
    for colour, own in _COLOURS.items():
        found = re.sub(colour, own, found, flags=re.IGNORECASE)
    return re.sub(r"\n\s*", "\n", found).strip()
