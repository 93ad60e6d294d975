import functools
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from jaxvae.data import load, names, prepare, prepared
from jaxvae.data.catalog import SOURCES
from jaxvae.data.loading import BUNDLED

MNIST = os.environ.get("JAXVAE_MNIST")
"""The folder of MNIST's own four files, where there is one."""


@pytest.fixture
def tfds():
    import tensorflow_datasets

    tensorflow_datasets.disable_progress_bar()
    yield tensorflow_datasets
    tensorflow_datasets.enable_progress_bar()


@pytest.fixture
def prepare_made_up(tfds, monkeypatch, write_raw, tmp_path):
    """Prepares made-up raw files as a dataset, their checksums registered in place of the real ones."""
    real = prepared._builder

    def run(name, source=tmp_path / "raw", host=None):
        content = write_raw(name, tmp_path / "raw")

        def builder(name, data_dir):
            made = real(name, data_dir)
            infos = {}
            for url, info in made.url_infos.items():
                data = (tmp_path / "raw" / info.filename).read_bytes()
                url = f"{host}/{info.filename}" if host else url
                infos[url] = type(info)(len(data), hashlib.sha256(data).hexdigest(), info.filename)
            type(made).url_infos = infos
            if name == "omniglot":  # fewer than its 50 alphabets and 1,623 characters
                for feature in ("alphabet", "label"):
                    made.info.features[feature]._num_classes = None
            return made

        monkeypatch.setattr(prepared, "_builder", builder)
        return content, prepare(name, source, tmp_path / "data")

    return run


@pytest.fixture
def host(monkeypatch, tmp_path):
    """Serves the raw files to this machine."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    (tmp_path / "raw").mkdir()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path / "raw")
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def check(data, content):
    """That the dataset is the content but for the order, labels with their images."""
    assert list(data.splits) == [split for split in ("train", "validation", "test") if split in content]
    for name, split in data.splits.items():
        images, labels = content[name]
        assert split.images.shape == images.shape
        found = split.labels.tolist() if split.labels is not None else [None] * len(split)
        expected = {image.tobytes(): label for image, label in zip(images, labels or [None] * len(images), strict=True)}
        assert {image.tobytes(): label for image, label in zip(split.images, found, strict=True)} == expected


@pytest.mark.parametrize("name", ["emnist", "cifar10", "cifar100", "omniglot", "binarized_mnist"])
def test_any_dataset_of_the_catalog_is_prepared(prepare_made_up, tfds, tmp_path, name):
    content, directory = prepare_made_up(name)
    data = load(name, tmp_path / "data")
    check(data, content)
    assert data.levels == SOURCES[name].levels
    assert isinstance(data.train.images, np.memmap)
    assert {entry.name for entry in names(tmp_path / "data") if entry.prepared} == {*BUNDLED, name}
    # It is a dataset of tensorflow-datasets for others, too, in the same order.
    stored = tfds.builder_from_directory(directory).as_data_source("train")
    assert len(stored) == len(data.train)
    if data.image_shape[-1] == stored[0]["image"].shape[-1]:
        np.testing.assert_array_equal(data.train.images, np.stack([example["image"] for example in stored]))
    assert prepare(name, None, tmp_path / "data") == directory  # done already


def test_files_are_downloaded(prepare_made_up, host, tmp_path):
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
    run = prepared._run

    def after_harm(name, builder, source):
        harm(tmp_path / "raw", "t10k-labels-idx1-ubyte.gz")
        run(name, builder, source)

    monkeypatch.setattr(prepared, "_run", after_harm)
    with pytest.raises(
        FileNotFoundError, match=rf"^mnist isn't prepared and can't be downloaded \({reason}.*\); put"
    ) as e:
        prepare_made_up("mnist", source=None, host=host)
    assert "\n" not in str(e.value)
    assert prepared.find_prepared("mnist", tmp_path / "data") is None


def test_the_arrays_come_back_from_the_records(prepare_made_up, tmp_path):
    content, directory = prepare_made_up("mnist")
    first = load("mnist", tmp_path / "data")
    shutil.rmtree(directory / "arrays")
    check(load("mnist", tmp_path / "data"), content)
    again = load("mnist", tmp_path / "data")
    np.testing.assert_array_equal(again.train.images, first.train.images)
    assert sorted(f.name for f in (directory / "arrays").iterdir()) == [
        f"{split}_{kind}.npy" for split in ("test", "train") for kind in ("images", "labels")
    ]


def test_tfrecords_are_read_without_tensorflow(prepare_made_up, tfds, tmp_path):
    content, directory = prepare_made_up("mnist")
    info = tfds.builder_from_directory(directory).info
    for split in ("train", "test"):
        records = b"".join(
            len(record).to_bytes(8, "little") + bytes(4) + record + bytes(4)
            for record in prepared._records(info, split)
        )
        (directory / f"mnist-{split}.tfrecord-00000-of-00001").write_bytes(records)
        (directory / f"mnist-{split}.array_record-00000-of-00001").unlink()
    text = (directory / "dataset_info.json").read_text()
    (directory / "dataset_info.json").write_text(text.replace("array_record", "tfrecord"))
    shutil.rmtree(directory / "arrays")
    check(load("mnist", tmp_path / "data"), content)


def test_a_read_only_folder_is_read_without_keeping_arrays(prepare_made_up, monkeypatch, tmp_path):
    content, directory = prepare_made_up("mnist")
    shutil.rmtree(directory / "arrays")

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    check(load("mnist", tmp_path / "data"), content)
    assert not (directory / "arrays").exists()


def test_arrays_are_kept_whole_or_not_at_all(prepare_made_up, monkeypatch, tmp_path):
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


def test_another_process_may_be_faster(prepare_made_up, monkeypatch, tmp_path):
    content, directory = prepare_made_up("mnist")
    fields = {"train_images": np.zeros((2, 28, 28, 1), np.uint8)}
    prepared._keep(fields, directory)  # the folder is there already
    assert sorted(f.name for f in directory.glob("arrays*")) == ["arrays"]
    check(load("mnist", tmp_path / "data"), content)


def test_the_newest_version_is_taken(tmp_path):
    for version in ("3.0.1", "10.0.0", "9.9.9", "incomplete.3.0.1"):
        (tmp_path / "mnist" / version).mkdir(parents=True)
        (tmp_path / "mnist" / version / "dataset_info.json").touch()
    (tmp_path / "mnist" / "11.0.0").mkdir()  # of nothing
    assert prepared.find_prepared("mnist", tmp_path) == tmp_path / "mnist" / "10.0.0"
    assert prepared.find_prepared("kmnist", tmp_path) is None


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
def test_mnist_itself(tmp_path):
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
