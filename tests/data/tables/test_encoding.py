import re

import numpy as np
import pytest

from jaxvae.data.tables.encoding import Encoded, Given, encode_column

NAN = float("nan")


def given(*entries, name="x"):
    words = any(isinstance(x, str) for x in entries)
    x = np.array(entries, object) if words else np.array(entries, bool if isinstance(entries[0], bool) else float)
    return Given(name, x, lambda row: f"f.csv, row {row + 1}", "f.csv")


def encoded(*entries, kind=None):
    found = encode_column(given(*entries), kind)
    assert isinstance(found, Encoded)
    return found


@pytest.mark.parametrize(
    ("entries", "kind", "found", "levels", "values"),
    [
        ((2.5, -1.0), None, "real", (), (2.5, -1.0)),
        ((2.0, 0.0, 5.0), "real", "real", (), (2, 0, 5)),
        ((True, False), None, "binary", (), (1, 0)),
        ((2.0, 1.0, 2.0), None, "binary", ("1", "2"), (1, 0, 1)),
        ((5.0, 0.0, 5.0), "binary", "binary", ("0", "5"), (1, 0, 1)),
        ((2.0, 1.0, 3.0), None, "ordinal", ("1", "2", "3"), (1, 0, 2)),
        ((2.5, 1.0, 7.0), "categorical", "categorical", ("1", "2.5", "7"), (1, 0, 2)),
        ((2.0, 1.0, 2.0), ("2", "1", "0"), "ordinal", ("2", "1", "0"), (0, 1, 0)),
        (("b", "a", "b"), None, "binary", ("a", "b"), (1, 0, 1)),
        (("b", "a", "c", "a", "b", "c"), None, "categorical", ("a", "b", "c"), (1, 0, 2, 0, 1, 2)),
        (("b", "a", "c"), "categorical", "categorical", ("a", "b", "c"), (1, 0, 2)),
        (("lo", "hi"), ("lo", "mid", "hi"), "ordinal", ("lo", "mid", "hi"), (0, 2)),
        (("1.5", "2"), "real", "real", (), (1.5, 2)),
        (("1,5", "2,5"), "categorical", "categorical", ("1,5", "2,5"), (0, 1)),
        (("1", "x"), "categorical", "categorical", ("1", "x"), (0, 1)),
    ],
)
@pytest.mark.parametrize("missing", [False, True])
def test_entries_become_numbers(entries, kind, found, levels, values, missing):
    if missing and not isinstance(entries[0], bool):
        gap = None if isinstance(entries[0], str) else NAN
        entries, values = (gap, *entries), (NAN, *values)
    column, x = encoded(*entries, kind=kind)
    assert (column.kind, column.levels) == (found, levels)
    np.testing.assert_array_equal(x, np.array(values, float))
    assert column.missing == sum(v != v for v in values)
    assert column.zeros == sum(v == 0 for v in values)
    assert (column.low, column.high) == (np.nanmin(x), np.nanmax(x))


