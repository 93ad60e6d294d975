"""Files of named columns: .csv and .tsv, plain or gzipped, and .parquet; and pandas DataFrames in memory.

A folder may hold one such file for each split: ``train.csv``, ``test.csv`` and optionally ``val.csv``. pandas reads the
values. Before that, Python's csv module checks that every line has one entry per name, because pandas silently adds or
drops entries.
"""

import csv
import gzip
import numbers
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.arrays import SPLIT_NAMES
from jaxvae.data.tables.columns import Kind, as_texts, is_number, number_text
from jaxvae.data.tables.contents import TableContents, TableReading, legible
from jaxvae.extras import load_extra

TEXT = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
FRAMES = (*TEXT, ".parquet")
"""The suffixes of files of named columns."""

_FEWEST_NUMBERS = 5


def read_frames(path: Path, reading: TableReading) -> TableContents:
    """Reads a file of named columns, or a folder with one for each split.

    Raises:
        ValueError: for a file that is broken, ragged or empty; for names that are missing, numbers or duplicates; or
            for files of one folder whose columns differ.
        FileNotFoundError: if there is no such file.
        ImportError: if the extra isn't installed.
    """
    if not path.is_dir():
        return frame_contents(str(path), _frame(path, reading), str(path))
    files = split_files(path)
    require(
        bool(files),
        str(path),
        "a folder",
        f"a folder of train, test and perhaps validation files ({', '.join(FRAMES)})",
    )
    require(len({*files.values()}) == len(files), f"{path}", [f.name for f in files], "a folder with one file a split")
    frames = {file: _frame(file, reading) for file in files}
    first, *others = frames
    for other in others:
        a, b = list(frames[first].columns), list(frames[other].columns)
        odd = [name for name in (*a, *b) if (name in a) != (name in b)]
        require(not odd, f"{other}: columns", odd, f"the same as those of {first.name}; these are in one alone")
    pandas = _pandas(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about columns without entries in one file
        whole = pandas.concat(frames.values(), ignore_index=True)
    parts = tuple((str(file), len(frame)) for file, frame in frames.items())
    splits = np.concatenate([np.full(len(frame), files[file], "<U10") for file, frame in frames.items()])
    return frame_contents(str(path), whole, *parts, splits=splits)


def split_files(folder: Path) -> dict[Path, str]:
    """Returns the files of named columns in a folder that have the name of a split, each with its split."""
    found = {file: SPLIT_NAMES.get(file.name.partition(".")[0].lower()) for file in sorted(folder.iterdir())}
    return {file: split for file, split in found.items() if split and file.name.lower().endswith(FRAMES)}


def frame_contents(
    source: str,
    frame: Any,
    *parts: tuple[str, int] | str,
    splits: np.ndarray | None = None,
    notes: tuple[str, ...] = (),
) -> TableContents:
    """Returns a pandas DataFrame's contents; an unnamed first column, or an index of strings, names the rows.

    Args:
        source: its name in messages.
        frame: the DataFrame.
        parts: its files, with their numbers of rows; or a name for messages.
        splits: the splits of the rows.
        notes: notes on how it was read.

    Raises:
        ValueError: for columns of a type that isn't understood, or duplicate names.
    """
    columns = [str(name) for name in frame.columns]
    twice = _twice(columns)
    require(not twice, f"{source}: column names", twice, "there once each")
    require(len(columns) > 0 and len(frame) > 0, source, f"{len(frame)} rows, {len(columns)} columns", "not empty")
    kinds: dict[str, Kind] = {}
    entries = {}
    for i, name in enumerate(columns):
        entries[name], kind = series_entries(frame.iloc[:, i], f"{source}: column {name!r}")
        if kind is not None:
            kinds[name] = kind
    counts = tuple(part if isinstance(part, tuple) else (part, len(frame)) for part in parts)
    names = None
    if columns[0] in ("", "Unnamed: 0"):
        names = as_texts(entries.pop(columns[0]))
    elif frame.index.dtype.kind not in "iufb":
        names = np.array([str(name) for name in frame.index])
    return TableContents(source, counts, entries, names=names, splits=splits, kinds=kinds, notes=notes)


def _twice(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def series_entries(series: Any, field: str) -> tuple[np.ndarray, Kind | None]:
    """Returns the entries of a pandas Series in the form of ``TableContents``, and the kind if its type has one.

    Raises:
        ValueError: for another type, such as lists.
    """
    kind, dtype = None, series.dtype
    if hasattr(dtype, "categories") and hasattr(dtype, "ordered"):
        levels = dtype.categories
        kind = tuple(map(_level, levels)) if dtype.ordered and len(levels) > 1 else "categorical"
        series = series.astype(levels.dtype if levels.dtype.kind == "f" else object)
    there = series.notna().to_numpy()
    if dtype.kind in "mM":
        return series.to_numpy(dtype=f"{dtype.kind}8[ns]"), kind
    if series.dtype.kind in "iuf":
        return series.to_numpy(dtype=np.float64, na_value=np.nan), kind
    if series.dtype.kind == "b" and there.all():
        return series.to_numpy(dtype=bool), kind
    values = series.astype(object).to_numpy()
    found = {type(x) for x in values[there]}
    if found and all(issubclass(x, bool | np.bool_) for x in found):
        kind = kind or "binary"
    if all(issubclass(x, numbers.Number) for x in found):  # Python's numbers, including Decimal; or no entries
        return np.array([float(x) if known else np.nan for x, known in zip(values, there, strict=True)]), kind
    odd = [x.__name__ for x in found if not issubclass(x, str | numbers.Number)]
    require(not odd, field, f"entries of type {', '.join(odd)}", "of numbers, strings or dates")
    words = np.full(len(values), None, object)
    words[there] = [str(x) for x in values[there]]
    return words, kind


def _level(x: Any) -> str:
    return number_text(x) if isinstance(x, float) else str(x)


def _pandas(path: Path) -> Any:
    return load_extra(str(path), "pandas", "tables")


def _frame(path: Path, reading: TableReading) -> Any:
    if path.name.lower().endswith(TEXT):
        return _text(path, reading)
    pandas = _pandas(path)
    load_extra(str(path), "pyarrow", "tables")
    with legible(path, "a .parquet file"):
        return pandas.read_parquet(path, engine="pyarrow")


def _text(path: Path, reading: TableReading) -> Any:
    kind = next(suffix for suffix in TEXT if path.name.lower().endswith(suffix))
    delimiter = reading.delimiter or ("\t" if kind.startswith(".tsv") else ",")
    require(delimiter != reading.decimal, f"{path}: delimiter", delimiter, "another than decimal")
    pandas = _pandas(path)
    names = _names(path, kind, delimiter, reading)
    # The default before 3.1 isn't exact, and crashes for an exponent of ten digits; later it is the only one.
    old = tuple(map(int, pandas.__version__.split(".")[:2])) < (3, 1)
    exact = {"float_precision": "round_trip"} if old else {}
    with legible(path, f"a {kind} file"):
        return pandas.read_csv(
            path,
            sep=delimiter,
            header=None if reading.header is False else 0,
            names=names,
            decimal=reading.decimal,
            thousands=reading.thousands,
            na_values=list(reading.missing),
            skipinitialspace=True,
            low_memory=False,
            encoding="utf-8-sig",
            **exact,
        )


def _names(path: Path, kind: str, delimiter: str, reading: TableReading) -> list[str]:
    """Returns the names of the columns, after a check that each line has one entry per name."""
    lines = _lines(path, kind, delimiter)
    _, first = next(lines, (0, []))
    require(bool(first), str(path), "an empty file", f"a {kind} file with names and rows")
    names = [name.strip() for name in first]
    if len(names) == 1:
        other = next((mark for mark in ";\t|," if mark != delimiter and mark in names[0]), None)
        require(other is None, f"{path}: first line", names[0], f"of several names; say delimiter {other!r}, if it is")
    if reading.header is False:
        names = [str(i) for i in range(len(names))]
    elif reading.header is None:
        odd = list(filter(is_number, names))
        counted = [[str(i) for i in range(start, start + len(odd))] for start in (0, 1)]
        sure = not odd or (len(odd) >= _FEWEST_NUMBERS and odd in counted)
        allowed = "names, not numbers; say whether there are names in it (header)"
        require(sure, f"{path}: first line", ", ".join(names[:8]), allowed)
    bare = [i + 1 for i, name in enumerate(names) if i and not name]
    require(not bare, f"{path}: first line", f"none for column {bare[0] if bare else ''}", "a name for each column")
    twice = _twice(names)
    require(not twice, f"{path}: column names", twice, "there once each")
    count = 0
    for number, entries in lines:
        fits = len(entries) == len(names)
        allowed = f"{len(names)}, one for each name"
        require(fits, f"{path}, line {number}: number of entries", len(entries), allowed)
        count += 1
    require(count + (reading.header is False) > 0, str(path), "no rows below the names", "a table with rows")
    return names


def _lines(path: Path, kind: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the number and the entries of each line of a text file; it skips blank lines, as pandas does."""
    opened: Any = gzip.open if kind.endswith(".gz") else open
    with legible(path, f"a {kind} file in UTF-8"), opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(map(_without_nul, file), delimiter=delimiter, skipinitialspace=True, strict=True)
        for entries in reader:
            if len(entries) > 1 or any(entries):
                yield reader.line_num, entries


def _without_nul(line: str) -> str:
    if "\0" in line:
        raise ValueError("it has bytes that no text has")
    return line
