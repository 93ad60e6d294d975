"""Datasets from iterables of batches: torch's loaders, tf.data, grain, Hugging Face's rows, or a generator.

None of these is imported. A batch's parts only have to become NumPy arrays, by ``numpy()``, ``__array__`` or
``__dlpack__``. Lists of such objects, or of Pillow's images, are stacked.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.arrays import from_arrays
from jaxvae.data.contracts import DataContract
from jaxvae.data.dataset import Dataset, dtype_of
from jaxvae.data.options import PLAIN, Reading

IMAGES = ("image", "images", "x", "data", "img", "pixel_values", "inputs")
"""The names that a batch may use for its images; the first that it has is used."""

LABELS = ("label", "labels", "y", "target", "targets", "fine_label", "class")
"""The names that a batch may use for its labels."""


class Given(NamedTuple):
    """Images (B, ...) as they are given, and labels (B, ...) or None."""

    images: np.ndarray
    labels: np.ndarray | None


def from_batches(batches: Any, labels: Any = None, *, reading: Reading = PLAIN, name: str = "batches") -> Dataset:
    """Makes a dataset from an iterable of batches, which is read once and must end.

    It needs at most twice the memory of its images.

    Args:
        batches: an iterable; or a mapping of iterables by split: ``train``, ``test`` and optionally ``validation``. A
            batch is an array of images; a pair of images and labels; or a mapping with one of ``IMAGES`` and optionally
            one of ``LABELS``.
        labels: the labels of all images in order, as for ``from_arrays``, if batches have none.
        reading: options for what is ambiguous.
        name: the name of the dataset.

    Raises:
        ValueError: for batches that aren't understood, or don't fit together; otherwise as ``from_arrays``.

    >>> pairs = [(np.full((5, 8, 8), 51 * i, np.uint8), np.full(5, i)) for i in range(6)]
    >>> data = from_batches(pairs)
    >>> data.train.images.shape, data.classes
    ((24, 8, 8, 1), 6)
    """
    by_split = batches if isinstance(batches, Mapping) else {"": batches}
    found = {split: _joined(some, f"{name}: {split or 'images'}") for split, some in by_split.items()}
    images = {split: x.images for split, x in found.items()}
    marks = {split: x.labels for split, x in found.items() if x.labels is not None}
    if labels is None and marks:
        require(len(marks) == len(found), f"{name}: labels", list(marks), "in all splits, or in none")
        labels = marks if isinstance(batches, Mapping) else marks[""]
    return from_arrays(images if isinstance(batches, Mapping) else images[""], labels, reading=reading, name=name)


def _joined(batches: Iterable[Any], field: str) -> Given:
    """Joins all batches in order."""
    found = [as_batch(given, f"{field}: batch {number}") for number, given in enumerate(batches)]
    require(bool(found), field, "none", "at least one batch")
    images = _concatenated([x.images for x in found], f"{field}: images")
    marks = [x.labels for x in found if x.labels is not None]
    first = next((number for number, x in enumerate(found) if (x.labels is None) == bool(marks)), 0)
    require(len(marks) in (0, len(found)), f"{field}: labels of batch {first}", None, "there, as in other batches")
    return Given(images, _concatenated(marks, f"{field}: labels") if marks else None)


def _concatenated(parts: list[np.ndarray], field: str) -> np.ndarray:
    first = parts[0]
    for number, part in enumerate(parts):
        fits = part.shape[1:] == first.shape[1:] and part.dtype.kind == first.dtype.kind
        allowed = f"{first.dtype} of {first.shape[1:]}, as in batch 0"
        require(fits, f"{field} of batch {number}", f"{part.dtype} of {part.shape[1:]}", allowed)
    return np.concatenate(parts)


def full_batches(batches: Iterable[Any], size: int, steps: int) -> Iterator[Given]:
    """Yields batches of one size for a number of steps; an iterable that ends is read again.

    A smaller batch at its end is left out.

    Args:
        batches: an iterable, as for ``from_batches``.
        size: the batch size, B.
        steps: the number of batches needed.

    Raises:
        ValueError: for a batch of another size, or one that isn't understood; or if there are no more batches, as when
            an iterator ends, because it can't be read again.
    """
    done = 0
    while True:
        before, small = done, 0
        for number, given in enumerate(batches):
            fits = f"{size}, the batch size; only the last may have fewer"
            require(not small, f"batch {number - 1}: number of images", small, fits)
            batch = as_batch(given, f"batch {number}")
            count = len(batch.images)
            require(count <= size, f"batch {number}: number of images", count, f"{size}, the batch size")
            if count < size:
                small = count
                continue
            yield batch
            done += 1
        again = done > before and not isinstance(batches, Iterator)
        allowed = f"enough for {steps:,} steps, or an iterable that can be gone through again"
        require(again, "batches", f"{'an iterator' if done > before else 'one'} that ended after {done:,}", allowed)


def as_batch(given: Any, field: str) -> Given:
    """Returns the content of a batch, as NumPy arrays.

    Raises:
        ValueError: for what isn't understood.
    """
    if isinstance(given, Mapping):
        images, labels = (next((given[name] for name in names if name in given), None) for names in (IMAGES, LABELS))
        require(images is not None, f"{field}: its keys", [*given], f"one of {', '.join(IMAGES)} among them")
    elif isinstance(given, tuple | list) and len(given) in (1, 2) and not _is_image(given[0]):
        images, labels = given[0], given[1] if len(given) == 2 else None
    else:
        images, labels = given, None
    if _is_image(images):  # a single row of Hugging Face's
        images, labels = [images], None if labels is None else [labels]
    pixels = as_array(images, f"{field}: images")
    if labels is None:
        return Given(pixels, None)
    marks = as_array(labels, f"{field}: labels")
    require(len(marks) == len(pixels), f"{field}: number of labels", len(marks), f"{len(pixels)}, one for each image")
    return Given(pixels, marks)


def as_array(given: Any, field: str) -> np.ndarray:
    """Makes a NumPy array from another library's array, or from a list of such arrays.

    Raises:
        ValueError: if it isn't an array, or has neither numbers nor text.
    """
    try:
        found = np.asarray(_on_the_host(given))
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{field} must become a NumPy array, got a {type(given).__name__} ({text})") from None
    known = found.dtype.kind in "biufUS" or "float" in found.dtype.name  # such as ml_dtypes' bfloat16
    require(known and found.ndim > 0, field, f"a {type(given).__name__}", "numbers or text, with an axis of examples")
    return found


def _on_the_host(given: Any) -> Any:
    if isinstance(given, list | tuple):
        return np.stack([np.asarray(_on_the_host(x)) for x in given])
    if hasattr(given, "detach"):  # torch's arrays may be on another device, or need gradients
        given = given.detach().cpu()
    if hasattr(given, "numpy"):
        return given.numpy()
    if not hasattr(given, "__array__") and hasattr(given, "__dlpack__"):
        return np.from_dlpack(given)
    return given


def _is_image(given: Any) -> bool:
    """Returns whether this is one of Pillow's images."""
    return hasattr(given, "getbands")


