"""Datasets that tensorflow-datasets has prepared, found by name or path, and read once.

A prepared dataset is a folder of records. They are read in their order, and stored beside the records as .npy files,
which are mapped into memory later.
"""

import errno
import itertools
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvae.arguments import require
from jaxvae.data import arrays
from jaxvae.data.catalog import default_config
from jaxvae.data.dataset import Dataset, assemble
from jaxvae.data.options import PLAIN, Reading
from jaxvae.data.records import INFO, Contents, levels_of, read_records
from jaxvae.files import read_file

_CACHE, _SAID = "arrays", "contents.json"


def default_data_dir() -> Path:
    """Returns the folder in which tensorflow-datasets keeps data: ``TFDS_DATA_DIR``, else ``~/tensorflow_datasets``."""
    path = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # an unknown user
        raise ValueError(f"TFDS_DATA_DIR must be a folder, got {path!r} ({error})") from None


class Wanted(NamedTuple):
    """A dataset's name in tensorflow-datasets' form, ``name/config:version``; config and version are optional."""

    builder: str
    config: str
    version: str


def parsed(name: str) -> Wanted | None:
    """Parses a name; returns None if it can't be a dataset's name.

    >>> parsed("cmaterdb/telugu:1.0.0")
    Wanted(builder='cmaterdb', config='telugu', version='1.0.0')
    """
    found = re.fullmatch(r"(\w+)(?:/([\w.+-]+))?(?::(\d+\.\d+\.\d+))?", name)
    return Wanted(*(part or "" for part in found.groups())) if found else None


def find_prepared(name: str, data_dir: Path) -> Path | None:
    """Returns the folder of a dataset's newest prepared version, or of the requested version, if there is one.

    If the name has no configuration, it is the default one, or the only one of an unknown dataset.

    Raises:
        ValueError: if several configurations of an unknown dataset are prepared.
    """
    wanted = parsed(name)
    if wanted is None:
        return None
    folder, version = data_dir / wanted.builder, wanted.version
    config = wanted.config or default_config(wanted.builder)
    if config is None:
        found = sorted(inner.name for inner in folder.glob("*") if _newest(inner, version))
        require(len(found) < 2, "dataset", name, " or ".join(f"{wanted.builder}/{one}" for one in found))
        config = "" if _newest(folder, version) else "".join(found)
    return _newest(folder / config, version)


def prepared_at(path: Path) -> Path | None:
    """Returns a folder if it is a prepared dataset, or the newest version in it, or None."""
    return path if (path / INFO).is_file() else _newest(path)


def all_prepared(data_dir: Path) -> dict[str, Path]:
    """Returns the newest version's folder of each prepared dataset, by name with any configuration."""
    files = [file for depth in ("*/*", "*/*/*") for file in data_dir.glob(f"{depth}/{INFO}")]
    names = sorted({file.relative_to(data_dir).parent.parent.as_posix() for file in files})
    found = {name: _newest(data_dir / name) for name in names}
    return {name: folder for name, folder in found.items() if folder is not None}


def _newest(folder: Path, version: str = "") -> Path | None:
    versions = [file.parent for file in folder.glob(f"{version or '*'}/{INFO}")]
    numbered = [d for d in versions if all(part.isdecimal() for part in d.name.split("."))]
    return max(numbered, key=lambda d: [int(part) for part in d.name.split(".")], default=None)


def read_prepared(name: str, directory: Path, reading: Reading = PLAIN) -> Dataset:
    """Loads the dataset in a prepared folder from its .npy files, which are made if there are none.

    It uses the train, validation and test splits. If there is no test split, validation replaces it. If there are
    neither, or only one split, the images are split here.

    Raises:
        ValueError: if these aren't images of one size in uint8 or uint16, or a record is damaged.
    """
    cache = directory / "-".join([_CACHE, *(["x".join(map(str, reading.size))] if reading.size else [])])
    cache = cache.with_name(f"{cache.name}-grey") if reading.grey else cache
    contents = _kept(cache)
    if contents is None:
        contents = read_records(directory, reading)
        _keep(contents, cache)
        contents = _kept(cache) or contents  # mapped, if they could be written
    fields, names, notes = contents
    images = {key.removesuffix("images"): x for key, x in fields.items() if key.endswith("images")}
    labels = {key: fields.get(f"{key}labels") for key in images}
    levels = levels_of(list(images.values()))
    if "" in images:
        rows = arrays.split_rows(len(images[""]), name)
        return arrays.apportion(
            name, images[""], labels[""], levels, rows, class_names=names, reading=reading, notes=notes
        )
    splits = {key.removesuffix("_"): x for key, x in images.items()}
    marks = {key.removesuffix("_"): y for key, y in labels.items()}
    return assemble(name, splits, marks, levels, class_names=names, reading=reading, notes=notes)


def _kept(cache: Path) -> Contents | None:
    """Returns the stored content of a prepared folder's records, or None if it is missing or damaged."""
    try:
        said = json.loads(read_file(cache / _SAID))
        texts = [tuple(said[name]) for name in ("class_names", "notes")]
        require(all(isinstance(text, str) for text in itertools.chain(*texts)), _SAID, said, "of texts")
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    fields = {file.stem: arrays.read_fields(file)[0]["images"] for file in sorted(cache.glob("*.npy"))}
    return Contents(fields, *texts)


def _keep(contents: Contents, cache: Path) -> None:
    """Writes the arrays as .npy files, all or none; it does nothing if the folder is read-only."""
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f"{cache.name}.", dir=cache.parent))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        return
    try:
        for key, x in contents.fields.items():
            np.save(scratch / f"{key}.npy", x)
        said = {"class_names": contents.class_names, "notes": contents.notes}
        (scratch / _SAID).write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        scratch.chmod(cache.parent.stat().st_mode & 0o777)
        if cache.is_dir() and _kept(cache) is None:
            shutil.rmtree(cache)  # of an unknown version, or damaged
        scratch.rename(cache)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # as if another process was faster
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
