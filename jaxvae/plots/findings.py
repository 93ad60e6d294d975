"""A picture of a diagnosis: the σ, gain, KL and states of each latent."""

import math
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from jaxvae.diagnosis import STATES, Diagnosis
from jaxvae.diagnosis.criteria import DEAF, IDLE
from jaxvae.diagnosis.posterior import QUANTILES
from jaxvae.plots.style import (
    BLACK,
    COLOURS,
    GREY,
    GRID,
    REFERENCE,
    SHADE,
    SMALL,
    TITLE,
    draw_grid,
    hide_frame,
    new_figure,
    quiet,
)
from jaxvae.texts import minus

_HEALTHY = "healthy"
_ILL = (COLOURS[1], COLOURS[3], COLOURS[4], COLOURS[2], COLOURS[5], COLOURS[6])
"""The colours of the worst states; the last one is for all further states."""

_NAMED = 32  # the number of latents whose names fit
_KL = (1e-4, 1e4)  # the range of KL that is shown, in nats


def diagnosis(found: Diagnosis) -> Figure:
    """Draws four panels over the latents, in order of decreasing KL, each in the colour of its worst state.

    (a) log σ: median, outer quantiles and range over examples, the range that the parameterization can give, and where
    σ² leaves the dtype; (b) |d log σ / d raw| and where it is saturated; (c) KL, and the largest information that the
    latent can carry about the examples; (d) the share of examples in each state.

    Args:
        found: from ``diagnose``.
    """
    order = np.argsort(-np.nan_to_num(found.kl, nan=-1), kind="stable")
    names = [name for name in STATES if any(f.name == name and f.latents for f in found.findings)]
    colours = {_HEALTHY: COLOURS[0], **{name: _colour(name, i) for i, name in enumerate(names)}}
    states = found.states
    of_latents = [colours[(states[i] or (_HEALTHY,))[0]] for i in order]
    with quiet(SMALL):
        heights = (3.0, 1.6, 2.2, 0.25 * (1 + len(names)))
        figure = new_figure(10, 1.9 + sum(heights))
        panels = figure.subplots(4, 1, sharex=True, height_ratios=heights)
        _draw_log_std(panels[0], found, order, of_latents)
        _draw_gain(panels[1], found.gain[:, order], of_latents)
        _draw_kl(panels[2], found.kl[order], found.information[order], of_latents)
        _draw_states(panels[3], found, order, colours)
        for panel in panels[:3]:
            draw_grid(panel)
            panel.tick_params(axis="x", length=0)
        panels[-1].set_xlim(-0.7, len(order) - 0.3)
        if len(order) <= _NAMED:
            panels[-1].set_xticks(range(len(order)), [f"z{i}" for i in order])
            panels[-1].set_xlabel("latents, by falling KL")
        else:
            panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
            panels[-1].set_xlabel("rank of the latent, by falling KL")
        figure.suptitle(_title(found), x=0.02, ha="left", fontsize=TITLE)
    return figure


def _title(found: Diagnosis) -> str:
    p = found.parameterization
    title = f"{p.name or p.formula}: {len(found.kl)} latents, {found.examples:,} examples"
    of_the_run = [f.name for f in found.findings if not f.latents]
    return "\n".join([title, *(["the run: " + ", ".join(of_the_run)] if of_the_run else [])])


def _colour(name: str, rank: int) -> str:
    return GREY if STATES[name].level == "note" else _ILL[min(rank, len(_ILL) - 1)]


def _draw_log_std(panel: Axes, found: Diagnosis, order: np.ndarray, colours: list[str]) -> None:
    values = found.log_std[:, order]
    finite = values[np.isfinite(values)]
    low, high = min(0.0, finite.min(initial=0)), max(0.0, finite.max(initial=0))
    margin = max(0.5, 0.08 * (high - low))
    panel.set_ylim(low - margin, high + margin)
    _draw_spreads(panel, values, colours)
    panel.axhline(0, color=BLACK, **REFERENCE)
    ends = [math.log(end) if end > 0 else -math.inf for end in found.parameterization.std_range[:2]]
    for end, beyond in zip(ends, panel.get_ylim(), strict=True):
        if math.isfinite(end) and panel.get_ylim()[0] <= end <= panel.get_ylim()[1]:
            panel.axhspan(end, beyond, facecolor="none", edgecolor=GRID, hatch="////", zorder=0)
    limits = jnp.finfo(found.dtype)
    held = [0.5 * math.log(float(x)) for x in (limits.smallest_normal, limits.max)]
    for limit in held:
        panel.axhline(limit, color=_ILL[0], linewidth=1, linestyle=(0, (1.2, 1.2)))
    panel.set_ylim(low - margin, high + margin)
    text = (
        f"(a)  log σ: median, {100 * QUANTILES[1]:g} to {100 * QUANTILES[3]:g} %, all; {_ends(*ends)}; "
        f"{found.dtype} holds σ² from {held[0]:.3g} to {held[1]:.3g} (dotted)"
    )
    panel.set_title(minus(text), loc="left", fontsize=SMALL)
    panel.set_ylabel("log σ")


