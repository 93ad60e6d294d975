"""The images that a model sees: stored pixels, scaled or binarized.

A pixel value v of a dataset with L grey levels means p = v / (L - 1). The model sees p itself, a fixed 0 or 1, or
a new draw each time, which is 1 with probability p (Salakhutdinov & Murray 2008; Burda et al. 2016).
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from jaxvae.arguments import require, require_real
from jaxvae.data.dataset import Dataset, Split, require_grey_levels

METHODS = ("none", "dynamic", "threshold", "fixed")
"""The ways to binarize."""

_CHUNK = 4096
"""The number of images binarized at a time, a multiple of 4, as four pixels share a random word."""


def binarize(dataset: Dataset, method: str, seed: int) -> Dataset:
    """Returns the dataset with pixels of 0 and 1, for the methods that binarize once.

    Floats with their own value range are first scaled to [0, 1], under any method. Missing entries stay missing.

    Args:
        dataset: any dataset.
        method: ``none`` and ``dynamic`` don't change the dataset (``observe`` does the dynamic draws); ``threshold``
            makes pixels 1 from half of the range on; ``fixed`` draws each pixel once, with the probability that it
            means, to within 2^-17.
        seed: the seed of the ``fixed`` draws, which are the same on any machine.

    Returns:
        A dataset of uint8 images in {0, 1} and 2 levels; or the same dataset.

    Raises:
        ValueError: for an unknown method, one that would make missing entries 0 or 1, or a seed outside 0..2^64-1.
    """
    require(isinstance(method, str) and method in METHODS, "binarize", method, " or ".join(map(repr, METHODS)))
    require(isinstance(seed, int) and 0 <= seed < 2**64, "seed", seed, "at least 0 and below 2**64")
    if dataset.reading.value_range:
        dataset = _scaled(dataset)
    if method in ("none", "dynamic"):
        return dataset
    require(not dataset.missing, "binarize", method, "none where entries are missing")

    def binary(split: Split, stream: int) -> Split:
        scale = 1 if dataset.levels is None else dataset.levels - 1
        bits = np.random.Philox(key=np.array([seed, stream], np.uint64))
        images = np.empty(split.images.shape, np.uint8)
        for start in range(0, len(split), _CHUNK):
            chunk = split.images[start : start + _CHUNK]
            threshold = 0.5 if method == "threshold" else _uniform(bits, chunk.shape)
            images[start : start + _CHUNK] = chunk >= scale * threshold
        return dataclasses.replace(split, images=images)

    streams = {"train": 0, "validation": 1, "test": 2}
    splits: dict[str, Any] = {name: binary(split, streams[name]) for name, split in dataset.splits.items()}
    return dataclasses.replace(dataset, **splits, levels=2)


def _scaled(dataset: Dataset) -> Dataset:
    """Returns the dataset with its value range scaled to [0, 1]."""
    splits: dict[str, Any] = {
        name: dataclasses.replace(split, images=unit_scaled(split.images, dataset.reading.value_range))
        for name, split in dataset.splits.items()
    }
    return dataclasses.replace(dataset, **splits, reading=dataclasses.replace(dataset.reading, value_range=()))


def unit_scaled(images: Any, value_range: tuple[float, ...]) -> Any:
    """Scales floats, NumPy's or JAX's, so that a value range becomes [0, 1]; without one, it returns them unchanged."""
    if not value_range:
        return images
    low, high = value_range
    return (images - np.float32(low)) / np.float32(high - low)


def _uniform(bits: np.random.Philox, shape: tuple[int, ...]) -> np.ndarray:
    """Draws (k + 1/2) / 2^16 with k uniform, from raw words, because only these never change in NumPy."""
    size = int(np.prod(shape))
    words = bits.random_raw(-(-size // 4)).astype("<u8")
    return ((words.view("<u2")[:size].astype(np.float32) + 0.5) / 2**16).reshape(shape)


def observe(key: Array, images: ArrayLike, levels: int | None, dynamic: bool, dtype: DTypeLike = jnp.float32) -> Array:
    """Returns the images that the model sees: v / (levels - 1), or a Bernoulli draw with that probability.

    It is pure, for use inside the train step. Each draw of a uint8 pixel costs half a random word: the pixel is 1 if (k
    + 1/2) / 2^16 < v / (levels - 1), with k uniform in 0..2^16-1. Therefore 0 is never drawn as 1, the largest value
    always is, and in between the probability has an error of at most 2^-17. Float images are drawn in full precision.

    Args:
        key: a PRNG key, which only dynamic draws use.
        images: (B, ...); integers in 0..levels-1, or floats in [0, 1] if levels is None.
        levels: the number of grey levels, static; None for float images.
        dynamic: whether to draw, static.
        dtype: the dtype of the result.

    Returns:
        An array of images' shape, in [0, 1].

    Raises:
        TypeError: if the images' dtype and levels contradict each other.
        ValueError: for levels that aren't 2 to 256.

    >>> observe(jax.random.key(0), np.array([[0, 8, 16]], np.uint8), 17, dynamic=False).tolist()
    [[0.0, 0.5, 1.0]]
    """
    require_real(images=images)
    require_grey_levels(levels)
    images = jnp.asarray(images)
    if jnp.issubdtype(images.dtype, jnp.floating) != (levels is None):
        raise TypeError(f"images must be {'float' if levels is None else 'integer'} for levels={levels}")
    if levels is None:
        return (jax.random.bernoulli(key, images) if dynamic else images).astype(dtype)
    # XLA multiplies by a rounded reciprocal, which may miss 1.
    fractions = images.astype(jnp.promote_types(dtype, jnp.float32)) / (levels - 1)
    probabilities = jnp.where(images == levels - 1, 1, fractions)
    if not dynamic or levels == 2:  # draws with probabilities 0 and 1 change nothing
        return probabilities.astype(dtype)
    # Rows of pixels keep the batch axis separate, so that its sharding reaches the random words.
    rows = probabilities.reshape(images.shape[0] if images.ndim else 1, math.prod(images.shape[1:]))
    words = jax.random.bits(key, (rows.shape[0], -(-rows.shape[1] // 2)), jnp.uint32)
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(rows.shape[0], 2 * words.shape[1])
    uniform = (halves[:, : rows.shape[1]].astype(jnp.float32) + 0.5) / 2**16  # exact: 17 bits
    return (uniform < rows).astype(dtype).reshape(images.shape)
