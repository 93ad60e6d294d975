"""A description of a table, before anything is trained on it."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxvae.data.features import as_covariate, covariates_told, kinds_told, names_told
from jaxvae.data.tables.columns import LIKELIHOODS, Column
from jaxvae.data.tables.tabular import DataTable
from jaxvae.texts import counted, percentage

_SHOWN = 8
_UNBOUNDED = ("real", "positive")
_CHUNK = 2**20


def describe_table(table: DataTable) -> list[str]:
    """Describes a table: shape, kinds, zeros, missing entries, oddities, covariates, and likelihoods that suit it.

    >>> from jaxvae.data.tables import as_table
    >>> for line in describe_table(as_table({"visits": [0, 3, 1, 0], "weight": [70.5, float("nan"), 81.0, 70.5]})):
    ...     print(line)
    4 rows × 2 columns, dense float32.
    Kinds: 1 count (visits), 1 positive (weight).
    Zeros: 25 % of the entries. Missing: 12.5 % of the entries, most in weight (25 %).
    1 row is a copy of another one.
    Not split: of ten rows or more, 80, 10 and 10 % become train, validation and test.
    Likelihoods that suit, column by column: negative_binomial (count), log_normal (positive).
    """
    return [
        _shape(table),
        f"Kinds: {kinds_told(table.columns)}.",
        _zeros_and_missing(table),
        *_odd(table),
        *_classes(table),
        *_covariates(table),
        _splits(table),
        _likelihood(table.columns),
        *table.notes,
    ]


def _shape(table: DataTable) -> str:
    rows, columns = table.values.shape
    size = f"{rows:,} rows × {columns:,} {'columns' if columns > 1 else 'column'}"
    if table.sparse:
        return f"{size}, sparse {table.values.dtype}, {percentage(table.values.nnz / (rows * columns), 1e-4)} stored."
    return f"{size}, {'mapped' if isinstance(table.values, np.memmap) else 'dense'} {table.values.dtype}."


def _zeros_and_missing(table: DataTable) -> str:
    entries = len(table) * len(table.columns)
    numbers = [column for column in table.columns if not column.levels]
    zeros = sum(column.zeros for column in numbers) / entries
    missing = sum(column.missing for column in table.columns) / entries
    most = max(table.columns, key=lambda column: column.missing)
    told = f"{percentage(missing, 1e-4)} of the entries, most in {most.name} ({percentage(most.missing / len(table))})"
    return f"Zeros: {_share(zeros)}. Missing: {told if missing else 'none'}."


def _share(share: float) -> str:
    return f"{percentage(share, 1e-4)} of the entries" if share else "none"


def _odd(table: DataTable) -> list[str]:
    found = []
    constant = [column for column in table.columns if column.constant]
    if constant:
        unbounded = any(column.kind in _UNBOUNDED for column in constant)
        warned = ": a density with a learned σ has no bound there" if unbounded else ""
        found.append(f"Constant: {counted(len(constant), 'column')} ({names_told(constant)}){warned}.")
    if unseen := _unseen(table):
        found.append(f"No entry in the train split: {counted(len(unseen), 'column')} ({names_told(unseen)}).")
    if copies := len(table) - len(set(_digests(table.values))):
        found.append(f"{counted(copies, 'row')} {'is' if copies == 1 else 'are'} a copy of another one.")
    return found


def _unseen(table: DataTable) -> list[Column]:
    """Returns the columns that have entries, but none in the training split."""
    rows = np.arange(len(table)) if table.splits is None else table.rows["train"]
    some = [i for i, column in enumerate(table.columns) if len(rows) <= column.missing < len(table)]
    entries = table.values[rows][:, some] if some else np.empty((0, 0))
    missing = np.isnan(entries if isinstance(entries, np.ndarray) else entries.toarray()).all(axis=0)
    return [table.columns[some[i]] for i in np.flatnonzero(missing).tolist()]


def _digests(values: Any) -> Iterator[bytes]:
    """Yields a digest of each row."""
    if isinstance(values, np.ndarray):
        step = max(1, _CHUNK // values.shape[1])
        parts = (row.tobytes() for start in range(0, len(values), step) for row in values[start : start + step] + 0.0)
    else:
        ends = values.indptr.tolist()
        slices = map(slice, ends[:-1], ends[1:])
        parts = (values.indices[some].tobytes() + values.data[some].tobytes() for some in slices)
    return (hashlib.blake2b(part, digest_size=16).digest() for part in parts)


def _classes(table: DataTable) -> list[str]:
    if table.labels is None:
        return []
    names, counts = np.unique(table.labels, return_counts=True)
    some = [f"{name} ({count:,})" for name, count in zip(names[:_SHOWN].tolist(), counts.tolist(), strict=False)]
    return [f"{len(names):,} classes: {', '.join([*some, '…'] if len(names) > _SHOWN else some)}."]


def _covariates(table: DataTable) -> list[str]:
    found = [as_covariate(column.name, column.kind, column.levels) for column, _ in table.covariates]
    return [f"Covariates: {covariates_told(found)}."] if found else []


def _splits(table: DataTable) -> str:
    if table.splits is None:
        return "Not split: of ten rows or more, 80, 10 and 10 % become train, validation and test."
    return f"Splits: {', '.join(f'{name} {len(rows):,}' for name, rows in table.rows.items())} rows."


def _likelihood(columns: Sequence[Column]) -> str:
    kinds = list(dict.fromkeys(column.kind for column in columns))
    if len(kinds) == 1:
        return f"Likelihood that suits: {LIKELIHOODS[kinds[0]]}."
    return f"Likelihoods that suit, column by column: {', '.join(f'{LIKELIHOODS[kind]} ({kind})' for kind in kinds)}."
