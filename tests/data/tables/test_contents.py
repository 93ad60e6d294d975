from pathlib import Path

import numpy as np
import pytest

from jaxvae.data.tables.contents import TableContents, TableReading, legible


def test_rows_are_told_by_their_file_from_1():
    contents = TableContents("d", (("a.csv", 2), ("b.csv", 1500)))
    assert len(contents) == 1502
    assert [contents.place(row) for row in (0, 1, 2, 1501)] == [
        "a.csv, row 1",
        "a.csv, row 2",
        "b.csv, row 1",
        "b.csv, row 1,500",
    ]


def test_marks_are_columns_or_what_else_is_known_of_rows():
    contents = TableContents("f", (("f", 2),), {"a": np.ones(2)}, about={"b": np.zeros(2)})
    assert contents.marks("label", "a")[0] == 1
    assert contents.marks("label", "b")[0] == 0
    with pytest.raises(ValueError, match=r"^f: group must be one of a, b, got 'c'$"):
        contents.marks("group", "c")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"label": "a", "group": "a"},
            r"^label, names, split, group and covariates must be different columns, got \['a', 'a'\]$",
        ),
        ({"split": "a", "group": "b"}, r"^split, group and stratified must be given one at most"),
        ({"label": "c", "group": "b", "stratified": True}, r"^split, group and stratified must be given one at most"),
        ({"stratified": True}, r"^label must be given, to split class by class, got None$"),
        ({"missing": "NA"}, r"^missing must be a tuple of texts, got 'NA'$"),
        ({"decimal": ";"}, r"^decimal must be '\.' or ',', got ';'$"),
        ({"delimiter": "||"}, r"^delimiter must be one character, got '\|\|'$"),
        ({"thousands": ""}, r"^thousands must be one character, got ''$"),
        ({"thousands": "."}, r"^thousands must be another than decimal, got '\.'$"),
        ({"kinds": {"a": "integer"}}, r"^kinds: a must be one of real,"),
    ],
)
def test_what_is_said_is_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        TableReading(**fields)


def test_what_is_said_is_hashable():
    said = TableReading(kinds={"a": ["x", "y"]})
    assert said.kinds == {"a": ("x", "y")}
    assert hash(said) == hash(TableReading(kinds={"a": ["x", "y"]}))


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (ValueError("a\n b"), ValueError, r"^f\.x must be an x file, got what can't be read \(a b\)$"),
        (OSError("cut short"), ValueError, r"^f\.x must be an x file, got what can't be read \(cut short\)$"),
        (
            OSError(22, "an offset"),
            ValueError,
            r"^f\.x must be an x file, got what can't be read \(\[Errno 22\] an offset\)$",
        ),
        (RuntimeError(), ValueError, r"^f\.x must be an x file, got what can't be read \(RuntimeError\)$"),
        (FileNotFoundError(2, "gone"), FileNotFoundError, r"^f\.x: no such file$"),
        (PermissionError(13, "no"), PermissionError, "no"),
        (ImportError("pandas"), ImportError, "^pandas$"),
        (MemoryError("much"), MemoryError, "^much$"),
    ],
)
def test_a_broken_file_is_told_in_one_line(raised, expected, message):
    with pytest.raises(expected, match=message), legible(Path("f.x"), "an x file"):
        raise raised
