"""Reading of one image file: it is decoded, turned upright, made opaque, and resized on request.

The result has one or three channels, (H, W, C), for every mode of a file: uint8 in 0..255, uint16 in 0..65535, or
float32 as stored.
"""

import contextlib
import io
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.options import Reading

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".tif", ".tiff")
"""The suffixes of image files; other files are ignored."""

TURNED, LAID, GREYED, SIZED, CUT = "turned", "laid", "greyed", "sized", "cut"
"""The changes that an image may have.

It may be turned upright, put on a background, made grey, resized, or read as 8 bits per channel if the file has 16.
"""

_CONVERTED = ("CMYK", "YCbCr", "LAB", "HSV")
_ORIENTATION = 0x0112  # the tag of EXIF
_EXIF = frozenset(("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"))  # where Pillow finds EXIF
_BITS, _PLANES = 258, 284  # tags of TIFF: bits of each channel, whether channels are stored apart
_GREY = np.array([19595, 38470, 7471], np.uint32)  # ITU-R 601-2 luma in 2^-16, as in Pillow; the sum is 2^16
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class UnreadableError(ValueError):
    """An error for a file that is no image or is broken; its text is the reason, which follows "got"."""


class SeveralFramesError(ValueError):
    """An error for an unexpected file of several images; its text is their number, which follows "got"."""


class Pixels(NamedTuple):
    """An image, and how it was converted.

    Attributes:
        numbers: (H, W, C), where C is 1 or 3; uint8, uint16 or float32.
        made: some of ``TURNED`` and so on, and the colour space from which it was converted.
    """

    numbers: np.ndarray
    made: tuple[str, ...]


def read_bytes(file: str | Path) -> bytes:
    """Reads a file four times as fast as ``Path.read_bytes``; raises UnreadableError if it can't be read."""
    try:
        # Without the second flag, a pipe would wait.
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
                raise UnreadableError("something that is no file")
            size = about.st_size
            data = os.read(descriptor, size)
            while len(data) < size and (more := os.read(descriptor, size - len(data))):  # at most 2 GB per call
                data += more
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnreadableError(f"an error: {error.strerror or error}") from None
    return data


def images_in(data: bytes, reading: Reading, channels: int | None = None) -> list[Pixels]:
    """Decodes the images in the bytes of a file: one, or as many as it has frames.

    Args:
        data: the file's content.
        reading: ``size``, ``grey``, ``background`` and ``frames`` apply, and ``levels`` defines white.
        channels: 1 also makes colours grey; other numbers change nothing.

    Raises:
        UnreadableError: for a file that isn't an image, is broken, or has numbers that can't be stored.
        SeveralFramesError: for several frames, unless ``reading.frames`` says that each is an image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            count = _frames(image)
            if count == 1 or reading.frames:
                grey = reading.grey or channels == 1
                return [_picture(image, data, frame, count, reading, grey) for frame in range(count)]
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError("a file that is none" if data else "an empty file") from None
    except Exception as error:  # each format's reader raises its own errors for broken files
        raise UnreadableError(" ".join(str(error).split()) or type(error).__name__) from None
    raise SeveralFramesError(f"{count} frames")


def background_colour(name: str) -> tuple[int, int, int]:
    """Returns red, green and blue in 0..255 for a colour's name or ``#rrggbb``; raises ValueError for anything else."""
    from PIL import ImageColor

    colour: tuple[int, ...] = ()
    with contextlib.suppress(ValueError):
        colour = ImageColor.getrgb(name)
    require(len(colour) == 3, "background", name, "the name of a colour, as white, or #rrggbb")
    red, green, blue = colour
    return red, green, blue


def _frames(image: "Image.Image") -> int:
    """Returns the number of images in the file; an MPO has one, whose further frames are views or a preview."""
    if image.format == "MPO" or not getattr(image, "is_animated", False):
        return 1
    return getattr(image, "n_frames", 1)


