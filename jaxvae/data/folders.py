"""Your own data as image files in folders; subfolders are classes or splits."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.arrays import SPLIT_NAMES, SPLITS, interpreted, split_by_digest
from jaxvae.data.collecting import read_files
from jaxvae.data.dataset import Dataset, assemble
from jaxvae.data.images import SUFFIXES
from jaxvae.data.options import PLAIN, Reading

_SYSTEM = frozenset(
    ("__MACOSX", "@eaDir", "@Recycle", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")
)
"""Folders that operating systems create for themselves."""


def load_folder(path: Path, reading: Reading = PLAIN, files: Mapping[str, Sequence[str]] | None = None) -> Dataset:
    """Loads the dataset of the images in a folder.

    Images are in the folder itself, or in folders per class at any depth (labels count the sorted names, such as
    ``ape/young``). All this may be inside folders of the splits: ``train``, ``test`` and optionally ``validation``, in
    upper or lower case, or ``training``, ``testing``, ``val``, ``valid``, ``dev``. Without ``test``, ``validation`` is
    the test split. Images without splits, or in ``train`` only, become 80 % train, 10 % validation and 10 % test
    images, each by its file's name only, so that adding images doesn't move the others. Hidden files are ignored.

    Args:
        path: the folder.
        reading: how files become images.
        files: the names of the images of each split, if these are known from before; others are left out.

    Returns:
        Images in uint8 with 256 levels, in uint16 with 65536 if a file has 16 bits, or in float32 as in the files;
        unless ``reading`` says otherwise.

    Raises:
        ValueError: if splits or classes are ambiguous; otherwise as ``read_files`` and ``arrays.interpreted``.
    """
    notes: list[str] = []
    if files is not None:
        splits = {split: _files_of(names) for split, names in files.items()}
        names = [name for some in splits.values() for name in some]
        gone = [name for name in names if not os.path.isfile(f"{path}/{name}")]
        require(not gone, f"{path}", f"no {gone[0]}" if gone else "", f"all files of before; {len(gone)} are missing")
        apportioned = len({_split_folder(some[0]) for some in splits.values()}) < len(splits)
    else:
        splits, notes = _given_splits(path, names := list_images(path))
        apportioned = not splits
    class_of = _classes(names, path)
    splits = splits or _split_by_name(names, path)
    listed = [name for some in splits.values() for name in some]
    pictures = read_files(path, listed, reading)
    numbers = interpreted({"": pictures.images}, str(path), reading)
    count_of = dict(zip(listed, np.bincount(pictures.sources, minlength=len(listed)).tolist(), strict=True))
    if files is None and apportioned and not all(count_of.values()):  # some were left out
        splits = _split_by_name([name for name in listed if count_of[name]], path)
    counts = {split: sum(count_of[name] for name in some) for split, some in splits.items()}
    for split, count in counts.items():
        require(count > 0, f"{path}: {split}", "none", "a split of one image or more that can be read")
    ends = np.cumsum([0, *counts.values()]).tolist()
    rows = {split: slice(*ends[i : i + 2]) for i, split in enumerate(splits)}
    labels, class_names = _labels([class_of[name] for name in listed], pictures.sources)
    if labels is not None:
        notes += _untrained(class_names, labels, labels[rows["train"]])
    return assemble(
        str(path),
        {split: numbers.images[""][some] for split, some in rows.items()},
        {split: None if labels is None else labels[some] for split, some in rows.items()},
        numbers.levels,
        {split: pictures.names[some] for split, some in rows.items()},
        class_names,
        apportioned=len(pictures.images) if apportioned else 0,
        reading=numbers.reading,
        notes=(*notes, *pictures.notes),
        of_files=True,
    )


def list_images(path: Path) -> list[str]:
    """Returns the names of all image files in a folder and below, relative to it, in the order of their parts.

    Hidden files and folders, and those of operating systems, are ignored. A link to a folder is followed, unless the
    folder contains the link. A folder with the name of an image file is listed as an image.
    """
    found = []
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", (_identity(path),))]
    while waiting:
        above, identities = waiting.pop()
        with os.scandir(path / above) as entries:
            for entry in entries:
                name = above + entry.name
                if entry.name.startswith(".") or entry.name in _SYSTEM:
                    continue
                if entry.name.lower().endswith(SUFFIXES):
                    if entry.is_file() or entry.is_dir() or entry.is_symlink():  # a pipe would wait forever
                        found.append(name)
                elif entry.is_dir() and (identity := _identity(entry)) not in identities:
                    waiting.append((f"{name}/", (*identities, identity)))
    return sorted(found, key=lambda name: name.replace("/", "\0"))


def _identity(folder: Path | os.DirEntry) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _split_folder(name: str) -> str | None:
    """Returns the split's folder that a file is in, if any."""
    top, _, rest = name.partition("/")
    return top if rest and top.lower() in SPLIT_NAMES else None


