import re
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.data import from_arrays, load, report
from jaxvae.data.arrays import load_arrays, read_fields
from jaxvae.data.options import Reading

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
    [
        ((20, 6), (1, 6, 1)),
        ((20, 2, 3), (2, 3, 1)),
        ((20, 2, 3, 1), (2, 3, 1)),
        ((20, 4, 4, 1), (4, 4, 1)),
        ((20, 5, 7, 3), (5, 7, 3)),
        ((20, 8, 8, 5), (8, 8, 5)),
        ((20, 1, 64, 1), (1, 64, 1)),
    ],
)
def test_shapes(save, shape, expected):
    assert load_arrays(save(RNG.random(shape))).image_shape == expected


@pytest.mark.parametrize("shape", [(20, 3, 16, 16), (20, 1, 28, 28), (20, 4, 5, 7)])
def test_channels_first_are_noticed(save, shape):
    images = RNG.random(shape, np.float32)
    path = save(images)
    with pytest.raises(ValueError, match=r"looks like \(N, C, H, W\): say --layout nchw or nhwc"):
        load_arrays(path)
    found = load_arrays(path, Reading(layout="nchw"))
    assert found.image_shape == (*shape[2:], shape[1])
    rows = found.train.names
    np.testing.assert_array_equal(found.train.images, images.transpose(0, 2, 3, 1)[rows])
    assert load_arrays(path, Reading(layout="nhwc")).image_shape == shape[1:]


@pytest.mark.parametrize("shape", [(20, 16, 16, 16), (20, 3, 3, 3), (20, 2, 3, 2)])
def test_shapes_that_may_mean_two_things_are_refused(save, shape):
    with pytest.raises(ValueError, match=r"either \(N, H, W, C\) or \(N, C, H, W\): say --layout nchw or nhwc"):
        load_arrays(save(RNG.random(shape)))


def test_three_channels_may_lack_their_axis(save):
    path = save(RNG.random((20, 28, 3)))
    with pytest.raises(ValueError, match=r"images.shape must be \(N, H, W\); --layout nhw says"):
        load_arrays(path)
    assert load_arrays(path, Reading(layout="nhw")).image_shape == (28, 3, 1)
    with pytest.raises(ValueError, match="of 4 axes for layout nchw"):
        load_arrays(path, Reading(layout="nchw"))


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
    data = load_arrays(save(train_images=np.full((3, 4, 4), 255.0), test_images=np.ones((3, 4, 4))))
    assert (data.levels, int(data.test.images.max())) == (256, 1)


@pytest.mark.parametrize(
    ("images", "levels"),
    [
        (np.arange(20 * 16).reshape(20, 4, 4) % 10, 10),
        ((np.arange(20 * 16).reshape(20, 4, 4) % 17).astype(np.uint8), 17),
        ((np.arange(20 * 16).reshape(20, 4, 4) * 12).astype(np.uint16), 4096),
        (np.arange(20 * 16).reshape(20, 16) % 200, 200),
        (np.arange(20 * 16).reshape(20, 4, 4) * 1.0, 1000),
        (np.arange(20 * 16).reshape(20, 4, 4) * 1000, 2**16),
    ],
)
def test_whole_numbers_that_may_be_counts_are_asked_about(save, images, levels):
    path = save(images)
    with pytest.raises(ValueError, match=r"say how many there are .*; if counts, say so \(--counts\)"):
        load_arrays(path)
    if images.max() < levels:
        data = load_arrays(path, Reading(levels=levels))
        assert (data.levels, data.train.images.dtype) == (levels, np.uint8 if levels <= 256 else np.uint16)
        assert {*np.unique(data.train.images)} <= {*np.unique(images)}
    else:
        with pytest.raises(ValueError, match=rf"whole numbers in 0..{levels - 1}, of --levels {levels}, got '0 to"):
            load_arrays(path, Reading(levels=levels))


def test_sixteen_bits_have_their_levels(save):
    images = (np.arange(20 * 16).reshape(20, 4, 4) * 200).astype(np.uint16)
    data = load_arrays(save(images))
    assert (data.levels, data.train.images.dtype) == (2**16, np.uint16)
    np.testing.assert_array_equal(data.train.images[..., 0], images[data.train.names])


