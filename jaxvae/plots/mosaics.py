"""Pictures of images: samples, reconstructions and traversals as mosaics.

Images are floats whose last axes are (H, W, C). One channel is grey, and three are colours. Other numbers of channels
are drawn side by side, in grey; the channels of a single pixel form a row. If all numbers are in [0, 1], 0 is black and
1 is white; otherwise the smallest is black and the largest white. Non-finite numbers are vermilion. Every pixel of an
image becomes a whole number of the figure's pixels, so that nothing is resampled, except images larger than a figure. A
title also says what is unusual.
"""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from numpy.typing import ArrayLike

from jaxvae.arguments import require
from jaxvae.plots.style import COLOURS, DPI, GREY, SMALL, TITLE, literal, quiet, with_kl
from jaxvae.texts import minus, short_exponent

# In pixels.
_SIDE = 1000  # the size to which a mosaic is enlarged
_SMALLEST, _LARGEST = 16, 320  # limits of an image's sides
_GAP, _BREAK = 2, 8  # between images, and in addition between blocks of rows or images of several channels
_MARGIN = 20
_NARROWEST = 500
_SEPARATOR = 176  # a grey that is visible beside black and white
_ELONGATION = 8  # a thin strip is drawn at most this many times as long as wide,
_STRIP = 32  # unless it is this wide
_PANELS = 12  # channels shown of images that are neither grey nor colours
_DIVIDER = 1  # between channels
_ROUNDING = 1e-3  # rounding errors that are allowed beyond 0 and 1


def image_grid(images: ArrayLike, columns: int | None = None, title: str = "Samples") -> Figure:
    """Draws images in reading order, as one mosaic.

    Args:
        images: (N, H, W, C).
        columns: the number of columns; by default, the mosaic is nearly square.
        title: what is seen.

    Raises:
        ValueError: for another shape or dtype, or fewer than one column.
    """
    (cells,), said = _cells("(N, H, W, C)", images=images)
    step = _columns(columns, len(cells), _aspect(cells))
    return _draw([cells[start : start + step] for start in range(0, len(cells), step)], title + said)


