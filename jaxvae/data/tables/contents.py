"""The content of a table's files, for any library that reads them: columns or a matrix, and facts about rows.

Messages count rows from 1, without the header, as in "file, row 3".
"""

import bisect
import contextlib
import dataclasses
import errno
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.tables.columns import Kind, checked_kinds


@dataclasses.dataclass(frozen=True)
class TableReading:
    """The options that say how a file becomes a table if it is ambiguous.

    Attributes:
        label: the column, or other array, with the rows' classes.
        names: that with the rows' names.
        split: that which says whether a row is for training, validation or test.
        group: that with groups, such as patients, whose rows are to be in one split.
        stratified: whether each split gets the same share of each class.
        kinds: the declaration of each column, by name: a kind, ``"skip"``, or the levels of an ordinal column, lowest
            first; ``"*"`` means all columns that aren't named.
        array: the array to read from several in an HDF5 file or a Zarr store; for an .h5ad file, a layer or "raw".
        covariates: columns, or other arrays, that aren't modelled but are given with each row.
        missing: texts that mean missing entries, besides the usual empty ones, NA and NaN.
        delimiter: the separator of a line's entries; by default a comma, or a tab in a .tsv file.
        decimal: the decimal separator.
        thousands: the thousands separator; by default, none.
        header: whether the first line has names; None if the line itself shows it.

    Raises:
        ValueError: for values that aren't allowed, or that exclude each other.
    """

    label: str | None = None
    names: str | None = None
    split: str | None = None
    group: str | None = None
    stratified: bool = False
    kinds: Mapping[str, Kind] = dataclasses.field(default_factory=dict, hash=False)
    array: str | None = None
    covariates: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    delimiter: str | None = None
    decimal: str = "."
    thousands: str | None = None
    header: bool | None = None

    def __post_init__(self) -> None:
        require(not isinstance(self.covariates, str), "covariates", self.covariates, "a tuple of names")
        roles = self.label, self.names, self.split, self.group, *self.covariates
        given = [role for role in roles if role is not None]
        allowed = "different columns"
        require(len(set(given)) == len(given), "label, names, split, group and covariates", given, allowed)
        ways = [name for name in ("split", "group", "stratified") if getattr(self, name)]
        require(len(ways) < 2, "split, group and stratified", ways, "given one at most: each says how rows are split")
        require(not self.stratified or self.label is not None, "label", self.label, "given, to split class by class")
        require(self.decimal in (".", ","), "decimal", self.decimal, "'.' or ','")
        require(not isinstance(self.missing, str), "missing", self.missing, "a tuple of texts")
        for name in ("delimiter", "thousands"):
            mark = getattr(self, name)
            require(mark is None or len(mark) == 1, name, mark, "one character")
        require(self.thousands != self.decimal, "thousands", self.thousands, "another than decimal")
        object.__setattr__(self, "kinds", checked_kinds(self.kinds))


AS_IT_IS = TableReading()
"""The default options."""


@dataclasses.dataclass(frozen=True, eq=False)
class TableContents:
    """The content of a table's files.

    Attributes:
        source: the path, or another name for messages.
        parts: its files, with their numbers of rows.
        columns: the columns by name, (N,): float64 with NaN for missing entries; bool; object, with strings and None;
            or dates. It is empty if there is a matrix.
        matrix: (N, D), dense or sparse by rows; None if there are columns.
        variables: the names of the matrix's columns.
        about: further facts about the rows, by name, in the form of ``columns``.
        names: the names of the rows, (N,) strings.
        splits: the splits of the rows, (N,).
        kinds: the kinds of columns, if the file has them.
        notes: notes on how it was read.
    """

    source: str
    parts: tuple[tuple[str, int], ...]
    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    matrix: Any = None
    variables: tuple[str, ...] = ()
    about: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    names: np.ndarray | None = None
    splits: np.ndarray | None = None
    kinds: Mapping[str, Kind] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(count for _, count in self.parts)

    def head(self, rows: int) -> "TableContents":
        """Returns the first rows only."""
        ends = [0, *itertools.accumulate(count for _, count in self.parts)]
        parts = [(name, min(count, rows - end)) for (name, count), end in zip(self.parts, ends, strict=False)]
        return dataclasses.replace(
            self,
            parts=tuple(part for part in parts if part[1] > 0),
            columns={name: x[:rows] for name, x in self.columns.items()},
            matrix=None if self.matrix is None else self.matrix[:rows],
            about={name: x[:rows] for name, x in self.about.items()},
            names=None if self.names is None else self.names[:rows],
            splits=None if self.splits is None else self.splits[:rows],
        )

    def place(self, row: int) -> str:
        """Returns the name of a row in messages: its file, and its number there, from 1."""
        ends = list(itertools.accumulate(count for _, count in self.parts))
        part = bisect.bisect_right(ends, row)
        return f"{self.parts[part][0]}, row {row - (ends[part - 1] if part else 0) + 1:,}"

    def marks(self, role: str, name: str) -> np.ndarray:
        """Returns the column or fact of this name, (N,) strings or None, or numbers.

        Raises:
            ValueError: if there is none of this name.
        """
        known = {**self.columns, **self.about}
        shown = [*known][:20]
        require(
            name in known, f"{self.source}: {role}", name, f"one of {', '.join(shown) or 'none, as there are none'}"
        )
        return known[name]


@contextlib.contextmanager
def legible(path: Path, kind: str) -> Iterator[None]:
    """Turns any library's error for an unreadable file into one line that names the file.

    Raises:
        ValueError: for a file that isn't of this kind, is cut short or encrypted.
        OSError: if the system, not the file, is the reason.
    """
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # every format's reader raises its own errors for broken files
        if isinstance(error, FileNotFoundError) and not path.exists():
            raise FileNotFoundError(f"{path}: no such file") from None
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL is from a wrong offset
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} must be {kind}, got what can't be read ({text})") from None