@pytest.mark.parametrize(
    ("images", "value_range"),
    [
        (RNG.uniform(-1, 1, (20, 4, 4)), (-1.0, 1.0)),
        (RNG.uniform(0, 255, (20, 4, 4)), (0.0, 255.0)),
        (RNG.integers(-128, 128, (20, 4, 4)).astype(np.int8), (-128.0, 127.0)),
    ],
)
def test_a_value_range_is_kept_with_numbers_as_they_are(save, images, value_range):
    data = load_arrays(save(images), Reading(value_range=value_range))
    assert (data.levels, data.reading.value_range) == (None, value_range)
    np.testing.assert_array_equal(data.train.images[..., 0], images[data.train.names].astype(np.float32))
    with pytest.raises(ValueError, match="images must be within --value-range 0 1, got"):
        load_arrays(save(images), Reading(value_range=(0.0, 1.0)))


@pytest.mark.parametrize("name", ["images", "x", "X", "data", "arr_0", "image", "faces"])
def test_images_by_the_names_that_people_give(save, name):
    data = load_arrays(save(**{name: BYTES}))
    assert len(data.train) == 16
    assert data.notes == (("The array 'faces' is taken for the images.",) if name == "faces" else ())


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "x_val", "x_test"),
        ("X_train", "X_valid", "X_test"),
        ("train", "dev", "test"),
        ("train_x", "val_x", "test_data"),
    ],
)
def test_splits_by_the_names_that_people_give(save, names):
    data = load_arrays(save(**dict(zip(names, (BYTES[:10], BYTES[10:15], BYTES[15:]), strict=True))))
    assert [len(split) for split in data.splits.values()] == [10, 5, 5]


def test_a_missing_test_split_is_made_up_for_and_said(save):
    data = load_arrays(save(x_train=BYTES[:14], x_val=BYTES[14:], y_train=LABELS[:14], y_val=LABELS[14:]))
    assert list(data.splits) == ["train", "test"]
    np.testing.assert_array_equal(data.test.labels, LABELS[14:])
    assert data.notes == ("There is no test split: the validation split is taken for it.",)
    data = load_arrays(save(x_train=BYTES, y_train=LABELS))
    assert [len(split) for split in data.splits.values()] == [16, 2, 2]
    np.testing.assert_array_equal(data.test.labels, LABELS[data.test.names])
    assert data.notes == ("There is only a train split: it is split here.",)


NAMES = np.array(["ant", "bee", "cow", "dog", "elk"])


@pytest.mark.parametrize(
    "labels",
    [LABELS[:, None], np.eye(5)[LABELS], np.eye(5, dtype=bool)[LABELS], LABELS * 1.0, LABELS.astype(np.uint8)],
    ids=["column", "one-hot", "boolean", "float", "bytes"],
)
def test_labels_as_people_have_them(save, labels):
    data = load_arrays(save(images=BYTES, labels=labels))
    np.testing.assert_array_equal(data.train.labels, LABELS[data.train.names])
    assert data.class_names == ()


@pytest.mark.parametrize("labels", [NAMES[LABELS], NAMES[LABELS].astype(bytes), NAMES[LABELS][:, None]])
def test_strings_become_classes_with_names(save, labels):
    data = load_arrays(save(images=BYTES, labels=labels))
    assert data.class_names == tuple(NAMES[np.unique(LABELS)])
    for split in data.splits.values():
        assert [data.class_names[label] for label in split.labels] == NAMES[LABELS][split.names].tolist()


def test_names_of_classes_are_those_of_all_splits(save):
    data = load_arrays(
        save(x_train=BYTES[:2], y_train=np.array(["b", "c"]), x_test=BYTES[2:4], y_test=np.array(["a", "c"]))
    )
    assert data.class_names == ("a", "b", "c")
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([1, 2], [0, 2])


