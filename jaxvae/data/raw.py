"""Readers of the published files of the classic image datasets; none of the formats needs unpickling.

Each reader takes the paths of a dataset's files by their published names. It returns the examples of each split, with
the features that tensorflow-datasets declares, and the names of the classes if the files have them.
"""

import gzip
import io
import itertools
import math
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxvae.arguments import require

Example = tuple[int | str, dict[str, Any]]
"""A key, which determines the order in a prepared dataset, and the features by name."""


class Raw(NamedTuple):
    """The content of files: examples by split, and class names by feature."""

    splits: dict[str, Iterator[Example]]
    names: dict[str, list[str]]


Reader = Callable[[Mapping[str, Path]], Raw]


def idx(file: BinaryIO, name: str) -> np.ndarray:
    """Reads an array of bytes in the idx format: 0, 0, 8, rank, big-endian uint32 sizes, values.

    Raises:
        ValueError: if the file has another format, or is incomplete.
    """
    head = file.read(4)
    require(len(head) == 4 and head[:3] == b"\0\0\x08", name, head, "an idx file of bytes")
    sizes = file.read(4 * head[3])
    require(len(sizes) == 4 * head[3], f"{name}: number of axes", head[3], "as many as there are sizes")
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    values = np.frombuffer(file.read(), np.uint8)
    require(values.size == math.prod(shape), f"{name}: number of values", values.size, f"that of shape {shape}")
    return values.reshape(shape)


def _labelled(images: np.ndarray, labels: np.ndarray) -> Iterator[Example]:
    for key, (image, label) in enumerate(zip(images[..., None], labels, strict=True)):
        yield key, {"image": image, "label": int(label)}


_IDX = {"train": "train", "test": "t10k"}


def read_mnist(files: Mapping[str, Path]) -> Raw:
    """Reads MNIST and datasets of the same form: gzipped idx files."""

    def read(name: str) -> np.ndarray:
        with gzip.open(files[name], "rb") as file:
            return idx(file, name)  # type: ignore[arg-type]

    return Raw(
        {
            split: _labelled(read(f"{stem}-images-idx3-ubyte.gz"), read(f"{stem}-labels-idx1-ubyte.gz"))
            for split, stem in _IDX.items()
        },
        {},
    )


def read_emnist(files: Mapping[str, Path]) -> Raw:
    """Reads EMNIST by class, gzipped idx files in a zip; its images are transposed, as published."""

    def read(name: str) -> np.ndarray:
        name = f"gzip/emnist-byclass-{name}-ubyte.gz"
        with zipfile.ZipFile(files["gzip.zip"]) as archive, gzip.open(archive.open(name)) as file:
            return idx(file, name)  # type: ignore[arg-type]

    return Raw({s: _labelled(read(f"{s}-images-idx3"), read(f"{s}-labels-idx1")) for s in ("train", "test")}, {})


def _cifar(archive: Path, splits: Mapping[str, Iterable[str]], labels: Mapping[str, str]) -> Raw:
    """Reads records of one byte per label and 3 * 32 * 32 bytes of channel planes, in a .tar.gz.

    Args:
        archive: the path of the archive.
        splits: the names of record files, by split.
        labels: the names of the files with the class names, by feature, in the order of the label bytes.
    """
    with tarfile.open(archive) as tar:
        members = {Path(m.name).name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]

    def examples(split: str, names: Iterable[str]) -> Iterator[Example]:
        count = itertools.count()
        for name in names:
            records = np.frombuffer(members[name], np.uint8).reshape(-1, len(labels) + 3072)
            for record in records:
                key, marks, pixels = next(count), record[: len(labels)], record[len(labels) :]
                yield (
                    key,
                    {
                        "id": f"{split}_{key:05d}",
                        "image": pixels.reshape(3, 32, 32).transpose(1, 2, 0),
                        **dict(zip(labels, map(int, marks), strict=True)),
                    },
                )

    return Raw(
        {split: examples(split, names) for split, names in splits.items()},
        {feature: members[name].decode().split() for feature, name in labels.items()},
    )


def read_cifar10(files: Mapping[str, Path]) -> Raw:
    """Reads CIFAR-10 in its binary version."""
    return _cifar(
        files["cifar-10-binary.tar.gz"],
        {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
        {"label": "batches.meta.txt"},
    )


def read_cifar100(files: Mapping[str, Path]) -> Raw:
    """Reads CIFAR-100 in its binary version; ``label`` is the fine label."""
    return _cifar(
        files["cifar-100-binary.tar.gz"],
        {"train": ["train.bin"], "test": ["test.bin"]},
        {"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"},
    )


_OMNIGLOT = {
    "train": "images_background.zip",
    "test": "images_evaluation.zip",
    "small1": "images_background_small1.zip",
    "small2": "images_background_small2.zip",
}


def read_omniglot(files: Mapping[str, Path]) -> Raw:
    """Reads Omniglot, zips of folder/alphabet/characterNN/LLLL_II.png, where LLLL counts characters from 1."""
    drawings = {split: list(_drawings(files[name])) for split, name in _OMNIGLOT.items()}
    everything = [drawing for split in drawings.values() for drawing in split]
    labels = {label: f"{alphabet}_{character}" for _, alphabet, character, label in everything}

    def examples(split: str) -> Iterator[Example]:
        from PIL import Image

        with zipfile.ZipFile(files[_OMNIGLOT[split]]) as archive:
            for name, alphabet, character, label in drawings[split]:
                image = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))
                features = {"image": image, "alphabet": alphabet, "alphabet_char_id": character, "label": label}
                yield f"{alphabet}_{character}_{Path(name).name}", features

    return Raw(
        {split: examples(split) for split in drawings},
        {"alphabet": sorted({a for _, a, _, _ in everything}), "label": [labels[k] for k in sorted(labels)]},
    )


def _drawings(archive: Path) -> Iterator[tuple[str, str, int, int]]:
    """Yields the name, alphabet, character and label of each drawing in a zip; the two numbers count from 0."""
    with zipfile.ZipFile(archive) as file:
        for name in sorted(n for n in file.namelist() if n.endswith(".png")):
            _, alphabet, character, drawing = name.split("/")
            yield name, alphabet, int(character.removeprefix("character")) - 1, int(drawing.split("_")[0]) - 1


_AMAT = {"train": "train", "validation": "valid", "test": "test"}


def read_binarized_mnist(files: Mapping[str, Path]) -> Raw:
    """Reads Larochelle's binarized MNIST, text with 784 digits 0 or 1 per line, each before a space or line end."""

    def images(name: str) -> Iterator[Example]:
        text = np.frombuffer(files[name].read_bytes(), np.uint8)
        require(text.size % (2 * 784) == 0, f"{name}: bytes", text.size, "a multiple of 2 * 784")
        digits = text[::2] - ord("0")
        require(bool(np.all(digits <= 1)), name, "other values", "0 or 1 in every other byte")
        for key, image in enumerate(digits.reshape(-1, 28, 28, 1)):
            yield key, {"image": image}

    return Raw({split: images(f"binarized_mnist_{stem}.amat") for split, stem in _AMAT.items()}, {})
