import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxvae.data import builders, load, names, prepare, prepared
from jaxvae.data.catalog import SOURCES
from jaxvae.data.loading import BUNDLED
from jaxvae.data.tables import KNOWN

MNIST = os.environ.get("JAXVAE_MNIST")
"""The folder of MNIST's own four files, where there is one."""


@pytest.mark.parametrize(
    "name",
    ["emnist", "cifar10", "cifar100", "omniglot", "binarized_mnist", "svhn_cropped", "celeb_a", "cmaterdb/telugu"],
)
def test_any_dataset_of_the_catalog_is_prepared(check, prepare_made_up, tfds, tmp_path, name):
    content, directory = prepare_made_up(name)
    data = load(name, tmp_path / "data")
    check(data, content)
    assert data.levels == (2 if name in ("omniglot", "binarized_mnist") else 256)
    assert isinstance(data.train.images, np.memmap)
    installed = {known for known, table in KNOWN.items() if table.there}
    assert {entry.name for entry in names(tmp_path / "data") if entry.prepared} == {*BUNDLED, *installed, name}
    # It is a dataset of tensorflow-datasets for others, too, in the same order.
    stored = tfds.builder_from_directory(directory).as_data_source("train")
    assert len(stored) == len(data.train)
    if data.image_shape[-1] == stored[0]["image"].shape[-1]:
        np.testing.assert_array_equal(data.train.images, np.stack([example["image"] for example in stored]))
    assert prepare(name, None, tmp_path / "data") == directory  # done already


def test_an_archive_is_extracted_and_one_split_becomes_three(prepare_made_up, tmp_path):
    content, _ = prepare_made_up("malaria")
    data = load("malaria", tmp_path / "data")
    assert [len(split) for split in data.splits.values()] == [16, 2, 2]
    assert data.class_names == ("parasitized", "uninfected")
    expected = {image.tobytes(): label for image, label in zip(*content["train"], strict=True)}
    found = [pair for s in data.splits.values() for pair in zip(s.images, s.labels.tolist(), strict=True)]
    assert {image.tobytes(): label for image, label in found} == expected
    assert data.notes == ("There is only a train split: it is split here.",)


def test_what_was_put_in_tensorflows_place_is_gone_afterwards(prepare_made_up, tfds):
    from tensorflow_datasets.core.download import extractor

    before = extractor.tf, tfds.features.Image.encode_example, tfds.download.download_manager.get_downloader
    assert before[0] is not builders.STAND_IN
    prepare_made_up("malaria")
    after = extractor.tf, tfds.features.Image.encode_example, tfds.download.download_manager.get_downloader
    assert all(a is b for a, b in zip(before, after, strict=True))
    assert "tensorflow" not in sys.modules


BUILD = "; where that is, run: tfds build {} --file_format=array_record, and give the folder that it makes as dataset"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dmlab", "dmlab can't be prepared here: its builder needs TensorFlow" + BUILD.format("dmlab")),
        (
            "sun397/tfds",
            "sun397/tfds can't be prepared here: its builder needs TensorFlow" + BUILD.format("sun397/tfds"),
        ),
        ("lvis:1.1.0", "lvis:1.1.0 can't be prepared here: its builder needs Apache Beam" + BUILD.format("lvis")),
        ("coco", "coco can't be prepared here: its builder needs TensorFlow" + BUILD.format("coco")),
        ("qm9", "qm9 can't be prepared here: its builder tells of no single image to an example"),
        ("imdb_reviews", "imdb_reviews can't be prepared here: its builder tells of no single image to an example"),
    ],
)
def test_what_cannot_be_prepared_here_says_why_and_what_to_do(tmp_path, name, message):
    for call in (load, lambda name, folder: prepare(name, None, folder)):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call(name, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("name", "reason"), [("cmaterdb/latin", "BuilderConfig"), ("malaria:9.9.9", "AssertionError")])
def test_an_unknown_configuration_or_version_is_named(tmp_path, name, reason):
    with pytest.raises(
        ValueError, match=rf"^dataset must be one that tensorflow-datasets has, got '{name}' \(.*{reason}"
    ) as e:
        load(name, tmp_path / "data")
    assert "\n" not in str(e.value)


def test_files_that_are_downloaded_by_hand_are_asked_for(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"^resisc45's files must be downloaded by hand, from http\S+; then run: "
    ):
        load("resisc45", tmp_path / "data")


def test_nothing_is_downloaded_where_a_folder_is_given(tmp_path):
    (tmp_path / "raw").mkdir()
    message = f"malaria can't be prepared from {tmp_path}/raw: there is no cell_images.zip"
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        prepare("malaria", tmp_path / "raw", tmp_path / "data")
    assert not [f for f in (tmp_path / "data").rglob("*") if f.is_file()]


