import json
import re
import subprocess
import sys

import numpy as np
import pytest

from jaxvae.data import Entry, Reading, describe, load, names, prepare
from jaxvae.data.catalog import SOURCES
from jaxvae.data.loading import BUNDLED
from jaxvae.data.tables import KNOWN


def test_digits_need_nothing():
    data = load("digits", data_dir="/nowhere")
    assert (len(data.train), len(data.validation), len(data.test)) == (1297, 200, 300)


def test_draws_of_the_linear_gaussian_model_need_nothing():
    data = load("linear-gaussian", data_dir="/nowhere", validation=100)
    assert (data.name, len(data.train), len(data.validation), len(data.test)) == ("linear-gaussian", 1900, 100, 1000)


def test_validation_is_held_out_of_training():
    data = load("digits", validation=97)
    assert (len(data.train), len(data.validation)) == (1200, 97)
    np.testing.assert_array_equal(data.validation.images, load("digits").train.images[1200:])
    with pytest.raises(
        ValueError, match="validation must be at least 0 and less than the 1297 training images, got -1"
    ):
        load("digits", validation=-1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minst", "got 'minst'; did you mean mnist"),
        ("fashion-mnist", "did you mean fashion_mnist"),
        ("linear_gaussian", "did you mean linear-gaussian"),
        ("qqq", "must be a known name or a path that exists, got 'qqq'; known are digits, linear-gaussian, randhie, "),
    ],
)
def test_an_unknown_name_gets_a_hint(tmp_path, name, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load(name, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["cells.h5ad", "people.csv"])
def test_a_table_that_is_not_there_is_unknown(tmp_path, name):
    with pytest.raises(ValueError, match=f"dataset must be a known name or a path that exists, got .*{name}'"):
        load(str(tmp_path / name), reading=Reading(label="site"))


def test_an_unknown_type_of_file_is_named(tmp_path):
    (tmp_path / "x.mat").touch()
    with pytest.raises(ValueError, match=r"x.mat must be a .npy or .npz file or a folder, got a file of type '.mat'"):
        load(str(tmp_path / "x.mat"))


@pytest.mark.parametrize("name", ["digits", "linear-gaussian"])
def test_only_known_names_are_prepared(tmp_path, name):
    with pytest.raises(ValueError, match=rf"dataset must be one of mnist, .*, got '{name}'"):
        prepare(name, None, tmp_path)


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", np.arange(0, 160, 4, dtype=np.uint8).reshape(10, 2, 2))
    assert len(load("~/x.npy").train) == 8


def test_names_tell_what_is_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (tmp_path / "emnist" / "byclass" / "3.1.0").mkdir(parents=True)
    (tmp_path / "emnist" / "byclass" / "3.1.0" / "dataset_info.json").touch()
    entries = {entry.name: entry for entry in names()}
    assert entries["emnist"].prepared
    assert entries["digits"].prepared
    assert entries["linear-gaussian"].prepared
    assert not entries["mnist"].prepared
    assert all(entry.note for entry in entries.values())


def test_names_tell_what_else_is_prepared_and_what_else_there_is(tmp_path):
    for folder in ("lfw/0.1.1", "cmaterdb/telugu/1.0.0", "mine/2.0.0"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "dataset_info.json").touch()
    known = len(BUNDLED) + len(KNOWN) + len(SOURCES)
    assert names(tmp_path)[known:] == [
        Entry("cmaterdb/telugu", "prepared here", True),
        Entry("lfw", "images of 250x250x3", True),
        Entry("mine", "prepared here", True),
    ]
    everything = {entry.name: entry for entry in names(tmp_path, everything=True)}
    assert everything["lfw"].prepared
    assert everything["svhn_cropped"] == Entry("svhn_cropped", "images of 32x32x3", False)
    note = "images of sizes that differ, in 3 channels; its files are downloaded by hand"
    assert everything["imagenet2012"] == Entry("imagenet2012", note, False)
    assert everything["dmlab"].note == "images of 360x480x3; its builder needs TensorFlow"
    assert "imdb_reviews" not in everything
    assert len(everything) > 100


def test_a_name_that_is_near_one_of_tensorflow_datasets_is_asked_about():
    with pytest.raises(ValueError, match=r"got 'svhn_croped'; did you mean svhn_cropped\? known are digits, "):
        load("svhn_croped")


def test_what_says_how_files_are_read_is_not_for_prepared_ones(tmp_path):
    (tmp_path / "mine" / "1.0.0").mkdir(parents=True)
    (tmp_path / "mine" / "1.0.0" / "dataset_info.json").touch()
    for name in ("mine", str(tmp_path / "mine"), "svhn_cropped", "digits"):
        with pytest.raises(ValueError, match="must be one of your own for flags"):
            load(name, tmp_path, reading=Reading(levels=4))


def test_a_stock_dataset_beyond_the_catalog_is_read_where_it_is_prepared(tmp_path):
    import tensorflow_datasets as tfds
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), np.uint8)

    class MyShapes(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        name = "my_shapes"

        def _info(self):
            features = {"image": tfds.features.Image(shape=(6, 6, 3)), "label": tfds.features.ClassLabel(num_classes=4)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(), "test": self._generate_examples()}

        def _generate_examples(self):
            for i, image in enumerate(pixels):
                yield i, {"image": Image.fromarray(image), "label": i}

    MyShapes(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    data = load("my_shapes", tmp_path)
    assert describe(data) == "my_shapes: 4 train, 4 test images of 6x6x3, 256 grey levels, 4 classes"
    np.testing.assert_array_equal(data.train.images, pixels[data.train.labels])


def test_listing_and_bundled_data_load_nothing_heavy(tmp_path):
    code = (
        "import json, sys; from jaxvae.data import load, names; [load(e.name) for e in names(sys.argv[1])[:2]];"
        "print(json.dumps([m for m in ('tensorflow_datasets', 'PIL', 'grain', 'requests') if m in sys.modules]))"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    assert json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) == []
