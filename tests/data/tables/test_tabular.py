import re

import numpy as np
import pytest
from scipy import sparse

from jaxvae.data.tables.columns import Column
from jaxvae.data.tables.contents import TableContents, TableReading
from jaxvae.data.tables.tabular import DataTable, build_table

NAN = np.nan


def words(*entries):
    return np.array(entries, object)


def of_columns(said=None, **columns):
    count = len(next(iter(columns.values())))
    return build_table(TableContents("f", (("f", count),), columns), TableReading(**(said or {})))


def of_matrix(matrix, **said):
    names = tuple("abcdefgh"[: matrix.shape[1]])
    return build_table(
        TableContents("f", (("f", len(np.ones(matrix.shape))),), matrix=matrix, variables=names), TableReading(**said)
    )


def test_columns_become_a_table():
    table = of_columns(
        {"label": "y", "names": "n"},
        a=np.array([1.5, NAN, -2]),
        b=words("p", "q", "q"),
        y=words("u", "v", "u"),
        n=np.array([7.0, 8, 9]),
        d=words("2020-01-01", "2020-01-02", "2020-01-02"),
    )
    np.testing.assert_array_equal(table.values, np.array([[1.5, 0], [NAN, 1], [-2, 1]], np.float32))
    assert table.values.dtype == np.float32
    assert [(column.name, column.kind) for column in table.columns] == [("a", "real"), ("b", "binary")]
    assert table.labels.tolist() == ["u", "v", "u"]
    assert table.names.tolist() == ["7", "8", "9"]
    assert table.splits is None
    assert table.notes == ("Column 'd' is left out: it holds dates.",)
    assert len(table) == 3
    assert not table.sparse


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        ([0.0, 2**24], np.float32),
        ([0.0, 2**24 + 1], np.float64),
        ([1e9, 1e9 + 1.5], np.float64),  # float32 has steps of 64 there
        ([1e9, 2e9 + 0.5], np.float32),
        ([1e-30, 1e30], np.float32),
        ([5.0, 5.0], np.float32),
    ],
)
def test_float32_is_not_taken_where_it_would_blur(x, dtype):
    table = of_columns(a=np.array(x))
    assert table.values.dtype == dtype
    np.testing.assert_array_equal(table.values[:, 0], np.array(x, dtype))


def test_a_wide_table_of_whole_numbers_is_of_counts():
    x = np.random.default_rng(0).poisson(0.5, (20, 60)).astype(float)
    x[:, 5] = np.arange(20) % 2
    columns = {f"g{i}": x[:, i] for i in range(60)}
    cells = words(*(f"cell {i}" for i in range(20)))
    table = of_columns(cell=cells, **columns)
    assert {column.kind for column in table.columns} == {"count"}
    assert len(table.notes) == 1
    assert of_columns({"kinds": {"g5": "binary"}}, **columns).columns[5].kind == "binary"
    assert of_columns(**{name: columns[name] for name in list(columns)[:50]}).columns[5].kind == "binary"


