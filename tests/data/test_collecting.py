"""Many files as one array: shapes, notes, order, what is left out."""

import threading
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxvae.data import collecting, images
from jaxvae.data.collecting import read_files
from jaxvae.data.options import PLAIN, Reading

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5), np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 3), np.uint8)
DEEP = RNG.integers(0, 2**16, (6, 5), np.uint16)


def write(root, arrays):
    """The arrays as files, by name, and what is read of them."""
    for name, x in arrays.items():
        if isinstance(x, bytes):
            (root / name).write_bytes(x)
        else:
            Image.fromarray(x).save(root / name)
    return list(arrays)


def read(root, arrays, reading=PLAIN, channels=None):
    return read_files(root, write(root, arrays), reading, channels)


def test_grey_and_colour_have_three_channels(tmp_path):
    found = read(tmp_path, {"a.png": GREY, "b.png": COLOUR, "c.png": GREY})
    assert (found.images.shape, found.images.dtype) == ((3, 6, 5, 3), np.uint8)
    for image, x in zip(found.images, (GREY[..., None], COLOUR, GREY[..., None]), strict=True):
        np.testing.assert_array_equal(image, np.broadcast_to(x, (6, 5, 3)))
    assert found.notes == ("2 images in grey were given three channels, as images in colour have.",)
    assert (found.names.tolist(), found.sources.tolist()) == (["a.png", "b.png", "c.png"], [0, 1, 2])


def test_channels_may_be_given(tmp_path):
    arrays = {"a.png": GREY, "b.png": COLOUR}
    assert read(tmp_path, arrays, channels=1).notes == ("1 image in colour was made grey.",)
    assert read(tmp_path, arrays, channels=1).images.shape == (2, 6, 5, 1)
    assert read(tmp_path, {"a.png": GREY}, channels=3).images.shape == (1, 6, 5, 3)
    assert read(tmp_path, arrays, Reading(grey=True)).images.shape == (2, 6, 5, 1)


@pytest.mark.parametrize("order", ["ab", "ba", "bab"])
def test_eight_bits_among_sixteen_are_scaled(tmp_path, order):
    arrays = {f"{i}.png": {"a": GREY, "b": DEEP}[x] for i, x in enumerate(order)}
    found = read(tmp_path, arrays)
    assert found.images.dtype == np.uint16
    for image, x in zip(found.images[..., 0], arrays.values(), strict=True):
        np.testing.assert_array_equal(image, x if x.dtype == np.uint16 else x * np.uint16(257))
    assert found.notes == ("1 image of 8 bits was scaled by 257, as others have 16 bits.",)


def test_colour_and_depth_may_come_at_once(tmp_path):
    found = read(tmp_path, {"a.png": GREY, "b.png": COLOUR, "c.png": DEEP})
    assert (found.images.shape, found.images.dtype) == ((3, 6, 5, 3), np.uint16)
    np.testing.assert_array_equal(found.images[0], np.stack([GREY] * 3, 2) * np.uint16(257))
    np.testing.assert_array_equal(found.images[1], COLOUR * np.uint16(257))
    np.testing.assert_array_equal(found.images[2], np.stack([DEEP] * 3, 2))


def test_floats_are_kept(tmp_path):
    x = RNG.normal(size=(6, 5)).astype(np.float32)
    found = read(tmp_path, {"a.tiff": x})
    assert (found.images.dtype, found.notes) == (np.float32, ())
    np.testing.assert_array_equal(found.images[0, ..., 0], x)
    with pytest.raises(ValueError, match=r"b.png: numbers must be floats, as of .*a.tiff, got 'integers'"):
        read(tmp_path, {"a.tiff": x, "b.png": GREY})


def test_sizes_that_differ_are_named(tmp_path):
    arrays = {"a.png": GREY, "b.png": GREY[:, :4]}
    with pytest.raises(ValueError, match="--size H W") as error:
        read(tmp_path, arrays)
    assert str(error.value) == (
        f"{tmp_path}/b.png: height and width must be (6, 5), as of {tmp_path}/a.png, unless --size H W resizes all,"
        " got (6, 4)"
    )
    found = read(tmp_path, arrays, Reading(size=(6, 5)))
    assert found.images.shape == (2, 6, 5, 1)
    assert found.notes == ("1 image of another size was resized and cropped to 6x5.",)


