"""Oddities of data, found before anything is trained on them."""

import hashlib

import numpy as np

from jaxvae.data.dataset import Dataset
from jaxvae.texts import counted

_FEW = 200
_CHUNK = 4096


def oddities(dataset: Dataset) -> list[str]:
    """Returns sentences on possible faults: few, blank or repeated images, or classes that training doesn't have."""
    found = []
    noun = "row" if dataset.features else "image"
    few = len(dataset.train) < _FEW
    if few:
        found.append(f"There are only {counted(len(dataset.train), f'training {noun}')}: little can be learned.")
    digests = {name: _digests(split.images) for name, split in dataset.splits.items()}
    seen = set(digests["train"])
    for name in [name for name in digests if name != "train"]:
        shared = sum(digest in seen for digest in digests[name])
        if shared:
            found.append(f"{counted(shared, noun)} of the {name} split {_are(shared)} in the train split, too.")
    repeated = len(digests["train"]) - len(seen)
    if repeated:
        found.append(f"{counted(repeated, f'training {noun}')} {_are(repeated)} a copy of another one.")
    blank = 0 if dataset.features else sum(_blank(split.images) for split in dataset.splits.values())
    if blank:
        found.append(f"{counted(blank, 'image')} {_are(blank)} blank.")
    for name, split in dataset.splits.items():
        if name != "train" and split.labels is not None and dataset.train.labels is not None:
            unknown = np.setdiff1d(split.labels, dataset.train.labels)
            if len(unknown):
                names = [dataset.class_names[i] if dataset.class_names else str(i) for i in unknown[:5].tolist()]
                found.append(f"The {name} split has classes that the train split lacks: {', '.join(names)}.")
    return found


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _digests(images: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images]


def _blank(images: np.ndarray) -> int:
    """Returns the number of images whose pixels all have the same value."""
    axes = tuple(range(1, images.ndim))
    chunks = (images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK))
    return sum(int(np.sum(x.min(axis=axes) == x.max(axis=axes))) for x in chunks)
