"""Datasets: splits of images and labels, and the number of grey levels."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.arguments import require
from jaxvae.data.features import Feature, covariates_told, kinds_told
from jaxvae.data.missing import require_observed
from jaxvae.data.options import MOST_LEVELS, PLAIN, Reading
from jaxvae.texts import counted, percentage


def require_grey_levels(levels: int | None, field: str = "levels") -> None:
    """Raises ValueError unless levels are a valid number of grey levels, or None for floats."""
    known = levels is None or (isinstance(levels, int) and 2 <= levels <= MOST_LEVELS)
    require(known, field, levels, f"2 to {MOST_LEVELS}, or None")


def dtype_of(levels: int | None) -> np.dtype:
    """Returns the dtype that stores images with this many grey levels: uint8, uint16, or float32 for None."""
    return np.dtype(np.float32 if levels is None else np.uint8 if levels <= 256 else np.uint16)


_CHUNK = 2**22  # numbers in a part


class Summary(NamedTuple):
    """A summary of numbers: the lowest and the highest, and how many are missing."""

    low: float
    high: float
    missing: int


def summary(x: np.ndarray) -> Summary:
    """Summarizes an array of at least one number; NaN is missing, and if all are missing, it is from inf to -inf."""
    if x.dtype.kind == "f" and np.isnan(x.min()):
        missing = np.isnan(x)
        known = {"where": ~missing}
        return Summary(
            float(x.min(initial=np.inf, **known)), float(x.max(initial=-np.inf, **known)), int(missing.sum())
        )
    return Summary(float(x.min()), float(x.max()), 0)


def joined(parts: Iterable[Summary]) -> Summary:
    """Joins the summaries of all parts, of which there must be at least one."""
    low, high, missing = zip(*parts, strict=True)
    return Summary(min(low), max(high), sum(missing))


def chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yields images (N, ...) in parts, so that a memory map needn't fit into memory."""
    rows = max(1, _CHUNK // max(1, math.prod(images.shape[1:])))
    for start in range(0, len(images), rows):
        yield images[start : start + rows]


def side_by_side(labels: Any, covariates: Any) -> Any:
    """Joins labels (...) and covariates (..., M), if there are any, to conditions (..., M or M + 1).

    The result is a float32 array, of NumPy unless one argument is JAX's; or None if there are neither.
    """
    parts = [labels[..., None]] if labels is not None else []
    parts += [covariates] if covariates is not None else []
    if not parts:
        return None
    library = jnp if any(isinstance(x, jax.Array) for x in parts) else np
    return library.concatenate([x.astype(np.float32) for x in parts], axis=-1)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels.

    Attributes:
        images: (N, H, W, C); uint8 or uint16 in 0..levels-1, or float32 if the dataset has no levels, where NaN is a
            missing entry. It may be a memory map.
        labels: (N,) int32, or None.
        ids: the name of each image in its source, (N,), such as its file; None for the rows 0, 1, ….
        covariates: the covariates of each image, (N, M) float32, in their own units, as in ``data.covariates``; or
            None.

    Raises:
        ValueError: for other shapes or dtypes, or if there are no images.
    """

    images: np.ndarray
    labels: np.ndarray | None
    ids: np.ndarray | None = None
    covariates: np.ndarray | None = None

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        for name, x in {"images": images, "labels": labels}.items():
            if not isinstance(x, np.ndarray) and not (name == "labels" and x is None):
                raise TypeError(f"Split.{name} must be a NumPy array, got a {type(x).__name__}")
        require(images.ndim == 4 and images.size > 0, "Split.images.shape", images.shape, "(N, H, W, C), not empty")
        known = images.dtype in (np.uint8, np.uint16, np.float32)
        require(known, "Split.images.dtype", str(images.dtype), "uint8, uint16 or float32")
        if labels is not None:
            require(labels.shape == (len(self),), "Split.labels.shape", labels.shape, f"({len(self)},)")
            require(labels.dtype == np.int32, "Split.labels.dtype", str(labels.dtype), "int32")
        if self.ids is not None:
            require(self.ids.shape == (len(self),), "Split.ids.shape", self.ids.shape, f"({len(self)},)")
        if (covariates := self.covariates) is not None:
            fits = covariates.shape[:1] == (len(self),) and covariates.ndim == 2
            require(fits, "Split.covariates.shape", covariates.shape, f"({len(self)}, M)")
            finite = covariates.dtype == np.float32 and bool(np.isfinite(covariates).all())
            require(finite, "Split.covariates", str(covariates.dtype), "float32 and finite")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> np.ndarray:
        """``ids``, or the rows' numbers, (N,)."""
        return np.arange(len(self)) if self.ids is None else self.ids

    def part(self, rows: slice) -> "Split":
        """Returns the split with some of its images."""
        more = (None if x is None else x[rows] for x in (self.labels, self.names, self.covariates))
        return Split(self.images[rows], *more)

    def given(self, count: int) -> np.ndarray | None:
        """Returns the conditions of each image for a model with this many, (N, count) float32; None for 0.

        These are the covariates; if there is one more condition, the label comes first.
        """
        known = 0 if self.covariates is None else self.covariates.shape[1]
        return side_by_side(self.labels if count > known else None, self.covariates)

    def head(self, count: int) -> "Split":
        """Returns the first ``count`` images, or all if there are fewer."""
        return self.part(slice(count))


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Splits of images of one shape and one range.

    Attributes:
        name: the name or path by which it was loaded.
        train: the images to learn from.
        validation: the images by which to choose, or None.
        test: the images whose scores are reported.
        levels: the number of grey levels; a pixel value v means v / (levels - 1). None for float images.
        classes: the number of classes; 0 without labels.
        class_names: the names of the classes, if they have names.
        apportioned: the number of images if they came without splits and were split here; else 0.
        reading: how files became images; float images are stored as they were, in its value range.
        notes: sentences on how files were converted.
        of_files: whether images have the names of their files, relative to a folder, and are split by these names.
        features: the columns of a table, whose rows are images (1, 1, C), in the table's own units; otherwise ().
        covariates: the M covariates of each image, as in ``data.covariates``.

    Raises:
        ValueError: if image shapes differ between splits, or dtype and levels contradict each other.
    """

    name: str
    train: Split
    validation: Split | None
    test: Split
    levels: int | None
    classes: int
    class_names: tuple[str, ...] = ()
    apportioned: int = 0
    reading: Reading = PLAIN
    notes: tuple[str, ...] = ()
    of_files: bool = False
    features: tuple[Feature, ...] = ()
    covariates: tuple[Feature, ...] = ()

    def __post_init__(self) -> None:
        require_grey_levels(self.levels, "Dataset.levels")
        fits = not self.features or self.image_shape == (1, 1, len(self.features))
        require(fits, "Dataset.features", len(self.features), f"one for each of the channels of {self.image_shape}")
        dtype = dtype_of(self.levels)
        for name, split in self.splits.items():
            images = split.images
            require(images.dtype == dtype, f"{name}.images.dtype", str(images.dtype), f"{dtype}, as of levels")
            require(images.shape[1:] == self.image_shape, f"{name} image shape", images.shape[1:], "that of train")
            found = 0 if split.covariates is None else split.covariates.shape[1]
            require(found == len(self.covariates), f"{name}.covariates", found, f"{len(self.covariates)} of each image")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @functools.cached_property
    def _summary(self) -> Summary:
        return joined(summary(x) for split in self.splits.values() for x in chunks(split.images))

    @property
    def extremes(self) -> tuple[float, float]:
        """The lowest and the highest number of all images, found in parts."""
        return self._summary.low, self._summary.high

    @property
    def missing(self) -> int:
        """How many entries are missing."""
        return self._summary.missing if self.levels is None else 0

    @functools.cached_property
    def binary(self) -> bool:
        """Whether all numbers that aren't missing are 0 or 1."""
        if not self.missing:
            return self.levels == 2
        every = (x for split in self.splits.values() for x in chunks(split.images))
        return all(bool(np.all((x == 0) | (x == 1) | np.isnan(x))) for x in every)

    @property
    def real(self) -> bool:
        """Whether images are floats outside [0, 1] without a value range or columns that explain them."""
        if self.levels is not None or self.reading.value_range or self.reading.counts or self.features:
            return False
        low, high = self.extremes
        return low < 0 or high > 1

    @property
    def splits(self) -> dict[str, Split]:
        """The existing splits, by name."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}


def assemble(
    name: str,
    images: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray | None],
    levels: int | None,
    ids: Mapping[str, np.ndarray] = MappingProxyType({}),
    class_names: tuple[str, ...] = (),
    *,
    apportioned: int = 0,
    reading: Reading = PLAIN,
    notes: tuple[str, ...] = (),
    of_files: bool = False,
    features: tuple[Feature, ...] = (),
    covariates: tuple[Feature, ...] = (),
    given: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> Dataset:
    """Makes a dataset from arrays by split; it has the named classes, or all up to the largest label.

    ``given`` has the covariates of each split, (N, M).
    """
    splits = {split: Split(x, labels.get(split), ids.get(split), given.get(split)) for split, x in images.items()}
    found = max((int(s.labels.max()) + 1 for s in splits.values() if s.labels is not None), default=0)
    classes = max(found, len(class_names)) if found else 0
    names = class_names if len(class_names) == classes else ()
    train, validation, test = splits["train"], splits.get("validation"), splits["test"]
    more = apportioned, reading, notes, of_files, features, covariates
    dataset = Dataset(name, train, validation, test, levels, classes, names, *more)
    if dataset.missing:
        ids, sequences = {s: x.names for s, x in splits.items()}, reading.sequences
        columns = [feature.name for feature in features]
        require_observed({s: x.images for s, x in splits.items()}, ids, name, sequences, columns)
    return dataset


def hold_out(dataset: Dataset, count: int) -> Dataset:
    """Returns the dataset with its last ``count`` training images as validation split, instead of its own.

    Raises:
        ValueError: if count is negative, or would leave no training images.
    """
    total = len(dataset.train)
    require(
        isinstance(count, int) and 0 <= count < total,
        "validation",
        count,
        f"at least 0 and less than the {total} training images",
    )
    validation = dataset.train.part(slice(total - count, None)) if count else None
    return dataclasses.replace(dataset, train=dataset.train.head(total - count), validation=validation)


def describe(dataset: Dataset) -> str:
    """Describes a dataset in one line: numbers of images, shape, levels and classes.

    >>> from jaxvae.data import load
    >>> describe(load("digits"))
    'digits: 1,297 train, 200 validation, 300 test images of 8x8x1, 17 grey levels, 10 classes'
    """
    counts = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    classes = counted(dataset.classes, "class", "classes") if dataset.classes else "no labels"
    if dataset.features:
        return f"{dataset.name}: {counts} rows of {counted(len(dataset.features), 'column')}, {classes}"
    numbers = "counts" if dataset.reading.counts else "continuous"
    levels = numbers if dataset.levels is None else f"{dataset.levels:,} grey levels"
    shape = shape_told(dataset.image_shape, dataset.reading)
    return f"{dataset.name}: {counts} {dataset.reading.noun}s of {shape}, {levels}, {classes}"


def shape_told(image_shape: tuple[int, ...], reading: Reading) -> str:
    """Returns the shape of images as text, or of sequences without their missing axis.

    >>> shape_told((29, 1, 12), Reading(layout="ntc")), shape_told((8, 8, 1), PLAIN)
    ('29x12', '8x8x1')
    """
    return "x".join(map(str, (image_shape[0], image_shape[2]) if reading.sequences else image_shape))


def report(dataset: Dataset) -> list[str]:
    """Returns lines on how the data were read: ``describe``, the range of numbers, the origin of the splits, and notes.

    >>> from jaxvae.data import load
    >>> report(load("digits"))[1:]
    ['numbers: 0 to 16; splits: as given']
    """
    low, high = dataset.extremes
    by = "their names" if dataset.of_files else _BY_CLASS if dataset.reading.stratified else "a fixed permutation"
    by = f"groups of equal {dataset.reading.group}" if dataset.reading.group else by
    splits = f"made here by {by}, about 80:10:10" if dataset.apportioned else "as given"
    numbers = f"columns: {kinds_told(dataset.features)}" if dataset.features else f"numbers: {low:g} to {high:g}"
    lines = [describe(dataset), f"{numbers}; splits: {splits}"]
    if dataset.missing:
        entries = sum(split.images.size for split in dataset.splits.values())
        share = percentage(dataset.missing / entries)
        lines.append(f"missing: {dataset.missing:,} of {entries:,} entries ({share}), as NaN is taken for missing")
    if dataset.covariates:
        lines.append(f"covariates: {covariates_told(dataset.covariates)}")
    if dataset.class_names:
        some = [name if len(name) <= _NAME else name[: _NAME - 1] + "…" for name in dataset.class_names[:_CLASSES]]
        lines.append(f"classes: {', '.join(some)}{', …' * (len(dataset.class_names) > _CLASSES)}")
    return [*lines, *dataset.notes]


_BY_CLASS = "a fixed permutation, class by class"
_CLASSES, _NAME = 12, 24  # the number of class names that are shown, and of their letters
