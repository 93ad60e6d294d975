"""Records of made-up datasets, which tensorflow-datasets itself has written."""

import io
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxvae.data import Reading, load, records

RNG = np.random.default_rng(0)


def pictures(count, *shape, dtype=np.uint8):
    return RNG.integers(0, np.iinfo(dtype).max, (count, *shape), dtype, endpoint=True)


def encoded(image, form="png"):
    """A file's content."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, form)
    return file.getvalue()


@pytest.fixture
def prepared_as(tmp_path):
    """Prepares examples of these features, by split, as a dataset ``mine``; answers with its folder."""
    tfds.disable_progress_bar()

    def prepare(features, splits, version="1.0.0", file_format="array_record"):
        class Mine(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tfds.core.Version(version)
            name = "mine"

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
                )

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(examples) for split, examples in splits.items()}

            def _generate_examples(self, examples):
                yield from enumerate(examples)

        builder = Mine(data_dir=tmp_path, file_format=file_format)
        builder.download_and_prepare()
        return tmp_path / "mine" / version

    yield prepare
    tfds.enable_progress_bar()


def image(*shape, **how):
    return tfds.features.Image(shape=shape, **how)


def examples(images, **others):
    return [{"image": encoded(x), **{name: values[i] for name, values in others.items()}} for i, x in enumerate(images)]


@pytest.mark.parametrize("shape", [(6, 4, 1), (6, 4, 2), (6, 4, 3), (1, 9, 4)])
def test_images_of_any_channels_are_read_by_path(prepared_as, shape):
    train, test = pictures(3, *shape), pictures(2, *shape)
    folder = prepared_as({"image": image(*shape)}, {"train": examples(train), "test": examples(test)})
    for path in (folder, folder.parent, folder):  # from the records, and twice from the arrays
        data = load(str(path))
        np.testing.assert_array_equal(data.train.images, train)
        np.testing.assert_array_equal(data.test.images, test)
        assert (data.levels, data.classes, data.validation, data.notes) == (256, 0, None, ())
    assert isinstance(data.train.images, np.memmap)


def test_16_bits_are_kept(prepared_as):
    train = pictures(3, 5, 5, 1, dtype=np.uint16)
    features = {"image": image(5, 5, 1, dtype=np.uint16, encoding_format="png")}
    data = load(prepared_as(features, {"train": examples(train), "test": examples(train)}))
    np.testing.assert_array_equal(data.train.images, train)
    assert data.levels == 2**16


def test_the_only_image_is_taken_whatever_it_is_called_and_its_classes_with_their_names(prepared_as):
    x = pictures(4, 5, 5, 3)
    features = {
        "scan": {"pixels": image(5, 5, 3), "place": tfds.features.Text()},
        "finding": tfds.features.ClassLabel(names=["none", "some"]),
        "boxes": tfds.features.Sequence(tfds.features.ClassLabel(num_classes=3)),
    }
    rows = [
        {"scan": {"pixels": encoded(one), "place": "here"}, "finding": i % 2, "boxes": [i % 3]}
        for i, one in enumerate(x)
    ]
    folder = prepared_as(features, {"train": rows, "test": rows[:2]})
    for _ in range(2):
        data = load(folder)
        np.testing.assert_array_equal(data.train.images, x)
        assert data.train.labels.tolist() == [0, 1, 0, 1]
        assert (data.classes, data.class_names) == (2, ("none", "some"))


def test_of_several_images_the_one_called_image_is_taken_and_said(prepared_as):
    x = pictures(2, 5, 5, 3)
    features = {"image": image(5, 5, 3), "mask": image(5, 5, 1)}
    rows = examples(x, mask=[encoded(one[..., :1]) for one in x])
    data = load(prepared_as(features, {"train": rows, "test": rows}))
    np.testing.assert_array_equal(data.train.images, x)
    assert data.notes == ("Of several images to an example, image is taken, not mask.",)


@pytest.mark.parametrize(
    ("features", "found"),
    [
        ({"left": image(5, 5, 3), "right": image(5, 5, 3)}, r"['left', 'right']"),
        ({"frames": tfds.features.Sequence(image(5, 5, 3))}, "[]"),
    ],
)
def test_other_than_one_image_is_refused_by_name(prepared_as, features, found):
    x = encoded(pictures(1, 5, 5, 3)[0])
    row = {name: [x] if name == "frames" else x for name in features}
    folder = prepared_as(features, {"train": [row], "test": [row]})
    with pytest.raises(
        ValueError, match=re.escape(f"image features must be one, or one of them called image, got {found}")
    ):
        load(folder)


def test_validation_stands_in_for_test_and_other_splits_are_left_out(prepared_as):
    x = pictures(9, 5, 5, 1)
    parts = {"train": x[:3], "validation": x[3:5], "extra": x[5:7], "odd": x[7:]}
    folder = prepared_as({"image": image(5, 5, 1)}, {name: examples(part) for name, part in parts.items()})
    for _ in range(2):
        data = load(folder)
        np.testing.assert_array_equal(data.test.images, x[3:5])
        assert data.validation is None
        assert data.notes == (
            "There is no test split: the validation split is taken for it.",
            "Left out: the splits extra, odd.",
        )


@pytest.mark.parametrize("names", [("train",), ("test",), ("train", "extra")])
def test_one_split_becomes_three(prepared_as, names):
    x = pictures(20, 5, 5, 1)
    features = {"image": image(5, 5, 1), "label": tfds.features.ClassLabel(num_classes=20)}
    rows = examples(x, label=range(20))
    folder = prepared_as(features, {name: rows if name != "extra" else rows[:1] for name in names})
    for _ in range(2):
        data = load(folder)
        assert [len(split) for split in data.splits.values()] == [16, 2, 2]
        assert data.apportioned == 20
        for split in data.splits.values():
            np.testing.assert_array_equal(split.images, x[split.names])
            np.testing.assert_array_equal(split.labels, split.names)
        assert data.notes[0] == f"There is only a {names[0]} split: it is split here."
        assert data.notes[1:] == (("Left out: the split extra.",) if "extra" in names else ())


def test_splits_go_by_their_usual_names(prepared_as):
    x = pictures(6, 5, 5, 1)
    parts = {"Training": x[:3], "val": x[3:4], "validation": x[4:5], "test": x[5:]}
    data = load(prepared_as({"image": image(5, 5, 1)}, {name: examples(part) for name, part in parts.items()}))
    for split, part in ((data.train, x[:3]), (data.validation, x[4:5]), (data.test, x[5:])):
        np.testing.assert_array_equal(split.images, part)
    assert data.notes == ("Left out: the split val.",)


def test_splits_that_tell_nothing_are_refused(prepared_as):
    rows = examples(pictures(2, 5, 5, 1))
    folder = prepared_as({"image": image(5, 5, 1)}, {"a": rows, "test": rows})
    with pytest.raises(ValueError, match=r"splits must be only one, or train among them, got \['a', 'test'\]$"):
        load(folder)


def test_sizes_that_differ_are_refused_with_the_flag(prepared_as):
    rows = examples([*pictures(2, 5, 6, 3), *pictures(1, 6, 5, 3)])
    folder = prepared_as({"image": image(None, None, 3)}, {"train": rows, "test": rows})
    message = (
        f"{folder}: image 2 of train: shape must be of one size, or brought to one by --size H W; "
        "the first is (5, 6, 3), got (6, 5, 3)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load(folder)
    assert not (folder / "arrays").exists()
    folder = prepared_as({"image": image(None, None, 3)}, {"train": rows[:2], "test": rows[2:]}, version="1.1.0")
    with pytest.raises(ValueError, match=r"image shape of test must be of one size, .*, got \(6, 5, 3\)$"):
        load(folder)
    folder = prepared_as({"image": image(None, None, 3)}, {"train": rows[:2], "test": rows[:2]}, version="2.0.0")
    assert load(folder).image_shape == (5, 6, 3)
    data = load(folder, reading=Reading(size=(4, 4), grey=True))
    assert data.image_shape == (4, 4, 1)
    assert load(folder, reading=Reading(size=(2, 3))).image_shape == (2, 3, 3)
    np.testing.assert_array_equal(load(folder, reading=Reading(size=(4, 4), grey=True)).train.images, data.train.images)
    with pytest.raises(ValueError, match="one of your own for flags other than --size and --grey"):
        load(folder, reading=Reading(levels=4))


def test_grey_levels_of_0_and_255_or_0_and_1_are_two(prepared_as):
    bits = RNG.integers(0, 2, (4, 5, 5, 1), np.uint8)
    for version, x, said in (
        ("1.0.0", np.repeat(bits * 255, 3, -1), ("three channels are equal", "0 or 255")),
        ("2.0.0", bits, ()),
    ):
        rows = examples(x)
        folder = prepared_as({"image": image(*x.shape[1:])}, {"train": rows, "test": rows}, version=version)
        for _ in range(2):
            data = load(folder)
            np.testing.assert_array_equal(data.train.images, bits)
            assert data.levels == 2
            assert [text in note for text, note in zip(said, data.notes, strict=True)] == [True] * len(said)


def test_unknown_labels_are_left_out(prepared_as):
    features = {"image": image(5, 5, 1), "label": tfds.features.ClassLabel(num_classes=3)}
    x = pictures(3, 5, 5, 1)
    known, unknown = examples(x, label=[0, 1, 2]), examples(x, label=[-1, -1, -1])
    data = load(prepared_as(features, {"train": known, "test": unknown}))
    assert (data.train.labels, data.classes) == (None, 0)
    assert data.notes == ("Some labels are unknown, and so all are left out.",)


def crc(data):
    """Of .tfrecord files, from the definition: the remainder by Castagnoli's polynomial, reflected, then masked."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 * (value & 1))
    value ^= 0xFFFFFFFF
    return (((value >> 15) | (value << 17 & 0xFFFFFFFF)) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(4, "little")


@pytest.fixture
def tfrecords(prepared_as):
    """The same dataset as written by TensorFlow: images, folder, and the file of its training images."""
    x = pictures(3, 5, 5, 3)
    rows = examples(x)
    folder = prepared_as({"image": image(5, 5, 3)}, {"train": rows, "test": rows})
    info = tfds.builder_from_directory(folder).info
    for split in ("train", "test"):
        content = b""
        for record in records._array_records(info, split):
            length = len(record).to_bytes(8, "little")
            content += length + crc(length) + record + crc(record)
        (folder / f"mine-{split}.tfrecord-00000-of-00001").write_bytes(content)
        (folder / f"mine-{split}.array_record-00000-of-00001").unlink()
    text = (folder / "dataset_info.json").read_text()
    (folder / "dataset_info.json").write_text(text.replace("array_record", "tfrecord"))
    return x, folder, folder / "mine-train.tfrecord-00000-of-00001"


def test_tfrecords_are_read_without_tensorflow(tfrecords):
    x, folder, _ = tfrecords
    np.testing.assert_array_equal(load(folder).train.images, x)


def harmed(file, harm):
    file.write_bytes(harm(file.read_bytes()))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda content: b"\x01" + content[1:], "a .tfrecord file that isn't damaged"),
        (lambda content: content[:-20], "must be whole"),
        (lambda content: content[:7], "a .tfrecord file that isn't damaged"),
        (lambda content: b"", "number of images of train must be 3, as dataset_info.json says, got 0"),
        (lambda content: content * 2, "number of images of train must be 3, as dataset_info.json says, got 4"),
        (lambda content: content.replace(b"IDAT", b"JDAT"), "image 0 of train can't be read"),
        (
            lambda content: content.replace(b"image", b"imago"),
            "image 0 of train: number of values of image must be 1, got 0",
        ),
    ],
)
def test_damage_is_named_in_one_line(tfrecords, harm, message):
    _, folder, file = tfrecords
    harmed(file, harm)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load(folder)
    assert "\n" not in str(error.value)
    assert not list(folder.glob("arrays*"))


