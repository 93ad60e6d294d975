import json

import numpy as np
import pytest

from jaxvae.data import DataContract, Feature, Reading, contract_of, from_table, hold_out, load, load_unsplit, report
from jaxvae.data.contracts import contract_from_mapping
from jaxvae.data.covariates import as_given
from jaxvae.data.tables import TableReading, as_table

BATCH, AGE = Feature("batch", "categorical", ("a", "b")), Feature("age", "real", loc=50.0, scale=10.0)
BOTH = BATCH, AGE
SAID = Reading(covariates=("batch", "age"))


def table(count=40):
    rows = np.arange(count)
    columns = {"x": np.sin(rows), "y": np.cos(rows), "age": 20.5 + rows % 7, "batch": list("bbba") * (count // 4)}
    return as_table(columns, TableReading(covariates=("batch", "age")))


def written(path, **changes):
    columns = {"age": [30, 41.5], "x": [1, 2], "batch": ["b", "a"], "y": [3, 4]} | changes
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join([",".join(columns), *rows]) + "\n")
    return path


def contract(data):
    return contract_of(data, binarization="none", likelihood="gaussian_learned", conditional=False)


def test_covariates_are_no_columns_but_go_with_their_rows():
    data = from_table(table())
    assert [feature.name for feature in data.features] == ["x", "y"]
    assert (data.covariates, data.reading.covariates) == ((BATCH, Feature("age", "real")), ("batch", "age"))
    for split in data.splits.values():
        rows = split.names
        np.testing.assert_array_equal(split.covariates[:, 0], rows % 4 < 3)
        np.testing.assert_array_equal(split.covariates[:, 1], np.float32(20.5 + rows % 7))
        np.testing.assert_array_equal(split.given(2), split.covariates)
    assert "covariates: batch (a, b), age (a number)" in report(data)


def test_the_plan_is_of_the_training_rows_and_survives_json():
    made = contract(hold_out(from_table(table()), 4))
    age = hold_out(from_table(table()), 4).train.covariates[:, 1]
    assert made.covariates[0] == BATCH
    np.testing.assert_allclose([made.covariates[1].loc, made.covariates[1].scale], [age.mean(), age.std()], rtol=1e-5)
    assert contract_from_mapping(json.loads(made.to_json())) == made
    old = {name: x for name, x in json.loads(made.to_json()).items() if name != "covariates"}
    assert contract_from_mapping(old).covariates == ()


def test_a_new_table_is_read_as_the_training_one(tmp_path):
    made = DataContract(
        (1, 1, 2), None, features=(Feature("x", "real"), Feature("y", "real")), covariates=BOTH, reading=SAID
    )
    found = load_unsplit(written(tmp_path / "new.csv"), made)
    np.testing.assert_array_equal(found.covariates, [[1, 30], [0, 41.5]])
    np.testing.assert_array_equal(found.images[:, 0, 0], [[1, 3], [2, 4]])
    for changes, message in (
        ({"batch": ["b", "c"]}, "new.csv, row 2, column 'batch' must be one of its levels, a, b, got 'c'"),
        ({"age": ["", 3]}, "new.csv, row 1, column 'age' must be there in each row, being a covariate, got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            load_unsplit(written(tmp_path / "new.csv", **changes), made)
    (tmp_path / "new.csv").write_text("x,y\n1,2\n3,4\n")
    with pytest.raises(ValueError, match="columns must be all of those of the training, x, y, batch, age, got"):
        load_unsplit(tmp_path / "new.csv", made)


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({"batch": "b", "age": 40}, [[1, 40], [1, 40]]),
        ({"age": [40.5, 30], "batch": np.array(["b", "a"]), "more": 1}, [[1, 40.5], [0, 30]]),
        ([1, 40], [[1, 40], [1, 40]]),
        (np.array([[1, 40], [0, 2.5]]), [[1, 40], [0, 2.5]]),
    ],
)
def test_covariates_are_given_by_name_or_as_numbers(given, want):
    found = as_given(BOTH, given, (2,))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, want)


