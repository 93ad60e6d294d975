"""Eight parameterizations that stand for all, in tests of what is not the parameterization itself."""

from collections.abc import Iterable

import pytest
from _pytest.mark import ParameterSet

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


def each(names: Iterable[str] = jv.PARAMETERIZATIONS, kept: Iterable[str] = EIGHT) -> list[str | ParameterSet]:
    """These names as parameters of a test; those that are not among the ones kept are slow."""
    return [name if name in kept else pytest.param(name, marks=pytest.mark.slow) for name in names]
