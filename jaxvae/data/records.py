"""The records of a folder that tensorflow-datasets has prepared, read into arrays without TensorFlow."""

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.arrays import SPLIT_NAMES, SPLITS, settled
from jaxvae.data.images import greyed, sized
from jaxvae.data.options import PLAIN, Reading

INFO = "dataset_info.json"
"""The file that marks a prepared folder."""

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's, by the number of channels


class Contents(NamedTuple):
    """The content of records.

    Attributes:
        fields: ``images`` (N, H, W, C) and optionally ``labels`` (N,), if they are to be split here; otherwise the same
            for each split, with its name and an underscore as prefix.
        class_names: the names of the classes, if they have names.
        notes: sentences on how they were converted.
    """

    fields: dict[str, np.ndarray]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


class _Found(NamedTuple):
    """A feature: its path, joined by /, and its declaration in tensorflow-datasets."""

    path: str
    feature: Any


def read_records(directory: Path, reading: Reading = PLAIN) -> Contents:
    """Reads the images and labels of a prepared folder in order; ``reading`` may resize them or make them grey.

    Raises:
        ValueError: if these aren't images of one size in uint8 or uint16, or a record is damaged.
    """
    import tensorflow_datasets as tfds  # type: ignore[import-untyped]

    info = tfds.builder_from_directory(directory).info
    form = info.file_format.value
    require(form in _READERS, f"{directory}: file format", form, " or ".join(_READERS))
    image, notes = image_of(info.features, str(directory))
    label = _label_of(info.features)
    read = _reader(image, label, str(directory), reading)
    counts = {name: split.num_examples for name, split in info.splits.items() if split.num_examples}
    splits, more = _taken(list(counts), str(directory))
    fields: dict[str, np.ndarray] = {}
    for prefix, split in splits.items():
        images, labels = read(_READERS[form](info, split), counts[split], split)
        shape = next(iter(fields.values()), images).shape[1:]
        require(images.shape[1:] == shape, f"{directory}: image shape of {split}", images.shape[1:], _fits(shape))
        fields[f"{prefix}images"] = images
        if label is not None:
            fields[f"{prefix}labels"] = labels
    unknown = any(x.min() < 0 for key, x in fields.items() if key.endswith("labels"))
    if unknown:  # such as unpublished ones, which are -1
        fields = {key: x for key, x in fields.items() if key.endswith("images")}
        notes, label = (*notes, "Some labels are unknown, and so all are left out."), None
    names = () if label is None else tuple(label.feature.names or ())
    names = () if names == tuple(map(str, range(len(names)))) else names
    fields, compacted = _compact(fields)
    return Contents(fields, names, (*notes, *more, *compacted))


def _fits(shape: tuple[int, ...]) -> str:
    return f"of one size, or brought to one by --size H W; the first is {shape}"


def _reader(
    image: _Found, label: _Found | None, field: str, reading: Reading
) -> Callable[[Iterator[bytes], int, str], tuple[np.ndarray, np.ndarray]]:
    """Makes a function from a split's records and their number to images (N, H, W, C) and labels (N,), 0 for none."""
    decode = _decoder(image.feature, field)

    def read(records: Iterator[bytes], count: int, split: str) -> tuple[np.ndarray, np.ndarray]:
        images, labels, done = np.empty(0), np.zeros(count, np.int32), 0
        for done, record in enumerate(itertools.islice(records, count + 1), start=1):
            where = f"{field}: image {done - 1} of {split}"
            values = _values(record, where)
            x = decode(_only(values, image.path, "bytes_list", where), where)
            x = sized(x, reading) if reading.size and x.shape[:2] != reading.size else x
            x = greyed(x) if reading.grey and x.shape[-1] == 3 else x
            if done == 1:
                images = np.empty((count, *x.shape), x.dtype)
            require(x.shape == images.shape[1:], f"{where}: shape", x.shape, _fits(images.shape[1:]))
            if done <= count:
                images[done - 1] = x
                labels[done - 1] = _only(values, label.path, "int64_list", where) if label is not None else 0
        require(done == count, f"{field}: number of images of {split}", done, f"{count}, as {INFO} says")
        return images, labels

    return read


def image_of(features: Any, field: str) -> tuple[_Found, tuple[str, ...]]:
    """Returns the feature of the images, which is the only one or ``image``, and a note if there are others.

    Raises:
        ValueError: if there are no images, or several candidates.
    """
    import tensorflow_datasets as tfds

    kind, other = tfds.features.Image, tfds.features.LabeledImage
    found = [f for f in _flat(features) if isinstance(f.feature, kind) and not isinstance(f.feature, other)]
    named = [f for f in found if f.path == "image"] if len(found) > 1 else found
    paths = sorted(f.path for f in found)
    require(len(named) == 1, f"{field}: image features", paths, "one, or one of them called image")
    left = ", ".join(path for path in paths if path != "image")
    return named[0], (f"Of several images to an example, image is taken, not {left}.",) if len(found) > 1 else ()


def _label_of(features: Any) -> _Found | None:
    """Returns the feature of the classes: the one called ``label``, or the only one."""
    import tensorflow_datasets as tfds

    found = [f for f in _flat(features) if isinstance(f.feature, tfds.features.ClassLabel)]
    named = [f for f in found if f.path == "label"] or found
    return named[0] if len(named) == 1 else None


def _flat(features: Any, prefix: str = "") -> Iterator[_Found]:
    """Yields the features of an example, except those of variable number."""
    import tensorflow_datasets as tfds

    if isinstance(features, tfds.features.FeaturesDict):
        for name, feature in features.items():
            yield from _flat(feature, f"{prefix}/{name}" if prefix else name)
    else:
        yield _Found(prefix, features)


