"""The contract of a trained model: which data it takes and how it sees them, so that nothing is guessed."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae.arguments import require
from jaxvae.data.covariates import as_given, fitted_covariates
from jaxvae.data.dataset import (
    Dataset,
    chunks,
    dtype_of,
    joined,
    require_grey_levels,
    shape_told,
    side_by_side,
    summary,
)
from jaxvae.data.features import Feature, covariates_told, kinds_told
from jaxvae.data.missing import unmasked
from jaxvae.data.observation import METHODS, observe, unit_scaled
from jaxvae.data.options import PLAIN, Reading
from jaxvae.data.supports import SUPPORTS

_ON_LEVELS = ("categorical", "discretized")  # likelihoods without a density between levels


@dataclasses.dataclass(frozen=True)
class DataContract:
    """A description of a model's data and how it sees them; frozen and hashable, therefore static under ``jit``.

    New images may have the form of the training data: integers in 0..levels-1, floats that are these integers, or
    floats in [0, 1]. Images of 0 and 1 may also be booleans. If a model of binarized data gets grey images, they are
    binarized: by ``threshold``, or, if training drew pixels at random, by draws that depend on the image only. An image
    therefore always becomes the same 0s and 1s, whichever others come with it.

    Attributes:
        image_shape: (H, W, C).
        levels: the number of grey levels of a stored pixel; None for floats.
        real: whether floats are any real numbers, instead of numbers in [0, 1].
        binarization: one of ``METHODS``.
        likelihood: the name of p(x|z).
        classes: the number of classes; 0 without labels.
        class_names: the names of the classes, if they have names.
        conditional: whether the model needs labels.
        reading: how files became images.
        features: the columns of a table, whose rows are images (1, 1, C) in the table's own units; otherwise ().
        missing: whether entries may be missing, i.e. NaN.
        covariates: the covariates that the model is given with each image, in the units of the training split.

    Raises:
        ValueError: if these contradict each other, or for a value that isn't allowed.
    """

    image_shape: tuple[int, int, int]
    levels: int | None
    real: bool = False
    binarization: str = "none"
    likelihood: str = "bernoulli"
    classes: int = 0
    class_names: tuple[str, ...] = ()
    conditional: bool = False
    reading: Reading = PLAIN
    features: tuple[Feature, ...] = ()
    missing: bool = False
    covariates: tuple[Feature, ...] = ()

    def __post_init__(self) -> None:
        sizes = isinstance(self.image_shape, tuple) and all(isinstance(n, int) and n >= 1 for n in self.image_shape)
        require(sizes and len(self.image_shape) == 3, "image_shape", self.image_shape, "(H, W, C)")
        require_grey_levels(self.levels)
        require(self.real in (False, self.levels is None), "real", self.real, "False for data with levels")
        require(self.binarization in METHODS, "binarization", self.binarization, " or ".join(map(repr, METHODS)))
        require(isinstance(self.classes, int) and self.classes >= 0, "classes", self.classes, "at least 0")
        named = len(self.class_names) in (0, self.classes)
        require(named, "class_names", self.class_names, f"{self.classes} names, or none")
        require(not self.conditional or self.classes > 0, "conditional", self.conditional, "False without classes")
        require(not self.counts or not self.real, "real", self.real, "False for counts")
        ranged = bool(self.reading.value_range)
        require(not ranged or self.levels is None, "levels", self.levels, "None for a value range")
        require(not ranged or not self.real, "real", self.real, "False for a value range")
        if self.missing:
            require(self.levels is None, "levels", self.levels, "None where entries are missing")
            require(self.binarization == "none", "binarization", self.binarization, "none where entries are missing")
        fits = not self.features or self.image_shape == (1, 1, len(self.features))
        require(fits, "features", len(self.features), f"one for each of the channels of {self.image_shape}")

    @property
    def counts(self) -> bool:
        """Whether the data are counts."""
        return self.reading.counts

    @property
    def columns(self) -> tuple[Feature, ...]:
        """All columns of a table that the model needs: ``features`` and the covariates."""
        return (*self.features, *self.covariates)

    @property
    def noun(self) -> str:
        """The word for one of the images in messages."""
        return "row" if self.features else self.reading.noun

    @property
    def binary(self) -> bool:
        """Whether the model sees pixels of 0 and 1 only."""
        return self.binarization != "none" or self.levels == 2

    @property
    def seen_levels(self) -> int | None:
        """The number of grey levels that the model sees, or None."""
        return 2 if self.binary else self.levels

    @property
    def description(self) -> str:
        """A description of the training data, in a few words.

        >>> DataContract((8, 8, 1), 17, binarization="dynamic").description
        'images of 8x8x1, integers in 0..16 or floats in [0, 1], binarized (dynamic)'
        """
        beside = f", with {covariates_told(self.covariates)}" if self.covariates else ""
        if self.features:
            return f"rows of {kinds_told(self.features)}{beside}"
        if self.levels == 2:
            numbers = "pixels of 0 and 1"
        elif self.levels is not None:
            numbers = f"integers in 0..{self.levels - 1} or floats in [0, 1]"
        else:
            low, high = self.reading.value_range or (0, 1)
            numbers = "real numbers" if self.real else "counts" if self.counts else f"floats in [{low:g}, {high:g}]"
        binarized = f", binarized ({self.binarization})" if self.binarization != "none" else ""
        missing = ", NaN where one is missing" if self.missing else ""
        shape = shape_told(self.image_shape, self.reading)
        return f"{self.noun}s of {shape}, {numbers}{binarized}{missing}{beside}"

    def arranged(self, images: Any) -> Any:
        """Returns images as an array (..., H, W, C), from any shape that training data may have.

        The array is NumPy's, JAX's or a tracer. With one channel, the shape may be (..., H, W); for rows of D numbers,
        (..., D); for data that came channels first, (..., C, H, W); for sequences, (..., T, C).

        Raises:
            ValueError: for another shape.
        """
        images = images if isinstance(images, jax.Array) else unmasked(images)
        height, width, channels = self.image_shape
        if images.shape[-3:] == self.image_shape:
            return images
        if self.reading.layout == "nchw" and images.shape[-3:] == (channels, height, width):
            return images.swapaxes(-3, -2).swapaxes(-2, -1)
        if self.reading.sequences and images.shape[-2:] == (height, channels):
            return images[..., None, :]
        if height == width == 1 and images.ndim in (1, 2) and images.shape[-1] == channels:
            return images[..., None, None, :]
        if channels == height == 1 and images.ndim in (1, 2) and images.shape[-1] == width:
            return images[..., None, :, None]
        if channels == 1 and images.shape[-2:] == (height, width):
            return images[..., None]
        raise self._refusal(f"an array of shape {images.shape}")

    def _refusal(self, found: str) -> ValueError:
        return ValueError(f"{self.noun}s must be as in training, {self.description}, got {found}")

    def grid(self, images: np.ndarray) -> int:
        """Returns the divisor of pixels: levels - 1, or 1 if they are in [0, 1], real, or have a value range.

        It looks at all images, a few at a time, because floats that are all 0 or 1 are ambiguous; call it once for all
        images. Booleans mean 0 and 1 for any number of levels.

        Raises:
            TypeError: if images aren't numbers.
            ValueError: for integers if the model is of floats, or for only 0s and 1s if it has more levels.
        """
        if images.dtype.kind not in "biuf" and not jnp.issubdtype(images.dtype, jnp.floating):
            raise TypeError(f"images must be numbers, got dtype {images.dtype}")
        if self.levels is None:
            explained = self.real or self.counts or self.features or self.reading.value_range
            if images.dtype.kind in "biu" and not explained:
                raise self._refusal(f"dtype {images.dtype}")
            if self.reading.value_range[1:] > (1.0,) and images.size > 0:
                found = joined(summary(chunk) for chunk in chunks(images))
                if 0 <= found.low <= found.high <= 1:
                    raise self._refusal("0 to 1")
            return 1
        if images.dtype.kind == "b" or self.levels == 2:
            return 1
        beyond = any(chunk.max(initial=0) > 1 for chunk in chunks(images))
        if images.dtype.kind in "iu":
            if not beyond and any(chunk.any() for chunk in chunks(images)):
                raise self._refusal(
                    "integers that are all 0 or 1; as booleans or floats they are the darkest and lightest"
                )
            return self.levels - 1
        return self.levels - 1 if beyond else 1

    def checked(self, images: np.ndarray, grid: int) -> np.ndarray:
        """Checks images (..., H, W, C) and returns them for ``seen``: float32, or uint8 or uint16 if they are levels.

        Args:
            images: of any dtype that ``grid`` takes.
            grid: the result of ``grid`` for all images.

        Raises:
            ValueError: for values that the training data can't have had.
        """
        found = self._checked(images, grid)
        if self.likelihood in SUPPORTS and found.size:
            support, seen = SUPPORTS[self.likelihood], np.asarray(self._scaled(jnp.asarray(found)))
            if (odd := support.outside(seen)).any():
                raise self._refusal(f"{_first(found, odd):g} under likelihood {self.likelihood} ({support.told})")
        return found

    def _checked(self, images: np.ndarray, grid: int) -> np.ndarray:
        if images.dtype.kind == "b":
            return images.astype(np.float32)
        if images.dtype.kind not in "biuf":
            images = images.astype(np.float32)  # bfloat16, float16 of ml_dtypes
        if not images.size:
            return images.astype(np.float32)
        low, high, missing = summary(images)
        if missing:
            self._require_missing(images)
        if self.features:
            return self._checked_rows(images)
        if images.dtype.kind == "f" and np.isinf(images).any():
            raise self._refusal("numbers that aren't finite")
        if self.real:
            return images.astype(np.float32)
        if self.counts:
            odd = (images < 0) | (np.rint(images) != images) & ~np.isnan(images)
            if odd.any():
                raise self._refusal(f"{_first(images, odd):g}, which is no count")
            return images.astype(np.float32)
        least, most = self.reading.value_range or (0, grid)
        if low < least or high > most:
            raise self._refusal(f"{low:g} to {high:g}")
        if self.reading.value_range:
            return images.astype(np.float32)
        if grid > 1 or images.dtype.kind != "f":
            if images.dtype.kind == "f" and (odd := np.rint(images) != images).any():
                raise self._refusal(f"{_first(images, odd):g}, neither in [0, 1] nor a whole number")
            return images.astype(dtype_of(self.levels) if grid > 1 else np.float32)
        if self._on_levels:
            assert self.levels is not None
            levels = np.rint(images * (self.levels - 1))
            off = np.abs(images * (self.levels - 1) - levels) > 1e-3
            if np.any(off):
                raise self._refusal(f"{_first(images, off):g}, which is between two levels")
            return levels.astype(dtype_of(self.levels)) if self.levels > 2 else levels.astype(np.float32)
        return images.astype(np.float32)

    def _require_missing(self, images: np.ndarray) -> None:
        """Raises ValueError if entries of images (..., H, W, C) are missing that must not be."""
        if not self.missing:
            raise self._refusal("numbers that are missing (NaN); the training had none such")
        if np.isnan(images).all(axis=(-3, -2, -1)).any():
            raise self._refusal("one of which no number is known")

    def _checked_rows(self, images: np.ndarray) -> np.ndarray:
        for feature, x in zip(self.features, images.reshape(-1, len(self.features)).T, strict=True):
            fits = feature.fits(x) | np.isnan(x)
            if not fits.all():
                found = f"{x[np.argmin(fits)]:g} in column {feature.name!r}, which must be {feature.allowed}"
                raise self._refusal(found)
        return images.astype(np.float32)

    @property
    def _on_levels(self) -> bool:
        """Whether floats in [0, 1] must also be levels."""
        plain = self.levels is not None and self.binarization == "none"
        return self.levels == 2 or (plain and self.likelihood.startswith(_ON_LEVELS))

    def seen(self, images: Array) -> Array:
        """Returns images (..., H, W, C) as the model sees them, float32 in [0, 1] or real; a pure function.

        Integers are levels, floats are used directly, and both are binarized if the model is of binary data. The
        derivative of a binarized pixel with respect to the grey one is defined as 1 (Bengio et al. 2013,
        arXiv:1308.3432).
        """
        x = self._scaled(images)
        if self.binarization == "none" or self.levels == 2:
            return x
        # Not 0.5 itself, as XLA's v / (levels - 1) may be half an ulp below an exact half.
        binary = x >= 0.5 - 2**-20 if self.binarization == "threshold" else _each(_drawn, x)
        return jax.lax.stop_gradient(binary.astype(jnp.float32)) + (x - jax.lax.stop_gradient(x))

    def content(self, images: Array) -> Array:
        """Returns a uint32 for each of the images (..., H, W, C) that depends on the image only, to seed its noise."""
        x = self._scaled(images)
        known = jnp.where(jnp.isnan(x), -1, x) if self.missing else x
        return _each(_row_content if self.features else _content, known)

    def as_given(self, seen: np.ndarray) -> np.ndarray:
        """Returns images (..., H, W, C) in the form of the training data, from what the model sees or decodes.

        It is for data without levels. Numbers beyond the range are moved to its ends, unless data are real.
        """
        if self.real or self.counts or self.features:
            return seen
        low, high = self.reading.value_range or (0.0, 1.0)
        return np.float32(low) + np.float32(high - low) * np.clip(seen, 0, 1)

    def _scaled(self, images: Array) -> Array:
        if jnp.issubdtype(images.dtype, jnp.integer) and self.levels is not None:
            return observe(jax.random.key(0), images, self.levels, dynamic=False)
        return unit_scaled(jnp.asarray(images, jnp.float32), self.reading.value_range)

    def given(self, labels: Any, covariates: Any, batch: tuple[int, ...]) -> Any:
        """Returns the conditions of images, (*batch, M) float32: labels, then covariates; or None.

        Args:
            labels: as in ``labels``.
            covariates: by name, or as an array, as in ``data.covariates.as_given``.
            batch: the images' or latents' leading axes.

        Raises:
            ValueError: if a condition that the model needs is missing, or for an impossible value.
        """
        return side_by_side(self.labels(labels, batch), as_given(self.covariates, covariates, batch))

    def labels(self, labels: Any, batch: tuple[int, ...]) -> Any:
        """Returns labels of shape ``batch`` as the model takes them, int32, or None if it needs none.

        Args:
            labels: integers or names of classes, or a single one for all images; or None.
            batch: the images' or latents' leading axes.

        Raises:
            ValueError: if the model needs labels and there are none, or for an unknown label.
        """
        if not self.conditional:
            return None  # labels that come with the data are ignored
        allowed = f"given, 0 to {self.classes - 1}" + (f" or {', '.join(self.class_names)}" if self.class_names else "")
        require(labels is not None, "labels", None, f"{allowed}: the model is conditional")
        if isinstance(labels, jax.core.Tracer):
            return jnp.broadcast_to(labels.astype(jnp.int32), batch)
        found = np.asarray(labels)
        if found.dtype.kind in "UO":
            found = np.vectorize(self.label, otypes=[np.int64])(found)
        require(found.dtype.kind in "iu", "labels", found.dtype, f"integers; {allowed}")
        fits = found.size == 0 or (found.min() >= 0 and found.max() < self.classes)
        require(fits, "labels", found.tolist() if found.size < 10 else f"{found.min()} to {found.max()}", allowed)
        require(found.shape in ((), batch), "labels.shape", found.shape, f"{batch}, one for each, or one for all")
        return np.broadcast_to(found.astype(np.int32), batch)

    def label(self, name: str | int) -> int:
        """Returns the number of a class, from its name or its number."""
        text = str(name)
        if text in self.class_names:
            return self.class_names.index(text)
        known = text.isdecimal() and int(text) < self.classes
        require(known, "label", name, f"0 to {self.classes - 1}" + " or ".join(("", *self.class_names)))
        return int(text)

    def to_json(self) -> str:
        """Returns the contract as JSON, with one field per line."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"


