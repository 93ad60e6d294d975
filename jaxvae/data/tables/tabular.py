"""Tables: numbers in rows and columns of known kinds, from any file.

A table is a neutral form between files and models: a matrix of numbers, dense or sparse, with NaN for missing entries,
and the known properties of its columns and rows.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.arrays import split_rows
from jaxvae.data.tables.apportioning import (
    grouped_splits,
    named_splits,
    rows_by_split,
    settled_splits,
    stratified_splits,
)
from jaxvae.data.tables.columns import REST, SKIP, Column, Kind, as_texts, guess_kind
from jaxvae.data.tables.contents import AS_IT_IS, TableContents, TableReading
from jaxvae.data.tables.encoding import Encoded, GivenColumn, encode_column, require_of_kind
from jaxvae.data.tables.extents import extents_of
from jaxvae.texts import counted

_MANY = 50
_FEWEST, _FEWEST_SPLIT = 2, 10


@dataclasses.dataclass(frozen=True, eq=False)
class DataTable:
    """Rows of numbers.

    Attributes:
        values: (N, D), float32, or float64 if float32 would blur a column, with NaN for missing entries. It is a NumPy
            array, perhaps a memory map, or a ``scipy.sparse.csr_array``, whose entries that aren't stored are 0.
        columns: the properties of each column.
        labels: (N,), strings or int64, or None.
        names: (N,) strings, or None.
        splits: (N,) of train, validation and test, or None.
        notes: sentences on how it was read.
        covariates: the covariates of each row, column by column, without missing entries.

    Raises:
        ValueError: for other shapes or types.
    """

    values: Any
    columns: tuple[Column, ...]
    labels: np.ndarray | None = None
    names: np.ndarray | None = None
    splits: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    covariates: tuple[Encoded, ...] = ()

    def __post_init__(self) -> None:
        shape = self.values.shape
        require(len(shape) == 2 and 0 not in shape, "DataTable.values.shape", shape, "(N, D), not empty")
        floats = self.values.dtype in (np.float32, np.float64)
        require(floats, "DataTable.values.dtype", str(self.values.dtype), "float32 or float64")
        require(len(self.columns) == shape[1], "DataTable.columns", len(self.columns), f"{shape[1]}, as values")
        for name in ("labels", "names", "splits"):
            x = getattr(self, name)
            require(x is None or x.shape == shape[:1], f"DataTable.{name}.shape", np.shape(x), f"({shape[0]},)")

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @property
    def sparse(self) -> bool:
        """Whether zeros aren't stored."""
        return not isinstance(self.values, np.ndarray)

    @property
    def rows(self) -> Mapping[str, np.ndarray]:
        """The rows of each split: those of ``splits``, or else 80 % train, 10 % validation and 10 % test rows.

        Raises:
            ValueError: for fewer than ten rows without splits.
        """
        if self.splits is not None:
            return rows_by_split(self.splits)
        require(len(self) >= _FEWEST_SPLIT, "number of rows", len(self), f"at least {_FEWEST_SPLIT}, to be split")
        return split_rows(len(self), "table")


def build_table(
    contents: TableContents,
    reading: TableReading = AS_IT_IS,
    *,
    rows: int | None = None,
    like: Mapping[str, Kind] = MappingProxyType({}),
) -> DataTable:
    """Makes the table from the content of files.

    Args:
        contents: the content of the files.
        reading: options for what is ambiguous.
        rows: the number of rows when they were read before; rows that were added since are left out.
        like: the kinds of the columns of a table that was read before; only these are read, in their order. Columns
            that ``reading`` names may then be missing.

    Raises:
        ValueError: for entries that don't fit, where one line names file, row and column; for fewer rows or columns
            than before.
    """
    if rows is not None:
        field = f"{contents.source}: number of rows"
        require(len(contents) >= rows, field, len(contents), f"{rows} or more, as when they were split")
        contents = contents.head(rows)
    if not like:
        return _built(contents, reading)
    there = {*contents.columns, *contents.variables, *contents.about}
    lacking = [name for name in like if name not in there]
    missed = f"without {', '.join(map(repr, lacking[:3]))}"
    require(
        not lacking, f"{contents.source}: columns", missed, f"all of those of the training, {', '.join([*like][:20])}"
    )
    roles = {role: getattr(reading, role) for role in ("label", "names", "split", "group")}
    kept: dict[str, Any] = {role: name if name in there else None for role, name in roles.items()}
    stratified = reading.stratified and kept["label"] is not None
    table = _built(contents, dataclasses.replace(reading, **kept, stratified=stratified, kinds={**like, REST: SKIP}))
    names = [column.name for column in table.columns]
    order = [names.index(name) for name in like if name not in reading.covariates]
    columns = tuple(table.columns[i] for i in order)
    return dataclasses.replace(table, values=table.values[:, order], columns=columns, notes=contents.notes)


