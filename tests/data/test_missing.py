"""NaN where an entry is missing, whatever said so."""

import numpy as np
import pytest

from jaxvae.data.missing import (
    count_missing,
    observed_counts,
    observed_mean,
    require_observed,
    unmasked,
    with_missing,
)

NAN = np.nan


def test_masked_arrays_and_masks_say_nan():
    x, mask = np.arange(6).reshape(2, 3), np.eye(2, 3, dtype=bool)
    wanted = np.array([[NAN, 1, 2], [3, NAN, 5]])
    np.testing.assert_array_equal(unmasked(np.ma.array(x, mask=mask)), wanted)
    np.testing.assert_array_equal(with_missing(x, mask.astype(np.uint8), "mask"), wanted)
    np.testing.assert_array_equal(with_missing(wanted, mask[::-1], "mask"), [[NAN, NAN, 2], [NAN, NAN, 5]])
    assert (count_missing(wanted), observed_counts(wanted).tolist()) == (2, [2, 2])
    assert unmasked([1, 2]).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [("uint8", "float32"), ("uint16", "float32"), ("int32", "float64"), ("bool", "float32"), ("float16", "float16")],
)
def test_numbers_stay_exact(dtype, kept):
    x = np.ones((2, 2), dtype)
    assert with_missing(x, np.eye(2), "mask").dtype == kept
    assert with_missing(x, np.zeros((2, 2)), "mask") is x
    assert unmasked(np.ma.array(x)).dtype == dtype


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((2, 3), bool), r"mask.shape must be \(2, 2\), that of the numbers, got \(2, 3\)"),
        (np.full((2, 2), 0.5), "mask must be True or 1 where an entry is missing, False or 0 elsewhere"),
        (np.full((2, 2), "x"), "mask must be True or 1 where"),
    ],
)
def test_masks_are_checked(mask, message):
    with pytest.raises(ValueError, match=message):
        with_missing(np.zeros((2, 2)), mask, "mask")


def test_a_row_and_a_column_have_an_entry_each():
    x = np.zeros((4, 1, 3, 1), np.float32)
    x[1:, 0, 1] = x[0, 0, 0] = NAN
    names = {"train": np.arange(4), "test": np.array(["a", "b", "c"])}
    require_observed({"train": x, "test": x[1:]}, names, "x")  # what only the test split lacks was trained
    x[0, 0, 1] = NAN
    with pytest.raises(
        ValueError, match=r"^x: train split must be one entry at least in each column, .*\(0, 1, 0\) of"
    ):
        require_observed({"train": x}, names, "x")
    x[2] = x[3] = NAN
    with pytest.raises(ValueError, match=r"^x: test split must be .* each row, got '2 without any, first b'"):
        require_observed({"test": x[1:]}, names, "x")


def test_the_mean_is_of_what_was_observed():
    x = np.array([[1, NAN, 2], [3, NAN, NAN]], np.float32)
    np.testing.assert_array_equal(observed_mean(x), [2, 2, 2])
    assert observed_mean(x).dtype == np.float64
