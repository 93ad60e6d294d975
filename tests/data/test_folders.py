import re

import numpy as np
import pytest
from PIL import Image

from jaxvae.data import load

RNG = np.random.default_rng(0)


def draw(path, shape=(6, 5), suffix="png", count=1):
    """Writes random images, and returns them."""
    path.mkdir(parents=True, exist_ok=True)
    images = RNG.integers(0, 256, (count, *shape), np.uint8)
    for i, image in enumerate(images):
        Image.fromarray(image).save(path / f"{i:03d}.{suffix}")
    return images


def test_a_flat_folder_is_split_and_unlabelled(tmp_path):
    images = draw(tmp_path, count=20)
    (tmp_path / "README.md").write_text("passed over")
    (tmp_path / ".hidden.png").write_text("passed over")
    data = load(str(tmp_path))
    assert (data.levels, data.classes, data.image_shape) == (256, 0, (6, 5, 1))
    assert list(data.splits) == ["train", "validation", "test"]
    assert sum(map(len, data.splits.values())) == 20
    found = {image.tobytes() for split in data.splits.values() for image in split.images}
    assert found == {image.tobytes() for image in images}


def test_a_file_that_is_added_moves_no_other(tmp_path):
    draw(tmp_path, count=100)
    before = {name: split.names.tolist() for name, split in load(str(tmp_path)).splits.items()}
    draw(tmp_path / "new", count=1)
    (tmp_path / "new" / "000.png").rename(tmp_path / "!first.png")
    after = {name: split.names.tolist() for name, split in load(str(tmp_path)).splits.items()}
    assert sum(map(len, before.values())) == sum(map(len, after.values())) - 1 == 100
    for name in before:
        assert [file for file in after[name] if file != "!first.png"] == before[name]
    assert 70 <= len(before["train"]) <= 90  # 80 in the mean, ± 4


def test_subfolders_are_classes(tmp_path):
    known = {x.tobytes(): y for y, name in enumerate(("ape", "bee", "cow")) for x in draw(tmp_path / name, count=7)}
    data = load(str(tmp_path))
    assert data.classes == 3
    assert sum(map(len, data.splits.values())) == 21
    for split in data.splits.values():
        assert [known[image.tobytes()] for image in split.images] == split.labels.tolist()
        folders = [name.split("/")[0] for name in split.names]
        assert [data.class_names[label] for label in split.labels] == folders


def test_subfolders_may_be_the_splits(tmp_path):
    images = {name: draw(tmp_path / name, count=3) for name in ("train", "validation", "test")}
    data = load(str(tmp_path))
    assert list(data.splits) == ["train", "validation", "test"]
    for name, split in data.splits.items():
        np.testing.assert_array_equal(split.images[..., 0], images[name])
        assert split.labels is None


def test_splits_share_their_classes(tmp_path):
    draw(tmp_path / "train" / "ape", count=2)
    draw(tmp_path / "train" / "bee", count=3)
    draw(tmp_path / "test" / "bee", count=2)
    data = load(str(tmp_path))
    assert data.validation is None
    assert data.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert data.test.labels.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("modes", "channels"),
    [(("L", "L"), 1), (("L", "1"), 1), (("L", "RGB"), 3), (("RGB", "L"), 3), (("P", "P"), 3), (("RGBA", "RGB"), 3)],
)
def test_colours_decide_the_channels(tmp_path, modes, channels):
    pixels = RNG.integers(0, 256, (6, 5, 3), np.uint8)
    for split, mode in zip(("train", "test"), modes, strict=True):
        (tmp_path / split).mkdir()
        Image.fromarray(pixels).convert(mode).save(tmp_path / split / "a.png")
    data = load(str(tmp_path))
    assert data.image_shape == (6, 5, channels)
    for split, mode in zip(("train", "test"), modes, strict=True):
        expected = np.asarray(Image.fromarray(pixels).convert(mode).convert("L" if channels == 1 else "RGB"))
        np.testing.assert_array_equal(data.splits[split].images[0].squeeze(), expected)


@pytest.mark.parametrize("suffix", ["bmp", "PNG", "tiff", "pgm", "jpg"])
def test_formats(tmp_path, suffix):
    draw(tmp_path, suffix=suffix, count=10)
    assert load(str(tmp_path)).image_shape == (6, 5, 1)


def odd_size(path):
    draw(path, count=3)
    draw(path / "new", (6, 4))
    (path / "new" / "000.png").rename(path / "zebra.png")


def not_an_image(path):
    draw(path, count=3)
    (path / "b.png").write_text("no image")


def cut_short(path):
    draw(path, (60, 50), count=3)
    whole = (path / "001.png").read_bytes()
    (path / "001.png").write_bytes(whole[: len(whole) // 2])


def sixteen_bits(path):
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(path / "a.png")


def no_test(path):
    draw(path / "train", count=3)


def loose_and_classes(path):
    draw(path, count=3)
    draw(path / "ape", count=3)


def empty_split(path):
    draw(path / "train", count=3)
    (path / "test").mkdir()


def constant(path):
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(path / "a.png")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (odd_size, "zebra.png: width and height must be (5, 6), as of PATH/000.png, got (4, 6)"),
        (not_an_image, "b.png must be an image, got cannot identify image file"),
        (cut_short, "001.png must be an image, got "),
        (sixteen_bits, "PATH/a.png: mode must be 8 bits per channel, got MODE"),
        (no_test, "PATH: subfolders must be train, test and perhaps validation; no ['test'], got ['train']"),
        (loose_and_classes, "PATH must be either images or one subfolder per class, not both, got '000.png'"),
        (empty_split, "PATH/test must be a folder of images (.png, "),
        (lambda path: None, "PATH must be a folder of images (.png, "),
        (constant, "PATH: images must be not the same in all pixels, got 7"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, make, message):
    make(tmp_path)
    message = message.replace("PATH", str(tmp_path))
    if make is sixteen_bits:
        with Image.open(tmp_path / "a.png") as image:
            message = message.replace("MODE", repr(image.mode))  # 'I;16', or 'I' by an older Pillow
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load(str(tmp_path))
    assert "\n" not in str(error.value)
