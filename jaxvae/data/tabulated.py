"""A table of counts as a dataset: rows are examples, columns are channels."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.arrays import MOST_COUNTED, SPLITS, as_labels
from jaxvae.data.dataset import Dataset, assemble
from jaxvae.data.options import PLAIN, Reading
from jaxvae.data.tables import DataTable, TableReading, load_known, load_table

_OF_ROWS = ("values", "labels", "names", "splits")
_SHOWN = 3  # columns that a message names


def load_counts(source: str | Path, reading: Reading, rows: int | None = None, *, known: bool = False) -> Dataset:
    """The dataset of a table of counts, such as a .csv, .parquet or .h5ad file, or a sparse .npz file.

    Its splits are those that it has, or of rows as ``arrays.split_rows`` has them. A sparse table becomes dense.

    Args:
        source: the path, or the name of a known table.
        reading: of which ``label`` says the column of the classes, and ``counts`` that all other columns are counts.
        rows: how many there were when they were split before; later ones are left out, so that the split is that one.
        known: whether this is a name of ``tables.KNOWN``.

    Raises:
        ValueError: for a table of other kinds of columns, missing entries, fewer rows than before, or a train split
            without a test split.
        FileNotFoundError: where there is no such file.
        ImportError: without the extra that reads it.
    """
    said = dataclasses.replace(PLAIN, label=reading.label, counts=reading.counts)
    require(reading == said, "dataset", str(source), "one of images for flags other than --counts and --label")
    if known:
        table = load_known(str(source))
    else:
        table = load_table(source, TableReading(label=reading.label, kinds={"*": "count"} if reading.counts else {}))
    if rows is not None:
        require(len(table) >= rows, f"{source}: number of rows", len(table), f"{rows} or more, as when they were split")
        parts: dict[str, Any] = {
            name: None if x is None else x[:rows] for name, x in vars(table).items() if name in _OF_ROWS
        }
        table = dataclasses.replace(table, **parts)
    return counts_of(table, str(source), dataclasses.replace(reading, counts=True))


def counts_of(table: DataTable, name: str, reading: Reading) -> Dataset:
    """The dataset of a table, all of whose columns are counts; raises as ``load_counts``."""
    other = [f"{column.name} ({column.kind})" for column in table.columns if column.kind not in ("count", "binary")]
    more = f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
    found = f"{', '.join(other[:_SHOWN])}{more}"
    require(not other, f"{name}: columns", found, "counts; if they are, say --counts")
    missing = [column.name for column in table.columns if column.missing]
    require(not missing, f"{name}: columns", missing[:_SHOWN], "without missing entries")
    most = max(column.high for column in table.columns)
    require(most <= MOST_COUNTED, f"{name}: counts", most, f"whole numbers in 0..{MOST_COUNTED}")
    rows = {split: table.rows[split] for split in SPLITS if split in table.rows and len(table.rows[split])}
    require({"train", "test"} <= set(rows), f"{name}: splits", sorted(rows), "train and test, at least")
    dense = table.values.toarray() if table.sparse else table.values
    images = np.ascontiguousarray(dense, np.float32)[:, None, None, :]
    marks = {} if table.labels is None else {"": table.labels}
    labels, class_names = as_labels(marks, {"": len(images)}, name)
    return assemble(
        name,
        {split: images[some] for split, some in rows.items()},
        {split: labels[""][some] if labels else None for split, some in rows.items()},
        None,
        {split: some if table.names is None else table.names[some] for split, some in rows.items()},
        class_names,
        apportioned=len(images) if table.splits is None else 0,
        reading=reading,
        notes=table.notes,
    )