@pytest.mark.parametrize(
    ("entries", "kind", "message"),
    [
        ((1.0, np.inf), None, "f.csv, row 2, column 'x' must be finite, got inf"),
        ((1.0, -np.inf), "real", "f.csv, row 2, column 'x' must be finite, got -inf"),
        ((NAN, NAN), None, "f.csv: column 'x' must have an entry in some row, or be of kind \"skip\""),
        ((NAN, -1.0), "count", "f.csv, row 2, column 'x' must be a count: whole, and 0 or more, got -1.0"),
        ((3.0, 1.5), "count", "f.csv, row 2, column 'x' must be a count: whole, and 0 or more, got 1.5"),
        ((3.0, 0.0), "positive", "f.csv, row 2, column 'x' must be positive, got 0.0"),
        ((1.0, 2.0, 3.0), "binary", "f.csv, row 3, column 'x' must be one of two values, 1 and 2, got 3.0"),
        (("a", "b", "c"), "binary", "f.csv, row 3, column 'x' must be one of two values, 'a' and 'b', got 'c'"),
        (("a", "b"), ("a", "c"), "f.csv, row 2, column 'x' must be one of its levels, a, c, got 'b'"),
        ((1.0, 2.0), ("1", "3"), "f.csv, row 2, column 'x' must be one of its levels, 1, 3, got '2'"),
        (("a", "b"), "ordinal", 'f.csv: column \'x\' must have its levels in order, as x = ["a", "b", …]'),
        (("a", "b"), "real", "f.csv, row 1, column 'x' must be a number, for kind real, got 'a'"),
        (("1", "b"), "count", "f.csv, row 2, column 'x' must be a number, for kind count, got 'b'"),
        (("1e999", "2"), "real", "f.csv, row 1, column 'x' must be finite, got inf"),
    ],
)
def test_what_does_not_fit_is_refused(entries, kind, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        encode_column(given(*entries), kind)


@pytest.mark.parametrize(
    ("entries", "row", "shown"),
    [
        (("1", "?", "3", None), 2, "'?'"),  # the fewer ones are odd
        (("a", "b", "c", "4"), 4, "'4'"),
        ((None, "1", "b"), 3, "'b'"),
    ],
)
def test_numbers_among_words_are_asked_about(entries, row, shown):
    with pytest.raises(
        ValueError,
        match=rf"^f\.csv, row {row}, column 'x' must be a number like others.*got {re.escape(shown)}$",
    ):
        encode_column(given(*entries))


@pytest.mark.parametrize("odd", ["1,234", "1.234,5", "1 234", "1'234.5", "2,5", "12%", "12 %", "$5", "−3", "1,234,567"])
def test_numbers_written_for_a_reader_are_asked_about(odd):
    for kind in (None, "real"):
        with pytest.raises(ValueError, match=r"^f\.csv, row 2, column 'x' must be a plain number: say what separates"):
            encode_column(given("1", odd, "3"), kind)


@pytest.mark.parametrize("word", ["1,2,3,", "1-2", "1.2.3", "a,b", "1,23,4", "%"])
def test_other_words_are_words(word):
    assert encoded(word, word, "z", "z").column.kind == "binary"


def test_numbers_kept_as_text_are_asked_about():
    with pytest.raises(
        ValueError, match=r"^f\.csv, row 2, column 'x' must be said to be numbers or not .* got '02139'$"
    ):
        encode_column(given(None, "02139", "10001"))


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (given("u1", "u2", "u3"), '3 of 3 texts are different, as of names; kind "categorical" keeps it.'),
        (given("2020-01-01", "2020-01-01T10:00"), "it holds dates."),
        (given("31/12/2020", "1/2/2021", None), "it holds dates."),
        (Given("x", np.array(["2020-01-01"], "M8[D]"), str, "f.csv"), "it holds dates."),
        (Given("x", np.array([5], "m8[s]"), str, "f.csv"), "it holds durations."),
        (given(*range(7, 17)), "it numbers the rows."),
        (given(*np.random.default_rng(0).permutation(20)), "it numbers the rows."),
    ],
)
def test_what_is_no_measurement_is_left_out_with_a_note(column, reason):
    assert encode_column(column) == f"Column 'x' is left out: {reason}"


def test_what_is_said_to_be_skipped_is():
    assert encode_column(given(np.inf, NAN), "skip") == "Column 'x' is left out, as said."


@pytest.mark.parametrize(
    ("name", "entries", "out"),
    [
        ("patient_id", 7 * np.arange(10.0) ** 2, True),
        ("ID", 7 * np.arange(10.0) ** 2, True),
        ("index", 7 * np.arange(10.0) ** 2, True),
        ("acid", 7 * np.arange(10.0) ** 2, False),
        ("id", 7 * np.arange(9.0) ** 2, False),
        ("id", np.arange(10.0) + 0.5, False),
        ("x", np.r_[np.arange(10.0), 9], False),
    ],
)
def test_row_numbers_are_known_by_name_or_by_being_consecutive(name, entries, out):
    assert isinstance(encode_column(given(*entries, name=name)), str) == out
