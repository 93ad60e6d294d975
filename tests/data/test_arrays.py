import re
import warnings

import numpy as np
import pytest

from jaxvae.data import load
from jaxvae.data.arrays import load_arrays

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (20, 4, 3), np.uint8)
LABELS = RNG.integers(0, 5, 20)


@pytest.fixture
def save(tmp_path):
    """Writes one array to a .npy, or several to a .npz, file and returns the path."""

    def write(array=None, **fields):
        path = tmp_path / ("x.npz" if fields else "x.npy")
        if fields:
            np.savez(path, **fields)
        else:
            np.save(path, array)
        return path

    return write


def rows(split):
    return {image.tobytes() for image in split.images}


def test_an_array_is_split_by_a_fixed_permutation(save):
    path = save(BYTES)
    data = load(str(path))
    assert data.name == str(path)
    assert (data.levels, data.classes, data.image_shape) == (256, 0, (4, 3, 1))
    assert [len(split) for split in data.splits.values()] == [16, 2, 2]
    assert set.union(*map(rows, data.splits.values())) == {image.tobytes() for image in BYTES}
    again = load(str(path))
    for name, split in data.splits.items():
        np.testing.assert_array_equal(split.images, again.splits[name].images)
    # Written down, so that another machine or another NumPy has to split the same way.
    assert [BYTES[..., None].tolist().index(x) for x in data.test.images.tolist()] == [18, 7]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((20, 6), (1, 6, 1)), ((20, 2, 3), (2, 3, 1)), ((20, 2, 3, 1), (2, 3, 1)), ((20, 2, 3, 5), (2, 3, 5))],
)
def test_shapes(save, shape, expected):
    assert load_arrays(save(RNG.integers(0, 256, shape, np.uint8))).image_shape == expected


K = np.arange(256).repeat(2).reshape(32, 4, 4)


@pytest.mark.parametrize(
    ("images", "levels", "scale"),
    [
        (K.astype(np.uint8), 256, 1),
        (K.astype(np.int64), 256, 1),
        (K.astype(np.float32), 256, 1),
        ((K // 128).astype(np.int32), 2, 1),
        (K > 100, 2, 1),
        ((K > 100).astype(np.float32), 2, 1),
        ((K / 255).astype(np.float64), 256, 255),
        (K.astype(np.float32) / np.float32(255), 256, 255),
        (K.astype(np.float32) * np.float32(1 / 255), 256, 255),
        (K.astype(np.float16) / np.float16(255), 256, 255),
        (K.astype(np.float32) / 256, None, 1),
        ((K % 17).astype(np.float16) / 16, None, 1),
        (K.astype(np.float64) / 300, None, 1),
    ],
)
def test_pixels_become_bytes_where_nothing_is_lost(save, images, levels, scale):
    data = load_arrays(save(train_images=images, test_images=images[::2]))
    assert data.levels == levels
    assert data.train.images.dtype == (np.float32 if levels is None else np.uint8)
    expected = images.astype(np.float32) if levels is None else np.rint(images.astype(np.float64) * scale)
    np.testing.assert_array_equal(data.train.images[..., 0], expected)


def test_splits_are_judged_together(save):
    dark = np.zeros((3, 4, 4), np.uint8)
    data = load_arrays(save(train_images=BYTES.reshape(-1, 4, 4)[:6], test_images=dark))
    assert data.levels == 256
    whole = np.ones((3, 4, 4), np.float32)
    data = load_arrays(save(train_images=np.full((3, 4, 4), 0.3, np.float32), test_images=whole))
    assert data.levels is None
    data = load_arrays(save(train_images=np.full((3, 4, 4), 30.0), test_images=np.ones((3, 4, 4))))
    assert (data.levels, int(data.test.images.max())) == (256, 1)


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    ],
)
def test_given_splits_stay(save, names):
    data = load_arrays(save(**dict(zip(names, (BYTES[:14], LABELS[:14], BYTES[14:], LABELS[14:]), strict=True))))
    assert list(data.splits) == ["train", "test"]
    np.testing.assert_array_equal(data.test.images[..., 0], BYTES[14:])
    np.testing.assert_array_equal(data.test.labels, LABELS[14:])
    assert data.classes == LABELS.max() + 1


def test_validation_may_be_given_and_labels_left_out(save):
    data = load_arrays(save(train_images=BYTES, train_labels=LABELS, validation_images=BYTES[:4], test_images=BYTES))
    assert len(data.validation) == 4
    assert data.validation.labels is None
    np.testing.assert_array_equal(data.train.labels, LABELS)


def test_labels_follow_their_images(save):
    data = load_arrays(save(images=BYTES, labels=LABELS))
    known = {image.tobytes(): label for image, label in zip(BYTES, LABELS, strict=True)}
    for split in data.splits.values():
        assert [known[image.tobytes()] for image in split.images] == split.labels.tolist()


def test_a_folder_of_npy_files_stays_mapped(tmp_path):
    for name, x in {"train_images": BYTES, "train_labels": LABELS, "test_images": BYTES[:5]}.items():
        np.save(tmp_path / f"{name}.npy", x)
    data = load(str(tmp_path))
    assert isinstance(data.train.images, np.memmap)
    np.testing.assert_array_equal(data.train.images[..., 0], BYTES)
    np.testing.assert_array_equal(data.train.labels, LABELS)