def _taken(names: Sequence[str], field: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Returns the splits to read, by the prefix of their fields, and notes."""
    known: dict[str, str] = {}
    for name in sorted(names, key=lambda name: name not in SPLITS):  # the plain one of two with the same meaning
        known.setdefault(SPLIT_NAMES.get(name.lower(), name), name)
    alone = len(names) == 1
    require(alone or "train" in known, f"{field}: splits", sorted(names), "only one, or train among them")
    roles, notes = settled({"train": names[0]} if alone else known)
    taken = {f"{role}_" if role else "": name for role, name in roles.items()}
    left = [name for name in names if name not in taken.values()]
    return taken, (*notes, *([f"Left out: the split{'s' * (len(left) > 1)} {', '.join(left)}."] if left else []))


def _decoder(feature: Any, field: str) -> Callable[[bytes, str], np.ndarray]:
    """Makes a function that decodes an image's file to (H, W, C), or raises an error with its place."""
    from PIL import Image

    channels, dtype = feature.shape[-1], np.dtype(feature.np_dtype)
    known = (dtype == np.uint8 and channels in _MODES) or (dtype == np.uint16 and channels == 1)
    require(known, f"{field}: images", f"{dtype} of {channels}", "uint8 of 1 to 4 channels, or uint16 of 1")
    wide = dtype == np.uint16

    def decode(content: bytes, where: str) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(content)) as image:
                require((image.mode[0] in "IF") == wide, f"{where}: Pillow's mode", image.mode, f"one for {dtype}")
                pixels: np.ndarray = np.asarray(image if wide else image.convert(_MODES[channels]), dtype)
        except (OSError, SyntaxError) as error:  # Pillow's errors for a broken file
            raise ValueError(f"{where} can't be read ({error})") from None
        return pixels.reshape(*pixels.shape[:2], channels)

    return decode


def _values(record: bytes, where: str) -> Any:
    """Returns the features of a record, by their paths."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow_datasets.proto import tf_example_pb2  # type: ignore[import-untyped]

    try:
        return tf_example_pb2.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ValueError(f"{where} can't be read ({error})") from None


def _only(values: Any, path: str, kind: str, where: str) -> Any:
    """Returns the single value of a feature."""
    found: Sequence[Any] = getattr(values[path], kind).value if path in values else ()
    require(len(found) == 1, f"{where}: number of values of {path}", len(found), "1")
    return found[0]


def _compact(fields: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Makes one channel of three equal ones, and makes 0 and 1 of 0 and 255 if there are no other numbers."""
    images = {key: x for key, x in fields.items() if key.endswith("images")}
    notes = []
    if all(x.shape[-1] == 3 and _everywhere(x, lambda part: part == part[..., :1]) for x in images.values()):
        images = {key: np.ascontiguousarray(x[..., :1]) for key, x in images.items()}
        notes.append("The three channels are equal, and become one.")
    if all(x.dtype == np.uint8 and _everywhere(x, lambda part: (part == 0) | (part == 255)) for x in images.values()):
        images = {key: (x > 0).astype(np.uint8) for key, x in images.items()}
        notes.append("All pixels are 0 or 255, and become 0 and 1.")
    return {**fields, **images}, tuple(notes)


def _everywhere(x: np.ndarray, holds: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Returns whether a condition is true for all numbers; it stops at the first part of images where it isn't."""
    rows = max(1, 2**22 // x[0].size)
    return all(bool(np.all(holds(x[start : start + rows]))) for start in range(0, len(x), rows))


def levels_of(images: Sequence[np.ndarray]) -> int:
    """Returns the number of grey levels of whole numbers: 2 if all are 0 or 1, else as many as their dtype has.

    >>> levels_of([np.array([[0, 1]], np.uint8)]), levels_of([np.array([[0, 2]], np.uint8)])
    (2, 256)
    """
    binary = all(_everywhere(x, lambda part: part <= 1) for x in images)
    return 2 if binary else int(np.iinfo(images[0].dtype).max) + 1


def _array_records(info: Any, split: str) -> Iterator[bytes]:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(info.data_dir)
    yield from builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)


def _tfrecords(info: Any, split: str) -> Iterator[bytes]:
    for path in info.splits[split].filepaths:
        yield from _tfrecord(Path(path))


_READERS = {"array_record": _array_records, "tfrecord": _tfrecords}
"""Readers of a split's records in order, undecoded, by the format of the files."""


def _tfrecord(path: Path) -> Iterator[bytes]:
    """Yields records of a .tfrecord file: little-endian uint64 length, its masked CRC-32C, data, their masked CRC-32C.

    It checks the CRC of the length, which shows whether the file has this format; images have their own checks.
    """
    with path.open("rb") as file:
        while head := file.read(12):
            intact = len(head) == 12 and int.from_bytes(head[8:], "little") == _masked_crc(head[:8])
            require(intact, str(path), head, "a .tfrecord file that isn't damaged")
            length = int.from_bytes(head[:8], "little")
            record = file.read(length + 4)[:length]
            require(len(record) == length, str(path), f"{len(record)} bytes of a record", f"whole; it has {length}")
            yield record


def _masked_crc(data: bytes) -> int:
    """Returns the CRC-32C (Castagnoli) of a few bytes, rotated and shifted as in .tfrecord files.

    >>> hex(_masked_crc(b"123456789"))  # 0xe3069283 before it is masked
    '0xc78ab0e5'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
