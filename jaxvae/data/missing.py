"""Missing entries, which are NaN in an array, from the data themselves or from a mask.

They stay NaN, without a second array, from the files to the model, which handles NaN itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxvae.arguments import require


def unmasked(given: Any) -> np.ndarray:
    """Returns a NumPy array, with NaN for the masked entries of a ``numpy.ma`` array.

    >>> unmasked(np.ma.array([1, 2], mask=[False, True])).tolist()
    [1.0, nan]
    """
    if isinstance(given, np.ma.MaskedArray):
        return with_missing(given.data, np.ma.getmaskarray(given), "mask")
    return np.asarray(given)


def with_missing(x: np.ndarray, mask: np.ndarray, field: str) -> np.ndarray:
    """Returns x as floats with NaN where a mask is True, as in ``numpy.ma``, or x itself if nothing is missing.

    Args:
        x: numbers of any shape.
        mask: booleans, or 0 and 1, of the same shape.
        field: the name of the mask in messages.

    Raises:
        ValueError: for a mask of another shape, or of other values.
    """
    require(mask.shape == x.shape, f"{field}.shape", mask.shape, f"{x.shape}, that of the numbers")
    fits = mask.dtype.kind in "biuf" and bool(np.all((mask == 0) | (mask == 1)))
    require(fits, field, f"an array of {mask.dtype}", "True or 1 where an entry is missing, False or 0 elsewhere")
    missing = mask.astype(bool)
    if not missing.any():
        return x
    require(x.dtype.kind in "biuf", f"{field}: dtype of the numbers", str(x.dtype), "boolean, integer or float")
    exact = x.dtype if x.dtype.kind == "f" else np.result_type(x.dtype, np.float32)
    return np.where(missing, exact.type(np.nan), x.astype(exact))


def ended(x: np.ndarray, lengths: np.ndarray, field: str) -> np.ndarray:
    """Returns a mask of sequences (N, T, C), True beyond each one's length.

    Args:
        x: the sequences.
        lengths: (N,) whole numbers in 1..T.
        field: the name of the lengths in messages.

    Raises:
        ValueError: for other shapes or values.

    >>> ended(np.zeros((2, 3, 1)), np.array([3, 1]), "lengths")[..., 0].tolist()
    [[False, False, False], [False, True, True]]
    """
    require(x.ndim == 3, f"{field} of images of shape", x.shape, "given for sequences (N, T, C) alone")
    require(lengths.shape == x.shape[:1], f"{field}.shape", lengths.shape, f"({len(x)},), a length for each sequence")
    fits = lengths.dtype.kind in "iuf" and bool(np.all((lengths >= 1) & (lengths <= x.shape[1])))
    whole = fits and bool(np.all(lengths == np.rint(lengths)))
    require(whole, field, f"{lengths.min()} to {lengths.max()}", f"whole numbers in 1..{x.shape[1]}")
    over = np.arange(x.shape[1]) >= lengths[:, None]
    return np.broadcast_to(over[..., None], x.shape)


def count_missing(x: np.ndarray) -> int:
    """Returns the number of missing entries."""
    return int(np.isnan(x).sum())


def observed_counts(x: np.ndarray) -> np.ndarray:
    """Returns the number of entries of each row (N, ...) that aren't missing, (N,)."""
    return (~np.isnan(x)).sum(axis=tuple(range(1, x.ndim)))


def require_observed(
    splits: Mapping[str, np.ndarray],
    names: Mapping[str, np.ndarray],
    name: str,
    sequences: bool = False,
    features: Sequence[str] = (),
) -> None:
    """Raises ValueError if a row of a split (N, ...), or a column of the train split, has only missing entries.

    Args:
        splits: the numbers of each split, with NaN for missing ones.
        names: the names of each split's rows, (N,).
        name: the name of the data.
        sequences: whether rows are (T, W, C); those of the training split may all be shorter than others.
        features: the names of a table's columns.
    """
    for split, x in splits.items():
        rows = names[split][observed_counts(x) == 0].tolist()
        found = f"{len(rows)} without any, first {rows[0] if rows else None}"
        require(not rows, f"{name}: {split} split", found, "one entry at least in each row")
    never = np.isnan(splits["train"]).all(axis=0)
    columns = np.argwhere(never.all(axis=0, keepdims=True) if sequences else never)
    place = tuple(columns[0].tolist()) if len(columns) else (0,)
    first = repr(features[place[-1]]) if features else f"{place} of (H, W, C)"
    found = f"{len(columns)} without any, first {first}"
    require(not len(columns), f"{name}: train split", found, "one entry at least in each column")


def observed_mean(x: np.ndarray) -> np.ndarray:
    """Returns the mean (...) over observed entries of rows (N, ...), float64; an empty column gets the others' mean."""
    there = ~np.isnan(x)
    count, total = there.sum(axis=0), np.where(there, x, 0).sum(axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), total.sum() / max(int(count.sum()), 1))
