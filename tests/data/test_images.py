"""One file as numbers, whatever its mode, depth and frames."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxvae.data import images
from jaxvae.data.images import CUT, GREYED, LAID, SIZED, TURNED, background_colour, images_in, read_bytes
from jaxvae.data.options import PLAIN, Reading

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5), np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 3), np.uint8)
DEEP = RNG.integers(0, 2**16, (6, 5, 4), np.uint16)


def saved(image, suffix="png", **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, suffix, **options)
    return file.getvalue()


def png(x, key=()):
    """A PNG of 16 bits, which Pillow can't write in colour."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, channels = x.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in x)
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + transparent + chunk(b"IDAT", zlib.compress(rows))


def tiff(x, order="<", planar=False, orientation=1, colours=None):
    """A TIFF of one strip, or one a channel, which Pillow can't write of every kind."""
    height, width, channels = x.shape
    data = (np.moveaxis(x, 2, 0) if planar else x).astype(x.dtype.newbyteorder(order)).tobytes()
    strips = channels if planar else 1
    bits, kind = x.dtype.itemsize * 8, {"u": 1, "i": 2, "f": 3}[x.dtype.kind]
    entries = {
        256: (width,),
        257: (height,),
        258: (bits,) * channels,
        259: (1,),
        262: (colours or (2 if channels > 2 else 1),),
        273: tuple(8 + i * len(data) // strips for i in range(strips)),
        274: (orientation,),
        277: (channels,),
        278: (height,),
        279: (len(data) // strips,) * strips,
        284: (2 if planar else 1,),
        338: (2,) if channels == 4 and not colours else (),
        339: (kind,) * channels,
    }
    entries = {tag: values for tag, values in entries.items() if values}
    start = 8 + len(data)
    beyond, spill = start + 2 + 12 * len(entries) + 4, b""
    directory = struct.pack(order + "H", len(entries))
    for tag, values in entries.items():
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            packed, spill = struct.pack(order + "I", beyond + len(spill)), spill + packed
        directory += struct.pack(order + "HHI", tag, 4, len(values)) + packed
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start)
    return head + data + directory + b"\0\0\0\0" + spill


def one(data, reading=PLAIN, channels=None):
    (picture,) = images_in(data, reading, channels)
    return picture


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *((mode, "png") for mode in ("1", "L", "P", "RGB")),
        *((mode, "tiff") for mode in ("CMYK", "LAB")),
        ("P", "gif"),
        ("RGB", "webp"),
        ("CMYK", "jpeg"),
    ],
)
def test_modes_become_grey_or_colour(mode, suffix):
    given = Image.fromarray(COLOUR)
    if mode == "LAB":
        given = Image.frombytes("LAB", given.size, given.tobytes())
    data = saved(given.convert(mode), suffix, **({"lossless": True} if suffix == "webp" else {}))
    picture = one(data)
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.mode == mode
        expected = np.asarray(stored.convert("L" if mode in ("1", "L") else "RGB"))
    np.testing.assert_array_equal(picture.numbers, expected.reshape(6, 5, -1))
    assert picture.numbers.dtype == np.uint8
    assert picture.made == ((mode,) if mode in ("CMYK", "LAB") else ())


def test_luma_and_chroma_become_colours():
    data = tiff(COLOUR, colours=6)
    with Image.open(io.BytesIO(data)) as stored:
        if stored.mode != "YCbCr":
            pytest.skip("this Pillow takes them for colours")
        expected = np.asarray(stored.convert("RGB"))
    picture = one(data)
    np.testing.assert_array_equal(picture.numbers, expected)
    assert np.any(expected != COLOUR)
    assert picture.made == ("YCbCr",)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_of_png_are_all_there(channels):
    x = DEEP[..., :channels].copy()
    if channels in (2, 4):
        x[..., -1] = 65535
    picture = one(png(x))
    np.testing.assert_array_equal(picture.numbers, x if channels % 2 else x[..., :-1])
    assert picture.numbers.dtype == np.uint16
    assert picture.made == ()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_of_tiff_are_all_there(order, channels):
    x = DEEP[..., :channels].copy()
    x[..., 3:] = 65535
    picture = one(tiff(x, order))
    np.testing.assert_array_equal(picture.numbers, x[..., :3])
    assert picture.numbers.dtype == np.uint16
    turned = one(tiff(x, order, orientation=6))
    np.testing.assert_array_equal(turned.numbers, np.rot90(x[..., :3], -1))
    assert turned.made == (TURNED,)