def contract_from_mapping(values: Mapping[str, Any]) -> DataContract:
    """Makes a contract from plain values, such as those of a JSON file.

    Raises:
        ValueError: for a name that isn't a field, a field that is missing, or a value that isn't allowed.
    """
    fields = {field.name: field for field in dataclasses.fields(DataContract)}
    for name in values:
        require(name in fields, "contract", name, f"one of {', '.join(fields)}")
    for name in ("image_shape", "levels"):
        require(name in values, "contract", sorted(values), f"one with {name}")
    reading = Reading(**_tupled(values.get("reading", {})))
    columns = {name: tuple(Feature(**_tupled(x)) for x in values.get(name, ())) for name in ("features", "covariates")}
    return DataContract(**{**_tupled(values), "reading": reading, **columns})


def contract_of(
    dataset: Dataset, *, binarization: str, likelihood: str, conditional: bool, features: Sequence[Feature] = ()
) -> DataContract:
    """Makes the contract of a model for a dataset as it is loaded, before pixels are binarized.

    Args:
        dataset: the loaded dataset.
        binarization: as in the contract.
        likelihood: as in the contract.
        conditional: as in the contract.
        features: a table's columns, in the units in which the model sees them; by default, as they are loaded.

    Raises:
        ValueError: for a covariate that is constant in the training split, or a level that isn't in it.
    """
    return DataContract(
        dataset.image_shape,
        dataset.levels,
        dataset.real,
        binarization,
        likelihood,
        dataset.classes,
        dataset.class_names,
        conditional,
        dataset.reading,
        missing=dataset.missing > 0,
        features=tuple(features) or dataset.features,
        covariates=fitted_covariates(dataset.covariates, dataset.train.covariates, dataset.name),
    )


