"""The datasets known by name: what they are, and the files to put where there is no network."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from jaxvae.data import raw


@dataclasses.dataclass(frozen=True)
class Source:
    """A dataset of tensorflow-datasets.

    Attributes:
        note: what it is, in a few words.
        files: the files it is published as, by the names that tensorflow-datasets has registered.
        read: reads them.
        levels: grey levels of its pixels.
        config: the configuration of tensorflow-datasets, where there are several.
    """

    note: str
    files: tuple[str, ...]
    read: raw.Reader
    levels: int = 256
    config: str = ""


_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "mnist": Source("70,000 handwritten digits, 28x28x1", _IDX_FILES, raw.read_mnist),
        "binarized_mnist": Source(
            "MNIST binarized once and for all (Larochelle), 28x28x1, unlabelled",
            tuple(f"binarized_mnist_{split}.amat" for split in ("train", "valid", "test")),
            raw.read_binarized_mnist,
            levels=2,
        ),
        "fashion_mnist": Source("70,000 pieces of clothing, 28x28x1", _IDX_FILES, raw.read_mnist),
        "kmnist": Source("70,000 cursive Japanese characters, 28x28x1", _IDX_FILES, raw.read_mnist),
        "emnist": Source(
            "814,255 handwritten digits and letters, 28x28x1, transposed as published",
            ("gzip.zip",),
            raw.read_emnist,
            config="byclass",
        ),
        "omniglot": Source(
            "32,460 drawings of 1,623 characters, 105x105x1, other alphabets in test than in train",
            (
                "images_background.zip",
                "images_evaluation.zip",
                "images_background_small1.zip",
                "images_background_small2.zip",
            ),
            raw.read_omniglot,
            levels=2,
        ),
        "cifar10": Source("60,000 photographs, 32x32x3", ("cifar-10-binary.tar.gz",), raw.read_cifar10),
        "cifar100": Source("60,000 photographs, 32x32x3", ("cifar-100-binary.tar.gz",), raw.read_cifar100),
    }
)
"""By name; to add one, write its line and, for a new format, a reader."""
