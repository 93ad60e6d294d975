"""Your own data as image files in folders: subfolders are classes, or the splits."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.arrays import SPLITS, split
from jaxvae.data.dataset import Dataset, assemble

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".tif", ".tiff")
"""What counts as an image; other files are passed over."""

_GREY = ("1", "L")


def load_folder(path: Path) -> Dataset:
    """The dataset of the images in a folder, as uint8 of 256 levels.

    Images lie in it, or in one subfolder per class (labels count the sorted names), or all this in subfolders
    ``train``, ``test`` and perhaps ``validation``. Unsplit images become 80 % train, 10 % validation and 10 % test
    images. Grey images have one channel; if any has colours, all get three. Transparency is dropped.

    Raises:
        ValueError: where sizes differ, a file can't be read, or splits or images are missing; names the file.
    """
    given = [name for name in SPLITS if (path / name).is_dir()]
    roots = {name: path / name for name in given} or {"": path}
    if given:
        missing = [name for name in ("train", "test") if name not in given]
        require(not missing, f"{path}: subfolders", given, f"train, test and perhaps validation; no {missing}")
    classes = sorted({d.name for root in roots.values() for d in _subfolders(root)})
    files = {name: _files(root, classes) for name, root in roots.items()}
    images = _read([file for part in files.values() for file, _ in part], path)
    labels = np.array([label for part in files.values() for _, label in part], np.int32) if classes else None
    if not given:
        return assemble(str(path), *split(images, labels, str(path)), 256)
    ends = np.cumsum([len(part) for part in files.values()])[:-1]
    parts = zip(files, np.split(images, ends), strict=True)
    marks = {} if labels is None else dict(zip(files, np.split(labels, ends), strict=True))
    return assemble(str(path), dict(parts), {**marks}, 256)


def _subfolders(root: Path) -> list[Path]:
    return [d for d in root.iterdir() if d.is_dir() and not d.name.startswith(".") and _images(d)]


def _images(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))


def _files(root: Path, classes: list[str]) -> list[tuple[Path, int]]:
    """The image files of a split with their labels, which are 0 where there are no classes."""
    loose = _images(root)
    if classes:
        require(
            not loose, f"{root}", loose[0].name if loose else "", "either images or one subfolder per class, not both"
        )
    files = [(f, 0) for f in loose] or [
        (f, label) for label, name in enumerate(classes) if (root / name).is_dir() for f in _images(root / name)
    ]
    require(bool(files), f"{root}", "no image files", f"a folder of images ({', '.join(SUFFIXES)})")
    return files


@contextlib.contextmanager
def _opened(file: Path) -> Iterator["Image.Image"]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                yield image
    except Exception as error:  # each format's reader has its own for a file that is broken
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{file} must be an image, got {text}") from None


def _read(files: list[Path], path: Path) -> np.ndarray:
    """All images as one array (N, H, W, C)."""
    sizes = []
    grey = True
    for file in files:  # headers only
        with _opened(file) as image:
            sizes.append(image.size)
            mode = image.mode
        require(not mode.startswith(("I", "F")), f"{file}: mode", mode, "8 bits per channel")
        require(sizes[-1] == sizes[0], f"{file}: width and height", sizes[-1], f"{sizes[0]}, as of {files[0]}")
        grey = grey and mode in _GREY
    width, height = sizes[0]
    images = np.empty((len(files), height, width, 1 if grey else 3), np.uint8)
    for i, file in enumerate(files):
        with _opened(file) as image:
            images[i] = np.asarray(image.convert("L" if grey else "RGB")).reshape(images.shape[1:])
    require(images.min() < images.max(), f"{path}: images", int(images.flat[0]), "not the same in all pixels")
    return images
