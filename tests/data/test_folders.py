import hashlib
import os
import re

import numpy as np
import pytest
from PIL import Image

from jaxvae.data import collecting, load, origin_of, report
from jaxvae.data.folders import list_images, load_folder
from jaxvae.data.options import Reading

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
    assert report(data)[1].endswith("splits: made here by their names, about 80:10:10")
    kept = origin_of(data).files
    assert kept == {name: tuple(split.names.tolist()) for name, split in data.splits.items()}


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


def write(path, count=1):
    draw(path.parent / "scratch", count=count)
    for i, file in enumerate(sorted((path.parent / "scratch").iterdir())):
        file.rename(path.parent / f"{path.name}{i}.png")
    (path.parent / "scratch").rmdir()


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("validation", [None, "val", "Valid", "validation", "DEV"])
@pytest.mark.parametrize("test", ["test", "Testing"])
def test_splits_have_other_names(tmp_path, train, validation, test):
    for folder, count in ((train, 3), (validation, 1), (test, 2)):
        if folder:
            draw(tmp_path / folder / "ape", count=count)
    data = load_folder(tmp_path)
    counts = {"train": 3, "validation": 1, "test": 2} if validation else {"train": 3, "test": 2}
    assert {name: len(split) for name, split in data.splits.items()} == counts
    assert (data.class_names, data.apportioned, data.notes) == (("ape",), 0, ())
    assert data.test.names.tolist() == [f"{test}/ape/00{i}.png" for i in range(2)]


def test_without_test_images_validation_is_the_test_split(tmp_path):
    draw(tmp_path / "train", count=2)
    draw(tmp_path / "Val", count=3)
    data = load_folder(tmp_path)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 2, "test": 3}
    assert data.notes == ("There is no folder of test images: those in Val are the test split.",)
    again = load_folder(tmp_path, files={name: split.names.tolist() for name, split in data.splits.items()})
    assert (again.apportioned, len(again.test)) == (0, 3)


def test_train_alone_is_split_by_name(tmp_path):
    draw(tmp_path / "train" / "ape", count=30)
    data = load_folder(tmp_path)
    assert sum(map(len, data.splits.values())) == data.apportioned == 30
    assert list(data.splits) == ["train", "validation", "test"]
    assert data.class_names == ("ape",)
    note = "There is the folder train alone: its images were split by name into train, validation, test."
    assert data.notes == (note,)
    again = load_folder(tmp_path, files={name: split.names.tolist() for name, split in data.splits.items()})
    assert again.apportioned == 30


def test_splits_follow_from_names_as_they_always_did(tmp_path):
    # Found by the first version that split by name; runs of before depend on them.
    draw(tmp_path, count=30)
    data = load_folder(tmp_path)
    assert data.test.names.tolist() == ["012.png", "001.png", "017.png"]
    assert data.validation.names.tolist() == ["004.png", "023.png", "026.png", "016.png"]
    assert data.train.names.tolist()[:5] == ["014.png", "027.png", "005.png", "024.png", "002.png"]


def test_the_splits_are_tenths_of_the_digests(tmp_path):
    draw(tmp_path, count=200)
    data = load_folder(tmp_path)
    for split, low, high in (("test", 0, 0.1), ("validation", 0.1, 0.2), ("train", 0.2, 1)):
        digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in data.splits[split].names.tolist()]
        place = np.array([int.from_bytes(digest) for digest in digests]) / 2**64
        assert np.all((low <= place) & (place < high))
        assert np.all(np.diff(place) > 0)


def test_classes_lie_at_any_depth(tmp_path):
    for folder in ("ape", "ape/young", "bee/queen"):
        draw(tmp_path / folder, count=5)
    data = load_folder(tmp_path)
    assert data.class_names == ("ape", "ape/young", "bee/queen")
    for split in data.splits.values():
        folders = [name.rpartition("/")[0] for name in split.names]
        assert [data.class_names[label] for label in split.labels] == folders


def test_classes_without_training_images_are_told(tmp_path):
    draw(tmp_path / "train" / "ape", count=2)
    for name in ("ape", "bee"):
        draw(tmp_path / "test" / name)
    assert load_folder(tmp_path).notes == ("No training image is of class bee.",)
    draw(tmp_path / "val" / "cow" / "calf")
    assert load_folder(tmp_path).notes == ("No training image is of 2 classes: bee, cow/calf.",)


