"""The bundled handwritten digits, which need no network."""

import importlib.resources

import numpy as np

from jaxvae.data.dataset import Dataset, assemble


def load_digits() -> Dataset:
    """Loads 1,797 handwritten digits of 8x8 pixels and 17 grey levels, in 10 classes.

    The test set of Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998, UCI Machine Learning
    Repository, doi 10.24432/C50P49), licensed under CC BY 4.0. Train 1,297, validation 200 and test 300 images,
    from a fixed random order, which ``digits.txt``, beside the data, describes.
    """
    with (importlib.resources.files("jaxvae.data") / "digits.npz").open("rb") as file, np.load(file) as arrays:
        images, labels = (np.split(arrays[key], (1297, 1497)) for key in ("images", "labels"))
    names = ("train", "validation", "test")
    return assemble(
        "digits",
        dict(zip(names, images, strict=True)),
        {name: y.astype(np.int32) for name, y in zip(names, labels, strict=True)},
        levels=17,
    )