def test_levels_that_are_numbers_are_named_by_these():
    sites = (Feature("site", "categorical", ("10", "20")),)
    np.testing.assert_array_equal(as_given(sites, {"site": [20, 10.0]}, (2,)), [[1], [0]])
    smoker = (Feature("smoker", "categorical", ("0", "1")),)
    np.testing.assert_array_equal(as_given(smoker, {"smoker": [True, False]}, (2,)), [[1], [0]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"^covariates must be given, as the model was trained with batch \(a, b\), age \(a number\), got None$"),
        ({"batch": "a"}, r"^covariates must be all of batch \(a, b\), age \(a number\), got \['batch'\]$"),
        ({"batch": "c", "age": 1}, r"^covariate 'batch' must be one of a, b, got \['c'\]$"),
        ({"batch": "a", "age": "old"}, "^covariate 'age' must be a number, got 'old'$"),
        ({"batch": "a", "age": np.nan}, "^covariate 'age' must be a finite number"),
        ({"batch": ["a"] * 3, "age": 1}, r"^covariate 'batch': shape must be \(2,\), one for each, or one for all"),
        (np.zeros((2, 3)), r"^covariates.shape must be \(2, 2\), or \(2,\) for all; or a mapping of names"),
        (np.array(["a", "b"]), "^covariates.dtype must be of numbers; names are for a mapping, got '<U1'$"),
        ([2, 0], r"^covariate 'batch' must be a code from 0 to 1 \(a, b\), got \[2\]$"),
        ([0, np.inf], r"^covariate 'age' must be finite, got \[inf\]$"),
    ],
)
def test_what_cannot_be_a_covariate_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        as_given(BOTH, given, (2,))


def test_a_model_without_covariates_takes_none():
    assert as_given((), None, (2,)) is None
    with pytest.raises(ValueError, match="covariates must be left out: the model was trained without any"):
        as_given((), {"age": 3}, (2,))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([5.5] * 40, "covariate 'c' must be of several values there, got '5.5 in all rows of the train split'"),
        (["a"] * 40, "covariate 'c' must be of several values there, got 'a in all rows of the train split'"),
        (
            ["b" if row == "test" else "a" for row in ["train"] * 30 + ["test"] * 10],
            "'c': levels must be of some rows of",
        ),
        ([*"ab" * 19, None, "a"], "table, row 39, column 'c' must be there in each row, being a covariate"),
        (
            [f"r{i}" for i in range(40)],
            "covariate 'c' must be numbers, or categories by kind \"categorical\", got one of",
        ),
    ],
)
def test_what_nothing_can_be_learned_of_is_refused(column, message):
    columns = {"x": np.sin(np.arange(40)), "c": column, "part": ["train"] * 30 + ["test"] * 10}
    with pytest.raises(ValueError, match=message):
        contract(from_table(as_table(columns, TableReading(covariates=("c",), split="part"))))


def test_counts_of_cells_have_covariates_from_obs(tmp_path):
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    rows = np.arange(40)
    obs = {"batch": pandas.Categorical(np.array(["a", "b"])[rows % 2]), "age": 20.5 + rows % 7}
    counts = np.random.default_rng(0).poisson(3.0, (40, 5)).astype(np.float32)
    anndata.AnnData(counts, pandas.DataFrame(obs, index=rows.astype(str))).write_h5ad(tmp_path / "cells.h5ad")
    data = load(tmp_path / "cells.h5ad", reading=Reading(counts=True, covariates=("batch", "age")))
    assert data.covariates == (BATCH, Feature("age", "real"))
    for split in data.splits.values():
        drawn = split.names.astype(int)
        np.testing.assert_array_equal(split.covariates, np.float32(np.c_[drawn % 2, 20.5 + drawn % 7]))
        np.testing.assert_array_equal(split.images[:, 0, 0], counts[drawn])


def test_images_have_no_covariates(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((20, 4, 4, 1), np.uint8))
    with pytest.raises(ValueError, match="dataset must be a table for --covariates"):
        load(str(tmp_path / "x.npy"), reading=Reading(covariates=("age",)))
