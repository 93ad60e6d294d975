"""Datasets of Hugging Face on disk, as ``save_to_disk`` writes them: columns of numbers and classes, or images."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.arrays import SPLIT_NAMES
from jaxvae.data.tables.contents import TableContents, legible
from jaxvae.data.tables.frames import frame_contents
from jaxvae.extras import load_extra

_ONE, _SEVERAL = "dataset_info.json", "dataset_dict.json"


def is_saved_dataset(path: Path) -> bool:
    """Returns whether ``save_to_disk`` wrote a folder."""
    return any((path / name).is_file() for name in (_ONE, _SEVERAL))


def read_saved_columns(path: Path) -> TableContents:
    """Reads the columns of numbers, strings, dates and classes of a saved dataset; it notes those left out.

    Raises:
        ValueError: for a broken folder, or unknown names of splits.
        ImportError: if the extra isn't installed.
    """
    splits = _splits(path)
    pandas = load_extra(str(path), "pandas", "hf")
    library = load_extra(str(path), "datasets", "hf")
    features = next(iter(splits.values())).features
    flat = [name for name, x in features.items() if isinstance(x, library.Value | library.ClassLabel)]
    require(bool(flat), f"{path}: columns", [*features], "of numbers, strings or classes")
    frames = []
    for found in splits.values():
        frame = found.select_columns(flat).with_format(None).to_pandas()
        for name in flat:
            if isinstance(features[name], library.ClassLabel):
                frame[name] = _classes(frame[name], features[name].names)
        frames.append(frame)
    marks = None if "" in splits else np.repeat([*splits], [len(frame) for frame in frames])
    parts = [(f"{path}/{name}" if name else str(path), len(frame)) for name, frame in zip(splits, frames, strict=True)]
    others = [
        f"Column {name!r} is left out: it holds {type(features[name]).__name__}."
        for name in features
        if name not in flat
    ]
    return frame_contents(
        str(path), pandas.concat(frames, ignore_index=True), *parts, splits=marks, notes=tuple(others)
    )


def read_saved_images(path: Path, label: str | None = None) -> dict[str, np.ndarray]:
    """Reads the images of a saved dataset as arrays, with the names that a .npz file has.

    Args:
        path: the folder.
        label: the column of the images' classes, or None.

    Returns:
        ``images``, (N, H, W) or (N, H, W, C), and optionally ``labels``; or ``train_images``, ``train_labels`` and so
        on. If there are several columns of images, it is the first.

    Raises:
        ValueError: if there are no images, or their sizes or modes differ.
        ImportError: if the extra isn't installed.
    """
    splits = _splits(path)
    library = load_extra(str(path), "datasets", "hf")
    features = next(iter(splits.values())).features
    columns = [name for name, x in features.items() if isinstance(x, library.Image)]
    require(bool(columns), f"{path}: columns", [*features], "one of images")
    require(label is None or label in features, f"{path}: label", label, f"one of {', '.join(features)}")
    fields = {}
    for name, found in splits.items():
        prefix, part = (f"{name}_", f"{path}/{name}") if name else ("", str(path))
        fields[f"{prefix}images"] = _stacked(found[columns[0]], f"{part}: column {columns[0]!r}")
        if label is not None:
            classes = features[label].names if isinstance(features[label], library.ClassLabel) else None
            marks = np.array(found[label][:])
            fields[f"{prefix}labels"] = marks if classes is None else np.array(classes)[marks]
    return fields


def _splits(path: Path) -> dict[str, Any]:
    """Loads the datasets by split, "" for one that isn't split."""
    library = load_extra(str(path), "datasets", "hf")
    with legible(path, "a saved dataset"):
        found = library.load_from_disk(str(path))
    if not isinstance(found, dict):
        return {"": found}
    unknown = [name for name in found if name.lower() not in SPLIT_NAMES]
    require(not unknown, f"{path}: splits", unknown, "train, validation and test")
    return {SPLIT_NAMES[name.lower()]: some for name, some in found.items()}


def _classes(codes: Any, names: list[str]) -> Any:
    """Returns names instead of codes; -1 is an unknown class."""
    return codes.map(dict(enumerate(names)))


def _stacked(images: Any, field: str) -> np.ndarray:
    found: list[np.ndarray] = []
    for row, image in enumerate(images):
        require(image is not None, f"{field}, row {row + 1:,}", None, "an image")
        x = np.asarray(image)
        fits = not found or (x.shape, x.dtype) == (found[0].shape, found[0].dtype)
        allowed = f"of one size and mode, {found[0].shape} {found[0].dtype}" if found else ""
        require(fits, f"{field}, row {row + 1:,}", f"{x.shape} {x.dtype}", allowed)
        found.append(x)
    require(bool(found), field, "no images", "not empty")
    return np.stack(found)