def test_frames_are_refused_by_name_or_numbered(tmp_path):
    frames = [Image.fromarray(x) for x in RNG.integers(0, 256, (5, 6, 5), np.uint8)]
    frames[0].save(tmp_path / "b.tiff", save_all=True, append_images=frames[1:])
    names = [*write(tmp_path, {"a.png": GREY}), "b.tiff", *write(tmp_path, {"c.png": GREY})]
    with pytest.raises(ValueError, match=r"b.tiff must be one image, got 5 frames; --frames makes an image of each"):
        read_files(tmp_path, names, PLAIN)
    with pytest.raises(ValueError, match="5 frames"):
        read_files(tmp_path, names, Reading(skip_bad=True))
    found = read_files(tmp_path, names, Reading(frames=True))
    assert found.names.tolist() == ["a.png", *(f"b.tiff#{i}" for i in range(5)), "c.png"]
    assert found.sources.tolist() == [0, 1, 1, 1, 1, 1, 2]
    np.testing.assert_array_equal(found.images[1:6, ..., 0], np.stack([np.asarray(x) for x in frames]))
    assert found.notes == ("1 file with several frames was read as an image of each.",)


def test_bad_files_are_named_or_left_out(tmp_path):
    arrays = {"a.png": b"", "b.png": GREY, "c.png": b"no image", "d.png": GREY[::-1].copy()}
    names = write(tmp_path, arrays)
    (tmp_path / "e.png").mkdir()
    (tmp_path / "f.png").symlink_to("nowhere.png")
    names += ["e.png", "f.png"]
    for wrong, message in {
        "a.png": "an empty file",
        "c.png": "a file that is none",
        "e.png": "an error: Is a directory",
        "f.png": "an error: No such file or directory",
    }.items():
        with pytest.raises(ValueError, match="must be an image") as error:
            read_files(tmp_path, ["b.png", wrong], PLAIN)
        expected = f"{tmp_path}/{wrong} must be an image, got {message}; --skip-bad leaves it out"
        assert str(error.value) == expected
    found = read_files(tmp_path, names, Reading(skip_bad=True))
    assert (found.names.tolist(), found.sources.tolist()) == (["b.png", "d.png"], [1, 3])
    np.testing.assert_array_equal(found.images[..., 0], np.stack([GREY, GREY[::-1]]))
    assert found.notes == ("4 files that can't be read were left out; the first is a.png (an empty file).",)
    with pytest.raises(ValueError, match=r"none of 2 files can be read; a\.png is an empty file"):
        read_files(tmp_path, ["a.png", "c.png"], Reading(skip_bad=True))


def test_files_without_permission_are_bad(tmp_path, monkeypatch):
    def denied(file):
        raise images.UnreadableError("an error: Permission denied")

    names = write(tmp_path, {"a.png": GREY})
    monkeypatch.setattr(images, "read_bytes", denied)
    with pytest.raises(ValueError, match=r"a\.png must be an image, got an error: Permission denied"):
        read_files(tmp_path, names, PLAIN)


def test_a_bomb_is_bad_and_warnings_are_not(tmp_path, monkeypatch):
    names = write(tmp_path, {"a.png": GREY})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 29)  # of 30: a warning, if nobody made it an error
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with pytest.raises(ValueError, match=r"a\.png must be an image, got Image size .* exceeds limit"):
            read_files(tmp_path, names, PLAIN)
    monkeypatch.undo()
    Image.fromarray(COLOUR).quantize(4).save(tmp_path / "p.png", transparency=bytes((0, 99)))
    assert len(read_files(tmp_path, ["p.png"], PLAIN).images) == 1


