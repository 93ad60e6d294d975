"""Batches by their ducks' types; the libraries themselves aren't needed."""

import itertools
import re

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from PIL import Image

from jaxvae.data import DataContract, Reading, from_arrays, from_batches, iterables

X = np.random.default_rng(0).integers(0, 256, (20, 6, 4, 3), np.uint8)
X.flat[0] = 255
Y = np.arange(20) % 4
PARTS = [slice(0, 8), slice(8, 16), slice(16, 20)]


class Torch:
    """As torch's tensors: on a device, needing gradients, and no array before they are brought home."""

    def __init__(self, x, home=False):
        self.x, self.home = x, home

    def detach(self):
        return Torch(self.x)

    def cpu(self):
        return Torch(self.x, home=True)

    def numpy(self):
        assert self.home
        return self.x

    def __array__(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


class TensorFlow:
    def __init__(self, x):
        self.x = x

    def numpy(self):
        return self.x


class DLPack:
    def __init__(self, x):
        self.x = x

    def __dlpack__(self, **how):
        return self.x.__dlpack__(**how)

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()


class Arrayed:
    def __init__(self, x):
        self.x = x

    def __array__(self, dtype=None, copy=None):
        return self.x


def pillow(x):
    return [Image.fromarray(one) for one in x]


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray, Torch, TensorFlow, DLPack, Arrayed, list, pillow])
@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: (x, y),
        lambda x, y: [x, y],
        lambda x, y: {"image": x, "label": y, "id": "any"},
        lambda x, y: {"x": x, "y": y},
        lambda x, y: {"pixel_values": x, "fine_label": y},
    ],
)
def test_batches_of_any_library_in_any_form_are_the_arrays(make, form):
    wanted = from_arrays(X, Y)
    labels = (lambda y: y.tolist()) if make in (list, pillow) else make
    found = from_batches(form(make(X[part]), labels(Y[part])) for part in PARTS)
    for split in wanted.splits:
        np.testing.assert_array_equal(found.splits[split].images, wanted.splits[split].images)
        np.testing.assert_array_equal(found.splits[split].labels, wanted.splits[split].labels)
    assert (found.levels, found.classes, found.name) == (256, 4, "batches")


def test_rows_of_hugging_face_are_batches_of_one():
    rows = [{"image": Image.fromarray(x), "label": int(y)} for x, y in zip(X, Y, strict=True)]
    found = from_batches(rows, name="rows")
    np.testing.assert_array_equal(found.train.images, from_arrays(X).train.images)
    assert found.classes == 4


def test_images_alone_and_labels_beside_them():
    assert from_batches(X[part] for part in PARTS).classes == 0
    assert from_batches([(X,)]).classes == 0
    found = from_batches((X[part] for part in PARTS), labels=[f"class {y}" for y in Y])
    assert found.class_names == ("class 0", "class 1", "class 2", "class 3")


