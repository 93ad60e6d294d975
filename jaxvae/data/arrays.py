"""Your own data as arrays: in memory, in a .npy or .npz file, or in a folder of .npy files.

A .npy file holds images. A .npz file, or a folder of .npy files with these names, holds ``images`` and optionally
``labels``; or ``train_images``, ``test_images`` and optionally ``validation_images``, each optionally with ``_labels``.
Other usual names are understood, too: ``x``, ``data`` and ``arr_0``; ``x_train``, ``y_train``, ``x_val`` and so on.
Images are (N, H, W), (N, H, W, C) or (N, D), which becomes (N, 1, D, 1). An entry is missing if it is NaN, or if an
array ``mask`` (``train_mask``, ``mask_test``, …) of the images' shape is true there. Sequences are (N, T, C), which
becomes (N, T, 1, C); they need the layout ``ntc`` or an array ``lengths`` (N,), beyond which entries are missing.
Nothing is ever unpickled. A .npy file is mapped into memory instead of read, unless its numbers must be converted.
"""

import contextlib
import dataclasses
import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.dataset import Dataset, Summary, assemble, chunks, dtype_of, joined, summary
from jaxvae.data.missing import ended, unmasked, with_missing
from jaxvae.data.options import PLAIN, SEQUENCES, Reading
from jaxvae.files import require_file

