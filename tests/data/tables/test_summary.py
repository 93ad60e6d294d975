import dataclasses

import numpy as np
import pytest
from scipy import sparse

from jaxvae.data.tables import TableReading, as_table, describe_table

NAN = np.nan


def test_a_mixed_table_is_described():
    columns = {
        "visits": [0.0, 3, 1, 0, 1, 7, 0, 1, 2, 5],
        "weight": [70.5, NAN, 81, 90, 66, 81, NAN, 71.5, 60, 61],
        "still": [2.5] * 10,
        "sex": ["m", "f"] * 5,
        "site": list("abcabcabca"),
        "day": ["2020-01-01"] * 10,
        "y": list("uuuvvuvvww"),
    }
    reading = TableReading(label="y", kinds={"site": ["c", "a", "b"]})
    assert describe_table(as_table(columns, reading)) == [
        "10 rows × 5 columns, dense float32.",
        "Kinds: 1 count (visits), 2 positive (weight, still), 1 binary (sex), 1 ordinal (site).",
        "Zeros: 6 % of the entries. Missing: 4 % of the entries, most in weight (20 %).",
        "Constant: 1 column (still): a density with a learned σ has no bound there.",
        "3 classes: u (4), v (4), w (2).",
        "Not split: of ten rows or more, 80, 10 and 10 % become train, validation and test.",
        "Likelihoods that suit, column by column: negative_binomial (count), log_normal (positive), "
        "bernoulli (binary), ordinal (ordinal).",
        "Column 'day' is left out: it holds dates.",
    ]


def test_covariates_are_described():
    columns = {"x": [0.5, -1, 2, 3], "age": [30, 41, 52, 30], "batch": list("abba")}
    lines = describe_table(as_table(columns, TableReading(covariates=("batch", "age"))))
    assert lines[0] == "4 rows × 1 column, dense float32."
    assert "Covariates: batch (a, b), age (a number)." in lines


@pytest.mark.parametrize("form", [np.array, sparse.csr_array])
def test_counts_are_described(form):
    x = np.zeros((20, 12))
    x[0, 0], x[1, 1], x[2, 1], x[3, 2] = 3, 1, 1, 2
    lines = describe_table(as_table(form(x)))
    assert lines[0] == (
        "20 rows × 12 columns, " + ("dense float32." if form is np.array else "sparse float32, 1.67 % stored.")
    )
    assert lines[1:] == [
        "Kinds: 12 count (0, 1, 2, 3, 4, 5, 6, 7, …).",
        "Zeros: 98.3 % of the entries. Missing: none.",
        "Constant: 9 columns (3, 4, 5, 6, 7, 8, 9, 10, …).",
        "16 rows are a copy of another one.",
        "Not split: of ten rows or more, 80, 10 and 10 % become train, validation and test.",
        "Likelihood that suits: negative_binomial.",
    ]


@pytest.mark.parametrize("form", [np.array, sparse.csr_array])
def test_a_column_without_entries_to_learn_from_is_told(form):
    x = np.array([[NAN, NAN, 1], [NAN, 2, 0], [3, NAN, 1.5]])
    table = dataclasses.replace(as_table(form(x)), splits=np.array(["train", "train", "test"]))
    assert "No entry in the train split: 1 column (0)." in describe_table(table)
    assert not [line for line in describe_table(as_table(form(x))) if "train split:" in line]


def test_splits_and_maps_are_told(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (3, 1))
    x[:, 0] = 0.5, 1, 2
    assert describe_table(as_table(x))[0] == "3 rows × 1 column, mapped float32."
    columns = {"x": [0.5, 1, -2], "part": ["train", "test", "train"]}
    assert "Splits: train 2, test 1 rows." in describe_table(as_table(columns, TableReading(split="part")))
