"""Distributions whose numbers are outputs of the decoder, learned by the model, or fixed.

Each number, such as log θ, has a ``scope``, which says where it comes from. A number of scope "example" is an output,
which differs between examples. The model learns one number for every feature if the scope is "feature", and one for all
features if it is "all". A "fixed" number stays as it starts. ``raw`` is a dict of the learned numbers, by name.
"""

import abc
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae.arguments import require, require_broadcast, require_real
from jaxvae.likelihoods.family import ChannelLikelihood
from jaxvae.transforms import Exp, Transform

EXP = Exp()

SCOPES = ("example", "feature", "all", "fixed")
"""The scopes of a number: one for every feature of every example, one for every feature, one for all, or a constant."""


Numbers = tuple[Array, ...]
"""An array for each role."""


class Role(NamedTuple):
    """A number that a distribution needs: its name in ``raw``, its scope, and its start."""

    name: str
    scope: str
    start: float


def start_of(transform: Transform, log_value: float = 0.0) -> float:
    """Returns the raw number that the transform maps to this log, as a Python number.

    If the value is out of the transform's bounded range, the middle of the range takes its place.

    Raises:
        ValueError: if there is no such raw number.
    """
    low, high, _ = transform.range
    value = math.exp(log_value)
    with jax.ensure_compile_time_eval():
        inside = low < value < high or not math.isfinite(low + high)
        raw = float(transform.log_inverse(jnp.float32(log_value if inside else math.log((low + high) / 2))))
    require(math.isfinite(raw), "transform", transform, f"one that reaches {value:g}")
    return raw


def require_scope(field: str, scope: object) -> None:
    """Raises ValueError unless ``scope`` is one of ``SCOPES``."""
    require(scope in SCOPES, field, scope, "one of " + ", ".join(SCOPES))


class RoleLikelihood(ChannelLikelihood):
    """The base class of likelihoods whose numbers have roles.

    A subclass defines ``roles``. As parts, it gets a tuple of arrays (...), one for each role in this order, and after
    them the log-size if it is ``sized``. What examples share has leading axes of length 1 in ``_log_prob``, so that it
    is computed once.
    """

    _inner_axes = 0

    @property
    @abc.abstractmethod
    def roles(self) -> tuple[Role, ...]:
        """The numbers that determine a channel's distribution."""

    @property
    def neutral(self) -> Sequence[float]:
        return tuple(role.start for role in self.roles if role.scope == "example")

    def outputs_at(self, mean: ArrayLike) -> np.ndarray:
        """Returns the outputs for this mean; all but the first of a channel are neutral."""
        outputs = np.array(super().outputs_at(mean))
        outputs.reshape(*np.shape(mean), -1)[..., 0] = self._first_output(jnp.asarray(mean, jnp.float32))
        return outputs

    @abc.abstractmethod
    def _first_output(self, mean: Array) -> Array:
        """Returns a channel's first output for each mean, if the other outputs are neutral."""

    def raw_start(self, channels: int) -> dict[str, np.ndarray] | None:
        learned = {role.name: np.full(_shape(role, channels), role.start, np.float32) for role in self._learned}
        return learned or None

    @property
    def _learned(self) -> list[Role]:
        return [role for role in self.roles if role.scope in ("feature", "all")]

    def _joined(self, parts: Array, raw: Mapping[str, ArrayLike] | None, log_size: ArrayLike | None) -> Numbers:
        """Returns the numbers, each of which broadcasts to (..., C), and after them a sized likelihood's log-size."""
        names = sorted(role.name for role in self._learned)
        given = sorted(raw) if isinstance(raw, Mapping) else raw
        require(given == (names or None), "raw", given, f"a dict of {' and '.join(names)}" if names else "None")
        channels, shape = parts.shape[-2], parts.shape[:-1]
        found = {role.name: parts[..., i] for i, role in enumerate(r for r in self.roles if r.scope == "example")}
        found |= {role.name: jnp.asarray(role.start) for role in self.roles if role.scope == "fixed"}
        for role in self._learned:
            value = (raw or {})[role.name]
            require_real(raw=value)
            require(np.shape(value) == _shape(role, channels), f"{role.name}.shape", np.shape(value), _axes(role))
            found[role.name] = jnp.asarray(value)
        numbers = [found[role.name] for role in self.roles]
        if self.sized:
            size = jnp.asarray(0.0 if log_size is None else log_size)
            require_broadcast(log_size=size.shape, outputs=shape)
            shape = jnp.broadcast_shapes(shape, size.shape)
            require(shape[-1] == channels, "log_size.shape", size.shape, "(..., 1)")
            numbers.append(size)
        else:
            super()._joined(parts, raw, log_size)
        return tuple(jnp.expand_dims(x.astype(parts.dtype), tuple(range(len(shape) - x.ndim))) for x in numbers)

    def _in_full(self, joined: Numbers) -> Numbers:
        return tuple(jnp.broadcast_arrays(*joined))


def _shape(role: Role, channels: int) -> tuple[int, ...]:
    return (channels,) if role.scope == "feature" else ()


def _axes(role: Role) -> str:
    return "(C,), a number for each channel" if role.scope == "feature" else "()"
