"""The base classes of likelihoods, which give the log-probability, the mean and samples of x for a decoder's outputs.

These conventions hold in all of ``jaxvae.likelihoods``. The last axis holds the channels C, and only this axis is
special. Data x are (..., C). Outputs are (..., C k), where the k numbers of a channel lie together. An image's x lies
in [0, 1], and level v of L grey levels is v / (L - 1). Counts are whole numbers, as floats. Results are (..., C),
elementwise and unreduced, in float32 (float64 for float64); log-probabilities are in nats. Leading axes broadcast by
NumPy's rules. Every scale arises from a raw number through a ``Parameterization``.

A subclass of ``ChannelLikelihood`` defines its k neutral outputs, ``_log_prob``, ``_mean`` and ``_sample``.

Likelihoods are frozen dataclasses: they are hashable, comparable, and static under ``jit``.
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
"""The default σ at the start: that of MNIST's pixels, which lies in the range of every registered parameterization."""


@functools.cache
def start(parameterization: Parameterization, std: float, mean: float = 0.5) -> tuple[float, float]:
    """Returns the (loc, raw) with this mean and σ, as Python numbers even while JAX traces.

    Raises:
        ValueError: if σ is out of the parameterization's range.
    """
    with jax.ensure_compile_time_eval():
        raw = float(parameterization.raw_from_std(std))
        return float(parameterization.loc_from_mean(mean, raw)), raw


def scaled_by(parameterization: Parameterization | str, std: float) -> Parameterization:
    """Returns the parameterization, given as such or by its name, of a scale that starts at ``std``.

    Raises:
        TypeError: if the parameterization is neither one nor a name, or if ``std`` isn't a number.
        ValueError: for an unknown name, or a ``std`` out of range.
    """
    p = as_parameterization(parameterization)
    require_numbers(std=std)
    start(p, std)
    return p


