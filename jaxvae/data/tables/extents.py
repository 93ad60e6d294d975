"""Properties of the numbers of a matrix, dense or sparse, column by column, without a copy of it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxvae.data.tables.columns import Place

_CHUNK = 2**22  # numbers in a part


class Extents(NamedTuple):
    """Properties of each column of a matrix, (D,).

    Attributes:
        low: the lowest entry; infinite if all are missing.
        high: the highest entry.
        whole: whether all are whole.
        missing: the number of entries that are NaN.
        zeros: the number of entries that are 0.
    """

    low: np.ndarray
    high: np.ndarray
    whole: np.ndarray
    missing: np.ndarray
    zeros: np.ndarray


def extents_of(matrix: Any, names: tuple[str, ...], place: Place) -> Extents:
    """Computes the extents of a matrix (N, D), dense or sparse by rows; NaN is missing.

    Args:
        matrix: the matrix, of which a few rows at a time become float64.
        names: the names of the columns.
        place: a function that names a row.

    Raises:
        ValueError: for an infinite entry.
    """
    count = matrix.shape[1]
    found = Extents(
        np.full(count, np.inf),
        np.full(count, -np.inf),
        np.ones(count, bool),
        np.zeros(count, int),
        np.zeros(count, int),
    )
    for start, x, columns in _entries(matrix):
        infinite = np.isinf(x)
        if infinite.any():
            at = tuple(np.argwhere(infinite)[0].tolist())
            column = at[-1] if columns is None else int(columns[at])
            row = start + at[0] if columns is None else int(np.searchsorted(matrix.indptr, start + at[0], "right")) - 1
            raise ValueError(f"{place(row)}, column {names[column]!r} must be finite, got {x[at]}")
        missing = np.isnan(x)
        whole = missing | (x == np.rint(x))
        if columns is None:
            np.minimum(found.low, np.fmin.reduce(x, axis=0, initial=np.inf), out=found.low)
            np.maximum(found.high, np.fmax.reduce(x, axis=0, initial=-np.inf), out=found.high)
            np.logical_and(found.whole, whole.all(axis=0), out=found.whole)
            np.add(found.missing, missing.sum(axis=0), out=found.missing)
            np.add(found.zeros, np.sum(x == 0, axis=0), out=found.zeros)
        else:
            np.fmin.at(found.low, columns, x)
            np.fmax.at(found.high, columns, x)
            found.whole[columns[~whole]] = False
            np.add(found.missing, np.bincount(columns[missing], minlength=count), out=found.missing)
            np.add(found.zeros, np.bincount(columns[x == 0], minlength=count), out=found.zeros)
    if not isinstance(matrix, np.ndarray):
        absent = matrix.shape[0] - np.bincount(matrix.indices, minlength=count)
        np.add(found.zeros, absent, out=found.zeros)
        found.low[absent > 0] = np.minimum(found.low[absent > 0], 0)
        found.high[absent > 0] = np.maximum(found.high[absent > 0], 0)
    return found


def _entries(matrix: Any) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
    """Yields a few rows of a dense matrix at a time, or a few stored entries of a sparse one and their columns.

    The first element is the number of the first row or stored entry.
    """
    if isinstance(matrix, np.ndarray):
        rows = max(1, _CHUNK // matrix.shape[1])
        for start in range(0, len(matrix), rows):
            yield start, np.asarray(matrix[start : start + rows], np.float64), None
    else:
        for start in range(0, matrix.nnz, _CHUNK):
            some = slice(start, start + _CHUNK)
            yield start, matrix.data[some].astype(np.float64), matrix.indices[some]
