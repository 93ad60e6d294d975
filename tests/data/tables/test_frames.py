import gzip
import re

import numpy as np
import pytest

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

from jaxvae.data.tables.contents import TableReading  # noqa: E402
from jaxvae.data.tables.frames import frame_contents, read_frames, split_files  # noqa: E402


@pytest.fixture
def read(tmp_path):
    """Writes text to a file, and reads it."""

    def write(text, name="f.csv", **said):
        path = tmp_path / name
        data = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") and not isinstance(text, bytes) else data)
        return read_frames(path, TableReading(**said))

    return write


@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz", "F.TSV", "f.tsv.gz"])
def test_text_becomes_columns(read, name):
    lines = "a, b,c \n1,x,True\n\n2.5,,False\n-1e3,NA,True\r\n"
    found = read(lines.replace(",", "\t") if "tsv" in name.lower() else lines, name)
    assert list(found.columns) == ["a", "b", "c"]
    np.testing.assert_array_equal(found.columns["a"], [1, 2.5, -1000])
    assert found.columns["b"].tolist() == ["x", None, None]
    assert found.columns["c"].dtype == bool
    assert found.place(2).endswith(f"{name}, row 3")
    assert len(found) == 3


def test_what_is_said_of_a_text_is_heard(read):
    found = read('a;b\n"1.234,5";?\n-999;2\n', delimiter=";", decimal=",", thousands=".", missing=("?", "-999"))
    np.testing.assert_array_equal(found.columns["a"], [1234.5, np.nan])
    np.testing.assert_array_equal(found.columns["b"], [np.nan, 2])
    assert list(read("1,2\n3,4\n", header=False).columns) == ["0", "1"]
    assert len(read("1,2\n3,4\n", header=False)) == 2
    assert list(read("1,2\n3,4\n", header=True).columns) == ["1", "2"]


def test_numbered_columns_and_rows_are_those_of_pandas(read, tmp_path):
    pandas.DataFrame(np.eye(6)).to_csv(tmp_path / "g.csv")
    found = read_frames(tmp_path / "g.csv", TableReading())
    assert list(found.columns) == list("012345")
    assert found.names.tolist() == list("012345")


def test_an_unnamed_first_column_names_rows(read):
    assert read(",a\nu,1\nv,2\n").names.tolist() == ["u", "v"]
    assert read("b,a\nu,1\nv,2\n").names is None


def test_quotes_and_a_byte_order_mark_are_understood(read):
    found = read('\ufeffa,"b ""c"", d"\n1,"x\ny"\n2,"z,"\n')
    assert list(found.columns) == ["a", 'b "c", d']
    assert found.columns['b "c", d'].tolist() == ["x\ny", "z,"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a .csv file with names and rows, got 'an empty file'"),
        ("\n\n", "must be a .csv file with names and rows, got 'an empty file'"),
        ("a,b\n", "must be a table with rows, got 'no rows below the names'"),
        ("a,b\n1,2\n3\n", ", line 3: number of entries must be 2, one for each name, got 1"),
        ("a,b\n1,2\n3,4,5\n", ", line 3: number of entries must be 2, one for each name, got 3"),
        ("a,b\n1,2,3\n3,4,5\n", ", line 2: number of entries must be 2, one for each name, got 3"),
        ('a,b\n1,"x\ny"\n3\n', ", line 4: number of entries must be 2, one for each name, got 1"),
        ("a,b,a\n1,2,3\n", ": column names must be there once each, got ['a']"),
        ("a,\n1,2\n", ": first line must be a name for each column, got 'none for column 2'"),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", ": first line must be names, not numbers; say whether there are names in"),
        ("0,1\n3,4\n", ": first line must be names, not numbers;"),
        ("a;b\n1;2\n", ": first line must be of several names; say delimiter ';', if it is, got 'a;b'"),
        ('a,b\n1,"2\n', "must be a .csv file in UTF-8, got what can't be read (unexpected end of data)"),
        ("nä,b\n1,2\n".encode("latin-1"), "must be a .csv file in UTF-8, got what can't be read ('utf-8' codec"),
        ("a,b\n1,2\n".encode("utf-16"), "must be a .csv file in UTF-8, got what can't be read ('utf-8' codec"),
        (b"PK\3\4\0\0\n", "must be a .csv file in UTF-8, got what can't be read (it has bytes that no text has)"),
    ],
)
def test_a_text_that_is_no_table_is_told(read, text, message):
    with pytest.raises(ValueError, match=rf"f\.csv ?{re.escape(message)}"):
        read(text)


def test_a_gzipped_text_that_is_cut_short_is_told(read):
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 100)
    for text in (whole[:-10], b"a,b\n1,2\n"):
        with pytest.raises(ValueError, match=r"f\.csv\.gz must be a \.csv\.gz file in UTF-8, got what can't be read"):
            read(text, "f.csv.gz")


