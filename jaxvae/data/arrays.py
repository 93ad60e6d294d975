"""Your own data as arrays: a .npy or .npz file, or a folder of .npy files, checked field by field.

A .npy file holds images. A .npz file, or a folder of .npy files named so, holds ``images`` and perhaps ``labels``;
or ``train_images``, ``test_images`` and perhaps ``validation_images``, each perhaps with ``_labels``. ``x_train``,
``y_train`` and so on are understood too. Images are (N, H, W), (N, H, W, C) or (N, D), which becomes (N, 1, D, 1).
Nothing is ever unpickled, and .npy files are mapped into memory, not read, where nothing has to be converted.
"""

import contextlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.dataset import Dataset, assemble

SPLITS = ("train", "validation", "test")
FIELDS = (
    "images",
    "labels",
    *(f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")),
)
_ALIASES = {
    f"{short}_{split}": f"{split}_{kind}" for short, kind in (("x", "images"), ("y", "labels")) for split in SPLITS
}


def load_arrays(path: Path, rows: int | None = None) -> Dataset:
    """The dataset in a .npy or .npz file, or in a folder of .npy files.

    Unsplit images become 80 % train, 10 % validation and 10 % test images by a fixed permutation, which copies them
    into memory; give splits to keep them mapped. Whole numbers in 0..255, and floats that are k/255 throughout,
    become uint8 of 256 levels (2 where all are 0 or 1); other floats in [0, 1] stay floats, without levels.

    Args:
        path: of the file or folder.
        rows: how many there were when they were split before; later ones are left out, so that the split is that one.

    Raises:
        ValueError: for anything else, in one line that names file, field, value and what is allowed.
        FileNotFoundError: where there is no such file.
    """
    fields = read_fields(path)
    if rows is not None:
        found = len(fields["images"]) if "images" in fields else 0
        require(found >= rows, f"{path}: number of images", found, f"{rows} or more, as when they were split")
        fields = {name: x[:rows] for name, x in fields.items()}
    names = [name for name in fields if name.endswith("images")]
    images = {name.removesuffix("images"): _shaped(fields[name], f"{path}: {name}") for name in names}
    pixels, levels = _pixels(images, path)
    labels: dict[str, np.ndarray | None] = {}
    for prefix, x in images.items():
        y = fields.get(f"{prefix}labels")
        labels[prefix] = None if y is None else _labels(y, len(x), f"{path}: {prefix}labels")
    if "" in pixels:
        return apportion(str(path), pixels[""], labels[""], levels, split_rows(len(pixels[""]), str(path)))
    return assemble(
        str(path),
        {prefix.removesuffix("_"): x for prefix, x in pixels.items()},
        {prefix.removesuffix("_"): y for prefix, y in labels.items()},
        levels,
    )


def read_fields(path: Path) -> dict[str, np.ndarray]:
    """The arrays by field name: either images, or those of splits with train and test among them."""
    if path.suffix == ".npy":
        return {"images": _read(path)}
    fields = {file.stem: _read(file) for file in sorted(path.glob("*.npy"))} if path.is_dir() else _read_all(path)
    given = [_ALIASES.get(name, name) for name in fields]
    require(len(set(given)) == len(given), f"{path}: fields", sorted(given), "given once each")
    fields = dict(zip(given, fields.values(), strict=True))
    unsplit = "images" in fields
    allowed = FIELDS[:2] if unsplit else FIELDS[2:]
    for name in fields:
        require(name in allowed, f"{path}: field", name, f"one of {', '.join(allowed)}")
    needed = {"images"} if unsplit else {"train_images", "test_images"}
    missing = sorted(needed.union(name.replace("labels", "images") for name in fields).difference(fields))
    require(not missing, f"{path}: fields", sorted(fields), f"complete; there is no {' and no '.join(missing)}")
    return fields


def _read(path: Path) -> np.ndarray:
    with _reading(path, ".npy"):
        return np.lib.format.open_memmap(path, mode="r")  # np.load would take an archive, too


def _read_all(path: Path) -> dict[str, np.ndarray]:
    with _reading(path, ".npz"):
        with zipfile.ZipFile(path):  # else np.load might give a lone array
            arrays = np.load(path, allow_pickle=False)
        with arrays:
            require(len(set(arrays.files)) == len(arrays.files), "members", arrays.files, "there once each")
            fields = {name: arrays[name] for name in arrays.files}
        for name, x in fields.items():
            require(isinstance(x, np.ndarray), name, type(x).__name__, "an array")  # of another member, bytes
    return fields


@contextlib.contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except OSError:
        raise
    except Exception as error:  # zip, zlib, the header's parser: each has its own for a file that is broken
        raise ValueError(f"{path} must be a {kind} file of numbers, got {_reason(error)}") from None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return "Python objects" if "bject" in text else f"what can't be read ({text})"


def _shaped(x: np.ndarray, field: str) -> np.ndarray:
    """(N, H, W, C), from the shapes that are understood."""
    require(2 <= x.ndim <= 4, f"{field}.shape", x.shape, "(N, H, W), (N, H, W, C) or (N, D)")
    require(x.size > 0, f"{field}.shape", x.shape, "not empty")
    return x[:, None, :, None] if x.ndim == 2 else x[..., None] if x.ndim == 3 else x


def _labels(y: np.ndarray, count: int, field: str) -> np.ndarray:
    require(y.shape == (count,), f"{field}.shape", y.shape, f"({count},), one for each image")
    require(y.dtype.kind in "iu", f"{field}.dtype", str(y.dtype), "an integer type")
    require(y.min() >= 0, f"{field}", int(y.min()), "at least 0")
    require(y.max() < 2**31, f"{field}", int(y.max()), "below 2**31")
    return y.astype(np.int32)


def _chunks(images: Mapping[str, np.ndarray]) -> Iterator[tuple[str, int, np.ndarray]]:
    """Key, first row and pixels of a few MB at a time, so that a memory map need not fit."""
    for prefix, x in images.items():
        rows = max(1, 2**22 // x[0].size)
        for start in range(0, len(x), rows):
            yield prefix, start, x[start : start + rows]


def _pixels(images: dict[str, np.ndarray], path: Path) -> tuple[dict[str, np.ndarray], int | None]:
    """The images as uint8 with their levels, or as float32 without."""
    dtypes = {x.dtype for x in images.values()}
    require(len(dtypes) == 1, f"{path}: dtypes", sorted(map(str, dtypes)), "the same in all splits")
    (dtype,) = dtypes
    require(dtype.kind in "biuf", f"{path}: dtype", str(dtype), "boolean, integer or float")
    first = next(iter(images.values())).flat[0]
    constant, high, whole, bytes_ = True, 0.0, True, True
    for prefix, _, x in _chunks(images):
        field = f"{path}: {prefix}images"
        if dtype.kind == "f" and not np.isfinite(x).all():
            raise ValueError(f"{field} must be finite, got {_not_finite(images[prefix])}")
        for value in (x.min(), x.max()):
            require(0 <= value <= 255, field, value.item(), "in [0, 1], or whole numbers in 0..255")
        if dtype.kind == "f":
            whole = whole and bool(np.all(x == np.rint(x)))
            bytes_ = bytes_ and _are_bytes(x)
        constant = constant and bool(np.all(x == first))
        high = max(high, float(x.max()))
        if dtype == np.uint8 and not constant and high > 1:
            break  # nothing left to learn about the rest
    require(not constant, f"{path}: images", first.item(), "not the same in all pixels")
    require(whole or high <= 1, f"{path}: images", high, "in [0, 1], or whole numbers in 0..255")
    if not whole and not bytes_:
        return {prefix: x.astype(np.float32, copy=False) for prefix, x in images.items()}, None
    levels = 2 if whole and high <= 1 else 256
    scale = 1 if whole else 255
    return {prefix: _to_bytes(x, scale) for prefix, x in images.items()}, levels


def _not_finite(x: np.ndarray) -> str:
    """How many, and where the first."""
    count, first = 0, None
    for _, start, chunk in _chunks({"": x}):
        found = np.argwhere(~np.isfinite(chunk))
        if first is None and len(found):
            first = (start + int(found[0, 0]), *found[0, 1:].tolist())
        count += len(found)
    return f"{count} NaN or inf, first at {first} of (N, H, W, C)"


def _are_bytes(x: np.ndarray) -> bool:
    """Whether all are k/255, computed as such or as k times the rounded 1/255."""
    k = np.rint(x * x.dtype.type(255))
    return bool(np.all((x == k / x.dtype.type(255)) | (x == k * x.dtype.type(1 / 255))))


def _to_bytes(x: np.ndarray, scale: int) -> np.ndarray:
    if x.dtype == np.uint8:
        return x
    return (x if scale == 1 else np.rint(x * x.dtype.type(scale))).astype(np.uint8)


def split_rows(count: int, path: str) -> dict[str, np.ndarray]:
    """80 % train, 10 % validation and 10 % test, by one permutation for each number of images.

    Its source is NumPy's raw random words, which, unlike its shuffles, never change.
    """
    require(count >= 10, f"{path}: number of images", count, "at least 10, to be split")
    order = np.argsort(np.random.Philox(key=0).random_raw(count), kind="stable")
    return dict(zip(SPLITS, np.split(order, (count - 2 * (count // 10), count - count // 10)), strict=True))


def apportion(
    path: str,
    images: np.ndarray,
    labels: np.ndarray | None,
    levels: int | None,
    rows: Mapping[str, np.ndarray],
    names: np.ndarray | None = None,
    class_names: tuple[str, ...] = (),
) -> Dataset:
    """The dataset of images that came in one, by the rows of each split; their names are the rows, if not given."""
    return assemble(
        path,
        {name: images[some] for name, some in rows.items()},
        {name: None if labels is None else labels[some] for name, some in rows.items()},
        levels,
        {name: some if names is None else names[some] for name, some in rows.items()},
        class_names,
        apportioned=len(images),
    )
