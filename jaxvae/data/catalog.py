"""The datasets known by name, and the files in which they are published."""

import dataclasses
import functools
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jaxvae.data import raw


@dataclasses.dataclass(frozen=True)
class Source:
    """A dataset of tensorflow-datasets whose files are read here.

    Attributes:
        note: a description in a few words.
        files: the published files, with the names that tensorflow-datasets has registered.
        read: a function that reads the files.
    """

    note: str
    files: tuple[str, ...]
    read: raw.Reader


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
        ),
        "fashion_mnist": Source("70,000 pieces of clothing, 28x28x1", _IDX_FILES, raw.read_mnist),
        "kmnist": Source("70,000 cursive Japanese characters, 28x28x1", _IDX_FILES, raw.read_mnist),
        "emnist": Source(
            "814,255 handwritten digits and letters, 28x28x1, transposed as published",
            ("gzip.zip",),
            raw.read_emnist,
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
        ),
        "cifar10": Source("60,000 photographs, 32x32x3", ("cifar-10-binary.tar.gz",), raw.read_cifar10),
        "cifar100": Source("60,000 photographs, 32x32x3", ("cifar-100-binary.tar.gz",), raw.read_cifar100),
    }
)
"""The sources by name; a new one needs a line here and, for a new format, a reader."""


@dataclasses.dataclass(frozen=True)
class Surveyed:
    """The information that the code of a dataset's builder in tensorflow-datasets gives.

    Attributes:
        shape: the shape of its images, as HxWxC, with ? for sizes that differ; "" if an example isn't one image, or if
            its builder doesn't say.
        config: the default configuration; "" if there is only one.
        needs: the packages that it imports besides the standard library, NumPy and Pillow; this includes ``tensorflow``
            if it uses more than its functions on files.
        by_hand: whether files must be downloaded by hand.
    """

    shape: str
    config: str
    needs: tuple[str, ...]
    by_hand: bool

    @property
    def obstacle(self) -> str:
        """Why it can't be prepared here, as the end of a sentence; "" if it can."""
        if self.elsewhere:
            return f"its builder needs {' and '.join(_ELSEWHERE[name] for name in self.needs if name in _ELSEWHERE)}"
        if not self.shape:
            return "its builder tells of no single image to an example"
        missing = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"its builder needs {' and '.join(missing)}, which pip installs" if missing else ""

    @property
    def elsewhere(self) -> bool:
        """Whether it can be prepared only with TensorFlow or a pipeline of Apache Beam."""
        return not _ELSEWHERE.keys().isdisjoint(self.needs)

    @property
    def kind(self) -> str:
        """Its description in a few words."""
        _, _, channels = self.shape.rpartition("x")
        return (
            f"images of sizes that differ, in {channels} channels" if "?" in self.shape else f"images of {self.shape}"
        )

    @property
    def note(self) -> str:
        """Its description, and why it can't be prepared here, if so."""
        by_hand = "its files are downloaded by hand" if self.by_hand else ""
        return "; ".join(filter(None, (self.kind, by_hand, self.obstacle)))


_ELSEWHERE = {"tensorflow": "TensorFlow", "tensorflow_io": "tensorflow-io", "apache_beam": "Apache Beam"}


@functools.cache
def _surveyed() -> Any:
    return json.loads(Path(__file__).with_name("survey.json").read_text(encoding="utf-8"))


@functools.cache
def survey() -> Mapping[str, Surveyed]:
    """Returns all datasets of the surveyed release of tensorflow-datasets, by name."""
    found = _surveyed()["datasets"]
    return MappingProxyType({name: Surveyed(**{**x, "needs": tuple(x["needs"])}) for name, x in found.items()})


def beyond() -> dict[str, Surveyed]:
    """Returns the surveyed datasets of images that aren't in SOURCES, by name."""
    return {name: x for name, x in survey().items() if x.shape and name not in SOURCES}


def beyond_in_words() -> str:
    """Says how many these are, and how many of them can be prepared here."""
    found = beyond().values()
    at_once, by_hand = (sum(not x.obstacle and x.by_hand is closed for x in found) for closed in (False, True))
    return (
        f"of tensorflow-datasets {_surveyed()['version']}, {len(found)} more by name: {at_once} are prepared at their "
        f"first use, {by_hand} from files that are downloaded by hand, and {len(found) - at_once - by_hand} need "
        "TensorFlow or another package"
    )


def default_config(name: str) -> str | None:
    """Returns the default configuration of a dataset, "" if there is only one, or None if it is unknown."""
    return survey()[name].config if name in survey() else None