def as_stored(images: np.ndarray, contract: DataContract, field: str) -> np.ndarray:
    """Returns a batch's images as the dataset of this contract stores them: (B, H, W, C), levels or float32.

    Channels may come first, as in torch. Levels may also be given as floats in [0, 1].

    Raises:
        ValueError: for another shape, or for values that the dataset can't have.
    """
    height, width, channels = contract.image_shape
    first = images.shape[1:] == (channels, height, width)
    if first and (contract.reading.layout == "nchw" or images.shape[1:] != contract.image_shape):
        images = np.moveaxis(images, 1, -1)
    try:
        images = contract.arranged(images)
        levels, dtype = contract.levels, dtype_of(contract.levels)
        if levels is not None and images.dtype == dtype:
            require(int(images.max()) < levels, "images", int(images.max()), f"below {levels}")
            return images
        found = contract.checked(images, contract.grid(images))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{field}: {error}") from None
    if levels is None or found.dtype == dtype:
        return found
    numbers = found * (levels - 1)
    whole = np.rint(numbers)
    off = float(np.abs(numbers - whole).max())
    require(off < _ROUNDING, f"{field}: images", f"numbers {off:.2g} off", f"multiples of 1/{levels - 1} in [0, 1]")
    return whole.astype(dtype)


_ROUNDING = 0.02  # of a level, which allows for float16's rounding of numbers like 254/255
