"""All images of a file or folder, in their order, with names and labels."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxvae.data import DataContract, Reading, load_labels, load_unsplit

CONTRACT = DataContract((4, 3, 1), 256, classes=2, class_names=("ape", "bee"))
X = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)


def draw(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def test_arrays_are_mapped(tmp_path):
    np.save(tmp_path / "x.npy", X)
    found = load_unsplit(tmp_path / "x.npy", CONTRACT)
    assert isinstance(found.images, np.memmap)
    np.testing.assert_array_equal(found.images, X)
    assert found.labels is None
    assert found.names.tolist() == list(range(6))


def test_splits_follow_one_another(tmp_path):
    np.savez(tmp_path / "x.npz", train_images=X[:4], test_images=X[4:], train_labels=[0, 1, 0, 1], test_labels=[1, 1])
    found = load_unsplit(tmp_path / "x.npz", CONTRACT)
    np.testing.assert_array_equal(found.images, X)
    assert found.labels.tolist() == [0, 1, 0, 1, 1, 1]
    assert found.names.tolist() == [*(f"train/{i}" for i in range(4)), "test/0", "test/1"]


def test_a_folder_has_names_and_the_classes_that_are_known(tmp_path):
    draw(tmp_path / "bee" / "1.png", X[0])
    draw(tmp_path / "ape" / "2.png", X[1])
    (tmp_path / ".hidden").mkdir()
    draw(tmp_path / ".hidden" / "3.png", X[2])
    found = load_unsplit(tmp_path, CONTRACT)
    assert found.names.tolist() == ["ape/2.png", "bee/1.png"]
    assert found.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(found.images[..., 0], X[1::-1])
    draw(tmp_path / "cow" / "1.png", X[3])
    assert load_unsplit(tmp_path, CONTRACT).labels is None
    one = load_unsplit(tmp_path / "cow" / "1.png", CONTRACT)
    assert one.names.tolist() == ["1.png"]


def test_pictures_have_the_contracts_channels(tmp_path):
    draw(tmp_path / "a.png", np.stack([X[0]] * 3, axis=-1))
    draw(tmp_path / "b.png", X[1])
    assert load_unsplit(tmp_path, CONTRACT).images.shape == (2, 4, 3, 1)
    assert load_unsplit(tmp_path, DataContract((4, 3, 3), 256)).images.shape == (2, 4, 3, 3)


def test_classes_of_any_depth_are_known_by_the_end_of_the_path(tmp_path):
    contract = DataContract((4, 3, 1), 256, classes=3, class_names=("ape", "ape/young", "young"))
    for folder in ("ape", "test/ape/young", "bee/young"):
        draw(tmp_path / folder / "1.png", X[0])
    found = load_unsplit(tmp_path, contract)
    assert found.names.tolist() == ["ape/1.png", "bee/young/1.png", "test/ape/young/1.png"]
    assert found.labels.tolist() == [0, 2, 1]


def test_files_are_read_as_those_of_training(tmp_path):
    draw(tmp_path / "ape" / "1.png", X[0, :3])
    draw(tmp_path / "bee" / "2.png", np.stack([X[1]] * 3, axis=-1))
    first, *others = map(Image.fromarray, X[:3])
    first.save(tmp_path / "bee" / "3.tiff", save_all=True, append_images=others)
    (tmp_path / "bee" / "4.png").write_text("no image")
    found = load_unsplit(
        tmp_path, dataclasses.replace(CONTRACT, reading=Reading(size=(4, 3), frames=True, skip_bad=True))
    )
    assert found.names.tolist() == ["ape/1.png", "bee/2.png", *(f"bee/3.tiff#{i}" for i in range(3))]
    assert found.labels.tolist() == [0, 1, 1, 1, 1]
    assert found.images.shape == (5, 4, 3, 1)
    assert found.notes == (
        "1 image in colour was made grey.",
        "1 image of another size was resized and cropped to 4x3.",
        "1 file with several frames was read as an image of each.",
        "1 file that can't be read was left out; the first is bee/4.png (a file that is none).",
    )


def test_what_is_no_data_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone: no such file or folder"):
        load_unsplit(tmp_path / "gone", CONTRACT)
    with pytest.raises(ValueError, match=r"data must be a .npy or .npz file, an image, or a folder of \(.png"):
        load_unsplit(tmp_path, CONTRACT)
    (tmp_path / "x.txt").touch()
    with pytest.raises(ValueError, match="data must be a"):
        load_unsplit(tmp_path / "x.txt", CONTRACT)
    np.savez(tmp_path / "x.npz", images=X, labels=np.zeros(5, int))
    with pytest.raises(ValueError, match=r"labels.shape must be \(6,\), one for each image, got \(5,\)"):
        load_unsplit(tmp_path / "x.npz", CONTRACT)


def test_labels_are_one_for_each_image(tmp_path):
    for labels in (np.arange(3), np.array(["ape", "bee", "ape"])):
        np.save(tmp_path / "y.npy", labels)
        assert load_labels(tmp_path / "y.npy", 3).tolist() == labels.tolist()
        with pytest.raises(ValueError, match=r"y.npy: labels must be \(4,\) integers or names"):
            load_labels(tmp_path / "y.npy", 4)
    with pytest.raises(ValueError, match=r"labels must be a .npy file, got 'y.csv'"):
        load_labels(Path("y.csv"), 3)
