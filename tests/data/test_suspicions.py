"""What is odd about data is said in a sentence each, and nothing where nothing is."""

import numpy as np

from jaxvae.data import from_arrays, load
from jaxvae.data.suspicions import oddities

IMAGES = np.random.default_rng(0).integers(0, 256, (300, 4, 4), np.uint8)


def test_plain_data_have_no_oddities():
    assert oddities(from_arrays(IMAGES)) == []
    assert oddities(load("digits")) == []


def test_oddities_are_named():
    train, test = IMAGES[:50].copy(), IMAGES[45:60].copy()
    train[3], train[7] = train[2], 9
    labels = {"train": np.arange(50) % 3, "test": np.arange(15) % 5}
    assert oddities(from_arrays({"train": train, "test": test}, labels=labels)) == [
        "There are only 50 training images: little can be learned.",
        "5 images of the test split are in the train split, too.",
        "1 training image is a copy of another one.",
        "1 image is blank.",
        "The test split has classes that the train split lacks: 3, 4.",
    ]