SPLITS = ("train", "validation", "test")
SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""The split that each name means, in upper or lower case."""

_KINDS: Mapping[str, str] = {
    **dict.fromkeys(("images", "image", "x", "data"), "images"),
    **dict.fromkeys(("labels", "label", "y", "targets", "target"), "labels"),
    **dict.fromkeys(("mask", "masks"), "mask"),
    **dict.fromkeys(("lengths", "length"), "lengths"),
}
_WANTED = (
    "images (or x, data, arr_0), perhaps labels (or y), a mask, and lengths of sequences; "
    "or train_images, test_images (or x_train, …), …"
)
_MOST_CLASSES = 2**31
MOST_COUNTED = 2**24
"""The number up to which float32 has every whole number."""
_DARKEST = 64  # of 256 grey levels, one that every picture reaches somewhere


def load_arrays(path: Path, reading: Reading = PLAIN, rows: int | None = None) -> Dataset:
    """Loads the dataset in a .npy or .npz file, or in a folder of .npy files.

    Unsplit images become 80 % train, 10 % validation and 10 % test images by a fixed permutation, which copies them
    into memory; split them yourself to keep them mapped. If there are no test images, the validation images replace
    them.

    Whole numbers in 0..255, and floats that are all k/255, become uint8 with 256 levels, or 2 if all are 0 or 1; uint16
    has 65536 levels. For whole numbers that don't look like grey levels, ``reading`` must give the number of levels.
    Other floats don't change. If entries are missing, all numbers are stored as floats; the value range of grey levels
    is then from 0 to the lightest.

    Args:
        path: the path of the file or folder.
        reading: options for what is ambiguous.
        rows: the number of rows when they were split before; later rows are left out, so that the split is the same.

    Raises:
        ValueError: for anything else; one line names the file, the field, the value and what is allowed.
        FileNotFoundError: if there is no such file.
    """
    fields, notes = read_fields(path)
    if rows is not None:
        found = len(fields["images"]) if "images" in fields else 0
        require(found >= rows, f"{path}: number of images", found, f"{rows} or more, as when they were split")
        fields = {name: x[:rows] for name, x in fields.items()}
    return _dataset(str(path), fields, reading, notes)


def from_arrays(
    images: Any,
    labels: Any = None,
    *,
    mask: Any = None,
    lengths: Any = None,
    reading: Reading = PLAIN,
    name: str = "arrays",
) -> Dataset:
    """Makes a dataset from arrays in memory: NumPy's, JAX's, or others that NumPy can convert.

    Args:
        images: (N, H, W, C), (N, H, W) or (N, D), which are split here; or a mapping of such arrays by split:
            ``train``, ``test`` and optionally ``validation``. NaN and masked entries of a ``numpy.ma`` array are
            missing.
        labels: (N,) integers or strings, or one-hot (N, K); by split if the images are.
        mask: of the images' shape, True where an entry is missing; by split if the images are.
        lengths: (N,), the lengths of sequences (N, T, C), beyond which entries are missing; by split if the images are.
        reading: options for what is ambiguous.
        name: the name of the dataset.

    Raises:
        ValueError: as ``load_arrays``.

    >>> data = from_arrays(np.arange(640, dtype=np.uint8).reshape(10, 8, 8), labels=list("aabbaabbab"))
    >>> data.train.images.shape, data.class_names
    ((8, 8, 8, 1), ('a', 'b'))
    """
    given = {"images": images, "labels": labels, "mask": mask, "lengths": lengths}
    fields: dict[str, np.ndarray] = {}
    for kind, x in given.items():
        for split, part in x.items() if isinstance(x, Mapping) else [("", x)]:
            require(split == "" or split in SPLIT_NAMES, kind, split, f"by split: {', '.join(SPLITS)}")
            if part is not None:
                fields[f"{SPLIT_NAMES[split]}_{kind}" if split else kind] = unmasked(part)
    _require_complete(fields, name)
    return _dataset(name, _with_masks(fields, name), reading, [])


def _dataset(name: str, fields: dict[str, np.ndarray], reading: Reading, notes: list[str]) -> Dataset:
    if "train_images" in fields:
        roles, more = settled({split: split for split in SPLITS if f"{split}_images" in fields})
        role_of = {f"{given}_": f"{role}_" if role else "" for role, given in roles.items()}
        fields = {role_of[field[: field.index("_") + 1]] + field.partition("_")[2]: x for field, x in fields.items()}
        notes += more
    if lengths := {field.removesuffix("lengths"): x for field, x in fields.items() if field.endswith("lengths")}:
        fits = reading.layout in ("auto", SEQUENCES)
        require(fits, f"{name}: layout", reading.layout, f"{SEQUENCES} for what has lengths")
        reading = dataclasses.replace(reading, layout=SEQUENCES)
        masks = {f"{p}mask": ended(fields[f"{p}images"], x, f"{name}: {p}lengths") for p, x in lengths.items()}
        fields = _with_masks(fields | masks, name)
    images = {
        field.removesuffix("images"): arranged(x, reading, f"{name}: {field}")
        for field, x in fields.items()
        if field.endswith("images")
    }
    numbers = interpreted(images, name, reading)
    marks = {prefix: fields[f"{prefix}labels"] for prefix in images if f"{prefix}labels" in fields}
    counts = {prefix: len(x) for prefix, x in images.items()}
    labels, class_names = as_labels(marks, counts, name)
    if "" in images:
        return apportion(
            name,
            numbers.images[""],
            labels.get(""),
            numbers.levels,
            split_rows(counts[""], name),
            class_names=class_names,
            reading=numbers.reading,
            notes=tuple(notes),
        )
    return assemble(
        name,
        {prefix.removesuffix("_"): x for prefix, x in numbers.images.items()},
        {prefix.removesuffix("_"): y for prefix, y in labels.items()},
        numbers.levels,
        class_names=class_names,
        reading=numbers.reading,
        notes=tuple(notes),
    )


def read_fields(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads arrays by field name, either images or those of splits with a train split; and notes on them.

    Masked entries of images become NaN.

    Raises:
        ValueError: for names that aren't understood, or files that can't be read.
        FileNotFoundError: if there is no such file.
    """
    if path.suffix == ".npy":
        return {"images": _read(path)}, []
    given = {file.stem: _read(file) for file in sorted(path.glob("*.npy"))} if path.is_dir() else _read_all(path)
    known = {name: field for name in given if (field := _field(name))}
    notes, unknown = [], [name for name in given if name not in known]
    if "images" not in known.values() and not any(field.endswith("_images") for field in known.values()):
        rest = [name for name in unknown if name.isidentifier() and given[name].ndim >= 2]
        if len(rest) == 1 or "arr_0" in rest:
            chosen = "arr_0" if "arr_0" in rest else rest[0]
            unknown.remove(chosen)
            known[chosen] = "images"
            if chosen != "arr_0":
                notes.append(f"The array {chosen!r} is taken for the images.")
    require(not unknown, f"{path}: fields", sorted(given), _WANTED)
    twice = [field for field in known.values() if list(known.values()).count(field) > 1]
    require(not twice, f"{path}: fields", sorted(given), f"given once each, not {' and '.join(sorted(set(twice)))}")
    fields = {field: given[name] for name, field in known.items()}
    _require_complete(fields, str(path))
    return _with_masks(fields, str(path)), notes


