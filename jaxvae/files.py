"""Files that are always complete, even if a process is killed, and directories that only one process writes to."""

import contextlib
import functools
import os
import re
import secrets
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from jaxvae.arguments import require

LOCK = ".lock"
UNFINISHED = ".unfinished"
"""The name of a note in a folder, which says that some of its files may still be missing."""

_PARTIAL = re.compile(r"\..+\.(\d+|[0-9a-f]{16})")
"""The names that killed writes leave: ``.NAME.`` and 16 hexadecimal digits or, in older versions, a process ID."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file, which has either all of the new content or the old content, even if the power fails.

    The content is first written to a new file, whose name nobody can guess. Such files that earlier processes left
    because they were killed are removed.
    """
    for left in _left(path.parent.absolute()).pop(path.name, ()):
        _remove_left(left)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with naming(path):
        try:
            with partial.open("xb") as file, _locked(partial):
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
                file.close()
                partial.replace(path)
            synchronize(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@functools.lru_cache(1024)
def _left(directory: Path) -> dict[str, list[Path]]:
    """Returns what killed writes may have left in a directory before this process wrote there, by the file's name."""
    found: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            file, _, digits = name[1:].rpartition(".")
            if _is_partial(name) and len(digits) == 16:
                found.setdefault(file, []).append(directory / name)
    return found


def _remove_left(path: Path) -> None:
    """Removes a file that a killed write left, unless another process is still writing it and holds its lock."""
    with contextlib.suppress(OSError):
        if stat.S_ISREG(path.lstat().st_mode):  # not a link or pipe that somebody has planted
            with _locked(path) as sure:
                if sure:
                    path.unlink()


@contextlib.contextmanager
def written_together(note: Path) -> Iterator[None]:
    """Leaves a note while files that belong together are written; the note stays if not all were written."""
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(note, "")
    yield
    note.unlink()
    synchronize(note.parent)


def synchronize(path: Path) -> None:
    """Flushes a file, or the names in a directory, to the disk; does nothing if the system can't."""
    with contextlib.suppress(OSError):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def require_file(path: Path) -> None:
    """Raises ValueError if a path exists but is neither a file nor a folder; reading from a pipe would wait."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = path.stat().st_mode
        require(stat.S_ISREG(mode) or stat.S_ISDIR(mode), "path", str(path), "a file or a folder")


def user_cache() -> Path:
    """Returns the folder for files that can be made again: ``$XDG_CACHE_HOME``, or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def read_file(path: Path) -> bytes:
    """Returns a file's content; raises like ``require_file``, and OSError if the file can't be read."""
    require_file(path)
    return path.read_bytes()


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes errors of the operating system name this file, as that of a full disk doesn't by itself."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise


class Claim:
    """A claim to a directory that this process writes to, and whose lock it has just acquired.

    Args:
        directory: the directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory, self._held = directory, (directory / LOCK).stat()

    def require_held(self) -> None:
        """Raises FileNotFoundError if the directory or its lock was deleted meanwhile, as new files would be lost."""
        try:
            held = os.path.samestat(self._held, (self._directory / LOCK).stat())
        except (FileNotFoundError, NotADirectoryError):
            held = False
        if not held:
            raise FileNotFoundError(
                f"out must stay where it is, with its {LOCK}, while it is written to, got {str(self._directory)!r}, "
                "which was deleted, moved or unlocked meanwhile"
            )


@contextlib.contextmanager
def only_writer(directory: Path) -> Iterator[Claim]:
    """Keeps other writers out of a directory, which is made if necessary; a process that dies releases it.

    Files that killed writes left are removed.

    Raises:
        ValueError: if another process writes to the directory, or this one can't.
    """
    import filelock  # takes 0.1 s, which commands that write nothing needn't spend

    lock = filelock.FileLock(directory / LOCK)
    with contextlib.ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(directory))
            lock.acquire(timeout=0)
            stack.callback(lock.release)
            for path in directory.iterdir():
                if _is_partial(path.name) and path.is_file():
                    path.unlink()
        except (filelock.Timeout, BlockingIOError):
            raise ValueError(
                f"out must be a directory that no other process writes to, got {str(directory)!r}, which one does"
            ) from None
        except OSError as error:
            raise ValueError(
                f"out must be a directory to write to, got {str(directory)!r} ({error.strerror or error})"
            ) from error
        yield Claim(directory)


@contextlib.contextmanager
def holding(directory: Path, lock: str, wait: float = 0) -> Iterator[None]:
    """Holds one of the locks of a directory that several processes write to; it is made if necessary.

    Args:
        directory: the directory.
        lock: the lock file's name: ``LOCK``, which keeps out those that write all of the directory, or a name that
            begins with it.
        wait: the number of seconds to wait for another holder.

    Raises:
        ValueError: if another process holds the lock, or this one can't.
    """
    import filelock

    held = filelock.FileLock(directory / lock)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=wait)
    except filelock.Timeout:
        raise ValueError(
            f"out must be a directory whose {lock} no other process holds, got {str(directory)!r}"
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
def _locked(path: Path) -> Iterator[bool]:
    """Locks a directory or file itself, as a lock file may be deleted; yields whether the system can do this.

    Raises:
        BlockingIOError: if another process holds the lock.
    """
    try:
        import fcntl

        number = os.open(path, os.O_RDONLY)
    except (ImportError, OSError):  # not on Windows
        yield False
        return
    sure = True
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a file system without such locks
            sure = False
        yield sure
    finally:
        os.close(number)


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[Path]:
    """Makes a new directory: the path, or the first of path-2, path-3, … that doesn't exist.

    It is made at once, so that no other process gets the same one, and removed at the end if it is empty.
    """
    number, free = 1, path
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            free.mkdir()
            break
        except FileExistsError:
            number += 1
            free = path.with_name(f"{path.name}-{number}")
        except FileNotFoundError:  # another process has just deleted the parent, which was empty
            continue
    try:
        yield free
    finally:
        with contextlib.suppress(OSError):
            free.rmdir()
            free.parent.rmdir()


def require_free(directory: Path, own: Collection[str], allowed: str) -> None:
    """Raises ValueError if a directory to write to contains anything but files with these names."""
    require(not directory.exists() or directory.is_dir(), "out", str(directory), "a directory")
    require(entries(directory) <= {*own}, "out", str(directory), allowed)


def require_unwritten(directory: Path, names: Collection[str], allowed: str) -> None:
    """Raises like ``require_free`` if a directory is in use, unless writing these files together was interrupted."""
    begun = (directory / UNFINISHED).is_file()
    require_free(directory, {UNFINISHED, *names} if begun else (), allowed)


def entries(directory: Path) -> set[str]:
    """Returns the names in a directory, which may be missing, without locks and what killed writes left."""
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    return {name for name in names if not name.startswith(LOCK) and not _is_partial(name)}


def _is_partial(name: str) -> bool:
    return _PARTIAL.fullmatch(name) is not None