def _built(contents: TableContents, reading: TableReading) -> DataTable:
    require(len(contents) >= _FEWEST, f"{contents.source}: number of rows", len(contents), f"at least {_FEWEST}")
    labels = None if reading.label is None else _labels(contents, reading.label)
    names = contents.names if reading.names is None else _texts(contents, "names", reading.names)
    splits, notes = _splits(contents, reading, labels)
    covariates = tuple(_covariate(contents, name, reading.kinds.get(name)) for name in reading.covariates)
    reading = dataclasses.replace(
        reading, kinds={n: k for n, k in reading.kinds.items() if n not in reading.covariates}
    )
    roles = {reading.label, reading.names, reading.split, reading.group, *reading.covariates}
    parts = _from_columns(contents, roles, reading) if contents.matrix is None else _from_matrix(contents, reading)
    notes = [*contents.notes, *notes, *parts.notes]
    return DataTable(parts.values, parts.columns, labels, names, splits, tuple(notes), covariates)


def _covariate(contents: TableContents, name: str, kind: Kind | None) -> Encoded:
    """Encodes a column of numbers or levels; raises ValueError for a missing entry."""
    given = GivenColumn(name, contents.marks("covariates", name), contents.place, contents.source)
    encoded = encode_column(given, kind or contents.kinds.get(name))
    allowed = 'numbers, or categories by kind "categorical"'
    if isinstance(encoded, str):
        raise ValueError(
            f"{contents.source}: covariate {name!r} must be {allowed}, got one of which it is said: {encoded}"
        )
    given.require_each(given.there, "there in each row, being a covariate")
    return encoded


class _Parts(NamedTuple):
    values: Any
    columns: tuple[Column, ...]
    notes: tuple[str, ...]


def _kinds(
    kinds: Mapping[str, Kind], known: Mapping[str, Kind], names: tuple[str, ...], source: str
) -> list[Kind | None]:
    """Returns the declaration of each column, by the user or by the file."""
    unknown = [name for name in kinds if name not in names and name != REST]
    allowed = f"columns: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
    require(not unknown, f"{source}: kinds", unknown, f"of {allowed}")
    return [kinds.get(name, known.get(name, kinds.get(REST))) for name in names]


def _from_columns(contents: TableContents, roles: set[str | None], reading: TableReading) -> _Parts:
    entries = {name: x for name, x in contents.columns.items() if name not in roles}
    kinds = _kinds(reading.kinds, contents.kinds, tuple(entries), contents.source)
    if _all_counts(entries.values()):
        kinds = [
            kind or ("count" if x.dtype.kind == "f" else None) for x, kind in zip(entries.values(), kinds, strict=True)
        ]
    found: list[Encoded] = []
    notes: list[str] = []
    for (name, x), kind in zip(entries.items(), kinds, strict=True):
        encoded = encode_column(GivenColumn(name, x, contents.place, contents.source), kind)
        if isinstance(encoded, str):
            notes.append(encoded)
        else:
            found.append(encoded)
    require(bool(found), f"{contents.source}: columns", " ".join(notes) or "none", "of numbers or categories")
    columns = tuple(column for column, _ in found)
    values = np.empty((len(contents), len(found)), _dtype(columns))
    for i, (_, x) in enumerate(found):
        values[:, i] = x
    return _Parts(values, columns, tuple(notes))


def _all_counts(entries: Iterable[np.ndarray]) -> bool:
    """Returns whether a table has many columns, all of whole numbers from 0: counts of genes or of words."""
    found = [x[~np.isnan(x)] for x in entries if x.dtype.kind == "f"]
    return (
        len(found) > _MANY
        and all(np.all((x >= 0) & (x == np.rint(x))) for x in found)
        and any(np.any(x > 1) for x in found)
    )


