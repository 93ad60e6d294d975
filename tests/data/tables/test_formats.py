import importlib.util
import re

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from jaxvae.data.tables import TableReading, as_table, is_table, load_table


@pytest.mark.parametrize("name", ["a.csv", "a.tsv.gz", "A.CSV", "a.parquet", "a.h5ad", "a.h5", "a.zarr"])
def test_a_table_is_known_by_its_name(tmp_path, name):
    assert is_table(tmp_path / name)


@pytest.mark.parametrize("name", ["a.npy", "a.xlsx", "csv", "a.json", ""])
def test_other_files_and_folders_are_none(tmp_path, name):
    assert not is_table(tmp_path / name)


def test_a_folder_with_files_of_splits_or_a_saved_dataset_is_a_table(tmp_path):
    (tmp_path / "other.csv").touch()
    assert not is_table(tmp_path)
    (tmp_path / "test.csv").touch()
    assert is_table(tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_info.json").touch()
    assert is_table(tmp_path / "saved")


def test_an_npz_file_is_a_table_where_it_is_sparse(tmp_path):
    path = tmp_path / "x.npz"
    assert not is_table(path)
    np.savez(path, x=np.ones((2, 2)))
    assert not is_table(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert not is_table(path)
    sparse.save_npz(path, sparse.eye_array(3))
    assert is_table(path)


def test_a_path_that_is_no_table_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.csv: no such file$"):
        load_table(tmp_path / "a.csv")
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(ValueError, match=r"^table must be one of \.csv, .* or a saved dataset, got '.*a\.xlsx'$"):
        load_table(tmp_path / "a.xlsx")


def test_a_file_becomes_a_table(tmp_path):
    sparse.save_npz(tmp_path / "x.npz", sparse.csr_array(np.array([[0, 2], [3, 0]])))
    table = load_table(str(tmp_path / "x.npz"))
    assert table.sparse
    assert [column.kind for column in table.columns] == ["count", "count"]


def test_text_becomes_a_table(tmp_path):
    pytest.importorskip("pandas")
    (tmp_path / "x.csv").write_text("age,sex,who\n31,m,u\n45,f,v\n45,f,w\n")
    table = load_table(tmp_path / "x.csv", TableReading(label="sex", names="who"))
    np.testing.assert_array_equal(table.values, [[31], [45], [45]])
    assert table.labels.tolist() == ["m", "f", "f"]
    assert table.names.tolist() == ["u", "v", "w"]
    (tmp_path / "x.csv").write_text("age,sex\n31,m\n?,f\n")
    message = f"{tmp_path / 'x.csv'}, row 2, column 'age' must be a number like others"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        load_table(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("file", "module", "extra"),
    [
        ("x.csv", "pandas", "tables"),
        ("x.h5ad", "anndata", "anndata"),
        ("x.h5", "h5py", "anndata"),
        ("x.zarr", "zarr", "anndata"),
    ],
)
def test_a_library_that_is_missing_is_told_with_its_extra(tmp_path, monkeypatch, file, module, extra):
    (tmp_path / file).write_text("a,b\n1,2\n")
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == module else found(name))
    message = f'{tmp_path / file} needs {module}, which comes with: pip install "jaxvae[{extra}]"'
    with pytest.raises(ImportError, match=f"^{re.escape(message)}$"):
        load_table(tmp_path / file)


@pytest.mark.parametrize("form", [np.array, jnp.array, list, sparse.coo_array])
def test_a_matrix_in_memory_is_a_table(form):
    x = [[0, 2], [3, 0]]
    table = as_table(form(x))
    assert table.sparse == (form is sparse.coo_array)
    np.testing.assert_array_equal(table.values.toarray() if table.sparse else table.values, x)


def test_columns_may_have_none_or_a_mask():
    columns = {"a": [1, None, 2.5], "b": ["x", None, "y"], "c": np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])}
    table = as_table({name: [*x] * 4 if name != "c" else np.ma.concatenate([x] * 4) for name, x in columns.items()})
    assert [column.missing for column in table.columns] == [4, 4, 4]
    np.testing.assert_array_equal(table.values[:3, 0], [1, np.nan, 2.5])


def test_what_is_masked_is_missing():
    table = as_table(np.ma.array([[1, 2], [3, 4]], mask=[[False, True], [False, False]]))
    np.testing.assert_array_equal(table.values, [[1, np.nan], [3, 4]])


def test_columns_in_memory_are_a_table():
    columns = {"a": [1, 2, 2], "b": ["x", None, "y"], "c": [True, False, True], 4: np.array(["u", "v", "u"])}
    table = as_table(columns, TableReading(label="c"))
    assert [(column.name, column.kind) for column in table.columns] == [
        ("a", "binary"),
        ("b", "binary"),
        ("4", "binary"),
    ]
    assert table.labels.tolist() == [1, 0, 1]


def test_a_data_frame_is_a_table():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, None, 5], "b": ["x", "y", "x"]}, index=["r", "s", "t"])
    table = as_table(frame)
    np.testing.assert_array_equal(table.values, [[1, 0], [np.nan, 1], [5, 0]])
    assert table.names.tolist() == ["r", "s", "t"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": [1, 2], "b": [1]}, "cells: lengths of columns must be the same, got [1, 2]"),
        ({"a": [[1], [2]]}, "cells: column 'a': shape must be (N,), got (2, 1)"),
        (
            {"a": [1j, 2]},
            "cells: column 'a' must be of numbers, of strings or of dates, perhaps with None, got 'complex128'",
        ),
        (
            {"a": np.array([1, "x"], object)},
            "cells: column 'a' must be of numbers, of strings or of dates, perhaps with None, got [1]",
        ),
        ({"a": [1, np.inf]}, "cells, row 2, column 'a' must be finite, got inf"),
        (np.array([[1, 2], [3, -np.inf]]), "cells, row 2, column '1' must be finite, got -inf"),
        (np.ones((2, 2, 2)), "cells: shape must be (N, D), rows and columns, got (2, 2, 2)"),
    ],
)
def test_what_is_no_table_is_told(data, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        as_table(data, name="cells")