def test_what_systems_leave_behind_is_passed_over(tmp_path):
    draw(tmp_path / "train", count=2)
    draw(tmp_path / "test", count=2)
    for folder in (".ipynb_checkpoints", "__MACOSX/train", "@eaDir", ".thumbnails", "train/.cache", "test/@eaDir"):
        draw(tmp_path / folder, (3, 3))
    (tmp_path / "train" / "._000.png").write_text("a resource fork")
    (tmp_path / "train" / "Thumbs.db").write_text("no image")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("a folder without images")
    assert {name: len(split) for name, split in load_folder(tmp_path).splits.items()} == {"train": 2, "test": 2}


def test_links_are_followed_but_not_in_circles(tmp_path):
    draw(tmp_path / "pool" / "bees", count=7)
    draw(tmp_path / "data" / "ape", count=7)
    (tmp_path / "data" / "bee").symlink_to(tmp_path / "pool" / "bees")
    (tmp_path / "data" / "ape" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "pool" / "bees" / "self").symlink_to(tmp_path / "pool" / "bees")
    data = load_folder(tmp_path / "data")
    assert data.class_names == ("ape", "bee")
    assert sum(map(len, data.splits.values())) == 14


def test_pipes_are_passed_over(tmp_path):
    draw(tmp_path, count=10)
    os.mkfifo(tmp_path / "pipe.png")  # to open it would wait for a writer
    assert len(list_images(tmp_path)) == 10


def test_frames_of_a_file_stay_together(tmp_path):
    for i in range(12):
        first, *others = map(Image.fromarray, RNG.integers(0, 256, (4, 6, 5), np.uint8))
        first.save(tmp_path / f"{i}.tiff", save_all=True, append_images=others)
    reading = Reading(frames=True)
    data = load_folder(tmp_path, reading)
    assert data.apportioned == 48
    files = [{name.partition("#")[0] for name in split.names} for split in data.splits.values()]
    assert sum(map(len, files)) == len(set.union(*files)) == 12
    again = load_folder(tmp_path, reading, {name: split.names.tolist() for name, split in data.splits.items()})
    for name, split in data.splits.items():
        assert again.splits[name].names.tolist() == split.names.tolist()
        np.testing.assert_array_equal(again.splits[name].images, split.images)


def test_bad_files_are_left_out_of_their_splits(tmp_path):
    draw(tmp_path / "ape", count=20)
    draw(tmp_path / "bee")
    (tmp_path / "bee" / "000.png").write_text("no image")
    data = load_folder(tmp_path, Reading(skip_bad=True))
    assert sum(map(len, data.splits.values())) == data.apportioned == 20
    assert data.class_names == ("ape",)
    (note,) = data.notes
    assert note.startswith("1 file that can't be read was left out; the first is bee/000.png (")
    for name in data.test.names:
        (tmp_path / name).write_text("no image")
    assert len(load_folder(tmp_path, Reading(skip_bad=True)).test) == 1  # that which is next to those of before


def test_what_is_left_out_might_not_have_been_there(tmp_path):
    draw(tmp_path / "ape", count=20)
    write(tmp_path / "ape" / "z")
    (tmp_path / "ape" / "z0.png").write_text("no image")
    data = load_folder(tmp_path, Reading(skip_bad=True))
    alone = {name: split.names.tolist() for name, split in data.splits.items()}
    (tmp_path / "ape" / "z0.png").unlink()
    assert {name: split.names.tolist() for name, split in load_folder(tmp_path).splits.items()} == alone


