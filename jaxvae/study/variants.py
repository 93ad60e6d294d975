"""Properties of variants that are known before training: which are advised against, and which are equivalent."""

import math

from jaxvae.parameterizations import NaturalParameterization, find
from jaxvae.transforms import Exp, Squareplus

_RECIPROCAL = (Exp, Squareplus)
"""The transforms with g(-r) = 1/g(r)."""


def is_one_to_one(name: str) -> bool:
    """Returns whether a parameterization is a smooth one-to-one map onto every σ > 0.

    >>> [is_one_to_one(name) for name in ("log_std", "sigmoid_std", "abs_std")]
    [True, False, False]
    """
    p = find(name)
    return p is not None and p.transform.range == (0, math.inf, False)


def may_vanish(name: str) -> bool:
    """Returns whether a parameterization's σ can be 0 or less, where KL and gradients aren't finite.

    >>> [may_vanish(name) for name in ("log_std", "sigmoid_std", "abs_std", "direct_std")]
    [False, False, True, True]
    """
    p = find(name)
    if p is None:
        return False
    low, _, closed = p.transform.range
    return low < 0 or (low == 0 and closed)


def is_mirror(name: str, other: str) -> bool:
    """Returns whether two parameterizations have the same σ for raw values of opposite sign.

    Then training gives equivalent results. A head's initial weights are as likely as their negatives, and gradient
    descent and Adam treat both signs alike, so that equal starts lead to equal numbers.

    >>> is_mirror("log_precision", "log_variance"), is_mirror("log_std", "log_variance")
    (True, False)
    """
    p, q = find(name), find(other)
    if p is None or q is None or NaturalParameterization in (type(p), type(q)):
        return False
    reciprocal = isinstance(p.transform, _RECIPROCAL) and p.transform == q.transform
    return reciprocal and {p.quantity, q.quantity} == {"variance", "precision"}
