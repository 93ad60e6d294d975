"""The history of a training run, from the records of its epochs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from jaxvae.arguments import require
from jaxvae.plots.style import COLOURS, GREY, TEXT, draw_grid, new_figure, quiet, say
from jaxvae.texts import minus

_TRAINING, _VALIDATION = COLOURS[:2]
# By place in the layout: title, the key of training, the key of validation.
_PANELS = {
    "a": ("(a)  ELBO in nats per image", "elbo", "validation_elbo"),
    "b": ("(b)  E log p(x|z) in nats", "log_likelihood", "validation_log_likelihood"),
    "c": ("(c)  KL(q ‖ p) in nats", "kl", "validation_kl"),
    "d": ("(d)  active units", "active_units", "validation_active_units"),
    "e": ("(e)  gradient norm", "gradient_norm", ""),
    "f": ("(f)  learning rate", "learning_rate", ""),
    "g": ("(g)  weight β of the KL", "beta", ""),
}
_LAYOUT = "aabcd\naaefg"


def curves(records: Sequence[Mapping[str, float]]) -> Figure:
    """Draws a run's epochs: the ELBO and its two terms, active units, gradient norm, learning rate, β.

    Values that are not finite leave gaps. If a run starts at much lower values than it soon has, (a) and (b) are cut
    off below and give the lowest value. In (e), whose axis is logarithmic, zeros are marked at the bottom and epochs
    with skipped steps at the top.

    Args:
        records: one per epoch, under the keys of ``metrics.jsonl``; only ``epoch`` must be there.
            ``skipped`` counts from the beginning of training. If an epoch has several records, the last one counts.

    Returns:
        A figure of 1600 x 800 pixels; its axes are the panels in order.

    Raises:
        ValueError: if there are no records, or one has no epoch.
    """
    require(len(records) > 0, "records", len(records), "at least one")
    for record in records:
        require("epoch" in record, "records' keys", list(record), "with an epoch")
    by_epoch = {record["epoch"]: record for record in records}
    ordered = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    with quiet(TEXT):
        figure = new_figure(16, 8)
        panels = figure.subplot_mosaic(_LAYOUT)
        first, last = ordered[0]["epoch"], ordered[-1]["epoch"]
        margin = max(0.5, 0.03 * (last - first))
        for place, (title, training, validation) in _PANELS.items():
            _draw_panel(panels[place], title, ordered, {training: _TRAINING, validation: _VALIDATION})
            panels[place].set_xlim(first - margin, last + margin)
        for place in "ab":
            _zoom(panels[place])
        for place in "dfg":
            panels[place].set_ylim(bottom=min(0, panels[place].get_ylim()[0]))
        panels["d"].yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        marks = _mark_gradients(panels["e"], ordered)
        for place in "aefg":
            panels[place].set_xlabel("epoch")
        named = (("training", _TRAINING), ("validation", _VALIDATION))
        lines = [Line2D([], [], lw=2.5, color=colour, label=label) for label, colour in named]
        figure.legend(handles=lines + marks, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _series(records: Sequence[Mapping[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the epochs that have this key, and its values there, NaN if not finite."""
    kept = [record for record in records if key in record]
    values = np.asarray([record[key] for record in kept], dtype=float)  # None becomes NaN
    return np.asarray([record["epoch"] for record in kept]), np.where(np.isfinite(values), values, np.nan)


def _draw_panel(panel: Axes, title: str, records: Sequence[Mapping[str, float]], colours: Mapping[str, str]) -> None:
    panel.set_title(title, loc="left", fontsize=TEXT + 1)
    draw_grid(panel)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    for key, colour in colours.items():
        epochs, values = _series(records, key)
        exists = np.isfinite(values)
        if not exists.any():
            continue
        # A line doesn't show a point without neighbours, so a short series shows all its points.
        beside = np.convolve(exists, (1, 0, 1), "same") > 0 if len(values) > 1 else np.zeros(1, bool)
        marked = exists if len(values) <= 30 else exists & ~beside
        panel.plot(epochs, values, color=colour, linewidth=1.8, label=key, marker="o", markersize=4, markevery=marked)
    if not panel.lines:
        say(panel, "no finite values")
        panel.set_xticks([])
        panel.set_yticks([])


def _zoom(panel: Axes) -> None:
    """Cuts off a start that is so low that the rest of the run would be a flat line."""
    series = [np.asarray(line.get_ydata(), dtype=float) for line in panel.lines]
    values = np.concatenate([y[np.isfinite(y)] for y in series]) if series else np.zeros(0)
    if len(values) < 10:
        return
    low, high = np.percentile(values, 15), values.max()
    span = high - low
    if span > 0 and values.min() < low - 3 * span:
        panel.set_ylim(low - 0.5 * span, high + 0.1 * span)
        text = minus(f"cut off: lowest {values.min():,.5g}")
        panel.text(0.98, 0.03, text, color=GREY, transform=panel.transAxes, ha="right", backgroundcolor="#FFFFFFCC")


def _mark_gradients(panel: Axes, records: Sequence[Mapping[str, float]]) -> list[Line2D]:
    """Makes the axis logarithmic, and returns the marks of values that it can't show."""
    epochs, norms = _series(records, "gradient_norm")
    if np.any(norms > 0):
        panel.set_yscale("log", nonpositive="mask")
    at, so_far = _series(records, "skipped")
    kinds = (
        ("v", 0.02, epochs[norms == 0], "gradient norm exactly 0"),
        ("x", 0.97, at[np.diff(so_far, prepend=0) > 0], f"steps skipped, {np.max(so_far, initial=0):,.0f} in all"),
    )
    marks: list[Line2D] = []
    for marker, height, where, label in kinds:
        if len(where):
            heights = np.full(len(where), height)
            edge = panel.get_xaxis_transform()
            marks += panel.plot(where, heights, marker, color=COLOURS[3], label=label, transform=edge)
    return marks