def test_the_check_is_that_of_the_standard():
    # RFC 3720, B.4: 32 bytes of zeros.
    unmasked = 0x8A9136AA
    masked = ((unmasked >> 15 | unmasked << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert records._masked_crc(bytes(32)) == masked == int.from_bytes(crc(bytes(32)), "little")


def test_other_file_formats_are_refused(prepared_as):
    rows = examples(pictures(2, 5, 5, 1))
    folder = prepared_as({"image": image(5, 5, 1)}, {"train": rows, "test": rows})
    text = (folder / "dataset_info.json").read_text()
    (folder / "dataset_info.json").write_text(text.replace("array_record", "riegeli"))
    with pytest.raises(ValueError, match="file format must be array_record or tfrecord, got 'riegeli'"):
        load(folder)


@pytest.mark.parametrize(("shape", "how"), [((5, 5, 3), {"dtype": np.uint16}), ((5, 5, 1), {"dtype": np.float32})])
def test_pixels_of_another_kind_are_refused(prepared_as, shape, how):
    features = {"image": image(*shape, encoding_format="png", **how), "other": tfds.features.Text()}
    folder = prepared_as(
        {"image": image(5, 5, 3)},
        {"train": examples(pictures(1, 5, 5, 3)), "test": []} | {"test": examples(pictures(1, 5, 5, 3))},
    )
    tfds.features.FeaturesDict(features).save_config(folder)
    kind = np.dtype(how["dtype"])
    with pytest.raises(
        ValueError, match=f"must be uint8 of 1 to 4 channels, or uint16 of 1, got '{kind} of {shape[-1]}'"
    ):
        load(folder)