def test_a_builder_that_needs_more_than_was_known_says_so(prepare_made_up, monkeypatch, tmp_path):
    monkeypatch.delitem(vars(builders.STAND_IN.io.gfile), "listdir")
    message = (
        "malaria can't be prepared here: its builder says ModuleNotFoundError: tf.io.gfile.listdir needs TensorFlow"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        prepare_made_up("malaria")
    assert prepared.find_prepared("malaria", tmp_path / "data") is None


def test_a_file_is_readable_after_it_was_closed_as_tensorflows_is(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    with builders.STAND_IN.io.gfile.GFile(tmp_path / "x", "rb") as file:
        assert file.read(1) == b"a"
    assert file.read() == b"bc"
    with builders.STAND_IN.io.gfile.GFile(tmp_path / "y", "w") as file:
        file.write("ä\nb")
    assert list(builders.STAND_IN.io.gfile.GFile(tmp_path / "y")) == ["ä\n", "b"]
    assert builders.STAND_IN.io.gfile.glob(tmp_path / "*") == [str(tmp_path / "x"), str(tmp_path / "y")]


def test_files_are_downloaded(check, prepare_made_up, host, tmp_path):
    content, _ = prepare_made_up("mnist", source=None, host=host)
    check(load("mnist", tmp_path / "data"), content)


def remove(folder, name):
    (folder / name).unlink()


def damage(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] + b"x")


@pytest.mark.parametrize(
    ("harm", "reason"), [(damage, "Artifact .* has wrong checksum:"), (remove, "Failed to get url")]
)
def test_a_download_that_fails_says_why_in_one_line(prepare_made_up, host, monkeypatch, tmp_path, harm, reason):
    run = builders._run

    def after_harm(*arguments):
        harm(tmp_path / "raw", "t10k-labels-idx1-ubyte.gz")
        run(*arguments)

    monkeypatch.setattr(builders, "_run", after_harm)
    with pytest.raises(
        FileNotFoundError, match=rf"^mnist isn't prepared and can't be downloaded \({reason}.*\); put"
    ) as e:
        prepare_made_up("mnist", source=None, host=host)
    assert "\n" not in str(e.value)
    assert prepared.find_prepared("mnist", tmp_path / "data") is None


def test_all_missing_files_are_listed_and_nothing_is_left(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train-labels-idx1-ubyte.gz").touch()
    message = (
        f"mnist can't be prepared from {tmp_path}/raw: there is no train-images-idx3-ubyte.gz, "
        "no t10k-images-idx3-ubyte.gz, no t10k-labels-idx1-ubyte.gz"
    )
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        prepare("mnist", tmp_path / "raw", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_wrong_file_is_named_and_nothing_is_left(write_raw, tmp_path):
    write_raw("mnist", tmp_path / "raw")
    with pytest.raises(ValueError, match=r"raw/train-images-idx3-ubyte.gz: sha256 must be 440fcabf.*, got '") as error:
        prepare("mnist", tmp_path / "raw", tmp_path / "data")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data").exists()


def test_a_reader_that_fails_leaves_nothing_half_written(prepare_made_up, monkeypatch, tmp_path):
    def fail(images, labels):
        yield 0, {"image": images[0][..., None], "label": 1}
        raise ValueError("cut short")

    monkeypatch.setattr("jaxvae.data.raw._labelled", fail)
    with pytest.raises(ValueError, match="cut short"):
        prepare_made_up("mnist")
    assert prepared.find_prepared("mnist", tmp_path / "data") is None
    assert not [f for f in (tmp_path / "data").rglob("*") if f.is_file()]


def offline(*_, **__):
    import requests

    raise requests.ConnectionError("Max retries exceeded\nmany lines")


def not_found(url, **_):
    import requests

    response = requests.Response()
    response.status_code, response.url, response.reason, response.raw = 404, url, "Not Found", io.BytesIO()
    return response


@pytest.mark.parametrize(
    ("get", "reason"),
    [(offline, "no connection to https://storage.*: ConnectionError"), (not_found, "404 Client Error.*")],
)
def test_without_a_network_it_says_what_to_do(monkeypatch, tmp_path, get, reason):
    monkeypatch.setattr("requests.get", get)
    message = (
        rf"^mnist isn't prepared and can't be downloaded \({reason}\); put train-images-idx3-ubyte.gz, "
        r"train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz "
        r"into a folder and run: jaxvae data prepare mnist --from FOLDER$"
    )
    with pytest.raises(FileNotFoundError, match=message):
        load("mnist", tmp_path / "data")
    assert not (tmp_path / "data").exists()


CODE = """
import json, sys, time
from pathlib import Path
from jaxvae.data import load, prepare
start = time.perf_counter()
directory = prepare("mnist", sys.argv[1], sys.argv[2])
prepared = time.perf_counter()
load("mnist", sys.argv[2])
loaded = time.perf_counter()
modules = [m for m in ("tensorflow", "tensorflow_datasets") if m in sys.modules]
print(json.dumps([str(directory), prepared - start, loaded - prepared, modules]))
"""


@pytest.mark.skipif(MNIST is None, reason="JAXVAE_MNIST names no folder with MNIST's four files")
@pytest.mark.slow
def test_mnist_itself(check, tmp_path):
    command = [sys.executable, "-W", "error", "-c", CODE, MNIST, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    directory, _, seconds, modules = json.loads(done.stdout.splitlines()[-1])
    assert modules == ["tensorflow_datasets"]  # and no TensorFlow
    assert seconds < 0.5  # it takes milliseconds; decoding the records takes several seconds
    data = load("mnist", tmp_path)
    assert (len(data.train), len(data.test), data.validation) == (60_000, 10_000, None)
    assert (data.levels, data.classes, data.image_shape) == (256, 10, (28, 28, 1))
    # The counts that LeCun et al. give for the ten digits.
    assert np.bincount(data.train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    files = {name: Path(MNIST) / name for name in SOURCES["mnist"].files}
    content = {}
    for split, examples in SOURCES["mnist"].read(files).splits.items():
        features = [f for _, f in examples]
        content[split] = np.stack([f["image"] for f in features]), [f["label"] for f in features]
    check(data, content)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["mnist"]
    assert sorted(f.name for f in (tmp_path / "mnist").iterdir()) == [Path(directory).name]
