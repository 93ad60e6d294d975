"""Pictures of images: samples, reconstructions and traversals as mosaics.

Images are floats in [0, 1] whose last axes are (H, W, C): grey for C = 1, RGB for 3, RGBA on white for 4; of any
other C the mean over channels is shown. What is outside [0, 1] is clipped, and what is not finite is vermilion.
Every pixel of an image becomes a whole number of the figure's pixels, so that nothing is resampled.
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

# In pixels.
_SIDE = 1000  # what a mosaic is enlarged to
_SMALLEST, _LARGEST = 16, 320  # sides of an image
_GAP, _BREAK = 2, 8  # between images, and on top of that between blocks of rows
_MARGIN = 20
_NARROWEST = 500
_SEPARATOR = 176  # a grey that shows beside black and beside white
_ELONGATION = 8  # a strip, however thin, is drawn at most this many times as long as wide


def image_grid(images: ArrayLike, columns: int | None = None, title: str = "Samples") -> Figure:
    """Images in reading order, as one mosaic.

    Args:
        images: (N, H, W, C).
        columns: as many as make the mosaic near-square if not given.
        title: what is seen.

    Raises:
        ValueError: for another shape or dtype, or fewer than one column.
    """
    cells = _cells("images", images, "(N, H, W, C)")
    step = _columns(columns, len(cells), cells.shape[1] / cells.shape[2])
    return _draw([cells[start : start + step] for start in range(0, len(cells), step)], title)


def reconstructions(
    originals: ArrayLike, means: ArrayLike, title: str = "Originals and their reconstructions"
) -> Figure:
    """Images in reading order, each above the mean of its reconstruction.

    Args:
        originals: (N, H, W, C).
        means: of the same shape, E[x|z] of a z encoded from the original.
        title: what is seen.

    Raises:
        ValueError: for another shape or dtype.
    """
    pair = [_cells(name, x, "(N, H, W, C)") for name, x in (("originals", originals), ("means", means))]
    require(
        np.shape(originals) == np.shape(means), "means.shape", np.shape(means), f"{np.shape(originals)}, as originals'"
    )
    count, height, width, _ = pair[0].shape
    step = _columns(None, count, 2 * height / width)
    rows = [x[start : start + step] for start in range(0, count, step) for x in pair]
    return _draw(rows, title, row_labels=["original", "reconstruction"] * (len(rows) // 2), block=2)


def traversals(
    images: ArrayLike,
    values: ArrayLike,
    kl: ArrayLike,
    latents: Sequence[int] | None = None,
    title: str = "Decoded while one latent moves and the others stay",
) -> Figure:
    """A row per latent, in the caller's order: what is decoded as this latent takes the values, column by column.

    Args:
        images: (L, S, H, W, C).
        values: (S,), those of the latent that moves.
        kl: (L,), each latent's KL(q ‖ p) in nats, averaged over data.
        latents: (L,), each row's index among the model's latents; 0, 1, … if not given.
        title: what is seen.

    Raises:
        ValueError: for another shape or dtype.
    """
    cells = _cells("images", images, "(L, S, H, W, C)")
    indices = np.arange(len(cells)) if latents is None else latents
    vectors = []
    for name, x, size in (("values", values, cells.shape[1]), ("kl", kl, len(cells)), ("latents", indices, len(cells))):
        vectors.append(np.asarray(x))
        require(vectors[-1].shape == (size,), f"{name}.shape", vectors[-1].shape, f"{(size,)}, to go with images")
    values, kl, indices = vectors
    labels = [with_kl(f"z{i}", nats) for i, nats in zip(indices.tolist(), kl.tolist(), strict=True)]
    # Adding 0 turns -0 into 0.
    return _draw(list(cells), title, labels, [f"{value + 0.0:.2g}" for value in values.tolist()])


def _cells(field: str, images: ArrayLike, axes: str) -> np.ndarray:
    """Checked images as bytes in RGB, (..., H, W, 3); strips repeated across until they can be seen."""
    x = np.asarray(images)
    require(x.ndim == axes.count(",") + 1 and x.size > 0, f"{field}.shape", x.shape, f"{axes} without a zero")
    require(x.dtype.kind not in "iuc", f"{field}.dtype", str(x.dtype), "floating, with values in [0, 1]")
    x = x.astype(np.float32)
    finite = np.isfinite(x).all(-1, keepdims=True)
    if x.shape[-1] not in (1, 3, 4):
        x = x.mean(-1, keepdims=True, where=finite)
    x = np.clip(np.where(finite, x, 0), 0, 1)
    if x.shape[-1] == 4:
        x = x[..., :3] * x[..., 3:] + (1 - x[..., 3:])
    x = np.round(255 * np.where(finite, x, to_rgb(COLOURS[1]))).astype(np.uint8)
    height, width = x.shape[-3:-1]
    return _enlarged(x, math.ceil(width / _ELONGATION / height), math.ceil(height / _ELONGATION / width))


def _enlarged(images: np.ndarray, down: int, across: int) -> np.ndarray:
    return images.repeat(down, axis=-3).repeat(across, axis=-2)


def _columns(columns: int | None, count: int, aspect: float) -> int:
    """The given number, or that which brings ``count`` cells, ``aspect`` times as high as wide, near a square."""
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
    """A mosaic with labels left of rows and above columns; ``block`` rows at a time stand together."""
    canvas, tops, lefts, pitch = _mosaic(rows, block)
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
        panel.set_yticks([y + (pitch[0] - _GAP - 1) / 2 for y in tops] if row_labels else [], row_labels)
        # Only as many headers as there is room for.
        every = math.ceil((_widest(column_labels) + 6) / pitch[1]) if column_labels else 1
        shown = lefts[::every] if column_labels else []
        panel.set_xticks([x + (pitch[1] - _GAP - 1) / 2 for x in shown], column_labels[::every])
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
    """The enlarged images between separators, the first pixel of each row and column, and the pitch of both."""
    columns = max(map(len, rows))
    height, width = rows[0].shape[1:3]
    fit = min(_SIDE // max(len(rows) * height, columns * width), _LARGEST // max(height, width))
    scale = max(fit, math.ceil(_SMALLEST / min(height, width)), 1)
    down, across = height * scale + _GAP, width * scale + _GAP
    tops = [_GAP + r * down + r // block * (_BREAK if block > 1 else 0) for r in range(len(rows))]
    lefts = [_GAP + c * across for c in range(columns)]
    canvas = np.full((tops[-1] + down, lefts[-1] + across, 3), 255, np.uint8)
    for y, row in zip(tops, rows, strict=True):
        for x, image in zip(lefts, row, strict=False):
            canvas[y - _GAP : y + down, x - _GAP : x + across] = _SEPARATOR
            canvas[y : y + down - _GAP, x : x + across - _GAP] = _enlarged(image, scale, scale)
    return canvas, tops, lefts, (down, across)


def _widest(labels: Sequence[str]) -> int:
    """The width in pixels of the label with the most letters, near enough the widest."""
    return math.ceil(TextPath((0, 0), max(labels, key=len), size=SMALL * DPI / 72).get_extents().width)


def _even(length: int) -> int:
    """Rounded up to a multiple of 25 pixels, a number of inches that is exact in binary."""
    return math.ceil(length / 25) * 25
