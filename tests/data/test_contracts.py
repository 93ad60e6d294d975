"""What is given is what was trained on, in any form that says so; what is seen is a function of the image alone."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.data import (
    DataContract,
    Feature,
    Reading,
    binarize,
    contract_from_mapping,
    contract_of,
    from_arrays,
    load,
    observe,
)

SHAPE = (4, 3, 1)
GREY = DataContract(SHAPE, 256, binarization="dynamic")
X = np.random.default_rng(0).integers(0, 256, (6, *SHAPE), np.uint8)


def seen(contract, images):
    images = contract.arranged(images)
    return np.asarray(contract.seen(jnp.asarray(contract.checked(images, contract.grid(images)))))


def test_it_is_read_back_as_it_was():
    named = DataContract(SHAPE, None, True, classes=2, class_names=("é", "b"), conditional=True)
    read = DataContract(SHAPE, None, reading=Reading(value_range=(-1.0, 1.0), size=(4, 3), grey=True))
    for contract in (GREY, named, read):
        assert contract_from_mapping(json.loads(contract.to_json())) == contract
    with pytest.raises(ValueError, match=r"contract must be one of image_shape, levels, .* got 'newer'"):
        contract_from_mapping({"newer": 1})
    with pytest.raises(ValueError, match="contract must be one with levels, got"):
        contract_from_mapping({"image_shape": [1, 2, 3]})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_shape": (4, 3)}, "image_shape"),
        ({"levels": 70_000}, "levels must be 2 to 65536"),
        ({"levels": 4, "reading": Reading(value_range=(0.0, 2.0))}, "levels must be None for a value range"),
        ({"real": True}, "real must be False"),
        ({"binarization": "odd"}, "binarization must be"),
        ({"class_names": ("a",)}, "class_names must be 0 names"),
        ({"conditional": True}, "conditional must be False without classes"),
        ({"missing": True}, "levels must be None where entries are missing, got 256"),
        (
            {"missing": True, "levels": None, "binarization": "dynamic"},
            "binarization must be none where entries are missing, got 'dynamic'",
        ),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        DataContract(**{"image_shape": SHAPE, "levels": 256, **fields})


MISSING = DataContract(SHAPE, None, missing=True)
HOLES = np.where(X < 40, np.nan, X / 300)


def test_missing_entries_are_nan_where_the_training_had_such():
    found = seen(MISSING, HOLES)
    np.testing.assert_array_equal(found, np.float32(HOLES))
    np.testing.assert_array_equal(seen(MISSING, np.ma.array(X / 300, mask=X < 40)), found)
    counts = DataContract(SHAPE, None, missing=True, reading=Reading(counts=True))
    np.testing.assert_array_equal(seen(counts, np.rint(HOLES * 300)), np.rint(HOLES * 300))
    assert contract_from_mapping({"image_shape": [4, 3, 1], "levels": None}) == DataContract(SHAPE, None)
    assert contract_of(from_arrays(HOLES.repeat(2, 0)), binarization="none", likelihood="", conditional=False).missing
    assert MISSING.description == "images of 4x3x1, floats in [0, 1], NaN where one is missing"
    fewer = np.where(np.arange(12).reshape(SHAPE) == 5, np.nan, found[:1])
    assert len({*MISSING.content(jnp.concatenate([found[:1], fewer])).tolist()}) == 2  # noise of its own


@pytest.mark.parametrize(
    ("contract", "images", "message"),
    [
        (DataContract(SHAPE, None), HOLES, r"got numbers that are missing \(NaN\); the training had none such"),
        (GREY, HOLES, r"got numbers that are missing \(NaN\)"),
        (MISSING, np.where(HOLES > 0.5, -np.inf, HOLES), "got numbers that aren't finite"),
        (MISSING, 4 * HOLES, "got 0.5.* to 3"),
        (MISSING, np.full((2, *SHAPE), np.nan), "got one of which no number is known"),
        (DataContract(SHAPE, None, missing=True, reading=Reading(counts=True)), HOLES, "which is no count"),
        (DataContract(SHAPE, None, missing=True, reading=Reading(value_range=(0.0, 9.0))), HOLES, "got 0 to 1"),
    ],
)
def test_what_may_not_be_missing_is_refused(contract, images, message):
    with pytest.raises(ValueError, match=message) as error:
        seen(contract, images)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "given", "back"),
    [
        ({"reading": Reading(value_range=(-1.0, 3.0))}, [0.0, 1.0, 1.5], [-1, 3, 3]),
        ({}, [-0.5, 0.25, 2.0], [0, 0.25, 1]),
        ({"real": True}, [-7.0, 8.0], [-7, 8]),
        ({"reading": Reading(counts=True)}, [8.5], [8.5]),
    ],
)
def test_what_is_seen_can_be_given_again(fields, given, back):
    assert DataContract(SHAPE, None, **fields).as_given(np.float32(given)).tolist() == back


@pytest.mark.slow
def test_pixels_are_drawn_with_their_probability_whatever_else_is_there():
    images = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, 40, 30, 1)).copy()
    images[:, 0, 0, 0] = np.arange(256)[::-1]  # so that each is an image of its own
    contract = DataContract((40, 30, 1), 256, binarization="fixed")
    drawn = seen(contract, images)
    assert set(np.unique(drawn)) == {0, 1}
    share, p = drawn[:, 1:].mean(axis=(1, 2, 3)), np.arange(256) / 255
    assert np.all(np.abs(share - p) <= 5 * np.sqrt(p * (1 - p) / 1170) + 1e-6)
    np.testing.assert_array_equal(seen(contract, images[100:101])[0], drawn[100])
    # Two images of the same grey level are drawn apart from each other.
    other = images[128:129].copy()
    other[0, 0, 0, 0] = 1
    agreement = np.mean(seen(contract, other)[:, 1:] == drawn[128:129, 1:])
    assert abs(agreement - 0.5) < 5 * 0.5 / np.sqrt(1170)


def test_thresholds_are_those_of_the_training():
    every = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)
    for levels in (3, 17, 255, 256):
        contract = DataContract((1, 1, 1), levels, binarization="threshold")
        np.testing.assert_array_equal(seen(contract, every[:levels]).ravel(), 2 * np.arange(levels) >= levels - 1)


@pytest.mark.parametrize("levels", [17, 256])
def test_levels_are_scaled_as_in_training(levels):
    contract, images = DataContract(SHAPE, levels), X % 17
    wanted = observe(jax.random.key(0), images, levels, dynamic=False)
    np.testing.assert_array_equal(seen(contract, images), wanted)
    np.testing.assert_allclose(seen(contract, images / (levels - 1)), wanted, rtol=1e-6)
    np.testing.assert_array_equal(seen(contract, images.astype(np.float16)), wanted)


def test_rows_of_numbers_are_images_of_one_line():
    contract = DataContract((1, 5, 1), None, real=True)
    rows = np.linspace(-3, 3, 10).reshape(2, 5)
    for given in (rows, rows[:, None], rows[:, None, :, None]):
        np.testing.assert_allclose(seen(contract, given), rows[:, None, :, None], rtol=1e-6)
    assert contract.arranged(rows[0]).shape == (1, 5, 1)


@pytest.mark.parametrize(
    ("contract", "images", "found"),
    [
        (DataContract(SHAPE, None), X, "dtype uint8"),
        (DataContract(SHAPE, None), X / 100, "0.01 to 2.48"),
        (DataContract(SHAPE, 2), X, "1 to 248"),
        (DataContract(SHAPE, 2), X / 255, "between two levels"),
        (DataContract(SHAPE, 256, likelihood="categorical"), (X + 0.3) / 256, "between two levels"),
        (DataContract((3, 4, 3), 256), X, "an array of shape"),
    ],
)
def test_misfits_are_named(contract, images, found):
    with pytest.raises(ValueError, match=f"images must be as in training, .* got .*{found}"):
        seen(contract, images)


def test_a_datasets_contract_is_what_is_loaded():
    fields = {"binarization": "none", "likelihood": "gaussian_learned", "conditional": False}
    digits, real = (contract_of(load(name), **fields) for name in ("digits", "linear-gaussian"))
    assert (digits.levels, digits.real, digits.classes) == (17, False, 10)
    assert (real.levels, real.real, real.classes) == (None, True, 0)
    assert real.description == "images of 4x4x1, real numbers"


RANGED = DataContract(SHAPE, None, reading=Reading(value_range=(-1.0, 1.0)))
WIDE = DataContract(SHAPE, None, reading=Reading(value_range=(0.0, 255.0)))


def test_a_value_range_is_scaled_as_in_training():
    images = np.random.default_rng(1).uniform(-1, 1, (10, *SHAPE)).astype(np.float32)
    data = from_arrays(images, reading=RANGED.reading)
    contract = contract_of(data, binarization="none", likelihood="bernoulli", conditional=False)
    assert contract == RANGED
    trained = binarize(data, "none", seed=0)
    assert (trained.train.images.min() >= 0, trained.train.images.max() <= 1) == (True, True)
    np.testing.assert_array_equal(seen(contract, images)[data.train.names], trained.train.images)
    np.testing.assert_allclose(trained.train.images, (images[data.train.names] + 1) / 2, rtol=1e-6, atol=1e-7)
    assert contract.description == "images of 4x3x1, floats in [-1, 1]"
    assert np.array_equal(binarize(data, "threshold", seed=0).train.images, images[data.train.names] >= 0)


@pytest.mark.parametrize(
    ("contract", "images", "found"),
    [
        (RANGED, np.full(SHAPE, 1.5), "1.5 to 1.5"),
        (WIDE, np.full(SHAPE, -1.0), "-1 to -1"),
        (WIDE, X / 255, "0 to 1"),
    ],
)
def test_what_is_out_of_a_value_range_is_named(contract, images, found):
    with pytest.raises(ValueError, match=f"images must be as in training, .* got {found}"):
        seen(contract, images)


def test_sixteen_bits_are_levels_or_fractions():
    contract = DataContract(SHAPE, 2**16)
    images = X.astype(np.uint16) * 257
    for given in (images, images.astype(np.float32), X / 255):
        np.testing.assert_allclose(seen(contract, given), X / np.float32(255), rtol=1e-6)


def test_counts_are_whole_numbers():
    contract = DataContract((1, 1, 12), None, reading=Reading(counts=True))
    rows = X.reshape(6, 12)
    for given in (rows, rows.astype(np.int64), rows.astype(np.float64)):
        np.testing.assert_array_equal(seen(contract, given)[:, 0, 0], rows)
    assert contract.description == "images of 1x1x12, counts"
    for wrong, found in ((rows + 0.25, "0.25|.*.25"), (-1.0 - rows, "-")):
        with pytest.raises(ValueError, match=f"images must be as in training, .* got ({found}).*, which is no count"):
            seen(contract, wrong)


PEOPLE = DataContract(
    (1, 1, 3),
    None,
    likelihood="columns",
    features=(
        Feature("age", "count"),
        Feature("size", "positive", loc=0.5, scale=0.1, logs=True),
        Feature("ward", "categorical", ("er", "gp", "icu")),
    ),
)
ROWS = np.array([[31, 1.7, 2], [40, 1.8, 0]])


def test_rows_of_a_table_are_in_their_own_units():
    contract = PEOPLE
    assert contract_from_mapping(json.loads(contract.to_json())) == contract
    for given in (ROWS, ROWS.astype(np.float32)[:, None, None], np.rint(ROWS).astype(int)):
        np.testing.assert_array_equal(seen(contract, given)[:, 0, 0], np.float32(given.reshape(2, 3)))
    assert contract.description == "rows of 1 count (age), 1 positive (size), 1 categorical (ward)"
    ids = np.asarray(contract.content(jnp.asarray(ROWS[:, None, None] * [1e6, 1e-6, 0], jnp.float32)))
    assert ids[0] != ids[1], "numbers of any size tell rows apart"


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ([31.5, 1.7, 2], "31.5 in column 'age', which must be a whole number, 0 or more"),
        ([31, 0, 2], "0 in column 'size', which must be above 0"),
        ([31, np.inf, 2], "inf in column 'size', which must be above 0"),
        ([31, 1.7, 3], r"3 in column 'ward', which must be a code from 0 to 2 \(er, gp, icu\)"),
        ([31, 1.7], r"an array of shape \(1, 2\)"),
    ],
)
def test_entries_that_no_row_has_are_named(wrong, found):
    with pytest.raises(ValueError, match=f"rows must be as in training, rows of .*, got {found}"):
        seen(PEOPLE, np.array([wrong]))
