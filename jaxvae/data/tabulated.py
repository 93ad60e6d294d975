"""A table as a dataset: rows are examples, columns are channels."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.arrays import MOST_COUNTED, SPLITS, as_labels
from jaxvae.data.dataset import Dataset, assemble
from jaxvae.data.features import Feature, as_covariate, kinds_of
from jaxvae.data.options import OF_TABLES, PLAIN, Reading
from jaxvae.data.tables import DataTable, TableReading, load_known, load_table, parsed_kinds

_SHOWN = 3  # columns that a message names


def load_rows(
    source: str | Path,
    reading: Reading,
    rows: int | None = None,
    features: Sequence[Feature] = (),
    *,
    known: bool = False,
) -> Dataset:
    """Loads the dataset of a table, such as a .csv, .parquet or .h5ad file, or a sparse .npz file.

    Its splits are its own, or those of ``arrays.split_rows``. A sparse table becomes dense.

    Args:
        source: the path, or the name of a known table.
        reading: the fields in ``OF_TABLES`` say how it is read; ``counts`` says that columns are counts.
        rows: the number of rows when they were split before; later rows are left out, so that the split is the same.
        features: for a table that was read before, the only columns to read, including covariates.
        known: whether the source is a name of ``tables.KNOWN``.

    Raises:
        ValueError: for a table that can't be trained on, fewer rows than before, or a train split without a test split.
        FileNotFoundError: if there is no such file.
        ImportError: if the extra that reads it isn't installed.
    """
    said = table_reading(reading, str(source))
    like = kinds_of(features)
    if known:
        table = load_known(str(source), said, rows=rows, like=like)
    else:
        table = load_table(source, said, rows=rows, like=like)
    return _dataset(table, str(source), reading, features)


def load_unsplit_rows(path: Path, reading: Reading, features: Sequence[Feature]) -> DataTable:
    """Loads these columns of all rows, read like the table of a model's training; raises as ``load_rows``."""
    said = table_reading(dataclasses.replace(reading, split=None, group=None, stratified=False), str(path))
    table = load_table(path, said, like=kinds_of(features))
    _require_trainable(table, str(path))
    return table


def table_reading(reading: Reading, source: str) -> TableReading:
    """Returns the options for a table; raises ValueError for options that apply to images only."""
    given = {name: getattr(reading, name) for name in OF_TABLES}
    of_images = dataclasses.replace(PLAIN, counts=reading.counts, **given)
    require(reading == of_images, "dataset", source, "one of images for flags that say how images are read")
    kinds = {"*": "count"} if reading.counts else {}
    said = {} if reading.kinds is None else parsed_kinds(reading.kinds)
    return TableReading(**{**given, "kinds": {**kinds, **said}})


def from_table(table: DataTable, name: str = "table", reading: Reading = PLAIN) -> Dataset:
    """Makes the dataset of a table that was read, such as by ``tables.as_table``; raises as ``load_rows``.

    >>> from jaxvae.data.tables import as_table
    >>> data = from_table(as_table({"weight": [70.5, 66.0, 81.5, 59.0] * 5, "sex": list("mfmf") * 5}))
    >>> data.train.images.shape, [feature.kind for feature in data.features]
    ((16, 1, 1, 2), ['positive', 'binary'])
    """
    return _dataset(table, name, reading, ())


def _dataset(table: DataTable, name: str, reading: Reading, features: Sequence[Feature]) -> Dataset:
    _require_trainable(table, name)
    try:
        of_splits = table.rows
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    rows = {split: of_splits[split] for split in SPLITS if split in of_splits and len(of_splits[split])}
    require({"train", "test"} <= set(rows), f"{name}: splits", sorted(rows), "train and test, at least")
    images = as_images(table)
    marks = {} if table.labels is None else {"": table.labels}
    labels, class_names = as_labels(marks, {"": len(images)}, name)
    known = tuple(Feature(f.name, f.kind, f.levels) for f in features if f.name not in reading.covariates)
    found = known or tuple(Feature(c.name, c.kind, c.levels) for c in table.columns)
    covariates, given = as_covariates(table)
    counts = {feature.kind for feature in found} == {"count"}
    reading = dataclasses.replace(
        reading, counts=reading.counts or counts, covariates=tuple(c.name for c in covariates)
    )
    apportioned = table.splits is None or bool(reading.group) or reading.stratified
    return assemble(
        name,
        {split: images[some] for split, some in rows.items()},
        {split: labels[""][some] if labels else None for split, some in rows.items()},
        None,
        {split: some if table.names is None else table.names[some] for split, some in rows.items()},
        class_names,
        apportioned=len(images) if apportioned else 0,
        reading=reading,
        notes=table.notes,
        features=found,
        covariates=covariates,
        given={} if given is None else {split: given[some] for split, some in rows.items()},
    )


def as_images(table: DataTable) -> np.ndarray:
    """Returns the rows of a table, (N, 1, 1, C), float32."""
    dense = table.values.toarray() if table.sparse else table.values
    return np.ascontiguousarray(dense, np.float32)[:, None, None, :]


def as_covariates(table: DataTable) -> tuple[tuple[Feature, ...], np.ndarray | None]:
    """Returns the covariates of a table's rows, and their numbers, (N, M) float32, or None."""
    if not table.covariates:
        return (), None
    columns, values = zip(*table.covariates, strict=True)
    return tuple(as_covariate(c.name, c.kind, c.levels) for c in columns), np.stack(values, axis=-1).astype(np.float32)


def _require_trainable(table: DataTable, name: str) -> None:
    """Raises ValueError for numbers or levels that a model can't have."""
    most = max((column.high for column in table.columns if column.kind == "count"), default=0)
    require(most <= MOST_COUNTED, f"{name}: counts", most, f"whole numbers in 0..{MOST_COUNTED}")
    beside = [column for column, _ in table.covariates]
    blurred = [column.name for column in (*table.columns, *beside) if column.blurred]
    allowed = "measured in another unit, or from another zero, so that float32 tells their entries apart"
    require(not blurred, f"{name}: columns", blurred[:_SHOWN], allowed)
    single = [column.name for column in table.columns if len(column.levels) == 1]
    require(not single, f"{name}: columns", single[:_SHOWN], 'of more than one level; kind "skip" leaves them out')