def _from_matrix(contents: TableContents, reading: TableReading) -> _Parts:
    matrix, names, source = contents.matrix, contents.variables, contents.source
    kinds = _kinds(reading.kinds, contents.kinds, names, source)
    kept = np.array([kind != SKIP for kind in kinds])
    notes = []
    if not kept.all():
        require(bool(kept.any()), f"{source}: columns", "none", "at least one that isn't left out")
        matrix, names = matrix[:, np.flatnonzero(kept)], tuple(itertools.compress(names, kept))
        matrix = np.asarray(matrix) if isinstance(matrix, np.memmap) else matrix  # a copy, not a map
        kinds = list(itertools.compress(kinds, kept))
        left = int(np.sum(~kept))
        notes.append(f"{counted(left, 'column')} {'is' if left == 1 else 'are'} left out, as said.")
    found = extents_of(matrix, names, contents.place)
    if (empty := found.missing == len(contents)).any():
        name = names[int(np.argmax(empty))]
        raise ValueError(f'{source}: column {name!r} must have an entry in some row, or be of kind "{SKIP}"')
    common = guess_kind(found.low.min(), found.high.max(), bool(found.whole.all()))
    columns = []
    for i, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        low, high, whole = float(found.low[i]), float(found.high[i]), bool(found.whole[i])
        levels = _levels(kind, low, high, whole, f"{source}, column {name!r}")
        if kind in ("count", "positive", "binary"):
            fits = {"count": low >= 0 and whole, "positive": low > 0, "binary": low >= 0 and high <= 1 and whole}
            if not fits[kind]:
                require_of_kind(GivenColumn(name, _dense_column(matrix, i), contents.place, source), kind)
        said = "ordinal" if isinstance(kind, tuple) else kind or common
        columns.append(Column(name, said, levels, low, high, int(found.missing[i]), int(found.zeros[i])))
    mapped = isinstance(matrix, np.memmap)
    return _Parts(matrix if mapped else matrix.astype(_dtype(columns), copy=False), tuple(columns), tuple(notes))


def _levels(kind: Kind | None, low: float, high: float, whole: bool, field: str) -> tuple[str, ...]:
    """Returns the levels of a matrix's column, whose numbers must be their codes; () for a kind without levels."""
    if not isinstance(kind, tuple) and kind not in ("categorical", "ordinal"):
        return ()
    text = f"{low:g} to {high:g}"
    require(whole and low >= 0, field, text, "whole codes, 0 or more")
    levels = kind if isinstance(kind, tuple) else tuple(map(str, range(int(high) + 1)))
    require(high < len(levels), field, text, f"codes 0 to {len(levels) - 1}")
    return levels


def _dense_column(matrix: Any, i: int) -> np.ndarray:
    column = matrix[:, [i]]
    return np.asarray(column if isinstance(column, np.ndarray) else column.toarray(), np.float64)[:, 0]


def _dtype(columns: Iterable[Column]) -> np.dtype:
    """Returns float32, or float64 if float32 would blur a column."""
    return np.dtype(np.float64 if any(column.blurred for column in columns) else np.float32)


def _labels(contents: TableContents, name: str) -> np.ndarray:
    """Returns labels as strings or int64; raises ValueError for a missing one."""
    entries = contents.marks("label", name)
    field = f"column {name!r}"
    if entries.dtype == bool:
        return entries.astype(np.int64)
    require(entries.dtype.kind in "fO", f"{contents.source}: label {name!r}", str(entries.dtype), "strings or numbers")
    odd = np.array([x is None for x in entries]) if entries.dtype == object else ~(entries == np.rint(entries))
    if odd.any():
        row = int(np.argmax(odd))
        raise ValueError(f"{contents.place(row)}, {field} must be a label, text or a whole number, got {entries[row]}")
    return np.array(entries.tolist()) if entries.dtype == object else entries.astype(np.int64)


def _texts(contents: TableContents, role: str, name: str) -> np.ndarray:
    """Returns the names of rows or groups, as strings; raises ValueError for a missing one."""
    entries = contents.marks(role, name)
    missing = np.array([x is None or x != x for x in entries.tolist()])
    if missing.any():
        raise ValueError(
            f"{contents.place(int(np.argmax(missing)))}, column {name!r} must be there, to be {role}, got none"
        )
    return as_texts(entries)


def _splits(
    contents: TableContents, reading: TableReading, labels: np.ndarray | None
) -> tuple[np.ndarray | None, list[str]]:
    splits, field = contents.splits, contents.source
    given = splits is not None and (reading.split or reading.group or reading.stratified)
    require(not given, f"{field}: splits", "a file for each", "said once, without split, group or stratified")
    if reading.split is not None:
        field = f"{contents.source}: column {reading.split!r}"
        splits = named_splits(contents.marks("split", reading.split), reading.split, contents.place)
    if splits is not None:
        return settled_splits(splits, field)
    if reading.group is not None:
        groups = _texts(contents, "group", reading.group)
        return grouped_splits(groups, f"{contents.source}: column {reading.group!r}"), []
    if reading.stratified:
        assert labels is not None  # ``TableReading`` checks this
        return stratified_splits(labels, contents.source), []
    return None, []
