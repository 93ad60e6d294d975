import re
import warnings

import numpy as np
import pytest
from scipy import sparse

from jaxvae.data.tables.contents import TableReading
from jaxvae.data.tables.matrices import matrix_contents, read_matrix

X = np.array([[0, 2, 0], [1.5, 0, 0]], np.float32)


def read(path, **said):
    return read_matrix(path, TableReading(**said))


def test_a_sparse_matrix_stays_sparse(tmp_path):
    sparse.save_npz(tmp_path / "x.npz", sparse.coo_array(X))
    found = read(tmp_path / "x.npz")
    assert found.matrix.format == "csr"
    np.testing.assert_array_equal(found.matrix.toarray(), X)
    assert found.variables == ("0", "1", "2")
    assert len(found) == 2


def test_entries_that_are_stored_twice_or_are_zero_are_tidied():
    given = sparse.csr_array((np.array([1.0, 2, 0]), np.array([1, 1, 2]), np.array([0, 3])), shape=(1, 3))
    found = matrix_contents("x", given).matrix
    np.testing.assert_array_equal(found.toarray(), [[0, 3, 0]])
    assert (found.nnz, given.nnz) == (1, 3)


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_array])
def test_indices_outside_of_a_sparse_matrix_are_told(form):
    matrix = form(np.eye(3))
    matrix.indices[1] = 10**6
    with pytest.raises(ValueError, match=r"^x must be a sparse matrix with indices that fit, got one of which"):
        matrix_contents("x", matrix)