@pytest.mark.parametrize("white", [65535, 1023])
@pytest.mark.parametrize("kind", ["P5", "P6"])
def test_sixteen_bits_of_netpbm_are_all_there(kind, white):
    x = DEEP[..., : 1 if kind == "P5" else 3] & np.uint16(white)
    picture = one(f"{kind} 5 6 {white} ".encode() + x.astype(">u2").tobytes())
    np.testing.assert_array_equal(picture.numbers, np.rint(x * (65535 / white)))
    assert picture.numbers.dtype == np.uint16


def test_half_of_sixteen_bits_is_said():
    picture = one(tiff(DEEP, colours=5))  # CMYK
    assert picture.numbers.dtype == np.uint8
    assert picture.made == (CUT, "CMYK")


def test_planes_of_sixteen_bits_are_refused():
    # Pillow would take their bytes for pixels.
    with pytest.raises(images.UnreadableError, match="planes of 16 bits"):
        one(tiff(DEEP[..., :3], planar=True))


def test_integers_of_32_bits_are_those_of_16():
    x = GREY.astype(np.int32) * 257
    picture = one(saved(Image.fromarray(x), "tiff"))
    np.testing.assert_array_equal(picture.numbers[..., 0], x)
    assert picture.numbers.dtype == np.uint16
    for wrong in (-1, 65536):
        x[2, 3] = wrong
        with pytest.raises(images.UnreadableError, match=rf"integers from .*{wrong}.* in 0..65535"):
            one(saved(Image.fromarray(x), "tiff"))


def test_floats_stay_as_they_are():
    x = RNG.normal(size=(6, 5)).astype(np.float32) * 1000
    picture = one(saved(x, "tiff"))
    np.testing.assert_array_equal(picture.numbers[..., 0], x)
    assert picture.numbers.dtype == np.float32
    x[2, 2] = np.nan  # a missing one
    np.testing.assert_array_equal(one(saved(x, "tiff")).numbers[..., 0], x)
    with pytest.raises(images.UnreadableError, match=r"missing numbers \(NaN\), which can't be resized"):
        one(saved(x, "tiff"), Reading(size=(3, 3)))
    for wrong in (np.inf, -np.inf):
        x[1, 1] = wrong
        with pytest.raises(images.UnreadableError, match="numbers that aren't finite"):
            one(saved(x, "tiff"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpeg", "tiff", "webp"])
def test_images_are_turned_upright(suffix, orientation):
    x = COLOUR.repeat(8, axis=0).repeat(8, axis=1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"webp": {"lossless": True}, "jpeg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    data = saved(x, suffix, exif=exif, **lossless)
    undo = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}[orientation]
    y = np.fliplr(x) if orientation in (2, 4) else x
    upright = np.rot90(np.fliplr(x), 1 if orientation == 5 else -1) if orientation in (5, 7) else np.rot90(y, undo)
    picture = one(data)
    assert np.abs(picture.numbers.astype(int) - upright).max() <= (6 if suffix == "jpeg" else 0)
    assert picture.made == ((TURNED,) if orientation > 1 else ())


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
@pytest.mark.parametrize("background", ["white", "#102030"])
def test_transparent_pixels_lie_over_the_background(mode, background):
    x = RNG.integers(0, 256, (6, 5, 4), np.uint8)
    x[0, :, 3], x[1, :, 3] = 0, 255
    given = Image.fromarray(x).convert("RGBA" if mode == "PA" else mode)
    if mode == "PA":
        given = given.quantize(8)
    stored = np.asarray(given.convert("RGBA")).astype(float)
    picture = one(saved(given), Reading(background=background))
    alpha = stored[..., 3:] / 255
    behind = np.array(background_colour(background))
    expected = stored[..., :3] * alpha + behind * (1 - alpha)
    grey = mode == "LA" and background == "white"
    assert picture.numbers.shape == (6, 5, 1 if grey else 3)
    assert np.abs(picture.numbers - expected).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(picture.numbers[0], np.broadcast_to(behind, (5, 3))[:, : 1 if grey else 3])
    assert picture.made == (LAID,)


def test_alpha_that_hides_nothing_is_not_mentioned():
    assert one(saved(Image.fromarray(COLOUR).convert("RGBA"))).made == ()


def test_deep_alpha_is_exact():
    x = DEEP.copy()
    x[0, :, 3] = 0
    picture = one(png(x), Reading(background="#ff0080"))
    alpha = x[..., 3:] / 65535
    behind = np.array((255, 0, 128)) * 257
    assert np.abs(picture.numbers - (x[..., :3] * alpha + behind * (1 - alpha))).max() <= 0.5 + 1e-6
    assert picture.made == (LAID,)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "deep grey", "deep"])
