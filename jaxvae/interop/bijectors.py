"""Bijectors of distrax or TensorFlow Probability as transforms."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.arguments import require
from jaxvae.texts import call
from jaxvae.transforms import Interval, Transform


def from_bijector(bijector: Any, range: Interval | None = None) -> "FromBijector":
    """Makes a transform from a bijector, as in ``Parameterization("std", from_bijector(tfb.Softplus()))``.

    It is as accurate as the bijector's ``forward`` and ``inverse``: where its value underflows, its log is -inf and the
    derivative is 0. A bijector with float32 constants may accept float32 only. ``check_parameterization`` shows such
    limits; ``Softplus`` and the other transforms of this library don't have them.

    Args:
        bijector: an elementwise bijector of distrax or TFP, made of constants, which are not trained.
        range: the range of its values; by default, it is found from its values at ±∞.

    Raises:
        TypeError: if the bijector has no ``forward`` or no ``inverse``.
        ValueError: if it isn't elementwise, was made inside ``jit`` from traced arrays, or its range can't be found.
    """
    if not all(callable(getattr(bijector, name, None)) for name in ("forward", "inverse")):
        raise TypeError(f"bijector must have forward and inverse, got {bijector!r}")
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(bijector))
    require(not traced, "bijector", bijector, "made of constants, outside of jit")
    for name in ("event_ndims_in", "forward_min_event_ndims"):
        require(getattr(bijector, name, 0) == 0, f"bijector.{name}", getattr(bijector, name, 0), "0: elementwise")
    return FromBijector(bijector, _range(bijector) if range is None else range)


def _range(bijector: Any) -> Interval:
    with jax.ensure_compile_time_eval():
        low, high = sorted(float(bijector.forward(jnp.asarray(end))) for end in (-math.inf, math.inf))
    found = low < high  # False if either is NaN
    require(found, "range", None, f"given for {_name(bijector)}, whose values at ±∞ are {low:g} and {high:g}")
    return Interval(low, high)


def _name(bijector: Any) -> str:
    return str(getattr(bijector, "name", type(bijector).__name__))


class FromBijector(Transform):
    """The transform that ``from_bijector`` makes; two are equal if they have the same bijector object and range."""

    def __init__(self, bijector: Any, range: Interval) -> None:
        self.bijector = bijector
        self._range = range

    @property
    def range(self) -> Interval:
        return self._range

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FromBijector) and other.bijector is self.bijector and other.range == self.range

    def __hash__(self) -> int:
        return hash((id(self.bijector), self.range))

    def __repr__(self) -> str:
        return f"from_bijector({_name(self.bijector)})"

    def formula(self, r: str = "r") -> str:
        return call(_name(self.bijector), r)

    def forward(self, raw: Array) -> Array:
        return jnp.asarray(self.bijector.forward(raw))

    def inverse(self, value: Array) -> Array:
        return jnp.asarray(self.bijector.inverse(value))
