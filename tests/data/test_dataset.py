import numpy as np
import pytest

from jaxvae.data.dataset import Dataset, Split, assemble, describe, hold_out


def images(count, dtype=np.uint8, shape=(4, 3, 1)):
    return np.arange(count * int(np.prod(shape))).reshape(count, *shape).astype(dtype)


def dataset(count=10):
    labels = {"train": np.arange(count, dtype=np.int32), "test": np.array([3, 11], np.int32)}
    return assemble("made", {"train": images(count), "test": images(2)}, labels, 256)


def test_a_dataset_knows_its_shape_splits_and_classes():
    data = dataset()
    assert data.image_shape == (4, 3, 1)
    assert list(data.splits) == ["train", "test"]
    assert data.validation is None
    assert data.classes == 12  # up to the largest label of any split
    assert assemble("made", {"train": images(3), "test": images(2)}, {}, 256).classes == 0


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((3, 4, 4), np.uint8), None, r"Split.images.shape must be \(N, H, W, C\), not empty, got \(3, 4, 4\)"),
        (np.zeros((0, 4, 4, 1), np.uint8), None, r"not empty, got \(0, 4, 4, 1\)"),
        (images(3, np.float64), None, "Split.images.dtype must be uint8, uint16 or float32, got 'float64'"),
        (images(3), np.zeros(2, np.int32), r"Split.labels.shape must be \(3,\), got \(2,\)"),
        (images(3), np.zeros(3, np.int64), "Split.labels.dtype must be int32, got 'int64'"),
    ],
)
def test_splits_are_checked(x, y, message):
    with pytest.raises(ValueError, match=message):
        Split(x, y)


@pytest.mark.parametrize(
    ("test", "levels", "message"),
    [
        (images(2, shape=(4, 4, 1)), 256, r"test image shape must be that of train, got \(4, 4, 1\)"),
        (images(2, np.float32), 256, "test.images.dtype must be uint8, as of levels, got 'float32'"),
        (images(2), None, "train.images.dtype must be float32, as of levels, got 'uint8'"),
        (images(2), 1, "Dataset.levels must be 2 to 65536, or None, got 1"),
        (images(2), 65537, "Dataset.levels must be 2 to 65536, or None, got 65537"),
    ],
)
def test_datasets_are_checked(test, levels, message):
    with pytest.raises(ValueError, match=message):
        Dataset("made", Split(images(3), None), None, Split(test, None), levels, 0)


def test_hold_out_takes_the_last_training_images_without_a_copy():
    data = dataset()
    held = hold_out(data, 4)
    assert held.train.labels.tolist() == list(range(6))
    assert held.validation.labels.tolist() == [6, 7, 8, 9]
    np.testing.assert_array_equal(held.validation.images, data.train.images[6:])
    assert np.shares_memory(held.train.images, data.train.images)
    again = hold_out(held, 2)  # in place of its own
    assert (len(again.train), again.validation.labels.tolist()) == (4, [4, 5])
    none = hold_out(held, 0)
    assert (len(none.train), none.validation) == (6, None)


@pytest.mark.parametrize("count", [-1, 10, 11])
def test_hold_out_leaves_training_images(count):
    with pytest.raises(
        ValueError, match=f"validation must be at least 0 and less than the 10 training images, got {count}"
    ):
        hold_out(dataset(), count)


def test_describe_is_one_line():
    assert describe(dataset()) == "made: 10 train, 2 test images of 4x3x1, 256 grey levels, 12 classes"
    x = {"train": images(3, np.float32), "test": images(2, np.float32)}
    assert describe(assemble("own", x, {}, None)) == "own: 3 train, 2 test images of 4x3x1, continuous, no labels"
