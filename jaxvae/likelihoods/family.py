"""The base of likelihoods: objects that score and sample x, and give its mean, for a decoder's outputs.

Conventions of this folder: the last axis is channels C, and only it is special; data x are (..., C), outputs are (...,
C k), in which the k numbers of a channel lie together. An image's x lies in [0, 1]; level v of L grey levels is v / (L
- 1). Counts are whole numbers, as floats. Results are (..., C), elementwise and unreduced, in float32 (float64 for
float64) and in nats; leading axes broadcast by NumPy's rules. Every scale arises from a raw number through a
``Parameterization``.

A kind of ``ChannelLikelihood`` says what its k neutral outputs are, and gives ``_log_prob``, ``_mean``, ``_sample``.

Likelihoods are frozen dataclasses: hashable, comparable, and static under ``jit``.
"""

import abc
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import require, require_broadcast, require_numbers, require_real
from jaxvae.parameterizations import Parameterization, as_parameterization

START_STD = 0.3
"""σ at the start if not told otherwise: that of MNIST's pixels, and in the range of every registered name."""


@functools.cache
def start(parameterization: Parameterization, std: float, mean: float = 0.5) -> tuple[float, float]:
    """(loc, raw) of this mean and σ as Python numbers, also where a trace asks for them.

    Raises:
        ValueError: where σ is out of the parameterization's range.
    """
    with jax.ensure_compile_time_eval():
        raw = float(parameterization.raw_from_std(std))
        return float(parameterization.loc_from_mean(mean, raw)), raw


def scaled_by(parameterization: Parameterization | str, std: float) -> Parameterization:
    """The parameterization, or that of this name, of a scale that starts at ``std``.

    Raises:
        TypeError: where these are no parameterization and no number.
        ValueError: for an unknown name, or a std out of range.
    """
    p = as_parameterization(parameterization)
    require_numbers(std=std)
    start(p, std)
    return p