class Likelihood(abc.ABC):
    """A family of distributions of x, whose parameters are a decoder's outputs and possibly learned numbers.

    Attributes:
        discrete: whether ``log_prob`` is the log of a probability, so that bits per dimension are defined.
        sized: whether the mean of x may be proportional to a known size, given as ``log_size``.
        separable: whether each term of ``log_prob`` depends on its own entry of x only, so that the sum over some
            entries is their log-density.
    """

    discrete: ClassVar[bool] = False
    sized: ClassVar[bool] = False
    separable: ClassVar[bool] = True

    @property
    def raw_init(self) -> float | None:
        """The start of the scalar that the model has to learn and to pass as ``raw``; None if there is none."""
        return None

    def raw_start(self, channels: int) -> Any:
        """Returns the start of all that the model has to learn and to pass as ``raw``, for data of C channels.

        It is None, a number, or a tree of numbers and arrays, e.g. of shape (C,).
        """
        return self.raw_init

    def encoder_input(self, x: Array) -> Array:
        """Returns what an encoder should see of x (..., C), as an array (..., F); a missing entry, NaN, stays NaN."""
        return x

    @abc.abstractmethod
    def output_channels(self, channels: int) -> int:
        """Returns the number of the decoder's output channels, C k, for data of C channels."""

    @abc.abstractmethod
    def output_bias(self, channels: int) -> np.ndarray:
        """Returns the neutral outputs, (C k,).

        With these as the last layer's bias, every parameterization starts as the same function.
        """

    @abc.abstractmethod
    def outputs_at(self, mean: ArrayLike) -> np.ndarray:
        """Returns outputs (..., C k) to start from, for data with this mean (..., C).

        They are the neutral outputs, unless a subclass has better ones.
        """

    @abc.abstractmethod
    def log_prob(self, outputs: ArrayLike, x: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        """Returns log p(x | outputs) in nats, elementwise.

        For a joint distribution of the channels, the sum of the terms over the channels is its log-probability.

        Args:
            outputs: an array (..., C k), e.g. (K, B, H, W, C k).
            x: an array (..., C), e.g. (B, H, W, C).
            raw: the likelihood's own parameters, in the form of ``raw_start``, if it has any.
            log_size: the log of each example's size, e.g. of its total count, for a ``sized`` likelihood. It broadcasts
                with x, e.g. (B, 1), and is added to the log of the mean.

        Returns:
            An array (..., C) of the broadcast shape, float32 or float64.

        Raises:
            ValueError: if the shapes don't fit, if ``raw`` is needed and not given, or if the likelihood has no use for
                ``log_size``.
        """

    @abc.abstractmethod
    def mean(self, outputs: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        """Returns E[x | outputs], (..., C)."""

    @abc.abstractmethod
    def sample(self, key: Array, outputs: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        """Returns a draw of x given the outputs, (..., C), which lies on the grid v / (L - 1) if x has levels."""


class ChannelLikelihood(Likelihood):
    """The base class of likelihoods whose outputs are k numbers for every channel.

    Attributes:
        joint: whether a channel's term depends on other channels, or on which channel it is.
    """

    joint: ClassVar[bool] = False
    _inner_axes: ClassVar[int] = 1  # the axes of parts behind the channels

    @property
    def neutral(self) -> Sequence[float]:
        """The k neutral outputs of a channel; for images they give a mean of 1/2 and the scale at the start."""
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
        numbers = self._joined(parts, raw, log_size)
        own = [part.shape[: part.ndim - self._inner_axes] for part in jax.tree.leaves(numbers)]
        shape, dtype = jnp.broadcast_shapes(x.shape, *own), special.compute_dtype(parts, x)
        # (..., H, W, C) becomes (..., H W C): on CPUs, XLA's loops over a short last axis are many times slower.
        rows = len(shape) - 1 if self.joint else min(max(len(shape) - 3, 1), len(shape) - 1)

        def laid_out(part: Array, inner: int) -> Array:
            part = jnp.expand_dims(part, tuple(range(len(shape) + inner - part.ndim)))
            part = jnp.broadcast_to(part, (*part.shape[:rows], *shape[rows:], *part.shape[len(shape) :]))
            return jax.lax.collapse(part.astype(dtype), rows, len(shape))

        numbers = jax.tree.map(lambda part: laid_out(part, self._inner_axes), numbers)
        return self._log_prob(numbers, laid_out(jnp.broadcast_to(x, shape), 0), raw).reshape(shape)

    def mean(self, outputs: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        return self._mean(self._in_full(self._joined(self._parts(outputs), raw, log_size)), raw)

    def sample(self, key: Array, outputs: ArrayLike, raw: Any = None, log_size: ArrayLike | None = None) -> Array:
        return self._sample(key, self._in_full(self._joined(self._parts(outputs), raw, log_size)), raw)

    def _parts(self, outputs: ArrayLike) -> Array:
        """Returns the outputs (..., C k) as (..., C, k), in the dtype to compute in."""
        require_real(outputs=outputs)
        outputs, parts = jnp.asarray(outputs, special.compute_dtype(outputs)), len(self.neutral)
        fits = outputs.ndim > 0 and outputs.shape[-1] % parts == 0
        require(fits, "outputs.shape", outputs.shape, f"(..., {parts} C) for C channels")
        return outputs.reshape(*outputs.shape[:-1], outputs.shape[-1] // parts, parts)

    def _joined(self, parts: Array, raw: Any, log_size: ArrayLike | None) -> Any:
        """Returns the parts (..., C, k), or what a subclass makes of them and of numbers that aren't outputs."""
        if log_size is not None:
            raise ValueError(f"log_size must be None, as x has no size under {type(self).__name__}")
        return parts

    def _in_full(self, joined: Any) -> Any:
        """Returns the result of ``_joined`` in the shape of a mean or a sample."""
        return joined

    @abc.abstractmethod
    def _log_prob(self, parts: Any, x: Array, raw: Any) -> Array:
        """Returns ``log_prob`` for parts (..., k) at x (...)."""

    @abc.abstractmethod
    def _mean(self, parts: Any, raw: Any) -> Array:
        """Returns ``mean`` for parts (..., k)."""

    @abc.abstractmethod
    def _sample(self, key: Array, parts: Any, raw: Any) -> Array:
        """Returns ``sample`` for parts (..., k)."""


def _checked(channels: int) -> int:
    require(isinstance(channels, int) and 1 <= channels < 2**31, "channels", channels, "from 1 to 2³¹ - 1")
    return channels