def _tupled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(x) if isinstance(x, list) else x for name, x in values.items()}


def _first(images: np.ndarray, mask: np.ndarray) -> float:
    return float(images[mask].flat[0])


def _content(image: Array) -> Array:
    """Returns a hash, a uint32, of an image (H, W, C) that is rounded to multiples of 1/65535."""
    numbers = jnp.rint(image * 65535).astype(jnp.int32).astype(jnp.uint32).ravel()
    odd = (2 * jnp.arange(numbers.size, dtype=jnp.uint32) + 1) * jnp.uint32(0x9E3779B1)
    return jnp.sum(numbers * odd, dtype=jnp.uint32)


def _row_content(row: Array) -> Array:
    """Returns a hash like ``_content`` for numbers of any size, from their bits; -0 counts as 0."""
    numbers = jax.lax.bitcast_convert_type(row.astype(jnp.float32) + 0.0, jnp.uint32).ravel()
    odd = (2 * jnp.arange(numbers.size, dtype=jnp.uint32) + 1) * jnp.uint32(0x9E3779B1)
    return jnp.sum((numbers ^ (numbers >> 15)) * odd, dtype=jnp.uint32)


def _drawn(p: Array) -> Array:
    """Draws the pixels of an image (H, W, C): 1 with probability p to within 2^-17, by a key made from the image."""
    key = jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), _content(p))
    uniform = (jax.random.bits(key, p.shape, jnp.uint16).astype(jnp.float32) + 0.5) / 2**16
    return uniform < p


def _each(function: Callable[[Array], Array], images: Array) -> Array:
    """Applies a function to each of the images (..., H, W, C)."""
    found = jax.vmap(function)(images.reshape(-1, *images.shape[-3:]))
    return found.reshape(*images.shape[:-3], *found.shape[1:])
