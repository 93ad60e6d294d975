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
"""The file by which a prepared folder is known."""

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's, by the number of channels


class Contents(NamedTuple):
    """What records hold.

    Attributes:
        fields: ``images`` (N, H, W, C) and perhaps ``labels`` (N,), where all splits are to come of one; else the same
            of each split, after its name and an underscore.
        class_names: of each class, where they have names.
        notes: what was made of them, a sentence each.
    """

    fields: dict[str, np.ndarray]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


class _Found(NamedTuple):
    """A feature: where it is, its parts joined by /, and what tensorflow-datasets says of it."""

    path: str
    feature: Any


def read_records(directory: Path, reading: Reading = PLAIN) -> Contents:
    """The images of a prepared folder in their order, with their labels; of the size that ``reading`` says, and grey.

    Raises:
        ValueError: where these aren't images of one size, of uint8 or uint16, or a record is damaged.
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
    if unknown:  # as unpublished ones, which are -1
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
    """What makes images (N, H, W, C) and labels (N,), zeros where there are none, of so many records of a split."""
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
    """The feature that images are in, and a note where there are others: the only one, or that called ``image``.

    Raises:
        ValueError: where none is, or several are.
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
    """The feature that classes are in: the one called ``label``, or the only one."""
    import tensorflow_datasets as tfds

    found = [f for f in _flat(features) if isinstance(f.feature, tfds.features.ClassLabel)]
    named = [f for f in found if f.path == "label"] or found
    return named[0] if len(named) == 1 else None


def _flat(features: Any, prefix: str = "") -> Iterator[_Found]:
    """The features of an example, but for those of which it has any number."""
    import tensorflow_datasets as tfds

    if isinstance(features, tfds.features.FeaturesDict):
        for name, feature in features.items():
            yield from _flat(feature, f"{prefix}/{name}" if prefix else name)
    else:
        yield _Found(prefix, features)


def _taken(names: Sequence[str], field: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The splits to read, by the prefix of their fields, and what is to be said of it."""
    known: dict[str, str] = {}
    for name in sorted(names, key=lambda name: name not in SPLITS):  # of two of one meaning, the plain one
        known.setdefault(SPLIT_NAMES.get(name.lower(), name), name)
    alone = len(names) == 1
    require(alone or "train" in known, f"{field}: splits", sorted(names), "only one, or train among them")
    roles, notes = settled({"train": names[0]} if alone else known)
    taken = {f"{role}_" if role else "": name for role, name in roles.items()}
    left = [name for name in names if name not in taken.values()]
    return taken, (*notes, *([f"Left out: the split{'s' * (len(left) > 1)} {', '.join(left)}."] if left else []))


def _decoder(feature: Any, field: str) -> Callable[[bytes, str], np.ndarray]:
    """What makes an array (H, W, C) of an image's file, and complains of the place where it can't."""
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
        except (OSError, SyntaxError) as error:  # Pillow's for a file that is broken
            raise ValueError(f"{where} can't be read ({error})") from None
        return pixels.reshape(*pixels.shape[:2], channels)

    return decode


def _values(record: bytes, where: str) -> Any:
    """The features of a record, by their paths."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow_datasets.proto import tf_example_pb2  # type: ignore[import-untyped]

    try:
        return tf_example_pb2.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ValueError(f"{where} can't be read ({error})") from None


def _only(values: Any, path: str, kind: str, where: str) -> Any:
    """The one value of a feature."""
    found: Sequence[Any] = getattr(values[path], kind).value if path in values else ()
    require(len(found) == 1, f"{where}: number of values of {path}", len(found), "1")
    return found[0]


def _compact(fields: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Three equal channels become one, and 0 and 255, where there is nothing else, become 0 and 1."""
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
    """Whether something holds of all numbers; looks at a few images at a time, and stops where it doesn't."""
    rows = max(1, 2**22 // x[0].size)
    return all(bool(np.all(holds(x[start : start + rows]))) for start in range(0, len(x), rows))


def levels_of(images: Sequence[np.ndarray]) -> int:
    """The grey levels of whole numbers: 2 where all are 0 or 1, else as many as their type has.

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
"""The records of a split in order, undecoded, by the format of their files."""


def _tfrecord(path: Path) -> Iterator[bytes]:
    """The records of a .tfrecord file: little-endian uint64 length, its masked CRC-32C, data, their masked CRC-32C.

    The CRC of the length is checked, which tells whether this is such a file at all; images have checks of their own.
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
    """CRC-32C (Castagnoli) of a few bytes, rotated and shifted as in .tfrecord files.

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
