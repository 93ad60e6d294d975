"""Maps of a study: the result of each quantity and transform, and where training had non-finite numbers."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from jaxvae.arguments import require
from jaxvae.plots.study import embolden
from jaxvae.plots.style import (
    COLOURS,
    HALFWAY,
    NARROW,
    NARROW_TEXT,
    ON_COLOUR,
    SHADE,
    hide_frame,
    literal,
    new_figure,
    quiet,
)
from jaxvae.texts import percent


class Field(NamedTuple):
    """A field of the map of transforms.

    ``difference`` from the baseline determines its colour; NaN gives none. ``sure`` says whether the difference is
    significant.
    """

    text: str
    difference: float
    sure: bool = False
    failed: bool = False


class Skipped(NamedTuple):
    """The shares of skipped steps, variants × learning rates (V, R), NaN if nothing was run.

    ``letters`` name the first cause, "" for none; ``failed`` says whether a run had no finite score.
    """

    learning_rates: Sequence[float]
    shares: np.ndarray
    letters: Sequence[Sequence[str]]
    failed: np.ndarray


def transform_map(rows: Sequence[str], columns: Sequence[str], fields: Mapping[tuple[str, str], Field]) -> Figure:
    """Draws the study in one picture: a row per transform, a column per quantity, blue if better than the baseline.

    Fields that failed are hatched; those that weren't tried are grey.

    Args:
        rows: the transforms.
        columns: the quantities.
        fields: the fields, by row and column.
    """
    require(len(fields) > 0, "fields", len(fields), "at least one")
    known = np.abs([field.difference for field in fields.values() if math.isfinite(field.difference)])
    # A value far worse than all others doesn't set the scale, and a tiny difference has almost no colour.
    limit = max(min(float(np.max(known, initial=0)), 4 * float(np.median(known))), 0.5) if len(known) else 0.5
    colours = _diverging()
    with quiet(NARROW_TEXT):
        figure = new_figure(NARROW, 1.1 + 0.52 * len(rows))
        panel = figure.subplots()
        for r, row in enumerate(rows):
            for c, column in enumerate(columns):
                _draw_field(panel, r, c, fields.get((row, column)), colours, limit)
        _frame(panel, rows, columns)
        figure.supxlabel(
            "NLL minus the baseline's in nats, with its interval. Bold: sure, given how many are compared.\n"
            f"Blue is better, orange worse, full colour from {limit:.2g} nats on.",
            fontsize=NARROW_TEXT,
        )
    return figure


def _draw_field(panel: Axes, r: int, c: int, field: Field | None, colours: Colormap, limit: float) -> None:
    if field is None:
        panel.add_patch(Rectangle((c - 0.48, r - 0.46), 0.96, 0.92, facecolor=SHADE))
        return
    known = math.isfinite(field.difference)
    colour = colours(0.5 + 0.5 * float(np.clip(field.difference / limit, -1, 1))) if known else "white"
    hatch = "////" if field.failed else None
    panel.add_patch(Rectangle((c - 0.48, r - 0.46), 0.96, 0.92, facecolor=colour, edgecolor="#CCCCCC", hatch=hatch))
    weight = "bold" if field.sure else "normal"
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5} if field.failed else None
    panel.text(c, r, field.text, color=ON_COLOUR, ha="center", va="center", weight=weight, linespacing=1.15, bbox=box)


def skipped_map(
    names: Sequence[str], settings: Mapping[str, Skipped], causes: Mapping[str, str], baseline: str
) -> Figure:
    """Draws the percentages of skipped steps, with a row per variant and a column per learning rate.

    Args:
        names: the names of the variants.
        settings: the shares of each setting, which gets a panel.
        causes: the meaning of each letter.
        baseline: the baseline's name, one of ``names``.
    """
    require(len(names) > 0 and len(settings) > 0, "names, settings", (len(names), len(settings)), "at least one each")
    most = max(len(skipped.learning_rates) for skipped in settings.values())
    across = min(len(settings), 2 if most <= 6 else 1)
    down = math.ceil(len(settings) / across)
    with quiet(NARROW_TEXT):
        figure = new_figure(NARROW, 1.2 + (0.75 + 0.25 * len(names)) * down)
        panels = list(figure.subplots(down, across, squeeze=False, sharey=True).flat)
        for panel in panels[len(settings) :]:
            panel.remove()
        for panel, (title, skipped) in zip(panels, settings.items(), strict=False):
            panel.set_title(
                literal(textwrap.fill(title.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"), 32)),
                loc="left",
                fontsize=NARROW_TEXT,
                fontweight="bold",
            )
            _draw_shares(panel, skipped)
            _frame(panel, names, [f"{rate:g}" for rate in skipped.learning_rates])
            panel.set_xlabel("learning rate")
            if panel.get_subplotspec() is not None and panel.get_subplotspec().is_first_col():
                embolden(panel, baseline)
        used = {letter for skipped in settings.values() for row in skipped.letters for letter in row}
        keys = [Patch(facecolor="none", label=f"{x}  {text}") for x, text in causes.items() if x in used]
        if any(skipped.failed.any() for skipped in settings.values()):
            keys.append(Patch(facecolor="none", edgecolor="black", linewidth=1.4, label="a run failed"))
        figure.legend(handles=keys, loc="outside lower center", ncols=3, frameon=False, handlelength=1)
    return figure


def _draw_shares(panel: Axes, skipped: Skipped) -> None:
    colours = _sequential()
    for (r, c), share in np.ndenumerate(skipped.shares):
        if math.isnan(share):
            panel.add_patch(Rectangle((c - 0.48, r - 0.46), 0.96, 0.92, facecolor=SHADE, edgecolor="none"))
            continue
        # The colour follows the square root, so that one step in a hundred is visible.
        depth = math.sqrt(share)
        edge = {"edgecolor": "black", "linewidth": 1.4, "zorder": 2} if skipped.failed[r, c] else {"edgecolor": "none"}
        panel.add_patch(Rectangle((c - 0.46, r - 0.43), 0.92, 0.86, facecolor=colours(depth), **edge))
        text = f"{percent(share)} {skipped.letters[r][c]}".strip()
        colour = "white" if depth > 0.7 else ON_COLOUR if share else "#6B6B6B"
        panel.text(c, r, text, ha="center", va="center", color=colour)


def _frame(panel: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    panel.set_xlim(-0.5, len(columns) - 0.5)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xticks(range(len(columns)), list(columns))
    panel.set_yticks(range(len(rows)), list(rows))
    hide_frame(panel)


def _diverging() -> Colormap:
    """Makes a map from blue over white to orange, for the colour-blind too, and light enough for black text."""
    return LinearSegmentedColormap.from_list("better, worse", ("#5FA8D8", "#FFFFFF", "#EF9A5F"))


def _sequential() -> Colormap:
    return LinearSegmentedColormap.from_list("skipped", ("#F7F7F7", HALFWAY, COLOURS[1], "#7A3200"))
