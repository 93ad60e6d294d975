"""A cache of arrays made from many files, in the user's cache directory.

There is a folder for each list of files, by their names, their sizes, and how they are read. It holds ``CONTENT.npy``
and ``CONTENT.json`` for each digest of the files' content. For each state of the files, as their times show it, it
holds a file that names the content, so that the files needn't be read to find it.
"""

import contextlib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvae.files import user_cache, write_atomically

_UNUSED = 90 * 24 * 3600.0  # seconds after which an unused array is removed
_CHUNK = 2**26  # bytes checked at a time


class Made(NamedTuple):
    """An array made from files.

    Attributes:
        array: the array.
        about: further information, as JSON values.
        content: the ``digest_of`` the files' content.
    """

    array: np.ndarray
    about: dict[str, Any]
    content: str


def digest(part: bytes) -> bytes:
    """Returns a digest of one file's content."""
    return hashlib.blake2b(part, digest_size=16).digest()


def digest_of(digests: Iterable[bytes]) -> str:
    """Returns a digest of the digests of several files, in their order."""
    return hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()


def keep_made(
    root: Path,
    names: Sequence[str],
    how: str,
    contents: Callable[[], Iterable[bytes]],
    make: Callable[[], Made],
) -> Made:
    """Returns what ``make`` makes from files, mapped into memory; it is made only if the cache lacks it.

    A cache that can't be read or written isn't used, and a damaged array is made again.

    Args:
        root: the folder with the files.
        names: the names of the files in it.
        how: how the files are read; arrays that differ in this are kept separately.
        contents: a function that reads the files' content, in their order.
        make: a function that makes the array.
    """
    sizes, times = _states(root, names)
    listed = "\0".join(names).encode(errors="surrogateescape")
    folder = _root() / digest_of(map(digest, (how.encode(), listed, sizes)))
    state = folder / f"{digest_of(map(digest, (os.fsencode(root.absolute()), times)))}.txt"
    content = _text(state)
    found = _found(folder, content)
    if found is None and any(folder.glob("*.npy")):
        found = _found(folder, digest_of(map(digest, contents())))
    if found is None:
        found = make()
        try:
            _keep(folder, found)
        except OSError:  # a full disk, or a read-only folder
            return found
        found = _found(folder, found.content) or found
    with contextlib.suppress(OSError):
        if found.content != content:
            write_atomically(state, found.content)
        for used in (state, folder / f"{found.content}.json", folder / f"{found.content}.npy"):
            os.utime(used)
    return found


def _root() -> Path:
    return user_cache() / "jaxvae" / "images"


def _states(root: Path, names: Sequence[str]) -> tuple[bytes, bytes]:
    """Returns the files' sizes, and the times of the last changes of their content and of their metadata."""
    sizes: list[int] = []
    times: list[int] = []
    for name in names:
        try:
            found = os.stat(f"{root}/{name}")
        except OSError:
            sizes.append(-1)
            times += (-1, -1)
        else:
            sizes.append(found.st_size)
            times += (found.st_mtime_ns, found.st_ctime_ns)
    return np.array(sizes, np.int64).tobytes(), np.array(times, np.int64).tobytes()


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _found(folder: Path, content: str) -> Made | None:
    """Returns the array of a content if it is complete, else None."""
    try:
        about = json.loads((folder / f"{content}.json").read_bytes())
        array = np.lib.format.open_memmap(folder / f"{content}.npy", mode="r")
        whole = about.pop("checksum") == _checksum(array)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, SyntaxError):
        return None  # missing, incomplete, or something else
    return Made(array, about, content) if whole else None


def _checksum(array: np.ndarray) -> int:
    """Returns the CRC-32 of shape, dtype and numbers, computed in parts."""
    found = zlib.crc32(f"{array.shape} {array.dtype}".encode())
    rows = max(1, _CHUNK // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        found = zlib.crc32(np.ascontiguousarray(array[start : start + rows]).data, found)
    return found


def _keep(folder: Path, made: Made) -> None:
    """Writes an array atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{made.content}.{os.getpid()}"
    try:
        with partial.open("wb") as stream:
            np.save(stream, made.array, allow_pickle=False)
            os.fsync(stream.fileno())
        partial.replace(folder / f"{made.content}.npy")
    finally:
        partial.unlink(missing_ok=True)
    about = {**made.about, "checksum": _checksum(made.array)}
    write_atomically(folder / f"{made.content}.json", json.dumps(about))
    _clear(folder.parent)


def _clear(root: Path) -> None:
    """Removes arrays that weren't used for a long time, and empty folders."""
    for file in root.glob("*/*"):
        with contextlib.suppress(OSError):  # another process may do the same
            if time.time() - file.stat().st_mtime > _UNUSED:
                file.unlink()
    for folder in root.iterdir():
        with contextlib.suppress(OSError):
            folder.rmdir()
