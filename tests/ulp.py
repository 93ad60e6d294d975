"""Distances in units in the last place."""

import ml_dtypes
import numpy as np


def ulp(x: np.ndarray, dtype: type) -> np.ndarray:
    """The spacing of ``dtype`` at x, in float64, at least that of the smallest normal number."""
    info = ml_dtypes.finfo(dtype)
    _, exponent = np.frexp(np.maximum(np.abs(np.asarray(x, np.float64)), float(info.smallest_normal)))
    return np.ldexp(1.0, exponent - 1 - info.nmant)


def ulp_error(got: np.ndarray, want: np.ndarray, dtype: type) -> np.ndarray:
    """|got - want| in ulp of ``want``; 0 where both overflow alike, inf where only one does or ``got`` is NaN.

    A true value between the largest float and half an ulp beyond counts as either.
    """
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    largest = float(ml_dtypes.finfo(dtype).max)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got - want) / ulp(want, dtype)
    error = np.where(np.isnan(got), np.inf, error)
    tiny = float(ml_dtypes.finfo(dtype).smallest_normal)
    error = np.where((np.abs(want) < tiny) & (np.abs(got) <= tiny), 0.0, error)  # subnormal: may be flushed
    beyond = np.abs(want) > largest * (1 - 8 * float(ml_dtypes.finfo(dtype).eps))
    reached = np.abs(got) >= largest * (1 - 8 * float(ml_dtypes.finfo(dtype).eps))
    same_sign = np.sign(got) == np.sign(want)
    return np.where(beyond & reached & same_sign, 0.0, np.where(got == want, 0.0, error))