def test_a_colour_may_stand_for_transparent(mode):
    if mode.startswith("deep"):
        x = DEEP[..., : 1 if mode == "deep grey" else 3].copy()
        x[2, 2] = x[0, 0]
        data, white = png(x, key=x[0, 0].tolist()), 65535
    else:
        given = Image.fromarray(COLOUR // 64 * 64).convert(mode)
        x = np.asarray(given.convert("RGB" if mode == "P" else "L" if mode == "1" else mode)).reshape(6, 5, -1)
        key = {"1": int(x[0, 0, 0]), "L": int(x[0, 0, 0]), "RGB": tuple(x[0, 0].tolist())}
        data, white = saved(given, transparency=key.get(mode, given.getpixel((0, 0)))), 255
    hidden = np.all(x == x[0, 0], axis=2, keepdims=True)
    picture = one(data, Reading(background="white"))
    np.testing.assert_array_equal(picture.numbers, np.where(hidden, white, x))
    assert picture.made == ((LAID,) if np.any(hidden) else ())


def test_what_is_no_colour_is_refused():
    assert background_colour("#0080ff") == (0, 128, 255)
    for wrong in ("whitish", "", "#ff000080"):
        with pytest.raises(ValueError, match="background must be the name of a colour"):
            background_colour(wrong)


def test_colours_become_grey_by_their_luma():
    expected = np.asarray(Image.fromarray(COLOUR).convert("L"))
    for picture in (one(saved(COLOUR), Reading(grey=True)), one(saved(COLOUR), channels=1)):
        np.testing.assert_array_equal(picture.numbers[..., 0], expected)
        assert picture.made == (GREYED,)
    deep = one(png(DEEP[..., :3]), Reading(grey=True)).numbers
    assert np.abs(deep[..., 0] - DEEP[..., :3] @ np.array([0.299, 0.587, 0.114])).max() <= 1  # its weights to 2^-17
    assert deep.dtype == np.uint16
    assert one(saved(GREY), Reading(grey=True)).made == ()


@pytest.mark.parametrize("size", [(4, 3), (9, 4), (12, 20)])
def test_sizes_of_all_depths_agree(size):
    smooth = np.clip(128 + 100 * np.sin(np.arange(40)[:, None] / 7 + np.arange(31) / 5), 0, 255).astype(np.uint8)
    reading = Reading(size=size)
    eight = one(saved(smooth), reading)
    sixteen = one(saved(smooth.astype(np.uint16) * np.uint16(257)), reading)
    floats = one(saved(smooth.astype(np.float32), "tiff"), reading)
    assert eight.numbers.shape == sixteen.numbers.shape == floats.numbers.shape == (*size, 1)
    assert eight.made == sixteen.made == floats.made == (SIZED,)
    # Pillow rounds 8 bits twice, after the rows and after the columns, whose weights' absolute values sum to below 1.4.
    assert np.abs(sixteen.numbers / 257 - eight.numbers).max() <= 0.5 + 0.5 * 1.4
    expected = (sixteen.numbers / 257).clip(smooth.min(), smooth.max())
    assert np.abs(expected - floats.numbers).max() <= 0.5 / 257 + 1e-3
    deep = one(png(np.stack([smooth] * 3, axis=2).astype(np.uint16) * np.uint16(257)), reading)
    np.testing.assert_array_equal(deep.numbers, sixteen.numbers.repeat(3, axis=2))


def test_size_crops_at_the_centre_without_aliases():
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = np.indices((8, 8)).sum(0) % 2 * 255  # of which every second pixel would be black, or white
    picture = one(saved(wide), Reading(size=(2, 2)))
    assert np.abs(picture.numbers.astype(int) - 127.5).max() < 26  # a tenth of the range
    same = one(saved(GREY), Reading(size=(6, 5)))
    np.testing.assert_array_equal(same.numbers[..., 0], GREY)
    assert same.made == ()


def test_sizes_stay_in_the_range():
    steps = np.zeros((40, 40), np.float32)
    steps[:, 20:] = 1
    for picture in (
        one(saved(steps, "tiff"), Reading(size=(15, 15))),
        one(saved((steps * 65535).astype(np.uint16)), Reading(size=(15, 15))),
    ):
        assert picture.numbers.min() == 0
        assert picture.numbers.max() == (65535 if picture.numbers.dtype == np.uint16 else 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_sizes_stay_below_the_levels(dtype):
    steps = np.zeros((40, 40), dtype)
    steps[:, 20:] = 16
    data = saved(steps)
    assert one(data, Reading(size=(15, 15))).numbers.max() > 16
    assert one(data, Reading(size=(15, 15), levels=17)).numbers.max() == 16
    assert one(data, Reading(size=(15, 15), levels=2)).numbers.max() == 16  # not hidden: they aren't 0 and 1


@pytest.mark.parametrize("suffix", ["gif", "png", "tiff", "webp"])
def test_frames_are_images_where_they_are_asked_for(suffix):
    frames = RNG.integers(0, 2, (3, 6, 5, 1), np.uint8) * np.array([200, 100, 50], np.uint8)
    first, *others = map(Image.fromarray, frames)
    data = saved(first, suffix, save_all=True, append_images=others, **({"lossless": True} if suffix == "webp" else {}))
    with pytest.raises(images.SeveralFramesError, match="3 frames"):
        images_in(data, PLAIN)
    found = images_in(data, Reading(frames=True))
    assert len(found) == 3
    for picture, frame in zip(found, frames, strict=True):
        np.testing.assert_array_equal(picture.numbers, frame)
    (still,) = images_in(saved(frames[0], suffix), Reading(frames=True))
    assert still.numbers.shape == (6, 5, 3)


def test_frames_of_a_grey_animation_are_grey():
    frames = [Image.fromarray(GREY // 16 * 16), Image.fromarray(GREY[::-1] // 16 * 16)]
    found = images_in(saved(frames[0], "gif", save_all=True, append_images=frames[1:]), Reading(frames=True))
    for picture, frame in zip(found, frames, strict=True):
        np.testing.assert_array_equal(picture.numbers[..., 0], np.asarray(frame))
        assert picture.numbers.shape == (6, 5, 1)


def test_views_of_one_scene_are_a_still():
    data = saved(COLOUR, "mpo", save_all=True, append_images=[Image.fromarray(COLOUR[::-1])])
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.n_frames == 2
        np.testing.assert_array_equal(one(data).numbers, np.asarray(stored))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (b"no image at all", "a file that is none"),
        (saved(RNG.integers(0, 256, (60, 50), np.uint8))[:1000], "truncated"),
        (saved(RNG.integers(0, 256, (60, 50), np.uint8), "jpeg")[:1000], "truncated"),
        (b"P5 5 6 255 short", "truncated|not enough"),
        (b"P5 50000 50000 255 ", "exceeds limit"),
    ],
)
def test_what_is_no_image_says_why(data, message):
    with pytest.raises(images.UnreadableError, match=message):
        images_in(data, PLAIN)


def test_files_that_cannot_be_read_say_why(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert read_bytes(tmp_path / "x") == b"abc"
    with pytest.raises(images.UnreadableError, match="an error: No such file"):
        read_bytes(tmp_path / "gone")
    with pytest.raises(images.UnreadableError, match="an error: Is a directory"):
        read_bytes(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(images.UnreadableError, match="something that is no file"):
        images.read_bytes(tmp_path / "x.png")