def test_notes_tell_what_was_made(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    for i in range(3):
        Image.fromarray(GREY).save(tmp_path / f"{i}.png", exif=exif)
    Image.fromarray(np.dstack([COLOUR, GREY])).save(tmp_path / "3.png")
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "4.tiff")
    assert read_files(tmp_path, ["0.png", "1.png", "2.png", "3.png", "4.tiff"], Reading(background="navy")).notes == (
        "3 images were turned upright as their EXIF orientation says.",
        "1 image with transparent pixels was laid over navy.",
        "3 images in grey were given three channels, as images in colour have.",
        "1 image was converted from CMYK to RGB.",
    )
    with pytest.raises(ValueError, match="background must be the name of a colour"):
        read_files(tmp_path, ["0.png"], Reading(background="nay"))


def test_many_files_are_read_in_order_by_threads(tmp_path, monkeypatch):
    threads = set()
    images_in = images.images_in

    def watched(*args):
        threads.add(threading.get_ident())
        return images_in(*args)

    monkeypatch.setattr(images, "images_in", watched)
    arrays = RNG.integers(0, 256, (300, 6, 5), np.uint8)
    found = read(tmp_path, {f"{i}.png": x for i, x in enumerate(arrays)})
    np.testing.assert_array_equal(found.images[..., 0], arrays)
    assert len(threads) > 1


def test_threads_are_only_a_few_files_ahead(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    asked = []

    def read(name):
        asked.append(name)
        return collecting._Read(b"", collecting._AT_ONCE, [])

    every = collecting._in_order(read, list(map(str, range(100))))
    for _ in range(10):
        next(every)
    time.sleep(0.1)  # for threads that go on
    assert len(asked) <= 10 + 2 + 2
    every.close()


def test_memory_is_bounded_by_the_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    names = write(tmp_path, {f"{i}.bmp": RNG.integers(0, 256, (160, 160, 3), np.uint8) for i in range(24)}) * 10
    tracemalloc.start()
    try:
        found = read_files(tmp_path, names, PLAIN)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    ahead = (2 + 3) * collecting._AT_ONCE + 2**22  # what threads have read, and what Python itself needs
    assert found.images.nbytes > ahead
    assert peak < found.images.nbytes + ahead


def test_a_bar_is_shown_on_a_terminal_alone(tmp_path, monkeypatch, capsys):
    names = write(tmp_path, {"a.png": GREY, "b.png": GREY})
    monkeypatch.setattr(collecting, "_PATIENCE", -1)
    read_files(tmp_path, names, PLAIN)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    read_files(tmp_path, names, PLAIN)
    assert "file 2/2" in capsys.readouterr().err


def test_arrays_of_many_files_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(collecting, "MANY", 3)
    root = tmp_path / "images"
    root.mkdir()
    arrays = {"a.png": GREY, "b.png": b"bad", "c.png": COLOUR}
    reading = Reading(skip_bad=True)
    first = read(root, arrays, reading)
    assert isinstance(first.images, np.memmap)

    monkeypatch.setattr(images, "images_in", lambda *_: pytest.fail("read again"))
    again = read_files(root, list(arrays), reading)
    assert isinstance(again.images, np.memmap)
    np.testing.assert_array_equal(again.images, first.images)
    assert again.notes == first.notes
    assert again.names.tolist() == first.names.tolist()
    assert again.sources.tolist() == first.sources.tolist()
    for other in (Reading(skip_bad=True, grey=True), Reading(skip_bad=True, size=(2, 2))):
        with pytest.raises(pytest.fail.Exception, match="read again"):
            read_files(root, list(arrays), other)
    with pytest.raises(pytest.fail.Exception, match="read again"):
        read_files(root, list(arrays), reading, channels=1)
    few = read_files
    monkeypatch.undo()
    assert not isinstance(few(root, ["a.png"], reading).images, np.memmap)


def test_names_of_any_letters(tmp_path):
    name = b"\xff\xe9.png".decode(errors="surrogateescape")
    Image.fromarray(GREY).save(Path(tmp_path) / name)
    assert read_files(tmp_path, [name], PLAIN).names.tolist() == [name]