def test_kinds_are_said_by_name_or_of_the_rest():
    a, b = np.array([0.0, 1, 1]), np.array([0.0, 3, 4])
    kinds = [column.kind for column in of_columns({"kinds": {"a": "count", "*": "real"}}, a=a, b=b).columns]
    assert kinds == ["count", "real"]
    with pytest.raises(ValueError, match=re.escape("f: kinds must be of columns: a, b, got ['c']")):
        of_columns({"kinds": {"c": "count"}}, a=a, b=b)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    ("x", "kind"),
    [
        ([[0, 1], [1, 0]], "binary"),
        ([[0, 1], [0, 7]], "count"),
        ([[0.5, 1], [0, 7]], "real"),
        ([[0.5, 1], [3, 7]], "positive"),
        ([[0.5, -1], [3, 7]], "real"),
    ],
)
def test_a_matrix_has_one_kind(form, x, kind):
    table = of_matrix(form(np.array(x, np.float64)))
    assert {column.kind for column in table.columns} == {kind}
    assert table.sparse == (form is not np.asarray)
    found = table.values.toarray() if table.sparse else table.values
    np.testing.assert_array_equal(found, np.array(x, np.float32))
    assert found.dtype == np.float32


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_what_is_said_of_a_matrix_is_checked(form):
    x = form(np.array([[0, 2, 0.5], [1, 1, 0], [0, 4, 0.5]]))
    table = of_matrix(x, kinds={"a": "categorical", "b": "count", "c": "skip"})
    assert [(column.name, column.kind, column.levels) for column in table.columns] == [
        ("a", "categorical", ("0", "1")),
        ("b", "count", ()),
    ]
    assert table.notes == ("1 column is left out, as said.",)
    assert of_matrix(x, kinds={"a": ("no", "yes")}).columns[0].levels == ("no", "yes")
    for kinds, message in (
        ({"c": "count"}, "f, row 1, column 'c' must be a count: whole, and 0 or more, got 0.5"),
        ({"c": "positive"}, "f, row 2, column 'c' must be positive, got 0.0"),
        ({"b": "binary"}, "f, row 1, column 'b' must be 0 or 1, got 2.0"),
        ({"c": "binary"}, "f, row 1, column 'c' must be 0 or 1, got 0.5"),
        ({"b": ("x", "y")}, "f, column 'b' must be codes 0 to 1, got '1 to 4'"),
        ({"c": "categorical"}, "f, column 'c' must be whole codes, 0 or more, got '0 to 0.5'"),
        ({"*": "skip"}, "f: columns must be at least one that isn't left out, got 'none'"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            of_matrix(x, kinds=kinds)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_a_column_of_a_matrix_that_has_no_entries_is_told(form):
    with pytest.raises(ValueError, match=r"^f: column 'b' must have an entry in some row, or be of kind \"skip\"$"):
        of_matrix(form(np.array([[1, NAN], [2, NAN]])))


def test_a_mapped_matrix_stays_so(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, (4, 2))
    x[:] = np.arange(8).reshape(4, 2) / 7
    table = of_matrix(x)
    assert np.shares_memory(table.values, x)


def test_one_row_is_no_table():
    with pytest.raises(ValueError, match=r"^f: number of rows must be at least 2, got 1$"):
        of_columns(a=np.ones(1))


def test_a_table_has_some_column():
    with pytest.raises(
        ValueError, match=r"^f: columns must be of numbers or categories, got .*left out: it holds dates"
    ):
        of_columns(a=np.array(["2020-01-01", "2020-01-02"], "M8[D]"))


@pytest.mark.parametrize(
    ("entries", "labels", "dtype"),
    [
        (np.array([3.0, -1]), [3, -1], np.int64),
        (np.array([True, False]), [1, 0], np.int64),
        (words("b", "a"), ["b", "a"], "<U1"),
    ],
)
def test_labels_are_strings_or_integers(entries, labels, dtype):
    table = of_columns({"label": "y"}, y=entries, x=np.array([0.5, 1]))
    assert table.labels.tolist() == labels
    assert table.labels.dtype == dtype


@pytest.mark.parametrize(
    ("role", "entries", "message"),
    [
        ("label", words("a", None), "f, row 2, column 'y' must be a label, text or a whole number, got None"),
        ("label", np.array([1, NAN]), "f, row 2, column 'y' must be a label, text or a whole number, got nan"),
        ("label", np.array([0.5, 1]), "f, row 1, column 'y' must be a label, text or a whole number, got 0.5"),
        ("label", np.array(["2020", "2021"], "M8[Y]"), "f: label 'y' must be strings or numbers, got 'datetime64[Y]'"),
        ("group", words("a", None), "f, row 2, column 'y' must be there, to be group, got none"),
        ("names", np.array([1, NAN]), "f, row 2, column 'y' must be there, to be names, got none"),
        ("split", words("train", "both"), "f, row 2, column 'y' must be train, validation or test, got 'both'"),
    ],
)
def test_what_is_known_of_rows_is_checked(role, entries, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        of_columns({role: "y"}, y=entries, x=np.array([0.5, 1]))


def test_rows_are_split_as_said():
    x = np.arange(40) / 7
    part = words(*(["train"] * 30 + ["test"] * 10))
    table = of_columns({"split": "p"}, x=x, p=part)
    assert {name: len(rows) for name, rows in table.rows.items()} == {"train": 30, "test": 10}
    table = of_columns({"group": "p"}, x=x, p=np.arange(40) // 4 * 1.0)
    for rows in table.rows.values():
        assert len(rows) % 4 == 0
    table = of_columns({"label": "p", "stratified": True}, x=x, p=part)
    assert np.unique(table.labels[table.rows["test"]]).tolist() == ["test", "train"]
    table = of_columns(x=x)
    assert table.splits is None
    assert {name: len(rows) for name, rows in table.rows.items()} == {"train": 32, "validation": 4, "test": 4}
    with pytest.raises(ValueError, match=r"^number of rows must be at least 10, to be split, got 9$"):
        _ = of_columns(x=x[:9]).rows


def test_files_that_are_splits_are_not_split_again():
    splits = np.array(["train", "test"])
    contents = TableContents("f", (("f", 2),), {"x": np.array([0.5, 1])}, splits=splits)
    np.testing.assert_array_equal(build_table(contents).splits, splits)
    with pytest.raises(ValueError, match=r"^f: splits must be said once, without split, group or stratified, got"):
        build_table(contents, TableReading(group="x"))


def test_a_table_is_checked():
    columns = (Column("a", "real"),)
    with pytest.raises(ValueError, match=r"^DataTable\.values\.dtype must be float32 or float64, got 'int64'$"):
        DataTable(np.ones((2, 1), np.int64), columns)
    with pytest.raises(ValueError, match=r"^DataTable\.columns must be 2, as values, got 1$"):
        DataTable(np.ones((2, 2)), columns)
    with pytest.raises(ValueError, match=r"^DataTable\.labels\.shape must be \(2,\), got \(3,\)$"):
        DataTable(np.ones((2, 1)), columns, labels=np.ones(3))
    with pytest.raises(ValueError, match=r"^DataTable\.values\.shape must be \(N, D\), not empty, got \(0, 1\)$"):
        DataTable(np.ones((0, 1)), columns)
