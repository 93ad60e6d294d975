"""Datasets that tensorflow-datasets' own builders prepare, without TensorFlow.

Most builders, and the extraction of archives, use only TensorFlow's functions on files; Python's own functions replace
these while a dataset is prepared. Pillow encodes images that come as arrays. ``catalog.survey`` names the builders that
need more; others fail when they use it.
"""

import contextlib
import glob
import hashlib
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.catalog import SOURCES, Source, Surveyed, survey
from jaxvae.data.prepared import Wanted, find_prepared, parsed, read_prepared

_LISTED = 8  # the number of files named in a message


def is_known(name: str) -> bool:
    """Returns whether a name, perhaps with a configuration and a version, is one of tensorflow-datasets."""
    wanted = parsed(name)
    return wanted is not None and wanted.builder in survey()


def ensure(name: str, source: Path | None, data_dir: Path) -> Path:
    """Prepares a dataset with tensorflow-datasets, unless this is done, and returns its folder.

    Args:
        name: a name for which ``is_known`` is true.
        source: a folder with the published files, or None to download them.
        data_dir: the folder of prepared datasets.

    Raises:
        FileNotFoundError: if files are missing, or can't be downloaded.
        ValueError: if a file isn't the one that tensorflow-datasets has registered, or if the dataset can't be prepared
            without TensorFlow or has no images.
    """
    if directory := find_prepared(name, data_dir):
        return directory
    wanted = parsed(name)
    assert wanted is not None
    own = _own_reader(wanted)
    surveyed = survey()[wanted.builder]
    if not own and surveyed.obstacle:
        raise ValueError(f"{name} can't be prepared here: {surveyed.obstacle}{_elsewhere(wanted, surveyed)}")
    builder = _builder(name, data_dir)
    published: dict[str, dict[str, str]] = {}  # checksums by file name and URL; configurations may share a name
    for url, info in builder.url_infos.items():
        published.setdefault(info.filename, {})[url] = info.checksum
    files = SOURCES[wanted.builder].files if own else tuple(file for file in published if file)
    if source is None and surveyed.by_hand:
        page = builder.info.homepage or "its homepage"
        raise FileNotFoundError(
            f"{name}'s files must be downloaded by hand, from {page}; "
            f"then run: jaxvae data prepare {name} --from FOLDER"
        )
    if source is not None:
        _check_files(name, source, {file: [*published[file].values()] for file in files}, all_needed=own)
    elif files:
        _check_network(name, next(iter(published[files[0]])), files)
    _run(name, builder, source, files)
    directory = Path(builder.data_dir)
    with contextlib.suppress(ValueError):  # images may need options to be read, e.g. if sizes differ
        read_prepared(name, directory)
    return directory


def _own_reader(wanted: Wanted) -> bool:
    """Returns whether the reader in SOURCES reads the files, as it does for the default configuration."""
    return wanted.builder in SOURCES and wanted.config in ("", survey()[wanted.builder].config)


def _elsewhere(wanted: Wanted, surveyed: Surveyed) -> str:
    """Says what to do on a machine with TensorFlow, if that is what is missing."""
    if not surveyed.elsewhere:
        return ""
    name = f"{wanted.builder}/{wanted.config}" if wanted.config else wanted.builder
    return (
        f"; where that is, run: tfds build {name} --file_format=array_record, "
        "and give the folder that it makes as dataset"
    )


def _check_files(name: str, source: Path, checksums: Mapping[str, Sequence[str]], *, all_needed: bool) -> None:
    missing = [file for file in checksums if not (source / file).is_file()]
    if missing and all_needed:
        raise FileNotFoundError(f"{name} can't be prepared from {source}: there is no {', no '.join(missing)}")
    for file in (file for file in checksums if file not in missing):
        with (source / file).open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        expected = " or ".join(checksums[file])
        require(found in checksums[file], f"{source / file}: sha256", found, f"{expected}, that of {name}'s {file}")


def _unavailable(name: str, reason: object, files: Sequence[str]) -> FileNotFoundError:
    why = str(reason).partition("\n")[0]
    more = f" and {len(files) - _LISTED} more" if len(files) > _LISTED else ""
    return FileNotFoundError(
        f"{name} isn't prepared and can't be downloaded ({why}); put {', '.join(files[:_LISTED])}{more} "
        f"into a folder and run: jaxvae data prepare {name} --from FOLDER"
    )


def _check_network(name: str, url: str, files: Sequence[str]) -> None:
    """Checks the network by one quick request, as tensorflow-datasets tries for minutes."""
    import requests

    try:
        with requests.get(url, stream=True, timeout=5) as response:
            response.raise_for_status()
    except requests.HTTPError as error:
        raise _unavailable(name, error, files) from None
    except requests.RequestException as error:
        raise _unavailable(name, f"no connection to {url}: {type(error).__name__}", files) from None


def _builder(name: str, data_dir: Path) -> Any:
    """Makes a builder of tensorflow-datasets, which uses the reader in SOURCES if there is one."""
    import tensorflow_datasets as tfds  # type: ignore[import-untyped]

    wanted = parsed(name)
    assert wanted is not None
    base = tfds.builder_cls(wanted.builder)
    kind = _reading(base, SOURCES[wanted.builder]) if _own_reader(wanted) else base
    chosen = {"config": wanted.config or None, "version": wanted.version or None}
    try:
        return kind(data_dir=data_dir, file_format="array_record", **chosen)
    except (AssertionError, ValueError) as error:
        raise ValueError(f"dataset must be one that tensorflow-datasets has, got {name!r} ({_line(error)})") from None


