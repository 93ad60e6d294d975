"""Which rows are for training, validation and test: by what a table says of them, by groups, or class by class."""

from collections.abc import Mapping

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.arrays import SPLIT_NAMES, SPLITS, settled, split_by_digest
from jaxvae.data.tables.columns import Place

_FEWEST = 10
_TENTHS = {"test": 4, "validation": 9}  # of every ten rows in a row


def named_splits(entries: np.ndarray, column: str, place: Place) -> np.ndarray:
    """The split of each row, (N,) of ``SPLITS``, from what a column calls it.

    Args:
        entries: (N,) objects: what ``SPLIT_NAMES`` knows, in any case.
        column: its name.
        place: names a row.

    Raises:
        ValueError: for another entry.
    """
    found = []
    for row, entry in enumerate(entries.tolist()):
        name = SPLIT_NAMES.get(str(entry).strip().lower())
        if name is None:
            raise ValueError(f"{place(row)}, column {column!r} must be train, validation or test, got {entry!r}")
        found.append(name)
    return np.array(found)


def settled_splits(splits: np.ndarray, field: str) -> tuple[np.ndarray | None, list[str]]:
    """Splits that can be used, and what is to be said of them: without a test split, validation is taken for it.

    Args:
        splits: (N,) of ``SPLITS``.
        field: what says them.

    Returns:
        None for splits where there is only one, train: it is to be split.

    Raises:
        ValueError: where there is no train split.
    """
    given = [name for name in SPLITS if np.any(splits == name)]
    require("train" in given, f"{field}: splits", given, "train, test and perhaps validation")
    roles, notes = settled({name: name for name in given})
    if "" in roles:
        return None, notes
    role_of = {name: role for role, name in roles.items()}
    return np.array([role_of[name] for name in splits.tolist()]), notes


def grouped_splits(groups: np.ndarray, field: str) -> np.ndarray:
    """The split of each row, (N,) of ``SPLITS``, where all rows of a group are in one.

    Which one follows from the group's name alone, by ``arrays.split_by_digest``.

    Args:
        groups: (N,) strings.
        field: what says them.

    Raises:
        ValueError: for fewer than three groups.

    >>> grouped_splits(np.array(["a", "b", "c", "b"]), "patient").tolist()
    ['validation', 'train', 'test', 'train']
    """
    names, rows = np.unique(groups, return_inverse=True)
    require(len(names) >= len(SPLITS), f"{field}: number of groups", len(names), "at least 3, to be split")
    splits = np.empty(len(names), "<U10")
    for split, some in split_by_digest([str(name) for name in names]).items():
        splits[some] = split
    return splits[rows]


def stratified_splits(labels: np.ndarray, field: str) -> np.ndarray:
    """The split of each row, (N,) of ``SPLITS``: 80, 10 and 10 % of each class, to a row.

    Rows are put in order of their classes, and within one by NumPy's raw random words, which never change; of every
    ten, one is for test and one for validation. Each class has its first row in train.

    Args:
        labels: (N,) strings or integers.
        field: what has them.

    Raises:
        ValueError: where there are too few rows.
    """
    order = np.lexsort((np.random.Philox(key=0).random_raw(len(labels)), labels))
    first = np.r_[True, labels[order][1:] != labels[order][:-1]]
    rest = order[~first]
    require(
        len(rest) >= _FEWEST, f"{field}: number of rows", len(labels), f"at least {_FEWEST} more than there are classes"
    )
    splits = np.full(len(labels), "train", "<U10")
    for split, start in _TENTHS.items():
        splits[rest[start::10]] = split
    return splits


def rows_by_split(splits: np.ndarray) -> Mapping[str, np.ndarray]:
    """The rows of each split that there is, rising.

    >>> rows_by_split(np.array(["train", "test", "train"]))
    {'train': array([0, 2]), 'test': array([1])}
    """
    return {name: np.flatnonzero(splits == name) for name in SPLITS if np.any(splits == name)}
