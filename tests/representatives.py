"""Which of a test's parameters stand for the others: of parameterizations eight, in tests of something else."""

from collections.abc import Iterable
from typing import Any

import pytest

import jaxvae as jv

EIGHT = (
    "log_variance",
    "log_precision",
    "softplus_std",
    "sigmoid_std",
    "natural_softplus",
    "nvae_log_std",
    "projected_std",
    "direct_std",
)


def each(values: Iterable[Any] = jv.PARAMETERIZATIONS, kept: Iterable[Any] = EIGHT) -> list[Any]:
    """These values as parameters of a test; those that are not among the ones kept are slow."""
    return [value if value in kept else pytest.param(value, marks=pytest.mark.slow) for value in values]
