"""Files that are whole, whatever happens, and directories that one process writes."""

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from jaxvae.arguments import require

LOCK = ".lock"


def write_atomically(path: Path, content: str | bytes) -> None:
    """All of the content, or the file as it was."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with naming(path):
        try:
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the operating system names this file, which a full disk's doesn't by itself."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def only_writer(directory: Path, lock: str = LOCK, wait: float = 0) -> Iterator[None]:
    """Keeps other writers out of a directory, which is made if need be; a process that dies lets go of it.

    Args:
        directory: the directory.
        lock: the name of the file that is locked, ``LOCK`` or one that begins so; holders of others aren't kept out.
        wait: seconds until another writer must be done.

    Raises:
        ValueError: where another process writes to it, or this one can't.
    """
    import filelock  # 0.1 s, which commands that write nothing needn't spend

    held = filelock.FileLock(directory / lock)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=wait)
    except filelock.Timeout:
        raise ValueError(
            f"out must be a directory that no other process writes to, got {str(directory)!r}, which one does"
        ) from None
    except OSError as error:
        raise ValueError(
            f"out must be a directory to write to, got {str(directory)!r} ({error.strerror or error})"
        ) from error
    try:
        yield
    finally:
        held.release()


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[Path]:
    """A new directory: the path, or the first of path-2, path-3, … that doesn't exist.

    It is made at once, so that no other process gets the same, and is gone again where nothing was put into it.
    """
    number, free = 1, path
    while True:
        try:
            free.mkdir(parents=True)
            break
        except FileExistsError:
            number += 1
            free = path.with_name(f"{path.name}-{number}")
    try:
        yield free
    finally:
        with contextlib.suppress(OSError):
            free.rmdir()
            free.parent.rmdir()


def require_free(directory: Path, own: Collection[str], allowed: str) -> None:
    """Raises ValueError where a directory to write to holds anything but files of these names."""
    require(not directory.exists() or directory.is_dir(), "out", str(directory), "a directory")
    require(entries(directory) <= {*own}, "out", str(directory), allowed)


def entries(directory: Path) -> set[str]:
    """The names of what is in a directory that may be missing, but for its locks."""
    names = (path.name for path in directory.iterdir()) if directory.exists() else ()
    return {name for name in names if not name.startswith(LOCK)}