def test_what_is_kept_is_mapped_in_all_splits(tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "MANY", 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draw(tmp_path / "images", count=20)
    fresh = load_folder(tmp_path / "images")
    again = load_folder(tmp_path / "images")
    for name, split in again.splits.items():
        assert isinstance(split.images.base, np.memmap)
        np.testing.assert_array_equal(split.images, fresh.splits[name].images)


def test_levels_are_those_of_the_files_or_given(tmp_path):
    for i in range(10):
        Image.fromarray(RNG.integers(0, 4096, (6, 5), np.uint16)).save(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match=r"--levels 4\d\d\d"):
        load_folder(tmp_path)
    data = load_folder(tmp_path, reading := Reading(levels=4096))
    assert (data.levels, data.train.images.dtype, data.reading) == (4096, np.uint16, reading)
    Image.fromarray(np.full((6, 5), 65535, np.uint16)).save(tmp_path / "white.png")
    assert load_folder(tmp_path).levels == 65536


def test_floats_are_as_in_the_files(tmp_path):
    x = RNG.normal(size=(10, 6, 5)).astype(np.float32)
    for i, image in enumerate(x):
        Image.fromarray(image).save(tmp_path / f"{i}.tiff")
    data = load_folder(tmp_path)
    assert (data.levels, data.train.images.dtype) == (None, np.float32)
    assert data.train.images.min() == min(x[int(name.partition(".")[0])].min() for name in data.train.names)


def odd_size(path):
    draw(path, count=10)
    draw(path / "new", (6, 4))
    (path / "new" / "000.png").rename(path / "zebra.png")


def not_an_image(path):
    draw(path, count=10)
    (path / "b.png").write_text("no image")


def no_train(path):
    draw(path / "test", count=3)
    draw(path / "val", count=3)


def two_of_one(path):
    for folder in ("train", "test", "Training"):
        draw(path / folder)


def stranger(path):
    for folder in ("train", "test", "holdout/ape"):
        draw(path / folder)


def loose_and_splits(path):
    draw(path / "train")
    draw(path / "test")
    write(path / "x")


def loose_and_classes(path):
    draw(path, count=10)
    draw(path / "ape", count=3)


def splits_below(path):
    draw(path / "images" / "train" / "ape", count=10)
    draw(path / "images" / "Val" / "ape", count=10)


def empty_split(path):
    draw(path / "train", count=3)
    (path / "test").mkdir()


def constant(path):
    path.mkdir(exist_ok=True)
    for i in range(10):
        Image.fromarray(np.full((4, 4), 7, np.uint8)).save(path / f"{i}.png")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (odd_size, "unless --size H W resizes all, got"),
        (not_an_image, "PATH/b.png must be an image, got a file that is none; --skip-bad leaves it out"),
        (no_train, "PATH: folders of splits must be train and perhaps others; there is no train, got ['test', 'val']"),
        (two_of_one, "PATH: folders of splits must be one for each split, got ['Training', 'test', 'train']"),
        (
            stranger,
            "PATH: what lies beside test, train must be other splits (train, training, validation, valid, val, ",
        ),
        (stranger, "got 'holdout/ape/000.png'"),
        (loose_and_splits, "got 'x0.png'"),
        (loose_and_classes, "PATH must be either images or one subfolder per class, not both, got '000.png'"),
        (splits_below, "PATH: splits must be folders of its own; give their folder, got 'them in images'"),
        (empty_split, "PATH/test must be a folder of images (.png, "),
        (lambda path: None, "PATH must be a folder of images (.png, "),
        (lambda path: draw(path, count=9), "PATH: number of images must be at least 10, to be split, got 9"),
        (constant, "PATH: images must be not the same in all pixels, got 7"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message.replace("PATH", str(tmp_path)))) as error:
        load(str(tmp_path))
    assert "\n" not in str(error.value)


def test_files_of_before_must_be_there(tmp_path):
    draw(tmp_path, count=10)
    with pytest.raises(ValueError, match=r"all files of before; 1 are missing, got 'no gone.png'"):
        load_folder(tmp_path, files={"train": ["000.png"], "test": ["gone.png"]})


def test_a_class_may_be_called_as_a_split(tmp_path):
    for split in ("train", "test"):
        for name in ("train", "bus"):
            draw(tmp_path / split / name)
    assert load_folder(tmp_path).class_names == ("bus", "train")


def test_many_files_are_listed_in_their_order(tmp_path):
    for name in ("b/2.png", "b/10.png", "a/x.png", "a/deep/y.png", "a b/z.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.png"))
    assert sorted(list_images(tmp_path)) == expected
    assert list_images(tmp_path) == ["a/deep/y.png", "a/x.png", "a b/z.png", "b/10.png", "b/2.png"]
