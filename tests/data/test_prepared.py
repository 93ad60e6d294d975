import shutil

import numpy as np
import pytest

from jaxvae.data import load, prepared, records


def test_the_arrays_come_back_from_the_records(check, prepare_made_up, tmp_path):
    content, directory = prepare_made_up("mnist")
    first = load("mnist", tmp_path / "data")
    shutil.rmtree(directory / "arrays")
    check(load("mnist", tmp_path / "data"), content)
    again = load("mnist", tmp_path / "data")
    np.testing.assert_array_equal(again.train.images, first.train.images)
    arrays = [f"{split}_{kind}.npy" for split in ("test", "train") for kind in ("images", "labels")]
    assert sorted(f.name for f in (directory / "arrays").iterdir()) == ["contents.json", *arrays]


def test_a_read_only_folder_is_read_without_keeping_arrays(check, prepare_made_up, monkeypatch, tmp_path):
    content, directory = prepare_made_up("mnist")
    shutil.rmtree(directory / "arrays")

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    check(load("mnist", tmp_path / "data"), content)
    assert not (directory / "arrays").exists()


def test_arrays_are_kept_whole_or_not_at_all(check, prepare_made_up, monkeypatch, tmp_path):
    content, directory = prepare_made_up("mnist")
    shutil.rmtree(directory / "arrays")
    save = np.save

    def fail(path, x):
        if "test" in path.name:
            raise OSError(28, "No space left on device")
        save(path, x)

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        load("mnist", tmp_path / "data")
    assert not list(directory.glob("arrays*"))
    monkeypatch.setattr(np, "save", save)
    check(load("mnist", tmp_path / "data"), content)


def test_another_process_may_be_faster(check, prepare_made_up, monkeypatch, tmp_path):
    content, directory = prepare_made_up("mnist")
    fields = {"train_images": np.zeros((2, 28, 28, 1), np.uint8)}
    prepared._keep(records.Contents(fields, (), ()), directory / "arrays")  # the folder is there already
    assert sorted(f.name for f in directory.glob("arrays*")) == ["arrays"]
    check(load("mnist", tmp_path / "data"), content)


def test_the_newest_version_is_taken(tmp_path):
    for version in ("3.0.1", "10.0.0", "9.9.9", "incomplete.3.0.1"):
        (tmp_path / "mnist" / version).mkdir(parents=True)
        (tmp_path / "mnist" / version / "dataset_info.json").touch()
    (tmp_path / "mnist" / "11.0.0").mkdir()  # of nothing
    assert prepared.find_prepared("mnist", tmp_path) == tmp_path / "mnist" / "10.0.0"
    assert prepared.find_prepared("kmnist", tmp_path) is None


@pytest.fixture
def folders(tmp_path):
    """Makes prepared folders of nothing."""

    def make(*names):
        for name in names:
            (tmp_path / name).mkdir(parents=True)
            (tmp_path / name / "dataset_info.json").touch()
        return tmp_path

    return make


def test_a_configuration_and_a_version_may_be_named(folders):
    here = folders("cmaterdb/bangla/1.0.0", "cmaterdb/telugu/1.0.0", "cmaterdb/telugu/1.1.0")
    for name, found in {
        "cmaterdb": "cmaterdb/bangla/1.0.0",  # the default one
        "cmaterdb/telugu": "cmaterdb/telugu/1.1.0",
        "cmaterdb/telugu:1.0.0": "cmaterdb/telugu/1.0.0",
        "cmaterdb:1.0.0": "cmaterdb/bangla/1.0.0",
    }.items():
        assert prepared.find_prepared(name, here) == here / found
    for name in ("cmaterdb/devanagari", "cmaterdb:2.0.0", "../cmaterdb", "cmaterdb/telugu/1.0.0", ""):
        assert prepared.find_prepared(name, here) is None


def test_the_only_configuration_of_an_own_dataset_is_meant_and_several_are_named(folders):
    here = folders("mine/small/1.0.0")
    assert prepared.find_prepared("mine", here) == here / "mine/small/1.0.0"
    folders("mine/large/1.0.0")
    with pytest.raises(ValueError, match=r"^dataset must be mine/large or mine/small, got 'mine'$"):
        prepared.find_prepared("mine", here)


def test_what_is_prepared_is_found_by_name(folders):
    here = folders("mine/small/1.0.0", "malaria/1.0.0", "malaria/1.1.0", "malaria/incomplete.1.2.0")
    assert prepared.all_prepared(here) == {"malaria": here / "malaria/1.1.0", "mine/small": here / "mine/small/1.0.0"}
    assert prepared.all_prepared(here / "nowhere") == {}


def test_arrays_of_an_earlier_version_are_made_anew(check, prepare_made_up, tmp_path):
    content, directory = prepare_made_up("mnist")
    (directory / "arrays" / "contents.json").unlink()
    np.save(directory / "arrays" / "old.npy", np.zeros(3))
    check(load("mnist", tmp_path / "data"), content)
    assert not (directory / "arrays" / "old.npy").exists()
    assert (directory / "arrays" / "contents.json").exists()
