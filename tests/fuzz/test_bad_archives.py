"""Data files that are broken or hostile: a dataset, or one line that names the file; never an object, never a write."""

import io
import pickle
import struct
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image
from strategies import JUNK, broken, fuzz, refusal

import jaxvae
from jaxvae import data

IMAGES = (np.arange(20 * 16) % 251).reshape(20, 4, 4).astype(np.uint8)
UNPICKLED: list[str] = []


class Trap:
    """Tells when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return UNPICKLED.append, ("unpickled",)


def npy(x: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, x, allow_pickle=True)
    return file.getvalue()


def archive(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as made:
        warnings.simplefilter("ignore")  # of a name twice
        for name, content in members:
            made.writestr(name, content)
    return file.getvalue()


def patched(content: bytes, *changes: tuple[int, int]) -> bytes:
    """With other bytes at offsets into the zip's directory."""
    changed, start = bytearray(content), content.rfind(b"PK\x01\x02")
    for offset, value in changes:
        changed[start + offset] = value
    return bytes(changed)


def header(text: str) -> bytes:
    """A .npy file of this header and a few bytes."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + b"0" * 64


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(IMAGES[1] * 9).save(file, kind)
    return file.getvalue()


GOOD, OBJECTS = npy(IMAGES), npy(np.array([Trap(), None], object))
WHOLE = {
    "another name.npz": archive([("größe.npy", GOOD)]),
    "real.npy": npy(IMAGES - 300.0),
    "whole labels.npz": archive([("images.npy", GOOD), ("labels.npy", npy(np.zeros(20)))]),
    "train alone.npz": archive([("x_train.npy", GOOD)]),
    "images.npy": GOOD,
    "images.npz": archive([("images.npy", GOOD), ("labels.npy", npy(np.arange(20)))], zipfile.ZIP_DEFLATED),
    "half.npy": npy((IMAGES / 300).astype(np.float16)),
    "long.npy": npy((IMAGES / 300).astype(np.longdouble)),
    "swapped.npy": npy((IMAGES / 300).astype(">f4")),
    "fortran.npy": npy(np.asfortranarray(IMAGES)),
    "boolean.npy": npy(IMAGES > 9),
}
SHAPE = "{'descr': '|u1', 'fortran_order': False, 'shape': (%s, 4, 4)}\n"
HOSTILE = {
    "empty.npy": b"",
    "empty.npz": b"",
    "objects.npy": OBJECTS,
    "objects.npz": archive([("images.npy", OBJECTS)]),
    "pickle.npy": pickle.dumps(Trap()),
    "pickle.npz": pickle.dumps(Trap()),
    "pickled labels.npz": archive([("images.npy", GOOD), ("labels.npy", OBJECTS)]),
    "zip.npy": archive([("images.npy", GOOD)]),
    "array.npz": GOOD,
    "bytes.npz": archive([("images.npy", b"hello")]),
    "no suffix.npz": archive([("images", b"hello")]),
    "traversal.npz": archive([("../../images.npy", GOOD)]),
    "absolute.npz": archive([("/tmp/images.npy", GOOD)]),
    "twice.npz": archive([("images.npy", GOOD), ("images.npy", GOOD)]),
    "two names.npz": archive([("x_train.npy", GOOD), ("train_images.npy", GOOD), ("x_test.npy", GOOD)]),
    "none.npz": archive([]),
    "folder.npz": archive([("images.npy/", b"")]),
    "encrypted.npz": patched(archive([("images.npy", GOOD)]), (8, 1)),
    "method.npz": patched(archive([("images.npy", GOOD)]), (10, 99)),
    "truncated.npz": archive([("images.npy", GOOD)])[:-9],
    "truncated.npy": GOOD[:-9],
    "deep.npy": header("(" * 60_000),
    "code.npy": header("{'descr': __import__('os'), 'fortran_order': False, 'shape': (1,)}\n"),
    "negative.npy": header(SHAPE % -1),
    "huge.npy": header(SHAPE % 10**15),
    "huge.npz": archive([("images.npy", header(SHAPE % 10**12))]),
    "overflow.npz": archive([("images.npy", header(SHAPE % 10**28))]),
    "version.npy": b"\x93NUMPY\x09\x00aaaa",
    "complex.npy": npy(IMAGES * 1j),
    "text.npy": npy(IMAGES.astype("U3")),
    "time.npy": npy(IMAGES.astype("M8[s]")),
    "record.npy": npy(np.zeros((20, 4, 4), [("a", "f4")])),
    "not finite.npy": npy(np.where(IMAGES > 9, np.nan, IMAGES)),
    "no rows.npy": npy(IMAGES[:0]),
    "no columns.npy": npy(IMAGES[:, :, :0]),
    "number.npy": npy(np.float32(3)),
    "row.npy": npy(np.arange(9.0)),
    "five axes.npy": npy(np.zeros((2, 2, 2, 2, 2))),
    "constant.npy": npy(IMAGES * 0),
    "few.npy": npy(IMAGES[:3]),
    "labels alone.npz": archive([("labels.npy", npy(np.arange(20)))]),
    "fewer labels.npz": archive([("images.npy", GOOD), ("labels.npy", npy(np.arange(19)))]),
    "negative labels.npz": archive([("images.npy", GOOD), ("labels.npy", npy(np.full(20, -1)))]),
    "two shapes.npz": archive([("x_train.npy", GOOD), ("x_test.npy", npy(IMAGES[:, :3]))]),
}


def attempt(files: dict[str, bytes], name: str) -> Exception | None:
    """Loads what is in a folder of these files; they stay as they are, and alone."""
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / file).write_bytes(content)
        before = sorted(Path(folder).rglob("*"))
        made: list[data.Dataset] = []
        error = refusal(lambda: made.append(data.load(f"{folder}/{name}".rstrip("/"))), folder, "image shape")
        assert error is None or type(error) is ValueError, error
        assert sorted(Path(folder).rglob("*")) == before
        assert all((Path(folder) / file).read_bytes() == content for file, content in files.items())
    assert not UNPICKLED
    for dataset in made:
        for part in dataset.splits.values():
            assert part.images.dtype == (np.float32 if dataset.levels is None else np.uint8)
            assert part.labels is None or part.labels.dtype == np.int32
            assert np.isfinite(part.images).all()
    return error


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name: str) -> None:
    assert attempt({name: HOSTILE[name]}, name) is not None


@pytest.mark.parametrize("name", WHOLE)
def test_good_files_are_loaded(name: str) -> None:
    assert attempt({name: WHOLE[name]}, name) is None


ORIGINALS = (
    *(WHOLE[name] for name in ("images.npy", "half.npy", "images.npz")),
    archive([("x_train.npy", GOOD), ("x_test.npy", GOOD)], zipfile.ZIP_LZMA),
    OBJECTS,
)


@fuzz(broken(ORIGINALS), st.sampled_from((".npy", ".npz")))
def test_broken_files(content: bytes, suffix: str) -> None:
    attempt({f"images{suffix}": content}, f"images{suffix}")


@fuzz(st.lists(broken(ORIGINALS), min_size=1, max_size=2))
def test_broken_folders_of_arrays(contents: list[bytes]) -> None:
    attempt({f"{split}_images.npy": content for split, content in zip(("train", "test"), contents, strict=False)}, "")


PICTURES = {kind: picture(kind) for kind in ("PNG", "GIF", "BMP", "PPM", "TIFF", "JPEG", "WEBP")}


@fuzz(broken(tuple(PICTURES.values())), st.sampled_from(("a.png", "b/a.gif", "test/a.bmp", "train/b/a.tif")))
def test_broken_pictures(content: bytes, name: str) -> None:
    whole = {f"{i}.png": PICTURES["PNG"] for i in range(10)}
    attempt({**whole, name: content} if "/" not in name else {name: content}, "")


NAMES = st.text(max_size=9) | st.sampled_from(("~no-one/x.npy", "\0", "a\nb", "/dev/null", "../digits", "["))


@fuzz(JUNK | NAMES, JUNK)
def test_names_that_are_no_dataset(name: Any, count: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if name not in ("", ".", "..", "/") if isinstance(name, str) else True:
            error = refusal(lambda: data.load(name, folder), "dataset", "path", "a .npy or .npz file")
            assert error is not None
        error = refusal(lambda: data.load("digits", folder, count), "validation")
        assert (error is None) == (count is None)
        assert refusal(lambda: data.prepare(name, None, folder), "dataset") is not None
        assert not list(Path(folder).iterdir())


def test_nothing_anywhere_unpickles() -> None:
    for path in Path(jaxvae.__file__).parent.rglob("*.py"):
        text = path.read_text()
        assert "allow_pickle=True" not in text, path
        assert not any(line.split()[:2] == ["import", "pickle"] for line in text.splitlines()), path


PIXELS = st.sampled_from((np.uint8, np.int32, np.bool_, np.float32, np.float64, np.complex64, object))
LEVELS = st.sampled_from((None, 2, 17, 256, 0, 1, 257, -1, 2.0, "a"))


@fuzz(PIXELS, LEVELS, st.booleans(), st.sampled_from(((0,), (3,), (2, 0), (2, 3))))
def test_observations_are_pixels_or_refused(dtype: Any, levels: Any, dynamic: bool, shape: tuple[int, ...]) -> None:
    images = np.zeros(shape, dtype)
    made: list[Any] = []
    error = refusal(
        lambda: made.append(jax.eval_shape(lambda: data.observe(jax.random.key(0), images, levels, dynamic))),
        "images",
        "levels",
    )
    floats, whole = np.issubdtype(dtype, np.floating), np.issubdtype(dtype, np.integer) or dtype is np.bool_
    right = floats if levels is None else whole and type(levels) is int and 2 <= levels <= 256
    assert (error is None) == right, error
    if error is None:
        assert (made[0].shape, made[0].dtype) == (shape, np.float32)


def test_no_images_are_observed() -> None:
    images = np.zeros((0, 3), np.uint8)
    assert jax.eval_shape(lambda: data.observe(jax.random.key(0), images, 17, dynamic=True)).shape == (0, 3)