def reconstructions(
    originals: ArrayLike, means: ArrayLike, title: str = "Originals and their reconstructions"
) -> Figure:
    """Draws images in reading order, each above the mean of its reconstruction.

    Args:
        originals: (N, H, W, C).
        means: the reconstructions E[x|z], of the same shape, for a z encoded from the original.
        title: what is seen.

    Raises:
        ValueError: for another shape or dtype.
    """
    pair, said = _cells("(N, H, W, C)", originals=originals, means=means)
    count = len(pair[0])
    step = _columns(None, count, 2 * _aspect(pair[0]))
    rows = [x[start : start + step] for start in range(0, count, step) for x in pair]
    return _draw(rows, title + said, row_labels=["original", "reconstruction"] * (len(rows) // 2), block=2)


def traversals(
    images: ArrayLike,
    values: ArrayLike,
    kl: ArrayLike,
    latents: Sequence[int] | None = None,
    title: str = "Decoded while one latent moves and the others stay",
) -> Figure:
    """Draws a row per latent, in the caller's order, with the decoded images as this latent takes the values.

    Args:
        images: (L, S, H, W, C).
        values: (S,), the values of the latent that moves.
        kl: (L,), each latent's KL(q ‖ p) in nats, averaged over data.
        latents: (L,), each row's index among the model's latents; 0, 1, … if not given.
        title: what is seen.

    Raises:
        ValueError: for another shape or dtype.
    """
    (cells,), said = _cells("(L, S, H, W, C)", images=images)
    indices = np.arange(len(cells)) if latents is None else latents
    vectors = []
    for name, x, size in (("values", values, cells.shape[1]), ("kl", kl, len(cells)), ("latents", indices, len(cells))):
        vectors.append(np.asarray(x))
        require(vectors[-1].shape == (size,), f"{name}.shape", vectors[-1].shape, f"{(size,)}, to go with images")
    values, kl, indices = vectors
    labels = [with_kl(f"z{i}", nats) for i, nats in zip(indices.tolist(), kl.tolist(), strict=True)]
    # Adding 0 turns -0 into 0.
    return _draw(list(cells), title + said, labels, [f"{value + 0.0:.2g}" for value in values.tolist()])


def _cells(axes: str, **images: ArrayLike) -> tuple[list[np.ndarray], str]:
    """Returns checked images as RGB bytes, (..., P, H, W, 3) with P panels side by side, and a note for the title."""
    arrays: list[np.ndarray] = []
    for field, given in images.items():
        x = np.asarray(given)
        require(x.ndim == axes.count(",") + 1 and x.size > 0, f"{field}.shape", x.shape, f"{axes} without a zero")
        require(x.dtype.kind not in "iuc", f"{field}.dtype", str(x.dtype), "floating, not whole numbers")
        first = arrays[0].shape if arrays else x.shape
        require(x.shape == first, f"{field}.shape", x.shape, f"{first}, as {next(iter(images))}'")
        arrays.append(x.astype(np.float32).astype(np.float64))  # so that different extremes never differ by 0
    if arrays[0].shape[-3:-1] == (1, 1):  # a row of features
        arrays = [np.moveaxis(x, -1, -2) for x in arrays]
    height, width, channels = arrays[0].shape[-3:]
    said = []
    if channels not in (1, 3):
        shown = f"its first {_PANELS} of {channels}" if channels > _PANELS else f"its {channels}"
        said.append(f"each image as {shown} channels, side by side")
        arrays = [np.moveaxis(x[..., :_PANELS], -1, -3)[..., None] for x in arrays]
    else:
        arrays = [x[..., None, :, :, :] for x in arrays]
    size = math.ceil(max(height, width) / _SIDE)
    if size > 1:
        said.append(f"each pixel the mean of {min(size, height)} × {min(size, width)}")
        arrays = [_binned(x, size) for x in arrays]
    low, high = _range(np.concatenate([x[np.isfinite(x)] for x in arrays]))
    if (low, high) != (0, 1):
        said.append(f"black is {_shown(low)}, white {_shown(high)}")
    return [_bytes(x, low, high) for x in arrays], "".join(f"; {words}" for words in said)


def _range(numbers: np.ndarray) -> tuple[float, float]:
    """Returns the numbers of black and white: 0 and 1 if all numbers are within these, else the extremes."""
    low, high = (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 1.0)
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return 0.0, 1.0
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _shown(x: float) -> str:
    return minus(short_exponent(f"{x:.3g}"))


def _binned(x: np.ndarray, size: int) -> np.ndarray:
    """Returns the means over squares of pixels, which may be incomplete at the far edges."""
    for axis in (-3, -2):
        starts = range(0, x.shape[axis], size)
        with np.errstate(invalid="ignore"):  # ∞ - ∞, which becomes vermilion too
            means = [x.take(range(start, min(start + size, x.shape[axis])), axis).mean(axis) for start in starts]
        x = np.stack(means, axis)
    return x


def _bytes(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns colours, with vermilion for non-finite numbers; thin strips are repeated until they are visible."""
    finite = np.isfinite(x).all(-1, keepdims=True)
    x = np.clip((np.where(finite, x, low) - low) / (high - low), 0, 1)
    colours = np.round(255 * np.where(finite, x, to_rgb(COLOURS[1]))).astype(np.uint8)
    height, width = colours.shape[-3:-1]
    down, across = (
        min(math.ceil(long / _ELONGATION / short), math.ceil(_STRIP / short))
        for long, short in ((width, height), (height, width))
    )
    return _enlarged(colours, down, across)


def _enlarged(images: np.ndarray, down: int, across: int) -> np.ndarray:
    return images.repeat(down, axis=-3).repeat(across, axis=-2)


def _aspect(cells: np.ndarray) -> float:
    """Returns the ratio of a cell's height to its width."""
    panels, height, width = cells.shape[-4:-1]
    return height / (panels * width)


def _columns(columns: int | None, count: int, aspect: float) -> int:
    """Returns the given number, or one that makes ``count`` cells of this height / width nearly a square."""
    if columns is None:
        columns = math.ceil(math.sqrt(count * aspect))
        return min(columns, count)
    require(columns >= 1, "columns", columns, "at least 1")
    return min(columns, count)


def _draw(
    rows: Sequence[np.ndarray],
    title: str,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    block: int = 1,
) -> Figure:
    """Draws a mosaic with labels left of rows and above columns; ``block`` rows at a time form a group."""
    canvas, tops, lefts, (down, across) = _mosaic(rows, block)
    left = _MARGIN + (_widest(row_labels) + 16 if row_labels else 0)
    width = _even(max(left + canvas.shape[1] + _MARGIN, _NARROWEST))
    # A letter is about 0.55 of the font's size wide.
    lines = textwrap.wrap(title, int((width - 2 * _MARGIN) / (0.55 * TITLE * DPI / 72)))
    top = _MARGIN + 26 * len(lines) + (24 if column_labels else 8)
    height = _even(top + canvas.shape[0] + _MARGIN)
    with quiet(SMALL):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        figure.text(_MARGIN / width, 1 - _MARGIN / height, literal("\n".join(lines)), fontsize=TITLE, va="top")
        panel = figure.add_axes(
            (left / width, 1 - (top + canvas.shape[0]) / height, canvas.shape[1] / width, canvas.shape[0] / height)
        )
        panel.imshow(canvas, interpolation="nearest", aspect="auto")
        panel.spines[:].set_visible(False)
        panel.tick_params(length=0, pad=6, top=True, bottom=False, labeltop=True, labelbottom=False)
        panel.set_yticks([y + (down - 1) / 2 for y in tops] if row_labels else [], row_labels)
        # Only as many headers as fit.
        every = math.ceil((_widest(column_labels) + 6) / (across + _GAP)) if column_labels else 1
        shown = lefts[::every] if column_labels else []
        panel.set_xticks([x + (across - 1) / 2 for x in shown], column_labels[::every])
        if column_labels:
            panel.annotate(
                "z =",
                (0, 1),
                (-6, 6),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="right",
                va="bottom",
                color=GREY,
            )
    return figure


def _mosaic(rows: Sequence[np.ndarray], block: int) -> tuple[np.ndarray, list[int], list[int], tuple[int, int]]:
    """Returns the enlarged images between separators, the first pixel of each row and column, and an image's sides."""
    columns = max(map(len, rows))
    panels, height, width = rows[0].shape[1:4]
    whole = panels * width
    fit = min(_SIDE // max(len(rows) * height, columns * whole), _LARGEST // max(height, width))
    scale = max(fit, math.ceil(_SMALLEST / min(height, width)), 1)
    step = width * scale + _DIVIDER
    down, across = height * scale, panels * step - _DIVIDER
    apart = _BREAK if panels > 1 else 0
    tops = [_GAP + r * (down + _GAP) + r // block * (_BREAK if block > 1 else 0) for r in range(len(rows))]
    lefts = [_GAP + c * (across + _GAP + apart) for c in range(columns)]
    canvas = np.full((tops[-1] + down + _GAP, lefts[-1] + across + _GAP, 3), 255, np.uint8)
    for y, row in zip(tops, rows, strict=True):
        for x, image in zip(lefts, row, strict=False):
            canvas[y - _GAP : y + down + _GAP, x - _GAP : x + across + _GAP] = _SEPARATOR
            for left, panel in zip(range(x, x + across, step), image, strict=True):
                canvas[y : y + down, left : left + step - _DIVIDER] = _enlarged(panel, scale, scale)
    return canvas, tops, lefts, (down, across)


def _widest(labels: Sequence[str]) -> int:
    """Returns the width in pixels of the label with the most letters, which is almost the widest."""
    return math.ceil(TextPath((0, 0), max(labels, key=len), size=SMALL * DPI / 72).get_extents().width)


def _even(length: int) -> int:
    """Rounds up to a multiple of 25 pixels, whose number of inches is exact in binary."""
    return math.ceil(length / 25) * 25
