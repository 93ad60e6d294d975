"""A figure as SVG that stands inside a page: its letters are the page's, and its greys follow light and dark."""

import io
import re
from html import escape

import matplotlib
from matplotlib.figure import Figure

from jaxvae.plots.style import BLACK, GREY, GRID, SHADE

_COLOURS = {BLACK: "currentColor", GREY: "var(--faint)", GRID: "var(--line)", SHADE: "var(--band)"}


def svg(figure: Figure, name: str, text: str) -> str:
    """An ``<svg>`` element, as wide as what it stands in.

    What is black takes the colour of the page's letters, and the greys of ``plots.style`` those of its variables
    ``--faint``, ``--line`` and ``--band``.

    Args:
        figure: what is drawn.
        name: unlike that of other figures of the page, as ids begin so.
        text: what it shows, for those who can't see it.
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
