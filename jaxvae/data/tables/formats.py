"""Tables from a path or from objects in memory, each with its own reader."""

import numbers
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.missing import unmasked
from jaxvae.data.tables.columns import Kind
from jaxvae.data.tables.contents import AS_IT_IS, TableContents, TableReading
from jaxvae.data.tables.frames import FRAMES, frame_contents, read_frames, split_files
from jaxvae.data.tables.huggingface import is_saved_dataset, read_saved_columns
from jaxvae.data.tables.matrices import MATRICES, is_sparse, matrix_contents, read_matrix
from jaxvae.data.tables.tabular import DataTable, build_table


def is_table(path: Path) -> bool:
    """Returns whether ``load_table`` reads this file or folder, by its name or those of the files in it."""
    if path.suffix.lower() == ".npz":
        return is_sparse(path)
    return _named_so(path) or (path.is_dir() and (is_saved_dataset(path) or bool(split_files(path))))


def _named_so(path: Path) -> bool:
    return path.name.lower().endswith((*FRAMES, *MATRICES))


def load_table(
    path: str | Path,
    reading: TableReading = AS_IT_IS,
    *,
    rows: int | None = None,
    like: Mapping[str, Kind] = MappingProxyType({}),
) -> DataTable:
    """Loads the table in a file or folder, with the usual library for its format.

    Args:
        path: a .csv or .tsv file, optionally with .gz, a .parquet file, or a folder of such files, one for each split;
            a dataset of Hugging Face saved to disk; an .h5ad file; an array in an HDF5 file (.h5, .hdf5) or a Zarr
            store (.zarr); or a .npz file of ``scipy.sparse.save_npz``.
        reading: options for what is ambiguous.
        rows: as in ``build_table``.
        like: as in ``build_table``.

    Raises:
        ValueError: for a file that is broken or of another format, and for entries that don't fit; one line names file,
            row and column.
        FileNotFoundError: if there is no such file.
        ImportError: if the extra that reads it isn't installed.
    """
    path = Path(path).expanduser()
    known = ", ".join((*FRAMES, *MATRICES))
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    require(
        _named_so(path) or is_table(path),
        "table",
        str(path),
        f"one of {known}, a folder of such for each split, or a saved dataset",
    )
    return build_table(_read(path, reading), reading, rows=rows, like=like)


def _read(path: Path, reading: TableReading) -> TableContents:
    if path.name.lower().endswith(MATRICES):
        return read_matrix(path, reading)
    return read_saved_columns(path) if is_saved_dataset(path) else read_frames(path, reading)


def as_table(data: Any, reading: TableReading = AS_IT_IS, name: str = "table") -> DataTable:
    """Makes a table from an object in memory.

    Args:
        data: a pandas DataFrame; columns (N,) by name; or a matrix (N, D), NumPy's, JAX's or scipy's sparse. A memory
            map stays one; masked entries are missing.
        reading: options for what is ambiguous.
        name: its name in messages.

    Raises:
        ValueError: for entries that don't fit.

    >>> as_table({"age": [31, 45, 45], "weight": [70.5, float("nan"), 81.0]}).columns[1].missing
    1
    """
    return build_table(_contents(data, name), reading)


def _contents(data: Any, name: str) -> TableContents:
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        return frame_contents(name, data, name)
    if isinstance(data, np.ma.MaskedArray):
        data = np.ma.filled(data.astype(np.float64), np.nan)
    if not isinstance(data, Mapping):
        return matrix_contents(
            name, data if isinstance(data, np.memmap) or hasattr(data, "tocsr") else np.asarray(data)
        )
    columns = {str(column): _entries(unmasked(x), f"{name}: column {column!r}") for column, x in data.items()}
    counts = {len(x) for x in columns.values()}
    require(len(counts) == 1, f"{name}: lengths of columns", sorted(counts), "the same")
    return TableContents(name, ((name, counts.pop()),), columns)


def _is_number(entry: Any) -> bool:
    return isinstance(entry, numbers.Real) and not isinstance(entry, bool)


def _entries(x: np.ndarray, field: str) -> np.ndarray:
    require(x.ndim == 1, f"{field}: shape", x.shape, "(N,)")
    if x.dtype.kind in "iuf":
        return x.astype(np.float64)
    if x.dtype.kind == "U":
        return x.astype(object)
    if x.dtype == object and all(entry is None or _is_number(entry) for entry in x):
        return np.array([np.nan if entry is None else float(entry) for entry in x])
    odd = [entry for entry in x.tolist() if not (entry is None or isinstance(entry, str))] if x.dtype == object else []
    require(
        x.dtype.kind in "bmMO" and not odd,
        field,
        odd[:1] or str(x.dtype),
        "of numbers, of strings or of dates, perhaps with None",
    )
    return x