def _reading(base: Any, source: Source) -> Any:
    """Makes a builder's class that uses the source's reader."""

    class Builder(base, skip_registration=True):  # type: ignore[call-arg]
        name = base.name
        url_infos = base.url_infos

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple]]:
            urls = {info.filename: url for url, info in self.url_infos.items()}
            files = dl_manager.download({file: urls[file] for file in source.files})
            splits, names = source.read({file: Path(path) for file, path in files.items()})
            for feature, classes in names.items():
                self.info.features[feature].names = classes
            return splits

        def _generate_examples(self) -> Iterator[tuple]:
            raise NotImplementedError  # abstract in its base, but never called

    return Builder


def _run(name: str, builder: Any, source: Path | None, files: Sequence[str]) -> None:
    import requests
    import tensorflow_datasets as tfds

    config = tfds.download.DownloadConfig(manual_dir=source, force_checksums_validation=True, try_download_gcs=False)
    scratch = tempfile.mkdtemp() if source is not None else None  # no need to keep copies of local files
    try:
        offline = contextlib.nullcontext() if source is None else _without_network(name, source, builder.url_infos)
        with _without_tensorflow(), offline:
            builder.download_and_prepare(download_dir=scratch, download_config=config)
    except (
        requests.RequestException,
        tfds.download.DownloadError,
        tfds.download.download_manager.NonMatchingChecksumError,
    ) as error:
        raise _unavailable(name, error, files) from None
    except (ValueError, OSError):
        raise
    except Exception as error:  # a builder's code may raise any error
        raise ValueError(f"{name} can't be prepared here: its builder says {_line(error)}") from error
    finally:
        if scratch:
            shutil.rmtree(scratch)


def _line(error: Exception) -> str:
    return (
        f"{type(error).__name__}: {str(error).strip().splitlines()[0]}" if str(error).strip() else type(error).__name__
    )


class _Absent:
    """A module of which only a part exists."""

    def __init__(self, path: str, **there: Any) -> None:
        self._path = path
        vars(self).update(there)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks any object for these
            raise AttributeError(name)
        raise ModuleNotFoundError(f"{self._path}.{name} needs TensorFlow")


class _Lasting:
    """A file that can be read after ``close``, like TensorFlow's; it closes when nothing refers to it any more."""

    def __init__(self, file: IO[Any]) -> None:
        self._file = file
        weakref.finalize(self, file.close)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __dir__(self) -> list[str]:
        return dir(self._file)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __enter__(self) -> "_Lasting":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the file open."""


def _open(name: Any, mode: str = "r") -> Any:
    """Opens a file like ``tf.io.gfile.GFile``, whose text is in UTF-8."""
    file = open(name, mode, encoding=None if "b" in mode else "utf-8")  # noqa: SIM115, as its user closes it
    return _Lasting(file) if "r" in mode else file


def _matches(pattern: Any) -> list[str]:
    return sorted(glob.glob(os.fspath(pattern)))


def _text(x: str | bytes) -> str:
    return x.decode() if isinstance(x, bytes) else x


def _bytes(x: str | bytes) -> bytes:
    return x.encode() if isinstance(x, str) else x


STAND_IN = _Absent(
    "tf",
    io=_Absent(
        "tf.io",
        gfile=_Absent(
            "tf.io.gfile",
            GFile=_open,
            exists=os.path.exists,
            glob=_matches,
            isdir=os.path.isdir,
            listdir=os.listdir,
            walk=os.walk,
        ),
    ),
    compat=_Absent("tf.compat", as_bytes=_bytes, as_str=_text, as_text=_text),
)
"""The part of TensorFlow that exists while a dataset is prepared."""


@contextlib.contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Replaces TensorFlow by ``STAND_IN`` in all of tensorflow-datasets, and lets Pillow encode images."""
    import tensorflow_datasets as tfds
    from PIL import Image

    feature = tfds.features.Image
    encode = feature.encode_example

    def encoded(self: Any, image: Any) -> Any:
        if isinstance(image, np.ndarray) and image.dtype != np.float32:
            image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        return encode(self, image)

    modules = [m for name, m in list(sys.modules.items()) if name.startswith("tensorflow_datasets.")]
    with contextlib.ExitStack() as stack:
        for module in modules:
            if "tf" in vars(module):
                stack.enter_context(_replaced(module, "tf", STAND_IN))
        stack.enter_context(_replaced(feature, "encode_example", encoded))
        yield


@contextlib.contextmanager
def _without_network(name: str, source: Path, urls: Mapping[str, Any]) -> Iterator[None]:
    """Raises an error instead of downloading a file that isn't in the source."""
    import tensorflow_datasets as tfds

    manager = tfds.download.download_manager
    make = manager.get_downloader

    def refuse(url: str, *_: Any, **__: Any) -> None:
        file = urls[url].filename if url in urls else url
        raise FileNotFoundError(f"{name} can't be prepared from {source}: there is no {file}")

    class Offline:
        """A downloader with all of its members, except that it doesn't download."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._downloader = make(*args, **kwargs)

        download = staticmethod(refuse)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._downloader, name)

    with _replaced(manager, "get_downloader", Offline):
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replaces an attribute for a while."""
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