def _with_masks(fields: Mapping[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    """Returns the fields without masks, and with NaN for masked entries of images."""
    masks = {field.removesuffix("mask"): x for field, x in fields.items() if field.endswith("mask")}
    found = {field: x for field, x in fields.items() if not field.endswith("mask")}
    for prefix, mask in masks.items():
        found[f"{prefix}images"] = with_missing(found[f"{prefix}images"], mask, f"{path}: {prefix}mask")
    if masks:  # one dtype in all splits, even if some have no missing entries
        exact = np.result_type(*(found[field] for field in found if field.endswith("images")))
        found |= {field: x.astype(exact, copy=False) for field, x in found.items() if field.endswith("images")}
    return found


def _field(name: str) -> str | None:
    """Returns the field that an array's name means, such as ``images`` or ``train_labels``, or None."""
    words = name.lower().replace("-", "_").split("_")
    if len(words) == 1:
        return f"{SPLIT_NAMES[words[0]]}_images" if words[0] in SPLIT_NAMES else _KINDS.get(words[0])
    if len(words) != 2:
        return None
    for split, kind in (words, words[::-1]):
        if split in SPLIT_NAMES and kind in _KINDS:
            return f"{SPLIT_NAMES[split]}_{_KINDS[kind]}"
    return None


def _labels(names: Sequence[str]) -> list[str]:
    return [name for name in names if (_field(name) or "").endswith("labels")]


def _require_complete(fields: Mapping[str, np.ndarray], path: str) -> None:
    unsplit = any("_" not in name for name in fields)
    mixed = unsplit and any("_" in name for name in fields)
    require(not mixed, f"{path}: fields", sorted(fields), "either of images in one, or of splits")
    needed = {"images"} if unsplit or not fields else {"train_images"}
    missing = sorted(needed.union(f"{''.join(name.rpartition('_')[:2])}images" for name in fields).difference(fields))
    require(not missing, f"{path}: fields", sorted(fields), f"{_WANTED}; there is no {' and no '.join(missing)}")


def _read(path: Path) -> np.ndarray:
    with _reading(path, ".npy"):
        return np.lib.format.open_memmap(path, mode="r")  # np.load would also accept an archive


def _read_all(path: Path) -> dict[str, np.ndarray]:
    with _reading(path, ".npz"):
        with zipfile.ZipFile(path):  # otherwise np.load might return a single array
            arrays = np.load(path, allow_pickle=False)
        with arrays:
            require(len(set(arrays.files)) == len(arrays.files), "members", arrays.files, "there once each")
            unknown = [name for name in arrays.files if _field(name) is None]
            fits = not unknown or (len(unknown) == 1 and len(arrays.files) - 1 <= len(_labels(arrays.files)))
            require(fits, f"{path}: fields", sorted(arrays.files), _WANTED)  # before unpacking any
            fields = {name: arrays[name] for name in arrays.files}
        for name, x in fields.items():
            require(isinstance(x, np.ndarray), name, type(x).__name__, "an array")  # other members are bytes
    return fields


@contextlib.contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    require_file(path)
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except OSError:
        raise
    except Exception as error:  # zip, zlib and the header's parser raise different errors
        raise ValueError(f"{path} must be a {kind} file of numbers, got {_reason(error)}") from None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return "Python objects" if "bject" in text else f"what can't be read ({text})"


def arranged(x: np.ndarray, reading: Reading, field: str) -> np.ndarray:
    """Returns images as (N, H, W, C), without a copy, from any shape that is understood.

    Raises:
        ValueError: for another shape, or for an ambiguous one, unless ``reading`` resolves it.
    """
    require(2 <= x.ndim <= 4, f"{field}.shape", x.shape, "(N, H, W), (N, H, W, C) or (N, D)")
    require(x.size > 0, f"{field}.shape", x.shape, "not empty")
    layout = reading.layout
    needed = {"nhw": 3, "nhwc": 4, "nchw": 4, SEQUENCES: 3}.get(layout, x.ndim)
    require(x.ndim == needed, f"{field}.shape", x.shape, f"of {needed} axes for layout {layout}")
    if x.ndim == 2:
        return x[:, None, None, :] if reading.counts else x[:, None, :, None]
    if layout == SEQUENCES:
        return x[:, :, None, :]
    if x.ndim == 3:
        one = layout == "auto" and x.shape[-1] in (3, 4) and x.shape[1] > 4
        allowed = "(N, H, W); --layout nhw says that these are grey images of that width, --layout ntc sequences"
        require(not one, f"{field}.shape", x.shape, allowed)
        return x[..., None]
    if layout == "auto":
        layout = _layout(x.shape, field)
    return x if layout == "nhwc" else x.transpose(0, 2, 3, 1)


def _layout(shape: tuple[int, ...], field: str) -> str:
    """Returns the layout that fits a shape (N, ·, ·, ·): channels are few, and most images are square."""
    _, a, b, c = shape
    last, first = (c <= 4) + (a == b), (a <= 4) + (b == c)
    if c == 1 or last > first:
        return "nhwc"
    guess = "(N, C, H, W)" if first > last else "either (N, H, W, C) or (N, C, H, W)"
    raise ValueError(f"{field}.shape must be plain, got {shape}, which looks like {guess}: say --layout nchw or nhwc")


class Numbers(NamedTuple):
    """Images by split, uint8 or uint16 with the number of grey levels, or float32 without; and how they are read."""

    images: dict[str, np.ndarray]
    levels: int | None
    reading: Reading


def interpreted(images: Mapping[str, np.ndarray], path: str, reading: Reading) -> Numbers:
    """Interprets the numbers of images (N, H, W, C) by split, as grey levels or as plain floats.

    If grey levels are missing (NaN), all are floats, whose value range is from 0 to the lightest.

    Raises:
        ValueError: for infinite numbers, numbers that are all the same, numbers that ``reading`` contradicts, or whole
            numbers that may not be grey levels and that ``reading`` doesn't explain.
    """
    dtypes = {x.dtype for x in images.values()}
    require(len(dtypes) == 1, f"{path}: dtypes", sorted(map(str, dtypes)), "the same in all splits")
    (dtype,) = dtypes
    require(dtype.kind in "biuf", f"{path}: dtype", str(dtype), "boolean, integer or float")
    found = _range(images, path, dtype, reading)
    require(found.low < found.high, f"{path}: images", found.low, "not the same in all pixels")
    if reading.counts:
        fits = found.whole and found.low >= 0 and found.high <= MOST_COUNTED
        text = f"{found.low:g} to {found.high:g}" if found.whole else "numbers that aren't whole"
        require(fits, f"{path}: counts", text, f"whole numbers in 0..{MOST_COUNTED}")
        return _floats(images, reading)
    if reading.value_range:
        low, high = reading.value_range
        fits = low <= found.low and found.high <= high
        require(fits, f"{path}: images", f"{found.low:g} to {found.high:g}", f"within --value-range {low:g} {high:g}")
        return _floats(images, reading)
    scale, levels = 1, reading.levels
    if levels is not None:
        fits = found.whole and found.low >= 0 and found.high < levels
        text = f"{found.low:g} to {found.high:g}" if found.whole else "numbers that aren't whole"
        require(fits, f"{path}: images", text, f"whole numbers in 0..{levels - 1}, of --levels {levels}")
    elif found.whole and found.low >= 0:
        levels = 2 if found.high <= 1 else _grey_levels(found, dtype, next(iter(images.values())).shape, path)
    elif found.bytes:
        scale, levels = 255, 256
    elif dtype.kind != "f":
        raise ValueError(
            f"{path}: images must be 0 or more, got {found.low:g} to {found.high:g}; the numbers that stand for black "
            "and white are said by --value-range LOW HIGH"
        )
    if levels is None:
        return _floats(images, reading)
    if found.missing:  # integers have no NaN
        whites = () if scale > 1 else (0.0, levels - 1.0)
        return _floats(images, dataclasses.replace(reading, levels=None, value_range=whites))
    return Numbers({prefix: _to_levels(x, scale, dtype_of(levels)) for prefix, x in images.items()}, levels, reading)


def _floats(images: Mapping[str, np.ndarray], reading: Reading) -> Numbers:
    return Numbers({prefix: x.astype(np.float32, copy=False) for prefix, x in images.items()}, None, reading)


class _Range(NamedTuple):
    """A summary of all numbers: the lowest, the highest, whether all are whole or k/255, and how many are missing."""

    low: float
    high: float
    whole: bool
    bytes: bool
    missing: int


def _range(images: Mapping[str, np.ndarray], path: str, dtype: np.dtype, reading: Reading) -> _Range:
    found, whole, bytes_ = Summary(np.inf, -np.inf, 0), True, dtype.kind == "f"
    enough = dtype == np.uint8 and reading == PLAIN
    for prefix, x in ((prefix, part) for prefix, split in images.items() for part in chunks(split)):
        if dtype.kind == "f" and np.isinf(x).any():
            raise ValueError(f"{path}: {prefix}images must be finite, got {_infinite(images[prefix])}")
        found = joined((found, summary(x)))
        if dtype.kind == "f":
            known = x[~np.isnan(x)] if found.missing else x
            whole = whole and bool(np.all(known == np.rint(known)))
            bytes_ = bytes_ and found.low >= 0 and found.high <= 1 and _are_bytes(known)
        if enough and found.low < found.high == 255:
            break  # the rest can't change the result
    require(found.low <= found.high, f"{path}: images", "NaN alone", "numbers, of which NaN are missing ones")
    return _Range(found.low, found.high, whole, bytes_, found.missing)


def _grey_levels(found: _Range, dtype: np.dtype, shape: tuple[int, ...], path: str) -> int:
    """Returns 256 or 65536 if whole numbers in this range look like grey levels; raises ValueError if they don't."""
    picture = shape[1] > 1  # a row may hold anything
    for levels, kind in ((256, np.uint8), (65536, np.uint16)):
        darkest = _DARKEST * levels // 256
        if found.high == levels - 1 or (picture and dtype == kind and darkest <= found.high < levels):
            return levels
    count = f"{found.high + 1:.0f}"
    raise ValueError(
        f"{path}: images must be grey levels, got whole numbers in {found.low:.0f}..{found.high:.0f}; if they are grey "
        f"levels, say how many there are (--levels {count}, or what white is, plus 1); if counts, say so (--counts); "
        "if measurements, which numbers become 0 and 1 (--value-range LOW HIGH)"
    )


def _infinite(x: np.ndarray) -> str:
    """Says how many numbers are infinite, and where the first is."""
    count, start, first = 0, 0, None
    for chunk in chunks(x):
        found = np.argwhere(np.isinf(chunk))
        if first is None and len(found):
            first = (start + int(found[0, 0]), *found[0, 1:].tolist())
        count, start = count + len(found), start + len(chunk)
    return f"{count} inf, first at {first} of (N, H, W, C)"


def _are_bytes(x: np.ndarray) -> bool:
    """Returns whether all numbers are k/255, computed by this division or as k times the rounded 1/255."""
    k = np.rint(x * x.dtype.type(255))
    return bool(np.all((x == k / x.dtype.type(255)) | (x == k * x.dtype.type(1 / 255))))


def _to_levels(x: np.ndarray, scale: int, dtype: np.dtype) -> np.ndarray:
    if x.dtype == dtype:
        return x
    return (x if scale == 1 else np.rint(x * x.dtype.type(scale))).astype(dtype)


def as_labels(
    marks: Mapping[str, np.ndarray], counts: Mapping[str, int], path: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns labels (N,) int32 by split, and the names of the classes if labels are strings.

    Args:
        marks: labels by split: (N,) or (N, 1) of integers, booleans, whole floats or strings; or one-hot (N, K).
        counts: the number of images, by split.
        path: the name of the data in messages.

    Raises:
        ValueError: for anything else.
    """
    found = {}
    for prefix, y in marks.items():
        field, count = f"{path}: {prefix}labels", counts[prefix]
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim == 2 and len(y) == count and y.dtype.kind in "biuf":
            hot = np.all((y == 0) | (y == 1)) and np.all(y.sum(axis=1) == 1)
            require(bool(hot), f"{field}", "rows that aren't one-hot", "one class for each image")
            y = y.argmax(axis=1)
        require(y.shape == (count,), f"{field}.shape", y.shape, f"({count},), one for each image")
        if y.dtype.kind == "f" and np.all(y == np.rint(y)):
            y = y.astype(np.int64)
        require(y.dtype.kind in "biuSU", f"{field}.dtype", str(y.dtype), "an integer type, strings, or one-hot")
        found[prefix] = y.astype(np.int64) if y.dtype.kind == "b" else y
    kinds = {y.dtype.kind in "SU" for y in found.values()}
    require(len(kinds) < 2, f"{path}: labels", "strings and integers", "of one kind in all splits")
    names: tuple[str, ...] = ()
    if kinds == {True}:
        texts = {prefix: _decoded(y, f"{path}: {prefix}labels") for prefix, y in found.items()}
        known = np.unique(np.concatenate(list(texts.values())))
        names = tuple(known.tolist())
        found = {prefix: np.searchsorted(known, y) for prefix, y in texts.items()}
    for prefix, y in found.items():
        field = f"{path}: {prefix}labels"
        require(int(y.min()) >= 0, field, int(y.min()), "at least 0")
        require(int(y.max()) < _MOST_CLASSES, field, int(y.max()), "below 2**31")
    return {prefix: y.astype(np.int32) for prefix, y in found.items()}, names


def _decoded(y: np.ndarray, field: str) -> np.ndarray:
    try:
        return np.array([x.decode() for x in y.tolist()]) if y.dtype.kind == "S" else y
    except UnicodeDecodeError as error:
        raise ValueError(f"{field} must be text in UTF-8, got {error.object!r}") from None


def settled(given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Returns which split is used as which, and notes on this.

    If there is no test split, the validation split is used as test split; a single train split is to be split here.

    Args:
        given: the names of the existing splits, by the member of ``SPLITS`` that each is; train is among them.

    Returns:
        The names by the member of ``SPLITS`` that each is used as, with "" for images that are to be split; and notes.

    >>> settled({"train": "train", "validation": "val"})
    ({'train': 'train', 'test': 'val'}, ['There is no test split: the validation split is taken for it.'])
    """
    if "test" in given:
        return {split: given[split] for split in SPLITS if split in given}, []
    if "validation" in given:
        note = "There is no test split: the validation split is taken for it."
        return {"train": given["train"], "test": given["validation"]}, [note]
    return {"": given["train"]}, [f"There is only a {given['train']} split: it is split here."]


def split_by_digest(names: Sequence[str]) -> dict[str, list[int]]:
    """Splits the indices of a list of names, test first, by a digest of each name only.

    Adding names doesn't move the others. The expected sizes are 80, 10 and 10 %. A split that would be empty gets the
    nearest name. All splits, one after the other, are in the order of the digests.

    Args:
        names: three or more names.
    """
    digests = (hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest() for name in names)
    place = np.array([int.from_bytes(digest) for digest in digests]) / 2**64
    order = np.argsort(place, kind="stable").tolist()
    test = min(max(1, int(np.sum(place < 0.1))), len(names) - 2)
    validation = min(max(1, int(np.sum(place < 0.2)) - test), len(names) - test - 1)
    parts = order[:test], order[test : test + validation], order[test + validation :]
    return dict(zip(SPLITS[::-1], parts, strict=True))


def split_rows(count: int, path: str) -> dict[str, np.ndarray]:
    """Splits rows into 80 % train, 10 % validation and 10 % test, by one permutation for each number of images.

    It uses NumPy's raw random words, which, unlike its shuffles, never change.
    """
    allowed = "at least 10, to be split; fewer can be given as splits, train and test"
    require(count >= 10, f"{path}: number of images", count, allowed)
    order = np.argsort(np.random.Philox(key=0).random_raw(count), kind="stable")
    return dict(zip(SPLITS, np.split(order, (count - 2 * (count // 10), count - count // 10)), strict=True))


def apportion(
    path: str,
    images: np.ndarray,
    labels: np.ndarray | None,
    levels: int | None,
    rows: Mapping[str, np.ndarray],
    class_names: tuple[str, ...] = (),
    reading: Reading = PLAIN,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Makes the dataset of images that came unsplit, from the rows of each split, which become their names."""
    return assemble(
        path,
        {name: images[some] for name, some in rows.items()},
        {name: None if labels is None else labels[some] for name, some in rows.items()},
        levels,
        rows,
        class_names,
        apportioned=len(images),
        reading=reading,
        notes=notes,
    )
