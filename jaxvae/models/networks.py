"""Encoders and decoders between images and features, as Flax Linen modules.

Images are (B, H, W, C), latents (..., L); a decoder takes any leading axes, such as (K, B). ``beside`` is None, or the
features (..., F) of the conditions from ``conditions.laid_out``, with the shape of the last leading axes. ``dtype`` is
the dtype to compute in; parameters are float32, and what a decoder returns is float32.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {"elu": nn.elu, "gelu": nn.gelu, "relu": nn.relu, "silu": nn.silu, "tanh": nn.tanh}
)
"""The activation functions that a configuration may name."""


def with_beside(x: Array, beside: Array | None) -> Array:
    """Returns features x (..., F), joined with the features ``beside``, which are broadcast; if None, x itself."""
    if beside is None:
        return x
    return jnp.concatenate([x, jnp.broadcast_to(beside, (*x.shape[:-1], beside.shape[-1])).astype(x.dtype)], axis=-1)


class MLP(nn.Module):
    """Dense layers, each followed by the activation, from (..., F) to (..., hidden[-1])."""

    hidden: tuple[int, ...]
    activation: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.hidden:
            x = ACTIVATIONS[self.activation](nn.Dense(width, dtype=self.dtype)(x))
        return x


class MLPEncoder(nn.Module):
    """An encoder of dense layers on flattened images, from (B, H, W, C) to (B, hidden[-1])."""

    hidden: tuple[int, ...]
    activation: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, beside: Array | None = None) -> Array:
        x = with_beside(jax.lax.collapse(x, 1).astype(self.dtype), beside)
        return MLP(self.hidden, self.activation, self.dtype)(x)


def repeated(values: tuple[float, ...]) -> Callable[..., Array]:
    """Returns an initializer that repeats the values over and over."""

    def init(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        del key
        return jnp.tile(jnp.asarray(values, dtype), math.prod(shape) // len(values))

    return init


def _alike(count: int) -> Callable[..., Array]:
    """Returns an initializer for a kernel whose outputs become ``count`` pixels, so that these pixels are equal."""

    def init(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        *before, outputs = shape
        kernel = nn.initializers.lecun_normal()(key, (*before, outputs // count), dtype)
        return jnp.tile(kernel, (*(1 for _ in before), count))

    return init


class MLPDecoder(nn.Module):
    """A decoder of dense layers to a likelihood's outputs, from (..., L) to (..., *shape).

    Attributes:
        shape: the shape of one image's outputs.
        output_bias: the outputs at the start, either of an image or, if its length is ``shape[-1]``, of every pixel.
        hidden: the widths of the layers.
    """

    shape: tuple[int, int, int]
    output_bias: tuple[float, ...]
    hidden: tuple[int, ...]
    activation: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: Array, beside: Array | None = None) -> Array:
        x = with_beside(z.astype(self.dtype), beside)
        x = MLP(self.hidden, self.activation, self.dtype)(x)
        size, bias_init = math.prod(self.shape), repeated(self.output_bias)
        x = nn.Dense(size, dtype=self.dtype, bias_init=bias_init, name="outputs")(x)
        return x.reshape(*z.shape[:-1], *self.shape).astype(jnp.float32)


class ResidualBlock(nn.Module):
    """A residual block, x + conv(act(conv(act(x)))), which is the identity at the start.

    It is that of He et al. 2016, arXiv:1603.05027, without normalization.
    """

    activation: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        activation, width = ACTIVATIONS[self.activation], x.shape[-1]
        h = nn.Conv(width, (3, 3), dtype=self.dtype)(activation(x))
        return x + nn.Conv(width, (3, 3), dtype=self.dtype, kernel_init=nn.initializers.zeros)(activation(h))


def _factors(size: tuple[int, ...]) -> tuple[int, int]:
    """Returns the numbers by which a stage divides height and width: 2, but 1 for an axis of length 1."""
    height, width = size
    return min(height, 2), min(width, 2)


def _halvings(size: tuple[int, int], times: int) -> list[tuple[int, int]]:
    """Returns height and width after 0, 1, …, ``times`` halvings, rounded up."""
    sizes = [size]
    for _ in range(times):
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


class ConvEncoder(nn.Module):
    """An encoder of residual stages and a dense layer, from (B, H, W, C) to (B, features).

    Each stage has half the resolution of the one before it. The resolution is halved by making 2 × 2 pixels one pixel
    with four times the channels, because gradients of strided convolutions are many times slower on CPUs. An axis of
    length 1 stays as it is.

    Attributes:
        hidden: the channels of each stage.
        blocks: the number of residual blocks in a stage.
        features: the width of the last layer.
    """

    hidden: tuple[int, ...]
    activation: str
    blocks: int = 1
    features: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, beside: Array | None = None) -> Array:
        activation = ACTIVATIONS[self.activation]
        x = x.astype(self.dtype)
        for channels in self.hidden:
            x = nn.Conv(channels, (3, 3), dtype=self.dtype)(_pixel_unshuffle(x))
            for _ in range(self.blocks):
                x = ResidualBlock(self.activation, self.dtype)(x)
        x = with_beside(jax.lax.collapse(activation(x), 1), beside)
        return activation(nn.Dense(self.features, dtype=self.dtype)(x))


class ConvDecoder(nn.Module):
    """The mirror image of ``ConvEncoder``, from (..., L) to (..., *shape).

    The resolution is doubled by a convolution to four times the channels, which become 2 × 2 pixels (Shi et al. 2016,
    arXiv:1609.05158). It is cropped where the encoder rounded up. At the start the four pixels are equal, so that
    images have no checkerboard (Aitken et al. 2017, arXiv:1707.02937). The attributes are those of ``MLPDecoder`` and
    ``ConvEncoder``; ``output_bias`` is that of every pixel.
    """

    shape: tuple[int, int, int]
    output_bias: tuple[float, ...]
    hidden: tuple[int, ...]
    activation: str
    blocks: int = 1
    features: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: Array, beside: Array | None = None) -> Array:
        activation = ACTIVATIONS[self.activation]
        *sizes, (height, width) = _halvings(self.shape[:2], len(self.hidden))
        x = with_beside(z.astype(self.dtype), beside)
        x = x.reshape(-1, x.shape[-1])
        x = activation(nn.Dense(self.features, dtype=self.dtype)(x))
        x = nn.Dense(height * width * self.hidden[-1], dtype=self.dtype)(x)
        x = x.reshape(-1, height, width, self.hidden[-1])
        zeros = (0.0,)
        stages = [*((channels, zeros) for channels in self.hidden[-2::-1]), (self.shape[-1], self.output_bias)]
        for (channels, bias), (height, width) in zip(stages, sizes[::-1], strict=True):
            for _ in range(self.blocks):
                x = ResidualBlock(self.activation, self.dtype)(x)
            factors = _factors((height, width))
            pixels = math.prod(factors)
            start = {"kernel_init": _alike(pixels), "bias_init": repeated(bias)}
            x = nn.Conv(pixels * channels, (3, 3), dtype=self.dtype, **start)(activation(x))
            x = _pixel_shuffle(x, factors)[:, :height, :width]
        return x.reshape(*z.shape[:-1], *self.shape).astype(jnp.float32)


def _pixel_unshuffle(x: Array) -> Array:
    """Returns x (B, H, W, C) as (B, ⌈H/2⌉, ⌈W/2⌉, 4 C), with zeros at the edge if a size is odd.

    An axis of length 1 isn't halved.
    """
    down, across = _factors(x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (0, x.shape[1] % down), (0, x.shape[2] % across), (0, 0)))
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // down, down, width // across, across, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // down, width // across, down * across * channels)


def _pixel_shuffle(x: Array, factors: tuple[int, int]) -> Array:
    """Returns x (B, H, W, down · across · C) as (B, down · H, across · W, C)."""
    down, across = factors
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, down, across, channels // (down * across))
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, down * height, across * width, channels // (down * across))
