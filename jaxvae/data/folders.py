"""Your own data as image files in folders: subfolders are classes, or the splits."""

import contextlib
import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.arrays import SPLITS, apportion
from jaxvae.data.dataset import Dataset, assemble
from jaxvae.data.options import PLAIN, Reading
from jaxvae.files import require_file

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".tif", ".tiff")
"""What counts as an image; other files are passed over."""

_GREY = ("1", "L")


def load_folder(path: Path, reading: Reading = PLAIN, files: Mapping[str, Sequence[str]] | None = None) -> Dataset:
    """The dataset of the images in a folder, as uint8 of 256 levels.

    Images lie in it, or in one subfolder per class (labels count the sorted names), or all this in subfolders
    ``train``, ``test`` and perhaps ``validation``. Unsplit images become 80 % train, 10 % validation and 10 % test
    images, each by its name alone: to add others moves none. Grey images have one channel; if any has colours, all get
    three. Transparency is dropped.

    Args:
        path: the folder.
        reading: what must be said of them.
        files: those of each split, relative to the folder, where these are known from before; others are left out.

    Raises:
        ValueError: where sizes differ, a file can't be read, or splits or images are missing; names the file.
    """
    given = [name for name in SPLITS if (path / name).is_dir()]
    if files is not None:
        gone = [name for names in files.values() for name in names if not (path / name).is_file()]
        require(not gone, f"{path}", f"no {gone[0]}" if gone else "", f"all files of before; {len(gone)} are missing")
        found = {split: [path / name for name in names] for split, names in files.items()}
    else:
        roots = {name: path / name for name in given} or {"": path}
        if given:
            missing = [name for name in ("train", "test") if name not in given]
            require(not missing, f"{path}: subfolders", given, f"train, test and perhaps validation; no {missing}")
        found = {name: _files(root) for name, root in roots.items()}
    every = [file for some in found.values() for file in some]
    outside = {path, *(path / split for split in SPLITS)}
    classes = tuple(sorted({file.parent.name for file in every if file.parent not in outside}))
    loose = [file.name for file in every if file.parent in outside]
    mixed = bool(classes and loose)
    require(not mixed, f"{path}", loose[0] if mixed else "", "either images or one subfolder per class, not both")
    images = read_files(every)
    require(images.min() < images.max(), f"{path}: images", int(images.flat[0]), "not the same in all pixels")
    labels = np.array([classes.index(file.parent.name) for file in every], np.int32) if classes else None
    names = np.array([file.relative_to(path).as_posix() for file in every])
    if list(found) == [""]:
        return apportion(str(path), images, labels, 256, _split_by_name(names, str(path)), names, classes)
    ends = np.cumsum([0, *map(len, found.values())])
    rows = {split: slice(*ends[i : i + 2]) for i, split in enumerate(found)}
    return assemble(
        str(path),
        {split: images[some] for split, some in rows.items()},
        {split: None if labels is None else labels[some] for split, some in rows.items()},
        256,
        {split: names[some] for split, some in rows.items()},
        classes,
        apportioned=0 if given else len(every),
    )


def _split_by_name(names: np.ndarray, path: str) -> dict[str, np.ndarray]:
    """The rows of each split: which one a file is in follows from a digest of its name alone.

    So splits are of 80, 10 and 10 % in the mean. Where one would have none, it gets the file that is next to it.
    """
    require(len(names) >= 10, f"{path}: number of images", len(names), "at least 10, to be split")
    digests = (hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest() for name in names)
    place = np.array([int.from_bytes(digest) for digest in digests]) / 2**64
    order = np.argsort(place, kind="stable")
    test = max(1, int(np.sum(place < 0.1)))
    validation = max(1, int(np.sum(place < 0.2)) - test)
    parts = np.split(order, (test, test + validation))
    return dict(zip(SPLITS, parts[::-1], strict=True))


def _subfolders(root: Path) -> list[Path]:
    return [d for d in root.iterdir() if d.is_dir() and not d.name.startswith(".") and _images(d)]


def _images(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))


def _files(root: Path) -> list[Path]:
    """The image files of a split, class by class."""
    files = [file for folder in (root, *sorted(_subfolders(root))) for file in _images(folder)]
    require(bool(files), f"{root}", "no image files", f"a folder of images ({', '.join(SUFFIXES)})")
    return files


@contextlib.contextmanager
def _opened(file: Path) -> Iterator["Image.Image"]:
    from PIL import Image

    require_file(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                yield image
    except Exception as error:  # each format's reader has its own for a file that is broken
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{file} must be an image, got {text}") from None


def read_files(files: Sequence[Path], channels: int | None = None) -> np.ndarray:
    """Images of one size as one array (N, H, W, C) of uint8; C is 1 where all are grey, else 3, if not given.

    Raises:
        ValueError: where sizes differ, or a file can't be read; names the file.
    """
    sizes = []
    grey = True
    for file in files:  # headers only
        with _opened(file) as image:
            sizes.append(image.size)
            mode = image.mode
        require(not mode.startswith(("I", "F")), f"{file}: mode", mode, "8 bits per channel")
        require(sizes[-1] == sizes[0], f"{file}: width and height", sizes[-1], f"{sizes[0]}, as of {files[0]}")
        grey = grey and mode in _GREY
    grey = grey if channels is None else channels == 1
    width, height = sizes[0]
    images = np.empty((len(files), height, width, 1 if grey else 3), np.uint8)
    for i, file in enumerate(files):
        with _opened(file) as image:
            images[i] = np.asarray(image.convert("L" if grey else "RGB")).reshape(images.shape[1:])
    return images