class Likelihood(abc.ABC):
    """A family of distributions of x, whose parameters are a decoder's outputs and perhaps learned ones.

    Attributes:
        discrete: whether ``log_prob`` is the log of a probability, so that bits per dimension are defined.
        sized: whether the mean of x may be proportional to a known size, given as ``log_size``.
        separable: whether each term of ``log_prob`` depends on its own number of x alone, so that the sum over some of
            them is their log-density.
    """

    discrete: ClassVar[bool] = False
    sized: ClassVar[bool] = False
    separable: ClassVar[bool] = True

    @property
    def raw_init(self) -> float | None:
        """Where a scalar starts that the model has to learn and to pass as ``raw``; None where there is none."""
        return None

    def raw_start(self, channels: int) -> Any:
        """Where all starts that the model has to learn and to pass as ``raw``, for data of C channels.

        None, a number, or a tree of numbers and of arrays (C,).
        """
        return self.raw_init

    def encoder_input(self, x: Array) -> Array:
        """What an encoder should see of x (..., C), (..., F); NaN of what is missing, which is NaN."""
        return x

    @abc.abstractmethod
    def output_channels(self, channels: int) -> int:
        """The decoder's output channels, C k, for data of C channels."""

    @abc.abstractmethod
    def output_bias(self, channels: int) -> np.ndarray:
        """The neutral outputs, (C k,): as the last layer's bias, every parameterization starts as the same function."""

    @abc.abstractmethod
    def outputs_at(self, mean: ArrayLike) -> np.ndarray:
        """Outputs (..., C k) to start from for data of this mean (..., C): neutral ones, unless a kind knows better."""

    @abc.abstractmethod
    def log_prob(self, outputs: ArrayLike, x: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        """log p(x | outputs) in nats, elementwise: of a joint distribution of the channels, terms with that sum.

        Args:
            outputs: (..., C k), e.g. (K, B, H, W, C k).
            x: (..., C), e.g. (B, H, W, C).
            raw: the likelihood's own parameters, like ``raw_start``, for a likelihood with such.
            log_size: the log of each example's size, e.g. of its total count, for a ``sized`` likelihood; broadcasts
                with x, e.g. (B, 1). It is added to the log of the mean.

        Returns:
            (..., C) of the broadcast shape, float32 or float64.

        Raises:
            ValueError: where the shapes don't fit, ``raw`` is needed and not given, or ``log_size`` means nothing.
        """

    @abc.abstractmethod
    def mean(self, outputs: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        """E[x | outputs], (..., C)."""

    @abc.abstractmethod
    def sample(self, key: Array, outputs: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        """A draw of x given outputs, (..., C); on the grid v / (L - 1) where x has levels."""


class ChannelLikelihood(Likelihood):
    """What those share whose outputs are k numbers for every channel.

    Attributes:
        joint: whether a channel's term depends on other channels.
    """

    joint: ClassVar[bool] = False

    @property
    def neutral(self) -> Sequence[float]:
        """The k outputs per channel that say the least: mean 1/2, and the scale of the start."""
        return (0.0,)

    def output_channels(self, channels: int) -> int:
        return len(self.neutral) * _checked(channels)

    def output_bias(self, channels: int) -> np.ndarray:
        return np.tile(np.asarray(self.neutral, np.float32), _checked(channels))

    def outputs_at(self, mean: ArrayLike) -> np.ndarray:
        require_real(mean=mean)
        shape = np.shape(mean)
        require(len(shape) > 0, "mean.shape", shape, "(..., C)")
        return np.broadcast_to(self.output_bias(shape[-1]), (*shape[:-1], self.output_channels(shape[-1])))

    def log_prob(self, outputs: ArrayLike, x: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        require_real(x=x)
        parts, x = self._parts(outputs), jnp.asarray(x)
        channels = parts.shape[-2]
        require(x.shape[-1:] == (channels,), "x.shape", x.shape, f"(..., {channels}), the outputs' channels")
        require_broadcast(outputs=parts.shape[:-2], x=x.shape[:-1])
        parts = self._joined(parts, raw, log_size)
        shape, dtype = jnp.broadcast_shapes(parts.shape[:-1], x.shape), special.compute_dtype(parts, x)
        parts = jnp.broadcast_to(parts, (*shape, parts.shape[-1])).astype(dtype)
        x = jnp.broadcast_to(x, shape).astype(dtype)
        if not self.joint:
            # (..., H, W, C) as (..., H W C): on CPU, XLA's loops over a short last axis are many times slower.
            rows = min(max(len(shape) - 3, 1), len(shape) - 1)
            parts, x = jax.lax.collapse(parts, rows, -1), jax.lax.collapse(x, rows)
        return self._log_prob(parts, x, raw).reshape(shape)

    def mean(self, outputs: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        return self._mean(self._joined(self._parts(outputs), raw, log_size), raw)

    def sample(self, key: Array, outputs: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        return self._sample(key, self._joined(self._parts(outputs), raw, log_size), raw)

    def _parts(self, outputs: ArrayLike) -> Array:
        """Outputs (..., C k) as (..., C, k), in the dtype to compute in."""
        require_real(outputs=outputs)
        outputs, parts = jnp.asarray(outputs, special.compute_dtype(outputs)), len(self.neutral)
        fits = outputs.ndim > 0 and outputs.shape[-1] % parts == 0
        require(fits, "outputs.shape", outputs.shape, f"(..., {parts} C) for C channels")
        return outputs.reshape(*outputs.shape[:-1], outputs.shape[-1] // parts, parts)

    def _joined(self, parts: Array, raw: Any, log_size: ArrayLike | None) -> Array:
        """Parts (..., C, k), with those that aren't outputs, where a kind has such."""
        if log_size is not None:
            raise ValueError(f"log_size must be None, as x has no size under {type(self).__name__}")
        return parts

    @abc.abstractmethod
    def _log_prob(self, parts: Array, x: Array, raw: Any) -> Array:
        """``log_prob`` of parts (..., k) at x (...)."""

    @abc.abstractmethod
    def _mean(self, parts: Array, raw: Any) -> Array:
        """``mean`` of parts (..., k)."""

    @abc.abstractmethod
    def _sample(self, key: Array, parts: Array, raw: Any) -> Array:
        """``sample`` from parts (..., k)."""


def _checked(channels: int) -> int:
    require(isinstance(channels, int) and 1 <= channels < 2**31, "channels", channels, "from 1 to 2³¹ - 1")
    return channels