def test_a_delimiter_is_no_decimal_point(read):
    with pytest.raises(ValueError, match=r"f\.csv: delimiter must be another than decimal, got ','"):
        read("a,b\n1,2\n", decimal=",")


def test_parquet_becomes_columns(tmp_path):
    frame = pandas.DataFrame(
        {
            "a": pandas.array([1, None, 3], "Int64"),
            "b": ["x", None, "y"],
            "c": pandas.Categorical(["lo", "hi", None], ["lo", "mid", "hi"], ordered=True),
            "d": pandas.Categorical(["u", "v", "u"]),
            "e": pandas.to_datetime(["2020-01-01", None, "2020-01-03"], utc=True),
            "f": [True, None, False],
        },
        index=["r1", "r2", "r3"],
    )
    frame.to_parquet(tmp_path / "f.parquet")
    found = read_frames(tmp_path / "f.parquet", TableReading())
    np.testing.assert_array_equal(found.columns["a"], [1, np.nan, 3])
    assert found.columns["b"].tolist() == ["x", None, "y"]
    assert found.columns["c"].tolist() == ["lo", "hi", None]
    assert found.columns["d"].tolist() == ["u", "v", "u"]
    assert found.columns["e"].dtype.kind == "M"
    np.testing.assert_array_equal(found.columns["f"], [1, np.nan, 0])
    assert found.kinds == {"c": ("lo", "mid", "hi"), "d": "categorical", "f": "binary"}
    assert found.names.tolist() == ["r1", "r2", "r3"]


def test_categories_that_are_numbers_are_levels():
    frame = pandas.DataFrame(
        {"a": pandas.Categorical([3.0, 1.5, None], ordered=True), "b": pandas.Categorical([7, 8, 7])}
    )
    found = frame_contents("f", frame, "f")
    assert found.kinds == {"a": ("1.5", "3"), "b": "categorical"}
    np.testing.assert_array_equal(found.columns["a"], [3, 1.5, np.nan])
    np.testing.assert_array_equal(found.columns["b"], [7, 8, 7])


def test_a_broken_parquet_file_is_told(tmp_path):
    pandas.DataFrame({"a": [1, 2]}).to_parquet(tmp_path / "whole.parquet")
    (tmp_path / "f.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"f\.parquet must be a \.parquet file, got what can't be read"):
        read_frames(tmp_path / "f.parquet", TableReading())


def test_lists_are_no_entries(tmp_path):
    pandas.DataFrame({"a": [[1], [2]]}).to_parquet(tmp_path / "f.parquet")
    with pytest.raises(
        ValueError, match=r"f\.parquet: column 'a' must be of numbers, strings or dates, got 'entries of"
    ):
        read_frames(tmp_path / "f.parquet", TableReading())


def test_names_that_are_there_twice_are_told():
    frame = pandas.DataFrame(np.ones((2, 3)), columns=["a", "b", "a"])
    with pytest.raises(ValueError, match=r"^f: column names must be there once each, got \['a'\]$"):
        frame_contents("f", frame, "f")


def test_a_folder_has_a_file_for_each_split(tmp_path):
    (tmp_path / "Train.csv").write_text("a,b\n1,x\n2,y\n")
    (tmp_path / "val.tsv").write_text("b\ta\nz\t3\n")
    pandas.DataFrame({"a": [4, 5], "b": ["x", "x"]}).to_parquet(tmp_path / "test.parquet")
    (tmp_path / "notes.csv").write_text("passed over")
    assert sorted(split_files(tmp_path).values()) == ["test", "train", "validation"]
    found = read_frames(tmp_path, TableReading())
    rows = zip(found.splits.tolist(), found.columns["a"].tolist(), found.columns["b"].tolist(), strict=True)
    expected = [("train", 1, "x"), ("train", 2, "y"), ("validation", 3, "z"), ("test", 4, "x"), ("test", 5, "x")]
    assert sorted(rows) == sorted(expected)
    assert found.place(found.columns["a"].tolist().index(5)) == f"{tmp_path / 'test.parquet'}, row 2"


def test_files_of_a_folder_have_the_same_columns(tmp_path):
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    (tmp_path / "test.csv").write_text("a,c\n1,2\n")
    message = r"train\.csv: columns must be the same as those of test\.csv; these are in one alone, got \['c', 'b'\]$"
    with pytest.raises(ValueError, match=message):
        read_frames(tmp_path, TableReading())


def test_a_split_has_one_file(tmp_path):
    for name in ("test.csv", "testing.csv"):
        (tmp_path / name).write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"must be a folder with one file a split, got \['test.csv', 'testing.csv'\]$"):
        read_frames(tmp_path, TableReading())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty must be a folder of train, test and perhaps validation files"):
        read_frames(tmp_path / "empty", TableReading())
