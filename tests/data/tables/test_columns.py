import numpy as np
import pytest

from jaxvae.data.tables.columns import LIKELIHOODS, Column, guess_kind, number_text, read_kinds


@pytest.mark.parametrize(
    ("levels", "kind"),
    [
        ([0, 1], "binary"),
        ([0], "binary"),
        ([1], "binary"),
        ([1, 2], "binary"),
        ([-1, 1], "binary"),
        ([0, 2], "count"),
        ([1, 2, 3], "ordinal"),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "ordinal"),
        ([1, 2, 4], "count"),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "count"),
        ([5], "count"),
        ([50, 100], "count"),
        ([51, 100], "positive"),
        ([-2, 5], "real"),
        ([0.5, 2], "positive"),
        ([0, 0.5], "real"),
        ([-0.5, 0.5], "real"),
    ],
)
def test_the_first_rule_that_fits_says_the_kind(levels, kind):
    x = np.array(levels, float)
    assert guess_kind(x[0], x[-1], bool(np.all(x == np.rint(x))), x) == kind


def test_a_matrix_has_no_ratings():
    assert guess_kind(1, 3, whole=True) == "count"
    assert guess_kind(1, 3, whole=True, levels=np.array([1.0, 2, 3])) == "ordinal"


def test_every_kind_has_a_likelihood_and_others_are_refused():
    for kind in LIKELIHOODS:
        assert Column("x", kind).kind == kind
    with pytest.raises(ValueError, match=r"^column 'x': kind must be one of real, .*, got 'integer'$"):
        Column("x", "integer")


def test_numbers_are_written_without_a_needless_point():
    assert [number_text(x) for x in (1.0, -0.0, 2.5, 1e15)] == ["1", "0", "2.5", "1000000000000000"]


def test_kinds_are_read_from_toml_and_json(tmp_path):
    (tmp_path / "columns.toml").write_text('age = "count"\n"a.b" = "skip"\nsize = ["small", "large"]\n')
    (tmp_path / "columns.json").write_text('{"age": "count", "a.b": "skip", "size": ["small", "large"]}')
    expected = {"age": "count", "a.b": "skip", "size": ("small", "large")}
    assert read_kinds(tmp_path / "columns.toml") == read_kinds(str(tmp_path / "columns.json")) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.toml", "age = count", r"c\.toml must be a \.toml file, got what can't be read"),
        ("c.json", "{", r"c\.json must be a \.json file, got what can't be read"),
        ("c.json", "[1]", r"c\.json must be of lines name = \"kind\", got \[1\]$"),
        ("c.toml", 'age = "integer"', r"age must be one of real, .*, got 'integer'$"),
        ("c.toml", 'a.b = "count"', r"a must be .* \(a name with a dot is put in quotes\), got"),
        ("c.toml", 'size = ["small"]', r"size must be the levels .* different strings, lowest first, got \['small'\]$"),
        ("c.toml", 'size = ["a", "a"]', r"size must be the levels"),
        ("c.toml", "size = [1, 2]", r"size must be the levels"),
        ("c.yaml", "", r"^kinds must be a \.toml or \.json file, got '.*c\.yaml'$"),
    ],
)
def test_a_file_of_kinds_that_cannot_be_used_is_told(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_kinds(tmp_path / name)


def test_a_file_of_kinds_that_is_missing_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_kinds(tmp_path / "none.toml")