def broken(value, where=(17, 1, 2)):
    x = (BYTES / 300).astype(np.float32)
    x[where] = value
    return x


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (broken(np.nan), r"x.npy: images must be finite, got 1 NaN or inf, first at (17, 1, 2, 0) of (N, H, W, C)"),
        (
            broken(np.inf, np.s_[3:5, 0, 0]),
            r"x.npy: images must be finite, got 2 NaN or inf, first at (3, 0, 0, 0) of (N, H, W, C)",
        ),
        (broken(-0.5), r"x.npy: images must be in [0, 1], or whole numbers in 0..255, got -0.5"),
        (broken(1.5), r"x.npy: images must be in [0, 1], or whole numbers in 0..255, got 1.5"),
        (broken(300), r"x.npy: images must be in [0, 1], or whole numbers in 0..255, got 300.0"),
        (BYTES.astype(np.int16) - 1, r"x.npy: images must be in [0, 1], or whole numbers in 0..255, got -1"),
        (BYTES.astype(np.uint16) + 256, r"whole numbers in 0..255, got 25"),
        (np.full((20, 4, 4), 7, np.uint8), r"x.npy: images must be not the same in all pixels, got 7"),
        (BYTES[:9], r"x.npy: number of images must be at least 10, to be split, got 9"),
        (BYTES[:0], r"x.npy: images.shape must be not empty, got (0, 4, 3)"),
        (BYTES[:, 0, 0], r"x.npy: images.shape must be (N, H, W), (N, H, W, C) or (N, D), got (20,)"),
        (BYTES[None, None], r"x.npy: images.shape must be (N, H, W), (N, H, W, C) or (N, D), got (1, 1, 20, 4, 3)"),
        (BYTES.astype(complex), r"x.npy: dtype must be boolean, integer or float, got 'complex128'"),
        (BYTES.astype(str), r"x.npy: dtype must be boolean, integer or float, got '<U3'"),
        (BYTES.astype(object), r"x.npy must be a .npy file of numbers, got Python objects"),
    ],
)
def test_images_that_do_not_fit_are_named(save, images, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load_arrays(save(images))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": BYTES, "labels": LABELS[:19]}, "labels.shape must be (20,), one for each image, got (19,)"),
        ({"images": BYTES, "labels": LABELS[:, None]}, "labels.shape must be (20,), one for each image, got (20, 1)"),
        ({"images": BYTES, "labels": LABELS / 2}, "labels.dtype must be an integer type, got 'float64'"),
        ({"images": BYTES, "labels": LABELS - 1}, "labels must be at least 0, got -1"),
        ({"images": BYTES, "labels": LABELS + 2**40}, "labels must be below 2**31, got 10995116277"),
        ({"images": BYTES, "lables": LABELS}, "x.npz: field must be one of images, labels, got 'lables'"),
        ({"images": BYTES, "x_test": BYTES}, "x.npz: field must be one of images, labels, got 'test_images'"),
        ({"x_train": BYTES}, "complete; there is no test_images, got ['train_images']"),
        ({"labels": LABELS}, "field must be one of train_images, train_labels, "),
        ({"x_train": BYTES, "x_test": BYTES, "validation_labels": LABELS}, "there is no validation_images"),
        ({"x_train": BYTES, "x_test": BYTES / 255}, "dtypes must be the same in all splits, got ['float64', 'uint8']"),
        ({"x_train": BYTES, "x_test": BYTES[:, :2]}, "test image shape must be that of train, got (2, 3, 1)"),
        (
            {"x_train": BYTES / 300, "x_test": broken(np.nan, (1, 0, 2)).astype(float)},
            "test_images must be finite, got 1",
        ),
        ({"images": BYTES.astype(object)}, "x.npz must be a .npz file of numbers, got Python objects"),
    ],
)
def test_fields_that_do_not_fit_are_named(save, fields, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load_arrays(save(**fields))
    assert "\n" not in str(error.value)


def test_nan_is_found_beyond_the_first_chunk(save):
    x = RNG.random((40, 1024, 256), np.float32)
    x[33, 5, 7] = x[39, 0] = np.nan
    with pytest.raises(ValueError, match=r"got 257 NaN or inf, first at \(33, 5, 7, 0\)"):
        load_arrays(save(x))


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x80\x04N."])  # the last one is a pickle
def test_files_that_are_not_what_they_say(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} must be a \.np. file of numbers, got ") as error:
        load_arrays(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_lone_array_is_no_npz(save):
    path = save(BYTES)
    with pytest.raises(ValueError, match=r"x.npz must be a .npz file of numbers, got what can't be read \(.*zip"):
        load_arrays(path.rename(path.with_suffix(".npz")))


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=rf"{name}: no such file"):
        load(str(tmp_path / name))


def test_a_pickle_is_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (warnings.warn, ("unpickled",))

    np.save(tmp_path / "x.npy", np.array([Trap()], object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", images=np.array([Trap()], object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(ValueError, match="got Python objects"):
            load_arrays(tmp_path / name)