@pytest.mark.parametrize(
    ("matrix", "variables", "message"),
    [
        (np.ones(3), None, "x: shape must be (N, D), rows and columns, got (3,)"),
        (np.ones((0, 3)), None, "x: shape must be not empty, got (0, 3)"),
        (np.ones((2, 2), complex), None, "x: dtype must be boolean, integer or float, got 'complex128'"),
        (np.ones((2, 2)), ("a", "a"), "x: column names must be there once each, got ['a']"),
        (np.ones((2, 2)), ("a",), "x: number of names must be 2, got 1"),
    ],
)
def test_what_is_no_matrix_is_told(matrix, variables, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        matrix_contents("x", matrix, variables)


def test_a_broken_or_other_npz_is_told(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=X)
    message = r"x\.npz must be a \.npz file of scipy\.sparse\.save_npz, got what can't be read"
    with pytest.raises(ValueError, match=message):
        read(path)
    sparse.save_npz(path, sparse.csr_array(X))
    whole = path.read_bytes()
    for part in (whole[:-30], b"", b"\x80\x04N."):
        path.write_bytes(part)
        with pytest.raises(ValueError, match=message):
            read(path)
    path.write_bytes(
        re.sub(rb"(PK\x01\x02.{4})\0", lambda member: member[1] + b"\1", whole, flags=re.DOTALL)
    )  # each member is said to be encrypted
    with pytest.raises(ValueError, match=rf"{message} .*encrypted"):
        read(path)
    with pytest.raises(FileNotFoundError, match=r"none\.npz: no such file"):
        read(tmp_path / "none.npz")


@pytest.fixture
def annotated(tmp_path):
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    counts = np.array([[0, 4, 1], [3, 0, 0]], np.float32)
    obs = pandas.DataFrame({"batch": pandas.Categorical(["p", "q"]), "depth": [5, 3]}, index=["c1", "c2"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = anndata.AnnData(sparse.csr_matrix(np.log1p(counts)), obs, pandas.DataFrame(index=["g1", "g2", "g3"]))
        data.layers["counts"] = counts
        data.raw = anndata.AnnData(np.c_[counts, [9, 9]], obs, pandas.DataFrame(index=["g1", "g2", "g3", "g4"]))
        anndata.settings.allow_write_nullable_strings = True  # which those of pandas 3 are
        data.write_h5ad(tmp_path / "x.h5ad")
    return tmp_path / "x.h5ad", counts


def test_an_h5ad_file_has_genes_and_what_is_known_of_cells(annotated):
    path, counts = annotated
    found = read(path)
    assert found.matrix.format == "csr"
    np.testing.assert_array_equal(found.matrix.toarray(), np.log1p(counts))
    assert found.variables == ("g1", "g2", "g3")
    assert found.names.tolist() == ["c1", "c2"]
    assert found.marks("label", "batch").tolist() == ["p", "q"]
    assert found.marks("label", "depth").tolist() == [5, 3]
    assert found.notes == ("X is read; array may be one of counts, raw.",)


def test_counts_of_an_h5ad_file_are_read_when_asked_for(annotated):
    path, counts = annotated
    np.testing.assert_array_equal(read(path, array="counts").matrix, counts)
    found = read(path, array="raw")
    assert found.variables == ("g1", "g2", "g3", "g4")
    np.testing.assert_array_equal(found.matrix[:, :3], counts)
    with pytest.raises(ValueError, match=r"x\.h5ad: array must be one of counts, raw, got 'spliced'"):
        read(path, array="spliced")


def test_a_broken_h5ad_file_is_told(annotated):
    path, _ = annotated
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"x\.h5ad must be an \.h5ad file, got what can't be read"):
        read(path)


def test_the_matrix_of_an_hdf5_file_is_found_and_mapped(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["group/matrix"] = X
        file["y"] = [3, 4]
        file["s"] = ["u", "vé"]
        file["other"] = np.ones((2, 2, 2))
    found = read(path)
    np.testing.assert_array_equal(found.matrix, X)
    assert isinstance(found.matrix, np.memmap)
    assert found.marks("label", "y").tolist() == [3, 4]
    assert found.marks("label", "s").tolist() == ["u", "vé"]
    assert sorted(found.about) == ["s", "y"]


@pytest.mark.parametrize(
    "made",
    [
        {"data": X.astype(int)},
        {"data": X, "chunks": (1, 3)},
        {"data": X, "compression": "gzip"},
        {"data": X.astype(">f4")},
    ],
)
def test_an_array_that_lies_otherwise_in_an_hdf5_file_is_read(tmp_path, made):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_dataset("x", **made)
    found = read(tmp_path / "x.hdf5").matrix
    assert not isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, made["data"])


def test_of_several_arrays_one_is_called_as_usual_or_said(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["X"], file["pca"] = X, X[:, :2]
    assert read(path).matrix.shape == (2, 3)
    assert read(path, array="pca").matrix.shape == (2, 2)
    with pytest.raises(ValueError, match=r"x\.h5: array must be one of X, pca, got 'Y'$"):
        read(path, array="Y")
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = X, X
    message = r"x\.h5: arrays must be one \(N, D\), or one of them said \(array\), got \['a \(2, 3\)', 'b \(2, 3\)'\]$"
    with pytest.raises(ValueError, match=message):
        read(path)


@pytest.mark.parametrize("kept", [b"", b"\x89HDF\r\n\x1a\n", None])
def test_a_broken_hdf5_file_is_told(tmp_path, kept):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.ones((100, 100))
    path.write_bytes(path.read_bytes()[:-5000] if kept is None else kept)
    with pytest.raises(ValueError, match=r"x\.h5 must be an HDF5 file, got what can't be read"):
        read(path)


def test_zarr_stores_have_arrays(tmp_path):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path / "x.zarr"), mode="w")
    for name, x in {"x": X, "part/y": np.array([3, 4])}.items():
        group.create_array(name, data=x)
    found = read(tmp_path / "x.zarr")
    np.testing.assert_array_equal(found.matrix, X)
    assert found.marks("label", "part/y").tolist() == [3, 4]
    zarr.save_array(str(tmp_path / "y.zarr"), X)
    np.testing.assert_array_equal(read(tmp_path / "y.zarr").matrix, X)
    (tmp_path / "z.zarr").mkdir()
    with pytest.raises(ValueError, match=r"z\.zarr must be a Zarr store, got what can't be read"):
        read(tmp_path / "z.zarr")
