"""New data for a trained model: all images or rows of a file or folder, in order, with their names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvae.arguments import require
from jaxvae.data import arrays, folders
from jaxvae.data.collecting import read_files
from jaxvae.data.contracts import DataContract
from jaxvae.data.images import SUFFIXES
from jaxvae.data.tables import is_table
from jaxvae.data.tabulated import as_covariates, as_images, load_unsplit_rows


class Unsplit(NamedTuple):
    """Images as they are stored, before a contract checks them.

    Attributes:
        images: (N, H, W, C), or another shape that the contract arranges.
        labels: (N,), or None.
        names: (N,), the names of files or rows.
        notes: sentences on how files were converted.
        covariates: (N, M), those of a table for a model with covariates; else None.
    """

    images: np.ndarray
    labels: np.ndarray | None
    names: np.ndarray
    notes: tuple[str, ...] = ()
    covariates: np.ndarray | None = None


def load_unsplit(path: str | Path, contract: DataContract) -> Unsplit:
    """Loads all images of a .npy file (mapped, not read), a .npz file, or a folder of .npy files or images.

    For a model of a table, it loads all rows of a table, which must have the model's columns and may have others.

    The splits of split data follow one another. A single image file can be loaded, too. A folder's images are all
    images in it and below; their labels are the classes that their own folders are named after, if all are.

    Args:
        path: the path of the file or folder.
        contract: the model's contract; images are converted like its training data, and classes are its own.

    Raises:
        ValueError: if there are no images, or they can't be read.
        FileNotFoundError: if the path doesn't exist.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if contract.features and is_table(path):
        table = load_unsplit_rows(path, contract.reading, contract.columns)
        images = as_images(table)
        rows = table.names if table.names is not None else np.arange(len(images))
        return Unsplit(images, table.labels, rows, covariates=as_covariates(table)[1])
    if path.suffix in (".npy", ".npz") or (path.is_dir() and any(path.glob("*.npy"))):
        return _arrays(path)
    if path.is_dir():
        root, names = path, folders.list_images(path)
    else:
        root, names = path.parent, [path.name] if path.name.lower().endswith(SUFFIXES) else []
    require(bool(names), "data", str(path), f"a .npy or .npz file, an image, or a folder of ({', '.join(SUFFIXES)})")
    pictures = read_files(root, names, contract.reading, contract.image_shape[2])
    known = {name: label for label, name in enumerate(contract.class_names)}
    classes = [_class_of((root / name).parent.parts, known) for name in names]
    labels = None if None in classes else np.array(classes, np.int32)[pictures.sources]
    return Unsplit(pictures.images, labels, pictures.names, pictures.notes)


def _class_of(folders: Sequence[str], known: Mapping[str, int]) -> int | None:
    """Returns the class whose name is the last of the folders, joined by ``/``; the longest if several are."""
    names = ("/".join(folders[start:]) for start in range(len(folders)))
    return next((known[name] for name in names if name in known), None)


def load_labels(path: Path, count: int) -> np.ndarray:
    """Loads labels from a .npy file: (N,) integers or names of classes; raises ValueError for anything else."""
    labels = arrays.read_fields(path)[0]["images"] if path.suffix == ".npy" else None
    require(labels is not None, "labels", str(path), "a .npy file")
    assert labels is not None
    fits = labels.shape == (count,) and labels.dtype.kind in "iuU"
    require(
        fits, f"{path}: labels", f"{labels.shape} {labels.dtype}", f"({count},) integers or names, one for each image"
    )
    return labels


def _arrays(path: Path) -> Unsplit:
    fields, _ = arrays.read_fields(path)
    if "images" in fields:
        images, labels = fields["images"], fields.get("labels")
        names = np.arange(len(images))
    else:
        splits = [split for split in arrays.SPLITS if f"{split}_images" in fields]
        images = np.concatenate([fields[f"{split}_images"] for split in splits])
        marks = [fields.get(f"{split}_labels") for split in splits]
        labels = None if any(x is None for x in marks) else np.concatenate([x for x in marks if x is not None])
        names = np.array([f"{split}/{row}" for split in splits for row in range(len(fields[f"{split}_images"]))])
    if labels is not None and labels.dtype.kind not in "US":  # the contract looks up names
        labels = arrays.as_labels({"": labels}, {"": len(images)}, str(path))[0][""]
    return Unsplit(images, labels, names)
