"""Many image files as one array: they are read in parallel, in one pass, and cached if they are many."""

import collections
import contextlib
import os
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvae.arguments import require
from jaxvae.data import cache, images
from jaxvae.data.options import Reading
from jaxvae.texts import counted

MANY = 1000
"""The number of files from which on their array is kept in the user's cache."""

_VERSION = 1  # increase it with each change in how files are converted
_PATIENCE = 2.0  # seconds before a progress bar appears
_SMALL = 2**14  # bytes of a file that is decoded so fast that more than two threads would only wait
_AT_ONCE = 2**21  # bytes that a thread reads at a time

_COLOURED, _WIDENED = "coloured", "widened"
_MADE = {
    images.TURNED: "{images} {were} turned upright as {their} EXIF orientation says.",
    images.LAID: "{images} with transparent pixels {were} laid over {background}.",
    images.GREYED: "{images} in colour {were} made grey.",
    images.SIZED: "{images} of another size {were} resized and cropped to {size}.",
    images.CUT: "{images} with 16 bits per channel {were} read as 8 bits per channel: the lower half is lost.",
    _COLOURED: "{images} in grey {were} given three channels, as images in colour have.",
    _WIDENED: "{images} of 8 bits {were} scaled by 257, as others have 16 bits.",
}
_CONVERTED = "{images} {were} converted from {mode} to RGB."
_SPLIT = "{files} with several frames {were} read as an image of each."
_SKIPPED = "{files} that can't be read {were} left out; the first is {first} ({reason})."


class Pictures(NamedTuple):
    """Images of one shape.

    Attributes:
        images: (N, H, W, C), where C is 1 or 3; uint8 in 0..255, uint16 in 0..65535, or float32 as in the files. It is
            a memory map if it comes from the cache.
        names: the name of each image's file, (N,), with ``#0``, ``#1``, … if the file has several images.
        sources: the index of each image's file in the list, (N,).
        notes: sentences on how files were converted.
    """

    images: np.ndarray
    names: np.ndarray
    sources: np.ndarray
    notes: tuple[str, ...]


def read_files(root: Path, names: Sequence[str], reading: Reading, channels: int | None = None) -> Pictures:
    """Reads the images in files, in their order, as one array.

    If some images are in colour, grey ones get three channels; if some have 16 bits, those of 8 bits are multiplied by
    257. Arrays of at least ``MANY`` files are kept in the user's cache.

    Args:
        root: a folder.
        names: the names of files in it, with ``/`` between folders; at least one.
        reading: ``size``, ``levels``, ``grey``, ``background``, ``frames`` and ``skip_bad`` apply.
        channels: 1 makes all images grey, 3 makes all colour; None follows the files.

    Raises:
        ValueError: if sizes differ, a file can't be read or has several frames, or floats and integers are mixed; it
            names the file.
    """
    images.background_colour(reading.background)
    made = _made(root, names, reading, channels)
    about = made.about
    sources = np.repeat(np.arange(len(names)), about["counts"])
    called = np.array(
        [
            f"{name}#{frame}" if count > 1 else name
            for name, count in zip(names, about["counts"], strict=True)
            for frame in range(count)
        ]
    )
    return Pictures(made.array, called, sources, tuple(about["notes"]))


def _made(root: Path, names: Sequence[str], reading: Reading, channels: int | None) -> cache.Made:
    def make() -> cache.Made:
        return _collected(root, names, reading, channels)

    if len(names) < MANY:
        return make()
    import PIL

    applied = {
        field: getattr(reading, field) for field in ("size", "levels", "grey", "background", "frames", "skip_bad")
    }
    how = f"{_VERSION} {PIL.__version__} {applied} {channels}"
    return cache.keep_made(root, names, how, lambda: (_content(f"{root}/{name}") for name in names), make)


def _content(file: str) -> bytes:
    try:
        return images.read_bytes(file)
    except images.UnreadableError:
        return b""


class _Read(NamedTuple):
    """The result of reading a file: the digest and number of its bytes, and its images or why there are none."""

    digest: bytes
    size: int
    found: list[images.Pixels] | images.UnreadableError | images.SeveralFramesError


def _collected(root: Path, names: Sequence[str], reading: Reading, channels: int | None) -> cache.Made:
    """Reads all files in one pass; shape and dtype are those of the first image until another one needs more."""

    def read(name: str) -> _Read:
        data = b""
        try:
            data = images.read_bytes(f"{root}/{name}")
            return _Read(cache.digest(data), len(data), images.images_in(data, reading, channels))
        except (images.UnreadableError, images.SeveralFramesError) as error:
            return _Read(cache.digest(data), len(data), error)

    from PIL import Image

    rows, digests, counts, bad = _Rows(len(names), channels), [], [], []
    with (
        warnings.catch_warnings(),
        _progress(len(names)) as shown,
        contextlib.closing(_in_order(read, names)) as every,
    ):
        warnings.simplefilter("ignore", UserWarning)  # Pillow's, about errors that it ignores
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for name, (found_digest, _, found) in zip(names, every, strict=True):
            digests.append(found_digest)
            if isinstance(found, images.SeveralFramesError):
                raise ValueError(f"{root}/{name} must be one image, got {found}; --frames makes an image of each")
            if isinstance(found, images.UnreadableError):
                if not reading.skip_bad:
                    raise ValueError(f"{root}/{name} must be an image, got {found}; --skip-bad leaves it out")
                bad.append((name, found))
                found = []
            counts.append(len(found))
            for frame, picture in enumerate(found):
                rows.add(picture, f"{root}/{name}" + f"#{frame}" * (len(found) > 1))
            shown(len(digests))
    if rows.array is None:
        raise ValueError(f"{root}: none of {counted(len(names), 'file')} can be read; {bad[0][0]} is {bad[0][1]}")
    notes = rows.notes(reading)
    if split := sum(count > 1 for count in counts):
        notes.append(_sentence(_SPLIT, split))
    if bad:
        notes.append(_sentence(_SKIPPED, len(bad), first=bad[0][0], reason=bad[0][1]))
    return cache.Made(rows.array[: rows.count], {"counts": counts, "notes": notes}, cache.digest_of(digests))


