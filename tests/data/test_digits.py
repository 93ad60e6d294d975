import hashlib
from pathlib import Path

import numpy as np

import jaxvae.data
from jaxvae.data.digits import load_digits


def test_digits_are_the_published_ones():
    data = load_digits()
    x = np.concatenate([split.images for split in data.splits.values()])
    y = np.concatenate([split.labels for split in data.splits.values()])
    assert x.shape == (1797, 8, 8, 1)
    assert np.unique(x).tolist() == list(range(17))
    assert len(np.unique(x.reshape(1797, 64), axis=0)) == 1797  # no image twice, within splits or across
    # Counts of the digits in the repository's optdigits.tes.
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    digest = hashlib.sha256(x.tobytes() + y.astype(np.uint8).tobytes()).hexdigest()
    assert digest == "428ad214e900fe9343f94d9fedc8a16d461db8cd1bc0f61eecf448b8c5f16b35"


def test_digits_splits_look_alike():
    data = load_digits()
    assert [len(split) for split in data.splits.values()] == [1297, 200, 300]
    assert (data.levels, data.classes, data.image_shape) == (17, 10, (8, 8, 1))
    everything = np.concatenate([split.images for split in data.splits.values()]).astype(float).mean(axis=(1, 2, 3))
    for split in data.splits.values():
        brightness = split.images.astype(float).mean(axis=(1, 2, 3))
        assert abs(brightness.mean() - everything.mean()) < 4 * everything.std() / np.sqrt(len(split))
        expected = len(split) / 10
        # Chi square of 10 classes: mean 9, standard deviation sqrt(18).
        assert np.sum((np.bincount(split.labels, minlength=10) - expected) ** 2 / expected) < 9 + 4 * np.sqrt(18)


def test_licence_and_source_lie_beside_the_data():
    text = (Path(jaxvae.data.__file__).parent / "digits.txt").read_text()
    for fact in ("Alpaydin", "10.24432/C50P49", "CC BY 4.0", "permutation(1797)"):
        assert fact in text
    assert "10.24432/C50P49" in load_digits.__doc__
