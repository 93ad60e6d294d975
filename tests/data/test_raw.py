import io

import numpy as np
import pytest

from jaxvae.data import raw
from jaxvae.data.catalog import SOURCES


@pytest.mark.parametrize("name", SOURCES)
def test_readers_give_what_was_written(write_raw, tmp_path, name):
    content = write_raw(name, tmp_path)
    source = SOURCES[name]
    splits, _ = source.read({file: tmp_path / file for file in source.files})
    assert splits.keys() == content.keys()
    for split, examples in splits.items():
        keys, features = zip(*examples, strict=True)
        assert len(set(keys)) == len(keys)
        images, labels = content[split]
        found = np.stack([f["image"] for f in features])
        assert found.dtype == np.uint8
        if name == "omniglot":
            images = np.repeat(images * np.uint8(255), 3, axis=-1)  # as tensorflow-datasets declares it
        np.testing.assert_array_equal(found, images)
        assert [f.get("label") for f in features] == (labels or [None] * len(images))


def test_cifar100_tells_fine_from_coarse(write_raw, tmp_path):
    write_raw("cifar100", tmp_path)
    splits, names = raw.read_cifar100({"cifar-100-binary.tar.gz": tmp_path / "cifar-100-binary.tar.gz"})
    assert names["coarse_label"][19] == "coarse19"
    assert names["label"][99] == "fine99"
    features = [f for _, f in splits["train"]]
    assert all(f["coarse_label"] < 20 for f in features)
    assert features[1]["id"] == "train_00001"


def test_omniglot_names_every_character_once(write_raw, tmp_path):
    write_raw("omniglot", tmp_path)
    splits, names = raw.read_omniglot({file: tmp_path / file for file in SOURCES["omniglot"].files})
    assert names["alphabet"] == ["Angelic", "Greek", "Tifinagh"]
    assert names["label"] == ["Greek_0", "Greek_1", "Tifinagh_0", "Tifinagh_1", "Angelic_0", "Angelic_1"]
    key, features = next(splits["test"])
    assert key == "Angelic_0_0005_01.png"
    assert (features["alphabet"], features["alphabet_char_id"], features["label"]) == ("Angelic", 0, 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "made.gz must be an idx file of bytes"),
        (b"\0\0\x0d\x01" + b"\0\0\0\x01" + bytes(4), "made.gz must be an idx file of bytes"),
        (
            b"\0\0\x08\x02" + b"\0\0\0\x02\0\0\0\x03" + bytes(5),
            r"number of values must be that of shape \(2, 3\), got 5",
        ),
    ],
)
def test_idx_files_are_checked(data, message):
    with pytest.raises(ValueError, match=message):
        raw.idx(io.BytesIO(data), "made.gz")


@pytest.mark.parametrize(
    ("text", "message"),
    [("0 1\n", r"bytes must be a multiple of 2 \* 784, got 4"), ("0 2\n" * 392, "must be 0 or 1 in every other byte")],
)
def test_amat_files_are_checked(tmp_path, text, message):
    files = {name: tmp_path / name for name in SOURCES["binarized_mnist"].files}
    for path in files.values():
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        list(raw.read_binarized_mnist(files).splits["train"])
