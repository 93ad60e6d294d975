"""Files of matrices: scipy's sparse .npz, .h5ad of AnnData, and arrays of HDF5 (.h5, .hdf5) and Zarr (.zarr).

Sparse matrices stay sparse, by rows. An HDF5 array that is neither chunked nor compressed is mapped into memory, not
read.
"""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.tables.contents import TableContents, TableReading, legible
from jaxvae.data.tables.frames import series_entries
from jaxvae.extras import load_extra

MATRICES = (".npz", ".h5ad", ".h5", ".hdf5", ".zarr")
"""The suffixes of files of matrices."""

_USUAL = ("x", "data", "values", "counts")


def read_matrix(path: Path, reading: TableReading) -> TableContents:
    """Reads a file of a matrix.

    Raises:
        ValueError: for a broken file, or one with several arrays if none is chosen.
        FileNotFoundError: if there is no such file.
        ImportError: if the extra isn't installed.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if suffix == ".npz":
        return _sparse(path)
    return _annotated(path, reading) if suffix == ".h5ad" else _stored(path, reading)


def matrix_contents(source: str, matrix: Any, variables: tuple[str, ...] | None = None, **known: Any) -> TableContents:
    """Returns the contents of a matrix (N, D), dense or sparse, whose columns are numbered if they have no names.

    Args:
        source: its name in messages.
        matrix: the matrix.
        variables: the names of its columns.
        known: other fields of ``TableContents``.

    Raises:
        ValueError: for another shape or type, or duplicate names.
    """
    from scipy import sparse

    if sparse.issparse(matrix):
        _require_indices(matrix, source)
        matrix = sparse.csr_array(matrix)
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        if np.any(matrix.data == 0):
            matrix = matrix.copy()
            matrix.eliminate_zeros()
    require(matrix.ndim == 2, f"{source}: shape", matrix.shape, "(N, D), rows and columns")
    require(0 not in matrix.shape, f"{source}: shape", matrix.shape, "not empty")
    require(matrix.dtype.kind in "biuf", f"{source}: dtype", str(matrix.dtype), "boolean, integer or float")
    if variables is None:
        variables = tuple(map(str, range(matrix.shape[1])))
    names, counts = np.unique(np.array(variables), return_counts=True)
    require(len(variables) == matrix.shape[1], f"{source}: number of names", len(variables), f"{matrix.shape[1]}")
    require(bool(np.all(counts == 1)), f"{source}: column names", names[counts > 1][:5].tolist(), "there once each")
    return TableContents(source, ((source, matrix.shape[0]),), matrix=matrix, variables=tuple(variables), **known)


def _require_indices(matrix: Any, source: str) -> None:
    """Raises ValueError if a sparse matrix's indices are outside of it, because SciPy's operations would crash."""
    if hasattr(matrix, "check_format"):  # COO checks its indices when it is made
        try:
            matrix.check_format(full_check=True)
        except ValueError as error:
            raise ValueError(
                f"{source} must be a sparse matrix with indices that fit, got one of which {error}"
            ) from None


def is_sparse(path: Path) -> bool:
    """Returns whether a .npz file has a sparse matrix, instead of arrays."""
    try:
        with zipfile.ZipFile(path) as file:
            return {"format.npy", "shape.npy", "data.npy"} <= {*file.namelist()}
    except (OSError, zipfile.BadZipFile):
        return False


def _sparse(path: Path) -> TableContents:
    from scipy import sparse

    with legible(path, "a .npz file of scipy.sparse.save_npz"), zipfile.ZipFile(path):  # else it may be a lone array
        matrix = sparse.load_npz(path)
    return matrix_contents(str(path), matrix)


def _annotated(path: Path, reading: TableReading) -> TableContents:
    anndata = load_extra(str(path), "anndata", "anndata")
    with legible(path, "an .h5ad file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about duplicate names, which are refused below, and old files
        data = anndata.read_h5ad(path)
    known = [*data.layers] + (["raw"] if data.raw is not None else [])
    allowed = f"one of {', '.join(known)}" if known else "left out, as X is all there is"
    require(reading.array is None or reading.array in known, f"{path}: array", reading.array, allowed)
    named = data.raw if reading.array == "raw" else data
    matrix = data.layers[reading.array] if reading.array not in (None, "raw") else named.X
    require(matrix is not None, f"{path}: X", None, f"there, or array {allowed}")
    known_of = {name: series_entries(data.obs[name], f"{path}: obs {name!r}") for name in data.obs.columns}
    own = {*map(str, named.var_names)}
    notes = [f"X is read; array may be one of {', '.join(known)}."] if known and reading.array is None else []
    return matrix_contents(
        str(path),
        matrix,
        tuple(map(str, named.var_names)),
        about={name: entries for name, (entries, _) in known_of.items()},
        names=np.array([str(name) for name in data.obs_names]),
        kinds={name: kind for name, (_, kind) in known_of.items() if kind is not None and name not in own},
        notes=tuple(notes),
    )


def _stored(path: Path, reading: TableReading) -> TableContents:
    hdf5 = path.suffix.lower() != ".zarr"
    library = load_extra(str(path), "h5py" if hdf5 else "zarr", "anndata")
    with legible(path, "an HDF5 file" if hdf5 else "a Zarr store"):
        arrays, close = _hdf5_arrays(library, path) if hdf5 else _zarr_arrays(library, path)
    try:
        name = _chosen(arrays, str(path), reading.array)
        with legible(path, f"whole in array {name!r}"):
            chosen = arrays[name]
            mapped = _mapped(path, chosen) if hdf5 else None
            matrix = chosen[...] if mapped is None else mapped
            alike = [other for other, x in arrays.items() if x.shape == chosen.shape[:1]]
            about = {other: _entries(arrays[other]) for other in alike}
    finally:
        close()
    return matrix_contents(str(path), matrix, about=about)


def _hdf5_arrays(h5py: Any, path: Path) -> tuple[dict[str, Any], Any]:
    file = h5py.File(path, "r")
    found: dict[str, Any] = {}
    file.visititems(lambda name, x: found.update({name: x}) if isinstance(x, h5py.Dataset) else None)
    return found, file.close


def _zarr_arrays(zarr: Any, path: Path) -> tuple[dict[str, Any], Any]:
    store = zarr.open(str(path), mode="r")
    if isinstance(store, zarr.Array):
        return {"": store}, store.store.close
    return {name: x for name, x in store.members(max_depth=None) if isinstance(x, zarr.Array)}, store.store.close


def _chosen(arrays: Mapping[str, Any], source: str, name: str | None) -> str:
    """Returns the name of the array to read: the given one, the only matrix, or one with the usual name."""
    if name is not None:
        require(name in arrays, f"{source}: array", name, f"one of {', '.join(sorted(arrays))}")
        return name
    matrices = [other for other, x in arrays.items() if len(x.shape) == 2]
    usual = [other for other in matrices if other.rpartition("/")[2].lower() in _USUAL]
    found = matrices if len(matrices) == 1 else usual
    shapes = [f"{other} {tuple(x.shape)}" for other, x in arrays.items()]
    require(len(found) == 1, f"{source}: arrays", shapes, "one (N, D), or one of them said (array)")
    return found[0]


def _mapped(path: Path, dataset: Any) -> np.ndarray | None:
    """Returns a memory map of floats that the file stores without chunks or compression, else None."""
    offset = dataset.id.get_offset()  # None if it is in chunks, in another file, or not written
    if offset is None or dataset.dtype not in (np.float32, np.float64) or not dataset.dtype.isnative:
        return None
    return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)


def _entries(array: Any) -> np.ndarray:
    """Returns an array (N,) in the form of ``TableContents``."""
    x = np.asarray(array[...])
    if x.dtype.kind in "iuf":
        return x.astype(np.float64)
    if x.dtype.kind in "bM":
        return x
    texts = [entry.decode() if isinstance(entry, bytes) else str(entry) for entry in x.tolist()]
    found = np.full(len(texts), None, object)
    found[:] = texts
    return found
