"""The split of rows into training, validation and test: by a column of the table, by groups, or class by class."""

from collections.abc import Mapping

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.arrays import SPLIT_NAMES, SPLITS, settled, split_by_digest
from jaxvae.data.tables.columns import Place

_FEWEST = 10
_TENTHS = {"test": 4, "validation": 9}  # the positions in every ten consecutive rows


def named_splits(entries: np.ndarray, column: str, place: Place) -> np.ndarray:
    """Returns the split of each row, (N,) of ``SPLITS``, from the names in a column.

    Args:
        entries: (N,) objects, names in ``SPLIT_NAMES`` in upper or lower case.
        column: the name of the column.
        place: a function that names a row.

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
    """Returns splits that can be used, and notes; if there is no test split, validation replaces it.

    Args:
        splits: (N,) of ``SPLITS``.
        field: the name of their source.

    Returns:
        The splits, or None if there is only train, which is then to be split; and the notes.

    Raises:
        ValueError: if there is no train split.
    """
    given = [name for name in SPLITS if np.any(splits == name)]
    require("train" in given, f"{field}: splits", given, "train, test and perhaps validation")
    roles, notes = settled({name: name for name in given})
    if "" in roles:
        return None, notes
    role_of = {name: role for role, name in roles.items()}
    return np.array([role_of[name] for name in splits.tolist()]), notes


def grouped_splits(groups: np.ndarray, field: str) -> np.ndarray:
    """Returns the split of each row, (N,) of ``SPLITS``, with all rows of a group in one split.

    The split depends on the group's name only, by ``arrays.split_by_digest``.

    Args:
        groups: (N,) strings.
        field: the name of their source.

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
    """Returns the split of each row, (N,) of ``SPLITS``: 80, 10 and 10 % of each class, to within a row.

    Rows are sorted by class, and within a class by NumPy's raw random words, which never change. Of every ten rows, one
    is for test and one for validation. The first row of each class is in train.

    Args:
        labels: (N,) strings or integers.
        field: the name of their source.

    Raises:
        ValueError: if there are too few rows.
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
    """Returns the rows of each existing split, in ascending order.

    >>> rows_by_split(np.array(["train", "test", "train"]))
    {'train': array([0, 2]), 'test': array([1])}
    """
    return {name: np.flatnonzero(splits == name) for name in SPLITS if np.any(splits == name)}
