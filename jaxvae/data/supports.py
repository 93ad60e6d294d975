"""The numbers that a likelihood has a density of, for those likelihoods that don't allow every real number."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np


class Support(NamedTuple):
    """The interval of numbers that a likelihood has a density of, with or without its ends, and its name in messages.

    >>> SUPPORTS["beta"].outside(np.float32([0, 0.5, np.nan])).tolist()
    [True, False, False]
    """

    low: float
    high: float
    closed: bool
    told: str

    def outside(self, x: np.ndarray) -> np.ndarray:
        """Returns which numbers aren't in it; NaN, which is a missing number, is none of them."""
        if self.closed:
            return (x < self.low) | (x > self.high)
        return (x <= self.low) | (x >= self.high)


_POSITIVE = Support(0, np.inf, False, "above 0")
_PI = float(np.float32(np.pi))  # as data hold it, a little above π

SUPPORTS: Mapping[str, Support] = MappingProxyType(
    {
        "log_normal": _POSITIVE,
        "gamma": _POSITIVE,
        "beta": Support(0, 1, False, "between 0 and 1, both excluded"),
        "von_mises": Support(-_PI, _PI, True, "angles in radians, from -π to π"),
    }
)
"""The supports by the likelihood's name."""
