"""What a run keeps of where its data came from."""

import dataclasses
import json

import numpy as np
import pytest

from jaxvae.data import fingerprint, load, origin_from_mapping, origin_of
from jaxvae.data.dataset import Split


def test_it_is_read_back_as_it_was(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.random.default_rng(0).integers(0, 256, (30, 4, 4), np.uint8))
    for name in ("digits", str(tmp_path / "x.npz")):
        origin = origin_of(load(name), "~/somewhere")
        assert origin_from_mapping(json.loads(origin.to_json())) == origin
    assert origin.rows == 30
    with pytest.raises(ValueError, match="origin must be of "):
        origin_from_mapping({})


def test_a_known_name_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert origin_of(load("digits")).dataset == "digits"


def test_what_changes_is_told():
    digits = load("digits")
    origin = origin_of(digits)
    assert origin.changes_to(origin_of(digits)) == []
    less = dataclasses.replace(digits, test=digits.test.head(1), validation=None)
    assert origin.changes_to(origin_of(less)) == [
        "the validation split has 0 images, not 200",
        "the test split has 1 image, not 300",
    ]
    images = digits.train.images.copy()
    images[700, 3, 3] ^= 1
    other = dataclasses.replace(digits, train=dataclasses.replace(digits.train, images=images))
    assert origin.changes_to(origin_of(other)) == ["images or labels of the train split are others"]


def test_a_fingerprint_is_of_shape_dtype_pixels_and_labels(monkeypatch):
    images, labels = np.zeros((4, 2, 3, 1), np.uint8), np.zeros(4, np.int32)
    every = [
        Split(images, labels),
        Split(images, None),
        Split(images.reshape(4, 3, 2, 1), labels),
        Split(images, labels + 1),
        Split(images + 1, labels),
    ]
    whole = [fingerprint(split) for split in every]
    assert len(set(whole)) == len(every)
    monkeypatch.setattr("jaxvae.data.origins._CHUNK", 7)  # a row at a time
    assert [fingerprint(split) for split in every] == whole