def _ends(low: float, high: float) -> str:
    """Describes the range of log σ that a parameterization can give."""
    if math.isfinite(low) and math.isfinite(high):
        return f"range {low:.3g} to {high:.3g}"
    if math.isfinite(low):
        return f"range from {low:.3g}"
    return f"range up to {high:.3g}" if math.isfinite(high) else "range unbounded"


def _draw_spreads(panel: Axes, values: np.ndarray, colours: list[str]) -> None:
    """Draws the quantiles of each latent, (5, L)."""
    width = max(0.8, min(9.0, 260 / len(colours)))
    x = np.arange(len(colours))
    for (low, high), thickness in zip(((0, 4), (1, 3)), (0.14 * width, 0.7 * width), strict=True):
        panel.vlines(x, values[low], values[high], colors=colours, linewidth=thickness, alpha=0.75)
    panel.scatter(x, values[2], c=colours, s=width**2, zorder=3, marker="_" if width < 2 else "o", linewidth=0.8)


def _draw_gain(panel: Axes, gain: np.ndarray, colours: list[str]) -> None:
    drawable = gain[np.isfinite(gain) & (gain > 0)]
    low, high = max(1e-8, min(DEAF, drawable.min(initial=1))) / 3, max(1.0, drawable.max(initial=1)) * 3
    panel.set_yscale("log")
    panel.set_ylim(low, high)
    panel.axhspan(low, DEAF, color=SHADE, zorder=0)
    zero = gain[2] == 0
    _draw_spreads(panel, np.where(zero, math.nan, np.clip(gain, low, high)), colours)
    for i in np.flatnonzero(zero).tolist():
        panel.plot(i, 0.08, "v", color=colours[i], markersize=6, transform=panel.get_xaxis_transform())
    note = "; ▾ the median is exactly 0" if zero.any() else ""
    panel.set_title(f"(b)  |d log σ / d raw|; shaded: saturated, below {DEAF:g}{note}", loc="left", fontsize=SMALL)
    panel.set_ylabel("gain")


def _draw_kl(panel: Axes, kl: np.ndarray, information: np.ndarray, colours: list[str]) -> None:
    low, high = _KL[0], min(_KL[1], max(1.0, np.max(kl, where=np.isfinite(kl), initial=1)) * 3)
    panel.set_yscale("log")
    panel.set_ylim(low, high)
    panel.axhspan(low, IDLE, color=SHADE, zorder=0)
    x = np.arange(len(kl))
    shown = np.clip(np.nan_to_num(kl, nan=low), low, high)
    beyond = np.flatnonzero(kl > high)
    panel.plot(
        beyond, np.full(len(beyond), 0.95), "^", color="#FFFFFF", markersize=6, transform=panel.get_xaxis_transform()
    )
    panel.bar(x, shown - low, bottom=low, width=0.7, color=colours, alpha=0.75)
    tells = np.clip(information, low, high)
    panel.hlines(tells, x - 0.45, x + 0.45, color=BLACK, linewidth=1.4)
    panel.set_title(
        f"(c)  KL in nats; line: what the latent tells of the examples, at most; shaded: idle, below {IDLE:g}"
        + "; ▴ above" * (len(beyond) > 0),
        loc="left",
        fontsize=SMALL,
    )
    panel.set_ylabel("nats")


def _draw_states(panel: Axes, found: Diagnosis, order: np.ndarray, colours: Mapping[str, str]) -> None:
    """Draws a row per state and a column per latent; a higher share has a stronger colour."""
    healthy = np.asarray([not states for states in found.states], float)
    for row, (name, colour) in enumerate(colours.items()):
        shares = healthy if name == _HEALTHY else found.shares[name]
        for column, share in enumerate(shares[order].tolist()):
            if share > 0:
                alpha = 0.15 + 0.85 * share
                panel.add_patch(
                    Rectangle((column - 0.45, row - 0.4), 0.9, 0.8, facecolor=colour, alpha=alpha, linewidth=0)
                )
    panel.set_ylim(len(colours) - 0.4, -0.6)
    panel.set_yticks(range(len(colours)), list(colours))
    hide_frame(panel)
    for label, colour in zip(panel.get_yticklabels(), colours.values(), strict=True):
        label.set_color(colour)
    panel.set_title("(d)  states; the fuller the colour, the more of the examples", loc="left", fontsize=SMALL)