def _picture(image: "Image.Image", data: bytes, frame: int, count: int, reading: Reading, grey: bool) -> Pixels:
    if frame:
        image.seek(frame)
    x, made = _channels(image, data, frame)
    if count > 1 and image.format == "GIF" and x.shape[2] > 2 and bool(np.all(x[..., :3] == x[..., :1])):
        x = x[..., ::3]  # Pillow converts even grey frames to colours
    if x.shape[2] in (2, 4):
        x, laid = _laid(x, background_colour(reading.background))
        made += (LAID,) * laid
    if grey and x.shape[2] == 3:
        x, made = greyed(x), (*made, GREYED)
    if reading.size and x.shape[:2] != reading.size:
        if x.dtype.kind == "f" and np.isnan(x).any():
            raise ValueError("missing numbers (NaN), which can't be resized")
        x, made = sized(x, reading), (*made, SIZED)
    if x.dtype.kind == "f" and np.isinf(x).any():
        raise ValueError("numbers that aren't finite")
    return Pixels(x, made)


def _channels(image: "Image.Image", data: bytes, frame: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns a frame's numbers, (H, W, C), where the last of 2 or 4 channels is alpha; and how it was converted."""
    deep = _deep(image)
    turned = image.format == "TIFF" and _orientation(image) != 1  # only known before it is loaded
    x = _sixteen_bits(image, data, frame) if deep else None
    upright, mode = _upright(image), image.mode
    made = (TURNED,) * (turned or upright is not image) + (CUT,) * (deep and x is None)
    if mode in _CONVERTED:
        upright, made = upright.convert("RGB"), (*made, mode)
    elif mode in ("P", "PA", "RGBa", "RGBX"):
        alpha = mode in ("PA", "RGBa") or "transparency" in image.info
        upright = upright.convert("RGBA" if alpha else "RGB")
    elif mode == "La":
        upright = upright.convert("LA")
    if x is None:
        x = np.asarray(upright)
        if mode == "1":
            x = x.astype(np.uint8) * np.uint8(255)
        elif x.dtype.kind in "iu" and x.dtype != np.uint8:
            if x.min() < 0 or x.max() > 65535:
                raise ValueError(f"integers from {x.min()} to {x.max()}, which aren't in 0..65535")
            x = x.astype(np.uint16)
    x = x[..., None] if x.ndim == 2 else x
    key = image.info.get("transparency")
    if key is not None and x.shape[2] in (1, 3) and mode != "P":  # one colour that means transparent
        seen = np.any(x != np.asarray(key), axis=2, keepdims=True)
        x = np.concatenate([x, seen * np.array(np.iinfo(x.dtype).max, x.dtype)], axis=2)
    return x, made


def _orientation(image: "Image.Image") -> int:
    """Returns 1 for an image that is upright or has no orientation; else 2 to 8."""
    if image.format != "TIFF" and not _EXIF & image.info.keys():
        return 1  # getexif would find the same, but slower
    found = image.getexif().get(_ORIENTATION, 1)
    return found if found in range(2, 9) else 1


def _upright(image: "Image.Image") -> "Image.Image":
    """Returns the loaded image, or a copy that is turned upright."""
    image.load()
    if image.format == "TIFF" or _orientation(image) == 1:
        return image  # Pillow has already turned a TIFF
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _deep(image: Any) -> bool:
    """Returns whether the file has several channels of 16 bits, of which Pillow reads the upper 8."""
    codec, _, _, arguments = (getattr(image, "tile", None) or [("", (), 0, "")])[0]
    rawmode = arguments if isinstance(arguments, str) or not arguments else arguments[0]
    if image.format == "TIFF" and max(image.tag_v2.get(_BITS, (1,))) > 8 and rawmode in ("R", "G", "B", "A"):
        raise ValueError("planes of 16 bits, which can't be read")  # Pillow would read their bytes as pixels
    if codec == "ppm":
        return image.mode == "RGB" and arguments[1] > 255
    return isinstance(rawmode, str) and rawmode[:-1].endswith(";16") and image.mode in ("RGB", "RGBA", "CMYK")


def _sixteen_bits(image: Any, data: bytes, frame: int) -> np.ndarray | None:
    """Returns a deep image's numbers, (H, W, C) uint16, by decoding each half as 8 bits; None if that is impossible.

    One of Pillow's raw modes says how bytes become pixels; the raw mode with the other byte order gives the lower half.
    """
    codec, _, _, arguments = image.tile[0]
    rawmode = "RGB;16B" if codec == "ppm" else arguments if isinstance(arguments, str) else arguments[0]
    planar = image.format == "TIFF" and image.tag_v2.get(_PLANES, 1) != 1
    blended = image.format == "PNG" and image.is_animated  # with the frame before, in 8 bits
    if rawmode[:-4] not in ("RGB", "RGBX", "RGBA", "LA") or planar or blended:
        return None
    if rawmode == "LA;16B":
        return np.ascontiguousarray(_decoded_as("RGBA", data, frame)).view(">u2").astype(np.uint16)
    high, low = (_decoded_as(mode, data, frame) for mode in (rawmode, rawmode[:-1] + _OTHER_BYTE[rawmode[-1]]))
    x = high.astype(np.uint16) << 8 | low
    return np.rint(x * (65535 / arguments[1])).astype(np.uint16) if codec == "ppm" else x


def _decoded_as(rawmode: str, data: bytes, frame: int) -> np.ndarray:
    """Returns an upright frame, whose bytes are decoded with this raw mode of Pillow."""
    from PIL import Image

    image: Any
    with Image.open(io.BytesIO(data)) as image:
        if frame:
            image.seek(frame)
        tiles = []
        for tile in image.tile:
            codec, box, offset, arguments = tile
            if codec == "ppm":
                codec, arguments = "raw", (rawmode, 0, 1)
            else:
                arguments = rawmode if isinstance(arguments, str) else (rawmode, *arguments[1:])
            tiles.append(getattr(tile, "_make", tuple)((codec, box, offset, arguments)))  # a tuple before Pillow 11
        image.tile = tiles
        return np.asarray(_upright(image))


def _laid(x: np.ndarray, background: tuple[int, int, int]) -> tuple[np.ndarray, bool]:
    """Puts an image, whose last channel is alpha, on a background, x·α + b·(1 − α); also says if any of that shows."""
    white = int(np.iinfo(x.dtype).max)
    colours, alpha = x[..., :-1], x[..., -1:].astype(np.uint32)
    if alpha.min() == white:
        return colours, False
    behind = np.array(background, np.uint32) * (white // 255)
    if colours.shape[2] == 1 and len(set(background)) == 1:
        behind = behind[:1]
    return ((colours * alpha + behind * (white - alpha) + white // 2) // white).astype(x.dtype), True


def greyed(x: np.ndarray) -> np.ndarray:
    """Returns the luma, (H, W, 1), of colours (H, W, 3)."""
    if x.dtype.kind == "f":
        return (x @ (_GREY / 2**16).astype(np.float32))[..., None]
    red, green, blue = (x[..., c : c + 1] * weight for c, weight in enumerate(_GREY))
    return ((red + green + blue + 2**15) >> 16).astype(x.dtype)


def sized(x: np.ndarray, reading: Reading) -> np.ndarray:
    """Resizes an image to ``reading.size`` with a Lanczos filter, and crops it at the centre.

    The filter's overshoots are cut off: for integers at 0 and at white, for floats at the image's smallest and largest
    number.
    """
    from PIL import Image, ImageOps

    height, width = reading.size

    def fitted(channels: np.ndarray) -> np.ndarray:
        return np.asarray(ImageOps.fit(Image.fromarray(channels), (width, height), Image.Resampling.LANCZOS))

    if x.dtype == np.uint8:
        y = fitted(x.squeeze(2) if x.shape[2] == 1 else x).reshape(height, width, x.shape[2])
    else:
        y = np.stack([fitted(x[..., c].astype(np.float32)) for c in range(x.shape[2])], axis=2)
    if x.dtype.kind == "f":
        return y.clip(x.min(), x.max())
    white = np.iinfo(x.dtype).max if reading.levels is None else max(reading.levels - 1, int(x.max()))
    return np.rint(y).clip(0, white).astype(x.dtype)
