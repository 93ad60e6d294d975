"""Files that are whole, whatever happens, and directories that one process writes."""

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
"""The note in a folder that its files aren't all there yet."""

_PARTIAL = re.compile(r"\..+\.(\d+|[0-9a-f]{16})")
"""What a write that was killed leaves: ``.NAME.`` and 16 hexadecimal digits; of older versions, a process' number."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """All of the content, or the file as it was, also where the power fails.

    What is written first is a file of its own, of a name that nobody can guess, and which didn't exist. Such a one that
    an earlier process left, as it was killed, is removed.
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
    """What writes that were killed may have left in a directory before this process wrote there, by the file's name."""
    found: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            file, _, digits = name[1:].rpartition(".")
            if _is_partial(name) and len(digits) == 16:
                found.setdefault(file, []).append(directory / name)
    return found


def _remove_left(path: Path) -> None:
    """Removes it, unless another process is about to write it, which holds its lock."""
    with contextlib.suppress(OSError):
        if stat.S_ISREG(path.lstat().st_mode):  # no link or pipe that somebody has planted
            with _locked(path) as sure:
                if sure:
                    path.unlink()


@contextlib.contextmanager
def written_together(note: Path) -> Iterator[None]:
    """Leaves a note while files are written that belong together; it stays where they aren't all written."""
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(note, "")
    yield
    note.unlink()
    synchronize(note.parent)


def synchronize(path: Path) -> None:
    """Has a file, or the names in a directory, be on the disk; without a word where the system can't."""
    with contextlib.suppress(OSError):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def require_file(path: Path) -> None:
    """Raises ValueError where there is something that is neither a file nor a folder: a pipe would be waited for."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = path.stat().st_mode
        require(stat.S_ISREG(mode) or stat.S_ISDIR(mode), "path", str(path), "a file or a folder")


def user_cache() -> Path:
    """The folder of what can be made again: ``$XDG_CACHE_HOME``, or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def read_file(path: Path) -> bytes:
    """What is in a file; raises as ``require_file``, and OSError where it can't be read."""
    require_file(path)
    return path.read_bytes()


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the operating system names this file, which a full disk's doesn't by itself."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise


class Claim:
    """Of a directory that one process writes, and whose lock it has just got.

    Args:
        directory: that is written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory, self._held = directory, (directory / LOCK).stat()

    def require_held(self) -> None:
        """Raises FileNotFoundError where directory or lock were deleted meanwhile, so that what is written is lost."""
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
    """Keeps other writers out of a directory, which is made if need be; a process that dies lets go of it.

    What earlier writes left that were killed is removed.

    Raises:
        ValueError: where another process writes to it, or this one can't.
    """
    import filelock  # 0.1 s, which commands that write nothing needn't spend

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
    """Holds one of the locks of a directory that several processes write, which is made if need be.

    Args:
        directory: the directory.
        lock: the file's name: ``LOCK``, which keeps out those that write all of it, or one that begins so.
        wait: seconds until another holder must be done.

    Raises:
        ValueError: where another process holds it, or this one can't.
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
    """A directory or file itself, where the system can: a lock file may be deleted. Yields whether it can.

    Raises:
        BlockingIOError: where another process has it.
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
        except OSError:  # a file system that has no such locks
            sure = False
        yield sure
    finally:
        os.close(number)


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[Path]:
    """A new directory: the path, or the first of path-2, path-3, … that doesn't exist.

    It is made at once, so that no other process gets the same, and is gone again where nothing was put into it.
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
        except FileNotFoundError:  # another has just found the parent empty, and deleted it
            continue
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


def require_unwritten(directory: Path, names: Collection[str], allowed: str) -> None:
    """Raises as ``require_free`` for a directory in use, but for one where writing these together was cut short."""
    begun = (directory / UNFINISHED).is_file()
    require_free(directory, {UNFINISHED, *names} if begun else (), allowed)


def entries(directory: Path) -> set[str]:
    """The names of what is in a directory that may be missing, but for its locks and what killed writes left."""
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    return {name for name in names if not name.startswith(LOCK) and not _is_partial(name)}


def _is_partial(name: str) -> bool:
    return _PARTIAL.fullmatch(name) is not None
