"""Schedules of β over the steps of training, for optax."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import optax

from jaxvae.arguments import require, require_numbers

SCHEDULES: Mapping[str, str] = MappingProxyType(
    {
        "constant": "β from the first step on",
        "linear": "from 0 to β in the first steps (Bowman et al. 2016)",
        "cyclical": "from 0 to β and then constant, over and over (Fu et al. 2019)",
    }
)
"""The schedules that a configuration may name, with their descriptions."""


def beta_schedule(name: str, beta: float, steps: int, cycles: int = 4, ramp: float = 0.5) -> optax.Schedule:
    """Returns β as a function of the step.

    Args:
        name: ``constant``; ``linear``, from 0 to β over the fraction ``ramp`` of the steps, then constant; or
            ``cyclical``, the same in each of ``cycles`` equal parts (Fu et al. 2019, arXiv:1903.10145, eq. 6).
        beta: the final value of β, at least 0.
        steps: the number of steps in the whole training, at least 0.
        cycles: the number of equal parts, at least 1.
        ramp: the fraction of the steps in which β rises, in (0, 1].

    Raises:
        ValueError: for a value that isn't allowed.

    >>> [float(beta_schedule("linear", 2.0, steps=8)(step)) for step in (0, 2, 4, 8)]
    [0.0, 1.0, 2.0, 2.0]
    """
    require_numbers(beta=beta, steps=steps, beta_cycles=cycles, beta_ramp=ramp)
    require(isinstance(name, str) and name in SCHEDULES, "beta_schedule", name, "one of " + ", ".join(SCHEDULES))
    require(0 <= beta < float("inf"), "beta", beta, "a number of at least 0")
    require(0 <= steps < math.inf, "steps", steps, "at least 0")
    require(cycles >= 1, "beta_cycles", cycles, "at least 1")
    require(0 < ramp <= 1, "beta_ramp", ramp, "in (0, 1]")
    if name == "constant":
        return optax.constant_schedule(beta)
    period = steps if name == "linear" else -(-steps // cycles)
    linear = optax.linear_schedule(0.0, beta, max(1, round(ramp * period)))
    if name == "linear":
        return linear
    return lambda step: linear(step % period)