class _Rows:
    """An array to which images are added; it gets more channels, bits or rows when an image needs them."""

    def __init__(self, capacity: int, channels: int | None) -> None:
        self.array: np.ndarray | None = None
        self.count = 0
        self._capacity, self._channels = capacity, channels
        self._first = ""
        self._kinds: collections.Counter[tuple[str, int]] = collections.Counter()  # original dtype and channels
        self._made: collections.Counter[str] = collections.Counter()

    def add(self, picture: images.Pixels, file: str) -> None:
        x = picture.numbers
        if self.array is None:
            channels = max(x.shape[2], self._channels or 1)
            self.array, self._first = np.empty((self._capacity, *x.shape[:2], channels), x.dtype), file
        self.array = self._fitting(self.array, x, file)
        self.array[self.count] = x if x.dtype == self.array.dtype else _widened(x)
        self.count += 1
        self._kinds[x.dtype.name, x.shape[2]] += 1
        self._made.update(picture.made)

    def _fitting(self, array: np.ndarray, x: np.ndarray, file: str) -> np.ndarray:
        """Returns the array with room for x, and with the larger number of channels and bits of the two."""
        size, kinds = array.shape[1:3], {"f": "floats", "u": "integers"}
        allowed = f"{size}, as of {self._first}, unless --size H W resizes all"
        require(x.shape[:2] == size, f"{file}: height and width", x.shape[:2], allowed)
        allowed = f"{kinds[array.dtype.kind]}, as of {self._first}"
        require(x.dtype.kind == array.dtype.kind, f"{file}: numbers", kinds[x.dtype.kind], allowed)
        if self.count == len(array):
            array.resize((self.count + self.count // 2 + 1, *array.shape[1:]), refcheck=False)
        if x.shape[2] > array.shape[3]:
            grey, array = array, np.empty((*array.shape[:3], x.shape[2]), array.dtype)
            array[: self.count] = grey[: self.count]
        if x.dtype.itemsize > array.dtype.itemsize:
            narrow, array = array, np.empty(array.shape, x.dtype)
            for row in range(self.count):  # one at a time, without a second array of all
                array[row] = _widened(narrow[row])
        return array

    def notes(self, reading: Reading) -> list[str]:
        """Returns sentences on how images were converted."""
        assert self.array is not None
        made = self._made.copy()
        for (dtype, channels), count in self._kinds.items():
            made[_COLOURED] += count * (channels < self.array.shape[3])
            made[_WIDENED] += count * (dtype != self.array.dtype.name)
        size = "x".join(map(str, reading.size))
        known = {name: text for name, text in _MADE.items() if made[name]}
        found = [_sentence(text, made[name], background=reading.background, size=size) for name, text in known.items()]
        return found + [_sentence(_CONVERTED, made[mode], mode=mode) for mode in sorted(made.keys() - _MADE.keys())]


def _widened(x: np.ndarray) -> np.ndarray:
    """Converts 8 bits to 16, so that 255 becomes 65535."""
    return x.astype(np.uint16) * np.uint16(257)


def _sentence(text: str, count: int, **words: object) -> str:
    """Fills in a text's number of images or files, with words that agree with it."""
    were, their = ("was", "its") if count == 1 else ("were", "their")
    images, files = counted(count, "image"), counted(count, "file")
    return text.format(images=images, files=files, were=were, their=their, **words)


def _in_order(read: Callable[[str], _Read], names: Sequence[str]) -> Generator[_Read]:
    """Yields the results of files in their order; threads read a few files ahead."""
    size = alone = 0
    while not size and alone < len(names):  # until one shows how large files are
        first = read(names[alone])
        yield first
        alone += 1
        if isinstance(first.found, list):
            size = max([first.size, *(picture.numbers.nbytes for picture in first.found)])
    threads = 2 if size < _SMALL else min(16, os.cpu_count() or 1)
    step = min(64, max(1, _AT_ONCE // max(1, size)))
    waiting: collections.deque[Future[list[_Read]]] = collections.deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for start in range(alone, len(names), step):
                waiting.append(pool.submit(lambda some: [read(name) for name in some], names[start : start + step]))
                if len(waiting) > threads + 2:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def _progress(files: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that shows how many files are read, on a terminal, if it takes long."""
    begun, display = time.monotonic(), None
    with contextlib.ExitStack() as stack:

        def show(done: int) -> None:
            nonlocal display
            if display is None and time.monotonic() - begun > _PATIENCE and sys.stderr.isatty():
                from jaxvae.progress import StepProgress

                display = stack.enter_context(StepProgress(files, noun="file"))
            if display is not None:
                display.update(done, {})

        yield show