def test_batches_by_split_and_what_must_be_said_of_them():
    planes = np.moveaxis(X / 127.5 - 1, -1, 1).astype(np.float32)
    found = from_batches(
        {"train": [planes[:10], planes[10:16]], "val": iter([planes[16:]])},
        reading=Reading(layout="nchw", value_range=(-1, 1)),
    )
    np.testing.assert_array_equal(found.train.images, np.moveaxis(planes[:16], 1, -1))
    assert (len(found.test), found.reading.value_range) == (4, (-1, 1))


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "batches: images must be at least one batch, got 'none'"),
        ([{"picture": X}], "batches: images: batch 0: its keys must be one of image, images, x, data, "),
        ([X, (X, Y)], "batches: images: labels of batch 0 must be there, as in other batches, got None"),
        ([(X, Y[:3])], "batches: images: batch 0: number of labels must be 20, one for each image, got 3"),
        ([X, X[:, :3]], "images of batch 1 must be uint8 of (6, 4, 3), as in batch 0, got 'uint8 of (3, 4, 3)'"),
        ([X, X / 255], "images of batch 1 must be uint8 of (6, 4, 3), as in batch 0, got 'float64 of (6, 4, 3)'"),
        ([[X[0], X[1], X[2][:3]]], "batch 0: images must become a NumPy array, got a list (all input arrays"),
        ([object()], "batch 0: images must be numbers or text, with an axis of examples, got 'a object'"),
        ([3.0], "batch 0: images must be numbers or text, with an axis of examples, got 'a float'"),
        ({"train": [(X, Y)], "test": [X]}, "batches: labels must be in all splits, or in none, got ['train']"),
    ],
)
def test_what_is_not_understood_is_refused_in_one_line(batches, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        from_batches(batches)
    assert "\n" not in str(error.value)


def test_a_loader_is_gone_through_again_without_its_smaller_last_batch():
    loader = [(X[part], Y[part]) for part in PARTS]
    found = list(itertools.islice(iterables.full_batches(loader, 8, 5), 5))
    starts = [0, 8, 0, 8, 0]
    for batch, start in zip(found, starts, strict=True):
        np.testing.assert_array_equal(batch.images, X[start : start + 8])
        np.testing.assert_array_equal(batch.labels, Y[start : start + 8])


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (
            lambda: iter([X[:8], X[8:16]]),
            "batches must be enough for 5 steps, or an iterable that can be gone through again, "
            "got 'an iterator that ended after 2'",
        ),
        (
            list,
            "an iterable that can be gone through again, got 'one that ended after 0'",
        ),
        (lambda: [X[:3]], "got 'one that ended after 0'"),
        (
            lambda: [X[:8], X[:3], X[:8]],
            "batch 1: number of images must be 8, the batch size; only the last may have fewer, got 3",
        ),
        (lambda: [X[:8], X[:9]], "batch 1: number of images must be 8, the batch size, got 9"),
    ],
)
def test_batches_that_end_or_are_of_another_size_are_refused(batches, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        list(itertools.islice(iterables.full_batches(batches(), 8, 5), 5))


GREY = DataContract((6, 4, 3), 256)
BINARY = DataContract((6, 4, 1), 2)
FLOATS = DataContract((6, 4, 3), None)
WIDE = DataContract((6, 4, 3), 65536)
REAL = DataContract((6, 4, 3), None, real=True)


@pytest.mark.parametrize(
    ("contract", "given", "stored"),
    [
        (GREY, X, X),
        (GREY, X.astype(np.int64), X),
        (GREY, X.astype(np.float32) / 255, X),
        (GREY, (X / 255).astype(np.float16), None),
        (GREY, X.astype(np.float64), X),
        (GREY, np.moveaxis(X, -1, 1), X),
        (GREY, X // 255, X // 255),  # dark, and still levels
        (BINARY, X[..., 0] > 127, (X[..., :1] > 127).astype(np.uint8)),
        (BINARY, (X[:, None, :, :, 0] > 127).astype(np.float32), (X[..., :1] > 127).astype(np.uint8)),
        (WIDE, X.astype(np.uint16) * 257, X.astype(np.uint16) * 257),
        (WIDE, X.astype(np.float64) / 255, X.astype(np.uint16) * 257),
        (FLOATS, X / 300, (X / 300).astype(np.float32)),
        (FLOATS, (X / 256).astype(ml_dtypes.bfloat16), (X / 256).astype(ml_dtypes.bfloat16).astype(np.float32)),
        (REAL, X - 128.0, (X - 128.0).astype(np.float32)),
    ],
)
def test_batches_are_stored_as_the_dataset_is(contract, given, stored):
    if stored is None:
        with pytest.raises(ValueError, match="multiples of 1/255"):
            iterables.as_stored(given, contract, "batch 0")
        return
    found = iterables.as_stored(given, contract, "batch 0")
    np.testing.assert_array_equal(found, stored)
    assert found.dtype == stored.dtype


@pytest.mark.parametrize(
    ("contract", "given", "message"),
    [
        (GREY, X[:, :5], r"^batch 0: images must be as in training, images of 6x4x3, .*, got an array of shape"),
        (GREY, X.astype(np.float32) / 127.5 - 1, r"^batch 0: images must be as in training, .*, got -1 to"),
        (GREY, X / np.float32(2), "neither in .* nor a whole number"),
        (GREY, X / 300, r"^batch 0: images must be multiples of 1/255 in \[0, 1\], got 'numbers 0\.\d+ off'$"),
        (BINARY, X[..., :1], r"^batch 0: images must be below 2, got 255$"),
        (FLOATS, X, "^batch 0: .*, got dtype uint8$"),
        (
            FLOATS,
            X / np.float32("nan"),
            "^batch 0: .*, got numbers that are missing .NaN.; the training had none such$",
        ),
        (GREY, np.array([["a"]]), "^batch 0: "),
    ],
)
def test_batches_that_do_not_fit_the_dataset_are_refused_in_one_line(contract, given, message):
    with pytest.raises(ValueError, match=message) as error:
        iterables.as_stored(given, contract, "batch 0")
    assert "\n" not in str(error.value)


def test_planes_of_a_square_of_three_are_told_by_the_layout():
    x = X[:, :3, :3]
    named = DataContract((3, 3, 3), 256, reading=Reading(layout="nchw"))
    np.testing.assert_array_equal(iterables.as_stored(np.moveaxis(x, -1, 1), named, "batch"), x)
    np.testing.assert_array_equal(iterables.as_stored(x, DataContract((3, 3, 3), 256), "batch"), x)