def _given_splits(path: Path, names: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Returns the files of each split's folder, and notes; no files if all are to be split by name."""
    _require_images(path, names)
    _require_no_splits_below(path, names)
    folders = sorted(e.name for e in os.scandir(path) if e.is_dir() and e.name.lower() in SPLIT_NAMES)
    if not folders:
        return {}, []
    found: dict[str, list[str]] = {folder: [] for folder in folders}
    for name in names:
        folder = _split_folder(name)
        beside = f"{path}: what lies beside {', '.join(folders)}"
        require(folder is not None, beside, name, f"other splits ({', '.join(SPLIT_NAMES)}), and no images or classes")
        assert folder is not None
        found[folder].append(name)
    folder_of = {SPLIT_NAMES[folder.lower()]: folder for folder in folders}
    require(len(folder_of) == len(folders), f"{path}: folders of splits", folders, "one for each split")
    require("train" in folder_of, f"{path}: folders of splits", folders, "train and perhaps others; there is no train")
    for folder, some in found.items():
        _require_images(path / folder, some)
    splits = {split: found[folder_of[split]] for split in SPLITS if split in folder_of}
    if "test" in splits:
        return splits, []
    if "validation" in splits:
        note = f"There is no folder of test images: those in {folder_of['validation']} are the test split."
        return {"train": splits["train"], "test": splits["validation"]}, [note]
    note = (
        f"There is the folder {folder_of['train']} alone: its images were split by name into train, validation, test."
    )
    return {}, [note]


def _require_images(path: Path, names: Sequence[str]) -> None:
    require(bool(names), f"{path}", "no image files", f"a folder of images ({', '.join(SUFFIXES)})")


def _require_no_splits_below(path: Path, names: Sequence[str]) -> None:
    """Raises ValueError if a folder below holds folders of splits, as these would be read as classes."""
    below: dict[str, set[str]] = {}
    for folder in {name.rpartition("/")[0] for name in names}:
        parts = folder.split("/")
        for depth in range(1, len(parts)):
            below.setdefault("/".join(parts[:depth]), set()).add(SPLIT_NAMES.get(parts[depth].lower(), ""))
    wrong = [folder for folder, splits in sorted(below.items()) if {"train"} < splits - {""}]
    require(
        not wrong, f"{path}: splits", f"them in {wrong[0]}" if wrong else "", "folders of its own; give their folder"
    )


def _classes(names: Sequence[str], path: Path) -> dict[str, str]:
    """Returns the class of each file: its folders, joined by ``/``, except that of its split; "" for none."""
    found = {}
    for name in names:
        split = _split_folder(name)
        found[name] = (name if split is None else name[len(split) + 1 :]).rpartition("/")[0]
    loose = next((name for name, folder in found.items() if not folder), None)
    mixed = loose is not None and any(found.values())
    require(not mixed, f"{path}", loose, "either images or one subfolder per class, not both")
    return found


def _labels(classes: Sequence[str], sources: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Returns the labels of images from files of these classes, and the classes' names; None without classes."""
    names = sorted({classes[source] for source in np.unique(sources).tolist()})
    if names == [""]:
        return None, ()
    number_of = {name: number for number, name in enumerate(names)}
    return np.array([number_of.get(name, 0) for name in classes], np.int32)[sources], tuple(names)


def _untrained(class_names: Sequence[str], labels: np.ndarray, train: np.ndarray) -> list[str]:
    """Returns a note on the classes that have no training images, if any."""
    some = [class_names[label] for label in np.setdiff1d(labels, train)]
    if not some:
        return []
    told = ", ".join(some[:5]) + ", …" * (len(some) > 5)
    return [f"No training image is of {'class' if len(some) == 1 else f'{len(some)} classes:'} {told}."]


def _files_of(names: Sequence[str]) -> list[str]:
    """Returns the files that images come from, without the numbers of frames."""
    return list(dict.fromkeys(re.sub(r"#\d+$", "", name) for name in names))


def _split_by_name(names: Sequence[str], path: Path) -> dict[str, list[str]]:
    """Returns the files of each split, by ``arrays.split_by_digest``."""
    require(len(names) >= 10, f"{path}: number of images", len(names), "at least 10, to be split")
    return {split: [names[i] for i in some] for split, some in split_by_digest(names).items()}