def test_arrays_in_memory():
    for convert in (np.asarray, jnp.asarray, lambda x: x.tolist()):
        data = from_arrays(
            convert(np.concatenate([BYTES, BYTES + 0 * BYTES])), labels=convert(np.tile(LABELS, 2)), name="mine"
        )
        assert (data.name, data.levels, len(data.train)) == ("mine", 256, 32)
    data = from_arrays({"train": BYTES, "val": BYTES[:3], "test": BYTES[:2]}, labels={"train": LABELS})
    assert [len(split) for split in data.splits.values()] == [20, 3, 2]
    assert data.test.labels is None
    with pytest.raises(ValueError, match="images must be by split: train, validation, test, got 'trial'"):
        from_arrays({"trial": BYTES})
    with pytest.raises(ValueError, match=r"arrays: fields must be .*there is no train_images"):
        from_arrays({"test": BYTES})


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
        (broken(-np.inf), r"x.npy: images must be finite, got 1 inf, first at (17, 1, 2, 0) of (N, H, W, C)"),
        (
            broken(np.inf, np.s_[3:5, 0, 0]),
            r"x.npy: images must be finite, got 2 inf, first at (3, 0, 0, 0) of (N, H, W, C)",
        ),
        (np.full((20, 4), np.nan), r"x.npy: images must be numbers, of which NaN are missing ones, got 'NaN alone'"),
        (broken(np.nan, 7), r"x.npy: test split must be one entry at least in each row, got '1 without any, first 7'"),
        (
            broken(np.nan, np.s_[:, 1, 2]),
            r"train split must be one entry at least in each column, got '1 without any, first (1, 2, 0) of (H, W, C)'",
        ),
        (BYTES.astype(np.int16) - 1, r"x.npy: images must be 0 or more, got -1 to 254; the numbers that stand for"),
        (BYTES.astype(np.uint16) + 256, r"images must be grey levels, got whole numbers in 25"),
        (np.full((20, 4, 4), 7, np.uint8), r"x.npy: images must be not the same in all pixels, got 7"),
        (
            BYTES[:9],
            r"x.npy: number of images must be at least 10, to be split; fewer can be given as splits, train and",
        ),
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
        (
            {"images": BYTES, "labels": np.ones((20, 3))},
            "labels must be one class for each image, got \"rows that aren't",
        ),
        (
            {"images": BYTES, "labels": LABELS / 2},
            "labels.dtype must be an integer type, strings, or one-hot, got 'float",
        ),
        (
            {"x_train": BYTES, "y_train": LABELS, "x_test": BYTES, "y_test": NAMES[LABELS]},
            "labels must be of one kind in all splits, got 'strings and integers'",
        ),
        ({"images": BYTES, "labels": LABELS - 1}, "labels must be at least 0, got -1"),
        ({"images": BYTES, "labels": LABELS + 2**40}, "labels must be below 2**31, got 10995116277"),
        ({"images": BYTES, "lables": LABELS}, "fields must be images (or x, data, arr_0), perhaps labels (or y)"),
        ({"images": BYTES, "x_test": BYTES}, "x.npz: fields must be either of images in one, or of splits, got"),
        ({"images": BYTES, "x": BYTES}, "x.npz: fields must be given once each, not images, got ['images', 'x']"),
        ({"x_test": BYTES}, "there is no train_images, got ['test_images']"),
        ({"labels": LABELS}, "there is no images, got ['labels']"),
        ({"a": BYTES, "b": BYTES}, "fields must be images (or x, data, arr_0), perhaps labels (or y), a mask, and"),
        ({"x_train": BYTES, "x_test": BYTES, "validation_labels": LABELS}, "there is no validation_images"),
        ({"x_train": BYTES, "x_test": BYTES / 255}, "dtypes must be the same in all splits, got ['float64', 'uint8']"),
        ({"x_train": BYTES, "x_test": BYTES[:, :2]}, "test image shape must be that of train, got (2, 3, 1)"),
        (
            {"x_train": BYTES / 300, "x_test": broken(np.inf, (1, 0, 2)).astype(float)},
            "test_images must be finite, got 1",
        ),
        (
            {"x": BYTES, "mask": BYTES > 0, "x_mask": BYTES > 0},
            "fields must be images (or x, data, arr_0), perhaps labels (or y), a mask, and lengths",
        ),
        ({"x": BYTES, "mask": BYTES[:9] > 0}, "mask.shape must be (20, 4, 3), that of the numbers, got (9, 4, 3)"),
        ({"x_train": BYTES, "x_test": BYTES, "validation_mask": BYTES > 0}, "there is no validation_images"),
        (
            {"x_train": BYTES, "x_test": BYTES, "mask": BYTES > 0},
            "fields must be either of images in one, or of splits",
        ),
        ({"images": BYTES.astype(object)}, "x.npz must be a .npz file of numbers, got Python objects"),
    ],
)
def test_fields_that_do_not_fit_are_named(save, fields, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load_arrays(save(**fields))
    assert "\n" not in str(error.value)


def test_what_is_infinite_or_missing_is_found_beyond_the_first_chunk(save):
    x = RNG.random((40, 1024, 256), np.float32)
    x[33, 5, 7] = x[39, 0] = np.nan
    assert load_arrays(save(x)).missing == 257
    x[33, 5, 7] = x[39, 0] = np.inf
    with pytest.raises(ValueError, match=r"got 257 inf, first at \(33, 5, 7, 0\)"):
        load_arrays(save(x))


MASK = RNG.random(BYTES.shape) < 0.2
REAL = RNG.normal(size=BYTES.shape).astype(np.float32)


def test_what_is_missing_is_nan_or_masked_and_said(save):
    holes = np.where(MASK, np.float32(np.nan), REAL)
    made = {
        "NaN": load_arrays(save(holes)),
        "a member": load_arrays(save(x=REAL, mask=MASK)),
        "an argument": from_arrays(REAL, mask=MASK.tolist()),
        "numpy.ma": from_arrays(np.ma.array(REAL, mask=MASK)),
    }
    for data in made.values():
        assert (data.missing, data.levels, data.reading) == (MASK.sum(), None, Reading())
        assert (
            report(data)[2]
            == f"missing: {MASK.sum()} of 240 entries ({MASK.sum() / 2.4:.3g} %), as NaN is taken for missing"
        )
        for name, split in data.splits.items():
            np.testing.assert_array_equal(split.images, made["NaN"].splits[name].images)
    assert made["NaN"].extremes == (np.nanmin(holes), np.nanmax(holes))
    complete = from_arrays(REAL, mask=np.zeros_like(MASK))
    assert (complete.missing, len(report(complete))) == (0, 2)


def test_masks_come_by_split_too(save):
    fields = {"x_train": BYTES, "x_test": BYTES[:5], "test_mask": MASK[:5]}
    by_split = load_arrays(save(**fields, y_train=LABELS, y_test=LABELS[:5]))
    assert np.isnan(by_split.test.images[..., 0]).tolist() == MASK[:5].tolist()
    assert not np.isnan(by_split.train.images).any()
    again = from_arrays({"train": BYTES, "test": BYTES[:5]}, mask={"test": MASK[:5]})
    np.testing.assert_array_equal(again.test.images, by_split.test.images)
    assert read_fields(save(**fields))[0].keys() == {"train_images", "test_images"}


@pytest.mark.parametrize(
    ("images", "reading", "value_range"),
    [
        (BYTES, Reading(), (0.0, 255.0)),
        (BYTES // 16, Reading(levels=16), (0.0, 15.0)),
        (BYTES > 100, Reading(), (0.0, 1.0)),
        (BYTES / 255, Reading(), ()),
        (REAL, Reading(value_range=(-5.0, 5.0)), (-5.0, 5.0)),
        (BYTES, Reading(counts=True), ()),
    ],
)
def test_numbers_with_missing_ones_are_floats_of_the_same_meaning(images, reading, value_range):
    data = from_arrays(images, mask=MASK, reading=reading)
    assert data.levels is None
    assert (data.reading.value_range, data.reading.levels) == (value_range, None)
    found = np.concatenate([split.images for split in data.splits.values()])
    order = np.concatenate([split.ids for split in data.splits.values()])
    np.testing.assert_array_equal(found[..., 0], np.where(MASK, np.nan, images.astype(np.float32))[order])
    assert data.binary == (images.dtype == bool)


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


def test_counts_are_kept_as_they_are(save):
    images = np.arange(20 * 16).reshape(20, 16) ** 2
    data = load_arrays(save(images), Reading(counts=True))
    assert (data.levels, data.image_shape) == (None, (1, 1, 16))
    np.testing.assert_array_equal(data.train.images[:, 0, 0], images[data.train.names])
    for wrong in (images + 0.5, -images, images * 1000):
        with pytest.raises(ValueError, match=r"counts must be whole numbers in 0..16777216, got"):
            load_arrays(save(wrong), Reading(counts=True))


@pytest.mark.parametrize("names", [("images", "more"), ("one", "two")])
def test_what_is_not_understood_is_not_unpacked(tmp_path, names, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", **dict.fromkeys(names, np.zeros((20, 3, 3), np.uint8)))
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", None)
    with pytest.raises(ValueError, match=r"x.npz: fields must be images .*, got \['"):
        read_fields(tmp_path / "x.npz")
