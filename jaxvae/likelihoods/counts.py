"""Counts: Poisson and negative binomial, either perhaps with more zeros than it would have.

Each of a distribution's numbers, such as log θ, is of one ``scope``: an output of the decoder, which differs between
examples, or learned by the model, a number for every feature or one for all. A learned one is in ``raw``, by its name.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import require, require_broadcast, require_real
from jaxvae.likelihoods.draws import draw_negative_binomial, draw_poisson
from jaxvae.likelihoods.family import ChannelLikelihood
from jaxvae.likelihoods.masses import log_negative_binomial, log_poisson, log_zero_inflated
from jaxvae.transforms import Exp, Transform

SCOPES = ("example", "feature", "all")
"""A number for every feature of every example; for every feature; one for all."""

START_INFLATION = 0.1
"""The probability of an additional zero at the start."""


class Role(NamedTuple):
    """A number that a distribution needs: its name in ``raw``, its scope, and where it starts."""

    name: str
    scope: str
    start: float


def start_of(transform: Transform, log_value: float = 0.0) -> float:
    """The raw of this log, as a Python number, also where a trace asks for it.

    Raises:
        ValueError: where it is out of the transform's range.
    """
    with jax.ensure_compile_time_eval():
        raw = float(transform.log_inverse(jnp.float32(log_value)))
    require(math.isfinite(raw), "transform", transform, f"one that reaches {math.exp(log_value):g}")
    return raw


class CountLikelihood(ChannelLikelihood):
    """What kinds of counts share: where their numbers come from, and the size.

    A kind names its ``roles``, the first of them that of the mean, and gives ``_log_mass``, ``_log_mean`` and ``_draw``
    of numbers (..., R) in that order and of log-sizes.
    """

    discrete = True
    sized = True

    @property
    @abc.abstractmethod
    def roles(self) -> tuple[Role, ...]:
        """The numbers for each count."""

    @property
    def neutral(self) -> Sequence[float]:
        """The outputs of mean 1."""
        return tuple(role.start for role in self.roles if role.scope == "example")

    def raw_start(self, channels: int) -> dict[str, np.ndarray] | None:
        shapes = {"feature": (channels,), "all": ()}
        learned = {r.name: np.full(shapes[r.scope], r.start, np.float32) for r in self.roles if r.scope in shapes}
        return learned or None

    def encoder_input(self, x: Array) -> Array:
        """log(1 + x), as counts are of any order of magnitude."""
        return jnp.log1p(x)

    def _joined(self, parts: Array, raw: Mapping[str, ArrayLike] | None, log_size: ArrayLike | None) -> Array:
        """The numbers (..., C, R + 1): those of the roles, and the log-size."""
        learned = [role for role in self.roles if role.scope != "example"]
        names = [role.name for role in learned]
        given = sorted(raw) if isinstance(raw, Mapping) else raw
        require(given == (sorted(names) or None), "raw", given, f"a dict of {', '.join(names)}" if names else "None")
        channels = parts.shape[-2]
        for role in learned:
            assert raw is not None
            allowed = {"feature": (channels,), "all": ()}[role.scope]
            require(
                np.shape(raw[role.name]) == allowed, f"raw[{role.name!r}].shape", np.shape(raw[role.name]), str(allowed)
            )
        given_size = 0.0 if log_size is None else log_size
        require_real(log_size=given_size)
        shape = jnp.broadcast_shapes(parts.shape[:-1], np.shape(given_size))
        require_broadcast(log_size=np.shape(given_size), x=shape)
        require(shape[-1] == channels, "log_size.shape", np.shape(given_size), f"(..., 1) or (..., {channels})")
        outputs = iter(range(parts.shape[-1]))
        numbers = [
            parts[..., next(outputs)] if role.scope == "example" else raw[role.name]  # type: ignore[index]
            for role in self.roles
        ]
        return jnp.stack(
            [jnp.broadcast_to(jnp.asarray(x, parts.dtype), shape) for x in (*numbers, given_size)], axis=-1
        )

    def _log_prob(self, parts: Array, x: Array, raw: Any) -> Array:
        return self._log_mass(parts[..., :-1], parts[..., -1], x)

    def _mean(self, parts: Array, raw: Any) -> Array:
        return special.exp(self._log_mean(parts[..., :-1], parts[..., -1]))

    def _sample(self, key: Array, parts: Array, raw: Any) -> Array:
        return self._draw(key, parts[..., :-1], parts[..., -1])

    @abc.abstractmethod
    def _log_mass(self, numbers: Array, log_size: Array, x: Array) -> Array:
        """log P(x)."""

    @abc.abstractmethod
    def _log_mean(self, numbers: Array, log_size: Array) -> Array:
        """log E[x]."""

    @abc.abstractmethod
    def _draw(self, key: Array, numbers: Array, log_size: Array) -> Array:
        """A draw of x."""

    @abc.abstractmethod
    def _outputs_of(self, log_mean: Array) -> Array:
        """The first output for each log E[x], where the others are neutral."""

    def outputs_at(self, mean: ArrayLike) -> np.ndarray:
        """The outputs of the mean, which is kept above a thousandth."""
        outputs = np.array(super().outputs_at(mean))
        log_mean = jnp.log(jnp.maximum(jnp.asarray(mean, jnp.float32), 1e-3))
        outputs.reshape(*np.shape(mean), -1)[..., 0] = self._outputs_of(log_mean)
        return outputs


def require_scope(field: str, scope: object) -> None:
    """Raises ValueError where this is none of ``SCOPES``."""
    require(scope in SCOPES, field, scope, "one of " + ", ".join(SCOPES))


@dataclasses.dataclass(frozen=True)
class Poisson(CountLikelihood):
    """Outputs are raws of the mean.

    Attributes:
        transform: from a raw to the mean, before the size.

    >>> Poisson().log_prob(jnp.zeros((1, 3)), jnp.asarray([[0.0, 1.0, 2.0]])).round(4).tolist()
    [[-1.0, -1.0, -1.6931]]
    """

    transform: Transform = Exp()

    def __post_init__(self) -> None:
        start_of(self.transform)

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role("mean", "example", start_of(self.transform)),)

    def _log_mass(self, numbers: Array, log_size: Array, x: Array) -> Array:
        return log_poisson(self._log_mean(numbers, log_size), x)

    def _log_mean(self, numbers: Array, log_size: Array) -> Array:
        return self.transform.log_forward(numbers[..., 0]) + log_size

    def _draw(self, key: Array, numbers: Array, log_size: Array) -> Array:
        return draw_poisson(key, self._log_mean(numbers, log_size))

    def _outputs_of(self, log_mean: Array) -> Array:
        return self.transform.log_inverse(log_mean)


@dataclasses.dataclass(frozen=True)
class NegativeBinomial(CountLikelihood):
    """Outputs are raws of the mean μ, or logits log(μ / θ); and raws of the inverse dispersion θ where that is an output.

    The variance is μ + μ² / θ. θ is also called the total count, and is 1 at the start.

    Attributes:
        transform: from a raw to the mean, before the size; None where outputs are logits.
        dispersion: from a raw to θ.
        scope: whether θ differs by "example" (an output), by "feature" (learned), or is one for "all" (learned).

    >>> kind = NegativeBinomial(scope="all")
    >>> kind.log_prob(jnp.zeros((1, 2)), jnp.asarray([[0.0, 1.0]]), {"dispersion": 0.0}).round(4).tolist()
    [[-0.6931, -1.3863]]
    """

    transform: Transform | None = Exp()
    dispersion: Transform = Exp()
    scope: str = "feature"

    def __post_init__(self) -> None:
        require_scope("NegativeBinomial.scope", self.scope)
        for transform in (self.transform, self.dispersion):
            if transform is not None:
                start_of(transform)

    @property
    def roles(self) -> tuple[Role, ...]:
        mean = 0.0 if self.transform is None else start_of(self.transform)
        return Role("mean", "example", mean), Role("dispersion", self.scope, start_of(self.dispersion))

    def _logs(self, numbers: Array, log_size: Array) -> tuple[Array, Array]:
        """log μ and log θ."""
        log_theta = self.dispersion.log_forward(numbers[..., 1])
        first = numbers[..., 0]
        log_mean = first + log_theta if self.transform is None else self.transform.log_forward(first)
        return log_mean + log_size, log_theta

    def _log_mass(self, numbers: Array, log_size: Array, x: Array) -> Array:
        return log_negative_binomial(*self._logs(numbers, log_size), x)

    def _log_mean(self, numbers: Array, log_size: Array) -> Array:
        return self._logs(numbers, log_size)[0]

    def _draw(self, key: Array, numbers: Array, log_size: Array) -> Array:
        return draw_negative_binomial(key, *self._logs(numbers, log_size))

    def _outputs_of(self, log_mean: Array) -> Array:
        return log_mean if self.transform is None else self.transform.log_inverse(log_mean)


@dataclasses.dataclass(frozen=True)
class ZeroInflated(CountLikelihood):
    """A count that is 0 with probability π, and else as another kind has it.

    Outputs are the other kind's, and for every channel the logit of π where that is an output.

    Attributes:
        kind: of the counts, such as ``Poisson()`` or ``NegativeBinomial()``.
        scope: whether π differs by "example" (an output), by "feature" (learned), or is one for "all" (learned).
    """

    kind: CountLikelihood
    scope: str = "example"

    def __post_init__(self) -> None:
        require_scope("ZeroInflated.scope", self.scope)
        inflatable = isinstance(self.kind, CountLikelihood) and not self.kind.joint
        require(
            inflatable and not isinstance(self.kind, ZeroInflated), "ZeroInflated.kind", self.kind, "a kind of counts"
        )

    @property
    def roles(self) -> tuple[Role, ...]:
        logit = math.log(START_INFLATION / (1 - START_INFLATION))
        return *self.kind.roles, Role("inflation", self.scope, logit)

    def _log_mass(self, numbers: Array, log_size: Array, x: Array) -> Array:
        return log_zero_inflated(numbers[..., -1], self.kind._log_mass(numbers[..., :-1], log_size, x), x)

    def _log_mean(self, numbers: Array, log_size: Array) -> Array:
        return self.kind._log_mean(numbers[..., :-1], log_size) + special.log_sigmoid(-numbers[..., -1])

    def _draw(self, key: Array, numbers: Array, log_size: Array) -> Array:
        which, count = jax.random.split(key)
        zero = jax.random.bernoulli(which, special.sigmoid(numbers[..., -1]))
        return jnp.where(zero, 0, self.kind._draw(count, numbers[..., :-1], log_size))

    def _outputs_of(self, log_mean: Array) -> Array:
        return self.kind._outputs_of(log_mean - math.log1p(-START_INFLATION))
